//! Owns running the blocks of array stages: a program is decoded once per worker, then evaluated per block by asking
//! its root for a box of elements.

mod partials;

use std::{cell::RefCell, collections::HashMap, ops::Range, sync::Arc};

use nuna_chunk::{
    Buffer, Chunk, ChunkError, ChunkMut, DType, Region, Scalar, Shape,
    assemble::{Assembly, Stride},
    reduce::Accumulator,
};
use nuna_plan::{BlockGrid, BlockMap, Executor, Prepared, Splits, Stage, TaskError, Value};
use nuna_ship::Blocks;
use smallvec::SmallVec;

use crate::{
    program::{AxisRule, Finish, Head, Program, Root, Step},
    sink::{ChunkWriter, open_writer},
    source::{ChunkReader, open_reader},
};

/// Runs stages of [`nuna_plan::WorkKind::Array`].
pub fn executor() -> Arc<dyn Executor> {
    Arc::new(ArrayExecutor)
}

struct ArrayExecutor;

impl Executor for ArrayExecutor {
    fn prepare(&self, stage: &Stage) -> Result<Box<dyn Prepared>, TaskError> {
        let program: Program = postcard::from_bytes(&stage.work.payload).map_err(|error| {
            TaskError::fatal(format!(
                "the work of stage `{}` cannot be decoded: {error}; are client and worker the same build?",
                stage.name
            ))
        })?;
        let readers = program.sources.iter().map(open_reader).collect::<Result<_, _>>()?;
        let writer = match &program.head {
            Head::Write { sink, .. } => Some(open_writer(sink)?),
            Head::Emit(_)
            | Head::Partial { .. }
            | Head::Partials { .. }
            | Head::Merge { .. }
            | Head::Call { .. } => None,
        };
        let call = match &program.head {
            Head::Call { call, .. } => Some(call.open().map_err(|error| {
                TaskError::fatal(format!(
                    "the function `{}` cannot be opened on this worker: {error}",
                    call.name
                ))
            })?),
            Head::Emit(_)
            | Head::Partial { .. }
            | Head::Partials { .. }
            | Head::Merge { .. }
            | Head::Write { .. } => None,
        };
        let maps = stage.inputs.iter().map(|input| input.map.clone()).collect();
        let ends = ends_of_joins(&program);
        Ok(Box::new(PreparedProgram { program, ends, grid: stage.grid.clone(), maps, readers, writer, call }))
    }
}

fn ends_of_joins(program: &Program) -> HashMap<u32, Vec<u64>> {
    let ends = |inputs: &[u32], axis: u32| {
        let mut end = 0;
        let lengths = inputs.iter().map(|&input| program.nodes[input as usize].shape[axis as usize]);
        lengths
            .map(|length| {
                end += length;
                end
            })
            .collect()
    };
    let joins = (0..).zip(&program.nodes).filter_map(|(number, node)| match &node.step {
        Step::Concat { inputs, axis } => Some((number, ends(inputs, *axis))),
        _ => None,
    });
    joins.collect()
}

struct PreparedProgram {
    program: Program,
    /// Of joins, by node: where each input ends along the axis.
    ends: HashMap<u32, Vec<u64>>,
    grid: BlockGrid,
    maps: Vec<BlockMap>,
    readers: Vec<Box<dyn ChunkReader>>,
    writer: Option<Box<dyn ChunkWriter>>,
    call: Option<Box<dyn Blocks>>,
}

/// The blocks of one input that a block was given.
struct Given {
    /// Which blocks, along each axis of the input.
    ranges: SmallVec<[Range<u64>; 6]>,
    /// Row-major in that box.
    values: Vec<Value>,
}

struct Evaluation<'a> {
    program: &'a Program,
    ends: &'a HashMap<u32, Vec<u64>>,
    readers: &'a [Box<dyn ChunkReader>],
    given: Vec<Given>,
    /// Boxes of nodes that several others read.
    known: RefCell<HashMap<(u32, Region), Chunk>>,
}

