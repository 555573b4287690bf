//! Reductions that are computed together read and decode each stored chunk once, and give what each gives by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use nuna_array::{
    Array, Axes, Chunk, ChunkReader, ChunkSource, DType, NanPolicy, Operation, Region, SourceSpec,
    ThreadEngine, compute, explain, register_source_kind,
};
use nuna_plan::{Engine, TaskError};
use proptest::prelude::*;

const KIND: &str = "counted";
/// How often each chunk of each array was read.
type Reads = HashMap<(u64, Vec<u64>), u64>;
static READS: Mutex<Option<Reads>> = Mutex::new(None);

/// Small whole numbers and some NaN, `shape` of them in chunks of `chunks`: sums are exact.
#[derive(Clone)]
struct Counted {
    id: u64,
    shape: Vec<u64>,
    chunks: Vec<u64>,
}

impl ChunkSource for Counted {
    fn name(&self) -> String {
        format!("counted{}", self.id)
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn shape(&self) -> &[u64] {
        &self.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.chunks
    }

    fn spec(&self) -> SourceSpec {
        let payload = postcard::to_stdvec(&(self.id, &self.shape, &self.chunks)).expect("plain data");
        SourceSpec { kind: KIND.to_owned(), payload }
    }
}

struct Reader(Counted);

impl ChunkReader for Reader {
    fn read(&self, region: &Region) -> Result<Chunk, TaskError> {
        let mut reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at: Vec<Vec<u64>> = vec![Vec::new()];
        for (range, &chunk) in region.ranges().iter().zip(&self.0.chunks) {
            let along = range.start / chunk..range.end.div_ceil(chunk);
            at = at.iter().flat_map(|at| along.clone().map(|c| [&at[..], &[c]].concat())).collect();
        }
        for at in at {
            *reads.get_or_insert_default().entry((self.0.id, at)).or_default() += 1;
        }
        let all = values(self.0.id, &self.0.shape);
        all.slice(region).map_err(|error| TaskError::fatal(error.to_string()))
    }
}

fn values(id: u64, shape: &[u64]) -> Chunk {
    let value = |i: u64| {
        let mixed = (i + id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if mixed.is_multiple_of(7) { f32::NAN } else { (mixed % 201) as f32 - 100.0 }
    };
    Chunk::from_slice(shape, &(0..shape.iter().product()).map(value).collect::<Vec<_>>())
}

fn source(id: u64, shape: &[u64], chunks: &[u64]) -> Array {
    register_source_kind(KIND, |payload| {
        let (id, shape, chunks) =
            postcard::from_bytes(payload).map_err(|error| TaskError::fatal(error.to_string()))?;
        Ok(Box::new(Reader(Counted { id, shape, chunks })))
    });
    Array::from_source(Arc::new(Counted { id, shape: shape.to_vec(), chunks: chunks.to_vec() }))
}

/// How often each chunk of the array was read since the last time.
fn reads(id: u64) -> Vec<u64> {
    let mut reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = reads.get_or_insert_default();
    let own: Vec<_> = all.keys().filter(|(array, _)| *array == id).cloned().collect();
    own.into_iter().filter_map(|key| all.remove(&key)).collect()
}

fn engine() -> Arc<dyn Engine> {
    Arc::new(ThreadEngine::new(2))
}

fn reduce(array: &Array, operation: Operation, axes: &[usize], after: Axes) -> Array {
    array.reduce(operation, NanPolicy::Skip, axes, after).expect("axes there are")
}

fn bits(chunk: &Chunk) -> (DType, Vec<u64>, Vec<u64>) {
    let canonical = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
    let values = chunk.to_vec::<f64>().into_iter().map(canonical).collect();
    (chunk.dtype(), chunk.shape().to_vec(), values)
}

#[test]
fn each_chunk_is_decoded_once_for_all_results() {
    let shape = [40, 32, 48];
    let (red, nir) = (source(1, &shape, &[1, 16, 16]), source(2, &shape, &[1, 16, 16]));
    let clear = red.greater(0.0).unwrap();
    let index = nir.sub(&red).unwrap().div(nir.add(&red).unwrap()).unwrap().where_(&clear, f32::NAN).unwrap();
    let wanted = [
        reduce(&clear, Operation::Sum, &[0], Axes::Drop),
        reduce(&index, Operation::Max, &[0], Axes::Drop),
        reduce(&index, Operation::Count, &[1, 2], Axes::Keep),
    ];
    let together = compute(&wanted, &engine()).unwrap();
    for id in [1, 2] {
        assert_eq!(reads(id), vec![1; 40 * 2 * 3], "every chunk once");
    }
    for (array, together) in wanted.iter().zip(&together) {
        assert_eq!(bits(&array.compute_with(&engine()).unwrap()), bits(together), "{}", array.expression());
    }
}

#[test]
fn two_results_in_one_expression_share_a_reading() {
    let theta = source(3, &[64, 30], &[4, 10]);
    let extreme = |operation| reduce(&theta, operation, &[0], Axes::Drop);
    let spread = extreme(Operation::Max).sub(extreme(Operation::Min)).unwrap();
    spread.compute_with(&engine()).unwrap();
    assert_eq!(reads(3), vec![1; 16 * 3]);
}

#[test]
fn a_result_that_needs_another_is_read_for_anew() {
    let theta = source(4, &[64, 30], &[4, 10]);
    let mean = reduce(&theta, Operation::Mean, &[0], Axes::Keep);
    let anomaly = theta.sub(&mean).unwrap();
    let wanted = [
        reduce(&anomaly, Operation::Max, &[0], Axes::Drop),
        reduce(&theta, Operation::Min, &[0], Axes::Drop),
        mean,
    ];
    let results = compute(&wanted, &engine()).unwrap();
    assert_eq!(reads(4), vec![2; 16 * 3], "once for mean and minimum, once for the anomaly");
    assert_eq!(bits(&results[0]), bits(&wanted[0].compute_with(&engine()).unwrap()));
}

#[test]
fn parts_of_one_store_that_have_nothing_in_common_stay_apart() {
    let theta = source(5, &[64, 30], &[4, 10]);
    let half = |start, stop| theta.slice_axis(0, Some(start), Some(stop), 1).unwrap();
    let halves = [half(0, 32), half(32, 64)];
    let wanted = halves.map(|half| reduce(&half, Operation::Max, &[0], Axes::Drop));
    let plan = explain(&wanted, &engine()).unwrap();
    assert!(!plan.contains("max(0), max(0)"), "{plan}");
    compute(&wanted, &engine()).unwrap();
    assert_eq!(reads(5), vec![1; 16 * 3]);
}

const OPERATIONS: [Operation; 9] = [
    Operation::Sum,
    Operation::Mean,
    Operation::Var { ddof: 0 },
    Operation::Std { ddof: 1 },
    Operation::Min,
    Operation::Max,
    Operation::Count,
    Operation::Any,
    Operation::All,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is computed together, each result is what it is alone. Exact where sums are; variances have other last bits
    /// where the tree is another one.
    #[test]
    fn together_is_as_alone(
        shape in prop::collection::vec(1u64..20, 1..4),
        chunk in prop::collection::vec(1u64..7, 3),
        picks in prop::collection::vec((0usize..9, 1u8..8, any::<bool>()), 2..12),
        id in 10u64..1_000_000,
    ) {
        let chunks: Vec<u64> = shape.iter().zip(&chunk).map(|(&n, &c)| c.min(n)).collect();
        let array = source(id, &shape, &chunks);
        let wanted: Vec<Array> = picks
            .iter()
            .map(|&(operation, axes, keep)| {
                let mut axes: Vec<usize> = (0..shape.len()).filter(|a| axes >> a & 1 == 1).collect();
                if axes.is_empty() {
                    axes.push(0);
                }
                reduce(&array, OPERATIONS[operation], &axes, if keep { Axes::Keep } else { Axes::Drop })
            })
            .collect();
        let together = compute(&wanted, &engine()).unwrap();
        for ((array, together), (operation, ..)) in wanted.iter().zip(&together).zip(&picks) {
            let alone = array.compute_with(&engine()).unwrap();
            if matches!(OPERATIONS[*operation], Operation::Var { .. } | Operation::Std { .. }) {
                prop_assert_eq!(alone.shape(), together.shape());
                for (a, b) in alone.to_vec::<f64>().into_iter().zip(together.to_vec::<f64>()) {
                    prop_assert!(a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-6 * a.abs(), "{} and {}", a, b);
                }
            } else {
                prop_assert_eq!(bits(&alone), bits(together), "{}", array.expression());
            }
        }
    }
}

/// Client and worker of different builds: a block comes with other partial results than are asked for.
#[test]
fn partial_results_that_are_not_those_asked_for_are_refused() {
    let elements = Array::arange(0.0, 1.0, 4000).rechunk(&[1000]).expect("chunks fit");
    let both = elements.std(&[0]).and_then(|std| std.sub(&elements.max(&[0])?)).expect("floats");
    let plan = both.plan().expect("a plan");
    let arrays = nuna_array::executor();
    let mut made: Vec<Vec<nuna_plan::Value>> = Vec::new();
    let mut refused = 0;
    for stage in &plan.stages {
        let prepared = arrays.prepare(stage).expect("of this build");
        let given = |of: &Vec<Vec<nuna_plan::Value>>, block: u64| -> Vec<Vec<nuna_plan::Value>> {
            let input = |input: &nuna_plan::Input| {
                let nuna_plan::Source::Stage(source) = input.source else { panic!("nothing is held") };
                let read = input.map.read_indices(&stage.grid, block);
                read.iter().map(|at| of[source as usize][*at as usize].clone()).collect()
            };
            stage.inputs.iter().map(input).collect()
        };
        let inputs = given(&made, 0);
        let parts = inputs.iter().flatten().next().and_then(|value| Chunk::parts_from_value(value).ok());
        // The last stage reads results, each of which is one chunk and says what it is.
        if let Some(parts) = parts.filter(|parts| parts.len() > 1) {
            let count = parts.len();
            let fewer = (0..count).map(|count| parts[..count].to_vec());
            let of_others = std::iter::once(vec![Chunk::from_slice(&[1], &[1i8]); count]);
            let of_a_shape = std::iter::once(vec![Chunk::from_slice(&[2], &[1.0, 2.0]); count]);
            for parts in fewer.chain(of_others).chain(of_a_shape) {
                let value = Chunk::parts_to_value(&parts);
                let spoilt = inputs.iter().map(|values| values.iter().map(|_| value.clone()).collect());
                let result = prepared.run(0, spoilt.collect());
                match result {
                    // What this stage takes of the block may all be there.
                    Ok(_) => assert!(parts.len() > 1 && parts.len() < count, "{parts:?} were taken"),
                    Err(error) => {
                        assert!(!error.to_string().contains("panicked"), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        let blocks = (0..stage.grid.count()).map(|block| {
            prepared.run(block, given(&made, block)).unwrap_or_else(|error| panic!("{}: {error}", stage.name))
        });
        made.push(blocks.collect());
    }
    assert!(refused >= 6, "{refused} of what was spoilt was refused");
}
