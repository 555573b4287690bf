//! Of what a function makes only the blocks are made that somebody wants.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use nuna_array::{
    Array, Axes, Block, Chunk, DType, MapBlocks, NanPolicy, Operation, Random, Rolling, concat,
};

static CALLS: AtomicU64 = AtomicU64::new(0);
/// The counter is the process's.
static ALONE: Mutex<()> = Mutex::new(());

/// 100 rows in blocks of 10, of 6 columns in blocks of 2, through a function that counts its calls and knows where it is.
fn counted() -> Array {
    let rows = Array::arange(0.0, 1.0, 600).unflatten(0, &[100, 6]).unwrap().rechunk(&[10, 2]).unwrap();
    let options = MapBlocks { name: "counted".to_owned(), dtype: DType::F64, chunks: None };
    rows.map_blocks(options, |block: Block<'_>| {
        CALLS.fetch_add(1, Relaxed);
        let input = &block.inputs[0];
        let moved: Vec<f64> = input.to_vec::<f64>().iter().map(|v| v + 1000.0 * block.index as f64).collect();
        Ok(Chunk::from_slice(input.shape(), &moved))
    })
    .unwrap()
}

/// The elements, and how many blocks were made for them.
fn computed(array: &Array) -> (Vec<f64>, u64) {
    CALLS.store(0, Relaxed);
    let values = array.compute().unwrap().to_vec::<f64>();
    (values, CALLS.load(Relaxed))
}

fn expected(row: u64, column: u64) -> f64 {
    (row * 6 + column) as f64 + 1000.0 * (row / 10 * 3 + column / 2) as f64
}

fn elements(rows: impl Iterator<Item = u64>, columns: &[u64]) -> Vec<f64> {
    rows.flat_map(|row| columns.iter().map(move |&column| expected(row, column))).collect()
}

#[test]
fn slices_have_functions_called_for_the_blocks_that_hold_them() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = counted();
    assert_eq!(computed(&all), (elements(0..100, &[0, 1, 2, 3, 4, 5]), 30));
    let part = all.slice_axis(0, Some(35), Some(52), 1).unwrap().slice_axis(1, Some(4), None, 1).unwrap();
    assert_eq!(computed(&part), (elements(35..52, &[4, 5]), 3));
    let flipped = all.flip(0).unwrap().slice_axis(0, Some(0), Some(3), 1).unwrap();
    assert_eq!(computed(&flipped), (elements((97..100).rev(), &[0, 1, 2, 3, 4, 5]), 3));
    let column = all.index_axis(1, -1).unwrap().slice_axis(0, None, None, -30).unwrap();
    assert_eq!(computed(&column), (elements([99, 69, 39, 9].into_iter(), &[5]), 10));
    let taken = all.take(0, &[55, 41, 55]).unwrap().transpose(&[1, 0]).unwrap().index_axis(0, 2).unwrap();
    assert_eq!(computed(&taken), (elements([55, 41, 55].into_iter(), &[2]), 2));
    let empty = all.slice_axis(0, Some(7), Some(7), 1).unwrap().sum(&[0]).unwrap();
    let (values, calls) = computed(&empty);
    assert!(values == [0.0; 6] && calls <= 3, "{calls} calls");
}

#[test]
fn what_several_want_is_made_once_and_covers_all_of_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = counted();
    let rows = |from: i64, to: i64| all.slice_axis(0, Some(from), Some(to), 1).unwrap();
    let (values, calls) = computed(&rows(5, 8).add(rows(25, 28)).unwrap());
    let sum = |row: u64, column: u64| expected(row, column) + expected(row + 20, column);
    let sums: Vec<f64> = (5..8).flat_map(|row| (0..6).map(move |column| sum(row, column))).collect();
    assert_eq!((values, calls), (sums, 9));
    // One who wants all has all made.
    let mean = all.mean(&[0]).unwrap();
    let (_, calls) = computed(&rows(0, 2).sub(&mean).unwrap());
    assert_eq!(calls, 30);
    let joined = concat(&[rows(90, 95), rows(15, 20), rows(92, 94)], 0).unwrap();
    let part = joined.slice_axis(0, Some(4), Some(7), 1).unwrap();
    assert_eq!(computed(&part).0, elements([94, 15, 16].into_iter(), &[0, 1, 2, 3, 4, 5]));
    // A function of a function, by windows that overlap.
    let smooth = all.rolling(Rolling::Sum, 0, 1, 1, 1).unwrap();
    let (values, calls) = computed(&smooth.slice_axis(0, Some(12), Some(13), 1).unwrap());
    let sum = |column: u64| (11..14).map(|row| expected(row, column)).sum::<f64>();
    assert_eq!(values, (0..6).map(sum).collect::<Vec<f64>>());
    assert!(calls <= 9, "{calls} calls");
    let sums = all.cumsum(0).unwrap().slice_axis(1, Some(0), Some(1), 1).unwrap();
    let last = (0..100).map(|row| expected(row, 0)).sum::<f64>();
    assert_eq!(computed(&sums).0.last(), Some(&last));
}