fn fatal(error: ChunkError) -> TaskError {
    TaskError::fatal(error.to_string())
}

impl Prepared for PreparedProgram {
    fn run(&self, block: u64, inputs: Vec<Vec<Value>>) -> Result<Value, TaskError> {
        let coords = self.grid.coords(block);
        if let Head::Merge { cells, parts, reduction, reduced, finish } = &self.program.head {
            let values = inputs.into_iter().flatten();
            let partials: Vec<_> =
                values.map(|value| partials::of_value(&value, *parts)).collect::<Result<_, _>>()?;
            let shape = AxisRule::region(cells, &coords).shape();
            let merged = Accumulator::merged(*reduction, &shape, reduced, partials).map_err(fatal)?;
            return reduced_value(merged, *finish, reduced);
        }
        let given = self
            .maps
            .iter()
            .zip(inputs)
            .map(|(map, values)| Given { ranges: map.reads(&self.grid, block), values });
        let evaluation = Evaluation {
            program: &self.program,
            ends: &self.ends,
            readers: &self.readers,
            given: given.collect(),
            known: RefCell::default(),
        };
        match &self.program.head {
            Head::Emit(root) => Ok(evaluation.detached(evaluation.root(root, &coords)?).to_value()),
            Head::Partial { root, pieces, reduction, reduced, finish } => {
                let partial = evaluation.partial(root, pieces, *reduction, reduced, &coords)?;
                reduced_value(partial, *finish, reduced)
            }
            Head::Partials { heads, pieces } => evaluation.partials(heads, pieces, &coords),
            Head::Merge { .. } => unreachable!("handled above"),
            Head::Call { roots, dtype, shape, call, order, first } => {
                let inputs: Vec<Value> = roots
                    .iter()
                    .map(|root| Ok(evaluation.root(root, &coords)?.to_value()))
                    .collect::<Result<_, TaskError>>()?;
                let opened = self.call.as_ref().expect("opened when the stage was prepared");
                let (block, coords) = if order.is_empty() && first.is_empty() {
                    (block, coords)
                } else {
                    let mut own = coords.clone();
                    order.iter().zip(&coords).for_each(|(&axis, &at)| own[axis as usize] = at);
                    first.iter().zip(&mut own).for_each(|(&first, at)| *at += first);
                    let number =
                        own.iter().zip(shape).fold(0, |number, (&at, cuts)| number * cuts.count() + at);
                    (number, own)
                };
                let value = opened.run(block, &inputs)?;
                check_returned(&value, *dtype, shape, &coords, &call.name)?;
                Ok(value)
            }
            Head::Write { root, .. } => {
                let region = AxisRule::region(&root.region, &coords);
                let chunk = evaluation.node(root.node, &region)?;
                self.writer.as_ref().expect("opened when the stage was prepared").write(&region, &chunk)?;
                Ok(Value::default())
            }
        }
    }
}

fn reduced_value(
    accumulator: Accumulator,
    finish: Option<Finish>,
    reduced: &[bool],
) -> Result<Value, TaskError> {
    let Some(finish) = finish else { return Ok(accumulator.into_value()) };
    let chunk = accumulator.finish().map_err(fatal)?;
    match finish {
        Finish::KeepAxes => Ok(chunk.to_value()),
        Finish::DropAxes => {
            let shape: Shape =
                chunk.shape().iter().zip(reduced).filter(|(_, r)| !**r).map(|(&n, _)| n).collect();
            Ok(chunk.reshape(&shape).map_err(fatal)?.to_value())
        }
    }
}

fn check_returned(
    value: &Value,
    dtype: DType,
    splits: &[Splits],
    coords: &[u64],
    name: &str,
) -> Result<(), TaskError> {
    let chunk = Chunk::from_value(value).map_err(|error| {
        TaskError::fatal(format!("`{name}` returned something that is no chunk: {error}"))
    })?;
    let expected: Shape = splits
        .iter()
        .zip(coords)
        .map(|(s, &c)| {
            let r = s.range(c);
            r.end - r.start
        })
        .collect();
    if chunk.dtype() == dtype && chunk.shape() == &expected[..] {
        return Ok(());
    }
    Err(TaskError::fatal(format!(
        "`{name}` returned a chunk of {} {:?}, but map_blocks was told that this block has {dtype} {:?}; correct the dtype or \
         chunks given to map_blocks, or the function",
        chunk.dtype(),
        chunk.shape(),
        &expected[..]
    )))
}

impl Evaluation<'_> {
    fn root(&self, root: &Root, coords: &[u64]) -> Result<Chunk, TaskError> {
        self.node(root.node, &AxisRule::region(&root.region, coords))
    }

    /// A chunk that is a part of an input is copied: it would keep the whole of it in memory.
    fn detached(&self, chunk: Chunk) -> Chunk {
        let bytes = chunk.bytes().as_ptr_range();
        let is_part = |value: &Value| {
            let whole = value.body.as_ptr_range();
            whole.start <= bytes.start && bytes.end <= whole.end && chunk.bytes().len() < value.body.len()
        };
        if chunk.is_empty() || !self.given.iter().flat_map(|given| &given.values).any(is_part) {
            return chunk;
        }
        let copy = Buffer::copy_of(chunk.bytes());
        Chunk::from_buffer(chunk.dtype(), chunk.shape(), copy).expect("as many bytes as before")
    }

    fn node(&self, number: u32, region: &Region) -> Result<Chunk, TaskError> {
        let node = &self.program.nodes[number as usize];
        if region.is_empty() {
            return Ok(ChunkMut::zeroed(node.dtype, &region.shape()).freeze());
        }
        if node.uses > 1
            && let Some(chunk) = self.known.borrow().get(&(number, region.clone()))
        {
            return Ok(chunk.clone());
        }
        let chunk = self.step(number, &node.step, node.dtype, region)?;
        if chunk.shape() != &region.shape()[..] || chunk.dtype() != node.dtype {
            return Err(TaskError::fatal(format!(
                "asked for {region} as {}, but got {} of shape {:?}; the stored array has changed, or its reader is at fault",
                node.dtype,
                chunk.dtype(),
                chunk.shape()
            )));
        }
        if node.uses > 1 {
            self.known.borrow_mut().insert((number, region.clone()), chunk.clone());
        }
        Ok(chunk)
    }

    fn step(&self, number: u32, step: &Step, dtype: DType, region: &Region) -> Result<Chunk, TaskError> {
        match step {
            Step::Read { source } => self.readers[*source as usize].read(region),
            Step::Input { input, axes, order } => {
                self.input(&self.given[*input as usize], axes, order, dtype, region)
            }
            Step::Full(value) => Ok(Chunk::full(dtype, &region.shape(), *value)),
            Step::Range { start, step } => Ok(range(*start, *step, dtype, region)),
            Step::Map { program, inputs } => {
                let chunks = inputs
                    .iter()
                    .map(|&input| {
                        let shape = &self.program.nodes[input as usize].shape;
                        self.node(input, &broadcast_region(region, shape))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                program.run(&region.shape(), &chunks).map_err(fatal)
            }
            Step::Stride { input, axes } => self.strided(*input, axes, region),
            Step::Take { input, axis, indices } => self.taken(*input, *axis as usize, indices, region),
            Step::Transpose { input, order } => {
                let order: SmallVec<[usize; 6]> = order.iter().map(|&a| a as usize).collect();
                let mut ranges: SmallVec<[Range<u64>; 6]> = region.ranges().into();
                for (to, &from) in order.iter().enumerate() {
                    ranges[from] = region.ranges()[to].clone();
                }
                Ok(self.node(*input, &Region::new(ranges))?.transpose(&order))
            }
            Step::Reshape { input, axes } => {
                let ndim = self.program.nodes[*input as usize].shape.len();
                let mut ranges: SmallVec<[Range<u64>; 6]> = (0..ndim).map(|_| 0..1).collect();
                for (to, from) in axes.iter().enumerate() {
                    if let Some(from) = from {
                        ranges[*from as usize] = region.ranges()[to].clone();
                    }
                }
                self.node(*input, &Region::new(ranges))?.reshape(&region.shape()).map_err(fatal)
            }
            Step::Broadcast { input } => {
                let shape = &self.program.nodes[*input as usize].shape;
                Ok(self.node(*input, &broadcast_region(region, shape))?.broadcast_to(&region.shape()))
            }
            Step::Concat { inputs, axis } => {
                self.joined(inputs, &self.ends[&number], *axis as usize, dtype, region)
            }
        }
    }

    fn input(
        &self,
        given: &Given,
        axes: &[Splits],
        order: &[u8],
        dtype: DType,
        region: &Region,
    ) -> Result<Chunk, TaskError> {
        let boxes: SmallVec<[Range<u64>; 6]> =
            axes.iter().zip(region.ranges()).map(|(splits, r)| splits.overlapping(r.clone())).collect();
        let value = |coords: &[u64]| -> Result<Chunk, TaskError> {
            let mut index = 0;
            for (at, range) in given.ranges.iter().enumerate() {
                let c = coords[order.get(at).map_or(at, |&axis| axis as usize)];
                assert!(range.contains(&c), "block {coords:?} is not among those given, {:?}", given.ranges);
                index = index * (range.end - range.start) + (c - range.start);
            }
            Chunk::from_value(&given.values[index as usize]).map_err(fatal)
        };
        let count: u64 = boxes.iter().map(|b| b.end - b.start).product();
        let start_of = |coords: &[u64]| Region::new(axes.iter().zip(coords).map(|(s, &c)| s.range(c)));
        if count == 1 {
            let coords: Shape = boxes.iter().map(|b| b.start).collect();
            let whole = start_of(&coords);
            return value(&coords)?.slice(&region.relative_to(&whole.start())).map_err(fatal);
        }
        let mut assembly = Assembly::new(dtype, &region.shape());
        let grid = BlockGrid::new(boxes.iter().map(|b| b.end - b.start));
        for number in 0..grid.count() {
            let coords: Shape = grid.coords(number).iter().zip(&boxes).map(|(&c, b)| c + b.start).collect();
            let whole = start_of(&coords);
            let part = whole.intersect(region);
            let (to, from) = (part.relative_to(&region.start()), part.relative_to(&whole.start()));
            assembly.put(&to, &value(&coords)?, &from).map_err(fatal)?;
        }
        Ok(assembly.finish())
    }

    fn strided(&self, input: u32, axes: &[Stride], region: &Region) -> Result<Chunk, TaskError> {
        // The smallest box of the input that has all elements, then every step-th of it.
        let mut covering = SmallVec::<[Range<u64>; 6]>::new();
        let mut within = SmallVec::<[Stride; 6]>::new();
        for (stride, range) in axes.iter().zip(region.ranges()) {
            let at = |i: u64| stride.start.saturating_add_signed(stride.step * i as i64);
            let (first, last) = (at(range.start), at(range.end - 1));
            let (low, high) = (first.min(last), first.max(last));
            covering.push(low..high + 1);
            within.push(Stride { start: first - low, step: stride.step, count: range.end - range.start });
        }
        let chunk = self.node(input, &Region::new(covering))?;
        if axes.iter().all(|s| s.step == 1) {
            return Ok(chunk);
        }
        chunk.stride(&within).map_err(fatal)
    }

    fn taken(&self, input: u32, axis: usize, indices: &[u64], region: &Region) -> Result<Chunk, TaskError> {
        /// Reading gaps is cheaper than another read up to this factor.
        const GAPS: u64 = 4;
        let range = &region.ranges()[axis];
        let wanted = &indices[range.start as usize..range.end as usize];
        let (low, high) = wanted.iter().fold((u64::MAX, 0), |(low, high), &i| (low.min(i), high.max(i)));
        let along = |low: u64, high: u64| {
            let mut ranges: SmallVec<[Range<u64>; 6]> = region.ranges().into();
            ranges[axis] = low..high + 1;
            Region::new(ranges)
        };
        if high - low < wanted.len() as u64 * GAPS {
            let relative: Vec<u64> = wanted.iter().map(|i| i - low).collect();
            return self.node(input, &along(low, high))?.take(axis, &relative).map_err(fatal);
        }
        // Far apart: one read per run of neighbours, then the order that was asked for.
        let mut sorted = wanted.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut shape = region.shape();
        shape[axis] = sorted.len() as u64;
        let dtype = self.program.nodes[input as usize].dtype;
        let mut assembly = Assembly::new(dtype, &shape);
        let mut at = 0u64;
        for run in sorted.chunk_by(|a, b| b - a <= GAPS) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let relative: Vec<u64> = run.iter().map(|i| i - first).collect();
            let chunk = self.node(input, &along(first, last))?.take(axis, &relative).map_err(fatal)?;
            let mut to: SmallVec<[Range<u64>; 6]> = chunk.shape().iter().map(|&n| 0..n).collect();
            to[axis] = at..at + run.len() as u64;
            assembly.put(&Region::new(to), &chunk, &Region::all(chunk.shape())).map_err(fatal)?;
            at += run.len() as u64;
        }
        let places: Vec<u64> = wanted.iter().map(|i| sorted.partition_point(|s| s < i) as u64).collect();
        assembly.finish().take(axis, &places).map_err(fatal)
    }

    /// `ends` is where each input ends along the axis.
    fn joined(
        &self,
        inputs: &[u32],
        ends: &[u64],
        axis: usize,
        dtype: DType,
        region: &Region,
    ) -> Result<Chunk, TaskError> {
        let wanted = &region.ranges()[axis];
        let mut parts = Vec::new();
        // Thousands of files are one series, of which a block needs a few.
        let first = ends.partition_point(|&end| end <= wanted.start);
        for (&input, &end) in inputs.iter().zip(ends).skip(first) {
            let offset = end - self.program.nodes[input as usize].shape[axis];
            if offset >= wanted.end {
                break;
            }
            let (low, high) = (wanted.start.max(offset), wanted.end.min(end));
            if low < high {
                let mut ranges: SmallVec<[Range<u64>; 6]> = region.ranges().into();
                ranges[axis] = low - offset..high - offset;
                parts.push((low - wanted.start, self.node(input, &Region::new(ranges))?));
            }
        }
        if let [(_, one)] = &parts[..] {
            return Ok(one.clone());
        }
        let mut assembly = Assembly::new(dtype, &region.shape());
        for (at, chunk) in &parts {
            let mut to: SmallVec<[Range<u64>; 6]> = chunk.shape().iter().map(|&n| 0..n).collect();
            to[axis] = *at..at + chunk.shape()[axis];
            assembly.put(&Region::new(to), chunk, &Region::all(chunk.shape())).map_err(fatal)?;
        }
        Ok(assembly.finish())
    }
}

/// The box of an operand of `shape` that a box of the result reads.
fn broadcast_region(region: &Region, shape: &[u64]) -> Region {
    let extra = region.ndim() - shape.len();
    Region::new(
        region.ranges()[extra..].iter().zip(shape).map(|(r, &n)| if n == 1 { 0..1 } else { r.clone() }),
    )
}

fn range(start: Scalar, step: Scalar, dtype: DType, region: &Region) -> Chunk {
    let along = region.ranges()[0].clone();
    let shape = region.shape();
    if dtype == DType::I64 {
        let (start, step) = (start.as_i64(), step.as_i64());
        let values: Vec<i64> = along.map(|i| start.wrapping_add(step.wrapping_mul(i as i64))).collect();
        Chunk::from_slice(&shape, &values)
    } else {
        let (start, step) = (start.as_f64(), step.as_f64());
        let values: Vec<f64> = along.map(|i| start + step * i as f64).collect();
        Chunk::from_slice(&shape, &values)
    }
}