#[test]
fn a_few_elements_of_a_million_by_a_million_random_ones_take_no_time() {
    let shape = [1_000_000, 1_000_000];
    let corner = |chunks: &[u64]| {
        let all = Array::random(5, Random::Uniform { low: 0.0, high: 1.0 }, &shape, Some(chunks)).unwrap();
        let shifted = all.add(1.0).unwrap();
        let rows = shifted.slice_axis(0, Some(999_998), None, 1).unwrap();
        rows.slice_axis(1, Some(-3), Some(-1), 1).unwrap()
    };
    let started = std::time::Instant::now();
    let values = corner(&[1000, 1000]).compute().unwrap();
    assert_eq!(values, corner(&[500, 2000]).compute().unwrap());
    assert!(values.to_vec::<f64>().iter().all(|v| (1.0..2.0).contains(v)));
    let least = corner(&[1000, 1000]).reduce(Operation::Min, NanPolicy::Skip, &[0, 1], Axes::Drop).unwrap();
    assert!(least.compute().unwrap().get(0).as_f64() >= 1.0);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn slices_of_reductions_reduce_what_lies_over_them() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = counted();
    let column = |column: u64| (0..100).map(|row| expected(row, column)).sum::<f64>();
    let one = all.sum(&[0]).unwrap().index_axis(0, 3).unwrap();
    assert_eq!(computed(&one), (vec![column(3)], 10), "one of three blocks of columns");
    let rows = all.reduce(Operation::Sum, NanPolicy::Skip, &[1], Axes::Keep).unwrap();
    let (values, calls) = computed(&rows.slice_axis(0, Some(41), Some(43), 1).unwrap());
    let row = |row: u64| (0..6).map(|column| expected(row, column)).sum::<f64>();
    assert_eq!((values, calls), (vec![row(41), row(42)], 3));
    // What is left of rows after their mean is taken away needs these rows alone, and the mean of one row needs all columns.
    let anomaly = all.sub(all.reduce(Operation::Mean, NanPolicy::Skip, &[1], Axes::Keep).unwrap()).unwrap();
    let (_, calls) = computed(
        &anomaly.slice_axis(0, Some(0), Some(5), 1).unwrap().slice_axis(1, Some(0), Some(1), 1).unwrap(),
    );
    assert!(calls <= 4, "{calls} calls");
    // A reduction of a reduction.
    let spread = all.sum(&[0]).unwrap().slice_axis(0, Some(4), Some(6), 1).unwrap().max(&[0]).unwrap();
    assert_eq!(computed(&spread), (vec![column(5)], 10));
    // Nearly all of it shares its reading with others, and is made whole.
    let most = all.sum(&[0]).unwrap().slice_axis(0, Some(0), Some(4), 1).unwrap();
    assert_eq!(computed(&most).1, 30);
}

#[test]
fn a_slice_of_a_reduction_has_the_bits_of_the_whole() {
    let random = |i: u64| (((i * 2_654_435_761) % 1_000_003) as f32 / 997.0).sin();
    for (shape, chunks) in [
        ([400u64, 30, 41], [1u64, 30, 41]),
        ([97, 64, 64], [10, 16, 16]),
        ([50, 33, 7], [7, 4, 7]),
        ([3000, 5, 9], [40, 2, 3]),
    ] {
        let values: Vec<f32> = (0..shape.iter().product()).map(random).collect();
        let array = Array::from_slice(&shape, &values).unwrap().rechunk(&chunks).unwrap();
        for operation in
            [Operation::Mean, Operation::Sum, Operation::Std { ddof: 0 }, Operation::Max, Operation::ArgMin]
        {
            for keep in [Axes::Keep, Axes::Drop] {
                let whole = array.reduce(operation, NanPolicy::Skip, &[0], keep).unwrap();
                let expected = Array::from_chunk(whole.compute().unwrap());
                let first = whole.ndim() - 2;
                for (from, to) in [(0, 1), (3, 5), (1, 2), (4, 5)] {
                    let part = |of: &Array| {
                        let rows = of.slice_axis(first, Some(from), Some(to), 1).unwrap();
                        rows.slice_axis(first + 1, Some(2), Some(6), 1).unwrap().compute().unwrap()
                    };
                    assert_eq!(
                        part(&whole),
                        part(&expected),
                        "{operation:?} of {shape:?} in {chunks:?}, {from}..{to}"
                    );
                }
            }
        }
    }
}
