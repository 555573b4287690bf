//! Owns [`Array`], the handle that users hold: construction, metadata, chunks, and the calls that compute.

use std::{fmt, sync::Arc};

use nuna_chunk::{Chunk, DType, Element, Scalar, Shape};
use nuna_plan::{Engine, Keep, Plan, Splits};
use nuna_ship::{Call, Ship};

use crate::{
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Node, Op},
    grid::{ChunkGrid, bounds, normal},
    memory::MemorySource,
    planner::{self, Goal},
    sink::ChunkSink,
    source::ChunkSource,
    submit,
};

/// A lazy, chunked array of any dtype. Cloning shares the expression; nothing is read or computed until
/// [`compute`](Array::compute), [`persist`](Array::persist) or [`write_to`](Array::write_to).
#[derive(Clone)]
pub struct Array {
    pub(crate) node: Node,
}

/// One block as a function given to [`Array::map_blocks`] sees it.
pub struct Block<'a> {
    /// Number of the block, row-major.
    pub index: u64,
    /// One chunk per input array.
    pub inputs: &'a [Chunk],
}

/// What a function given to [`Array::map_blocks`] makes of a block of a certain shape.
#[derive(Clone, Debug)]
pub struct MapBlocks {
    pub name: String,
    pub dtype: DType,
    /// Chunk lengths of the result along each axis; `None`: as the first input.
    pub chunks: Option<ChunkGrid>,
}

/// Chunks of a source are merged into blocks of at most this many bytes.
const BLOCK_BYTES: u64 = 64 << 20;
/// But not into fewer blocks than this, so that many workers have something to do.
const BLOCKS_WANTED: u64 = 256;

impl Array {
    pub(crate) fn from_node(node: Node) -> Self {
        Self { node }
    }

    /// A stored array. Small stored chunks are read several at a time; see [`Array::rechunk`] to choose otherwise.
    pub fn from_source(source: Arc<dyn ChunkSource>) -> Self {
        let grid = source_grid(source.shape(), source.chunk_shape(), source.dtype());
        let dtype = source.dtype();
        Self::from_node(Expr::new(Op::Source(source), dtype, grid))
    }

    /// An array that is in memory already, as one chunk. Its elements travel inside plans.
    pub fn from_chunk(chunk: Chunk) -> Self {
        let grid = ChunkGrid::whole(chunk.shape());
        let dtype = chunk.dtype();
        let shape: Shape = chunk.shape().iter().map(|&n| n.max(1)).collect();
        Self::from_node(Expr::new(Op::Source(MemorySource::new(chunk, &shape)), dtype, grid))
    }

    /// The same in chunks of a given shape.
    ///
    /// # Errors
    /// [`ArrayErrorKind::ChunkShape`] if there is not one length of at least 1 per axis.
    pub fn from_chunk_in(chunk: Chunk, chunks: &[u64]) -> Result<Self, ArrayError> {
        let grid = ChunkGrid::regular(chunk.shape(), chunks)?;
        let dtype = chunk.dtype();
        Ok(Self::from_node(Expr::new(Op::Source(MemorySource::new(chunk, chunks)), dtype, grid)))
    }

    /// A copy of `elements` in C order.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn from_slice<T: Element>(shape: &[u64], elements: &[T]) -> Result<Self, ArrayError> {
        if shape.iter().product::<u64>() != elements.len() as u64 {
            return Err(ArrayErrorKind::Invalid(format!(
                "{} elements do not fill an array of shape {shape:?}",
                elements.len()
            ))
            .into());
        }
        Ok(Self::from_chunk(Chunk::from_slice(shape, elements)))
    }

    /// Every element is `value`.
    pub fn full(shape: &[u64], value: impl Into<Scalar>, dtype: DType) -> Self {
        let grid = source_grid(shape, &vec![1; shape.len()], dtype);
        Self::from_node(Expr::new(Op::Full(value.into()), dtype, grid))
    }

    /// Every element is 0.
    pub fn zeros(shape: &[u64], dtype: DType) -> Self {
        Self::full(shape, 0, dtype)
    }

    /// Every element is 1.
    pub fn ones(shape: &[u64], dtype: DType) -> Self {
        Self::full(shape, 1, dtype)
    }

    /// `count` values from `start` to `end`, both included, at equal distances, as `float64`.
    pub fn linspace(start: f64, end: f64, count: u64) -> Self {
        if count < 2 {
            return Self::arange(start, 1.0, count);
        }
        let step = (end - start) / (count - 1) as f64;
        // The last is exact, whatever rounding does to the step.
        let last = Self::full(&[1], end, DType::F64);
        let inner = Self::arange(start, step, count - 1);
        crate::ops::shape::concat(&[inner, last], 0).expect("two arrays of one axis")
    }

    /// One value without axes.
    pub fn scalar(value: impl Into<Scalar>) -> Self {
        let value = value.into();
        Self::full(&[], value, value.dtype())
    }

    /// `start, start + step, …`: `length` values, `int64` if both are integers, else `float64`.
    pub fn arange(start: impl Into<Scalar>, step: impl Into<Scalar>, length: u64) -> Self {
        let (start, step) = (start.into(), step.into());
        let float = matches!(start, Scalar::Float(_)) || matches!(step, Scalar::Float(_));
        let dtype = if float { DType::F64 } else { DType::I64 };
        Self::from_node(Expr::new(Op::Range { start, step }, dtype, source_grid(&[length], &[1], dtype)))
    }

    pub fn dtype(&self) -> DType {
        self.node.dtype
    }

    pub fn shape(&self) -> &[u64] {
        &self.node.shape
    }

    pub fn ndim(&self) -> usize {
        self.node.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.node.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.node.shape.contains(&0)
    }

    /// Bytes it would take computed.
    pub fn byte_count(&self) -> u64 {
        self.node.byte_count()
    }

    /// How it is cut.
    pub fn chunks(&self) -> &ChunkGrid {
        &self.node.grid
    }

    /// As a person would write the expression, a few levels deep.
    pub fn expression(&self) -> String {
        self.node.to_string()
    }

    /// The same array in chunks of another shape. How the elements get there is decided when it is computed: read so
    /// from the store where that does not decode chunks over and over, else moved between workers.
    ///
    /// # Errors
    /// [`ArrayErrorKind::ChunkShape`] if there is not one length of at least 1 per axis.
    pub fn rechunk(&self, chunks: &[u64]) -> Result<Self, ArrayError> {
        let grid = ChunkGrid::regular(self.shape(), chunks).map_err(|_| ArrayErrorKind::ChunkShape {
            chunks: chunks.to_vec(),
            name: self.expression(),
            shape: self.shape().to_vec(),
        })?;
        Ok(self.rechunk_to(grid))
    }

    /// The same array with the given cuts.
    ///
    /// # Panics
    /// If the grid is of another shape.
    pub fn rechunk_to(&self, grid: ChunkGrid) -> Self {
        assert_eq!(grid.shape(), self.node.shape, "a grid for {}", self.node);
        if grid == self.node.grid {
            return self.clone();
        }
        // Only the last of several rechunks matters.
        let input = match &self.node.op {
            Op::Rechunk { input } => input.clone(),
            _ => self.node.clone(),
        };
        Self::from_node(Expr::new(Op::Rechunk { input }, self.dtype(), grid))
    }

    /// Applies `function` to every block. It runs where the block is, as native code.
    ///
    /// The result has `options.dtype` and, unless `options.chunks` says otherwise, the chunks of this array.
    ///
    /// # Errors
    /// If the closure cannot travel, or the result's chunks are not as many as this array's.
    pub fn map_blocks<F>(&self, options: MapBlocks, function: F) -> Result<Self, ArrayError>
    where
        F: Fn(Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let call =
            Call::over_blocks(move |index, values: &[nuna_plan::Value]| run_block(index, values, &function));
        self.map_blocks_packed(options, call)
    }

    /// [`map_blocks`](Array::map_blocks) with an environment that is serialised once and lent to every call.
    ///
    /// # Errors
    /// As [`map_blocks`](Array::map_blocks), and if the environment cannot be serialised.
    pub fn map_blocks_with<E, F>(
        &self,
        options: MapBlocks,
        environment: &E,
        function: F,
    ) -> Result<Self, ArrayError>
    where
        E: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
        F: Fn(&E, Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let call = Call::over_blocks_with(
            environment,
            move |environment: &E, index, values: &[nuna_plan::Value]| {
                run_block(index, values, &|block: Block<'_>| function(environment, block))
            },
        );
        self.map_blocks_packed(options, call)
    }

    /// What is not compiled again in every cell that calls the two above.
    fn map_blocks_packed(
        &self,
        options: MapBlocks,
        call: Result<Call, nuna_ship::ShipError>,
    ) -> Result<Self, ArrayError> {
        map_blocks_call(std::slice::from_ref(self), options, call?)
    }

    /// Computes it on the default engine (the cluster started last, else the threads of this process).
    ///
    /// # Errors
    /// [`ArrayErrorKind::Engine`] with the task and the cell that built it.
    pub fn compute(&self) -> Result<Chunk, ArrayError> {
        self.compute_with(&submit::engine())
    }

    /// Computes it on `engine`.
    ///
    /// # Errors
    /// As [`compute`](Array::compute).
    pub fn compute_with(&self, engine: &Arc<dyn Engine>) -> Result<Chunk, ArrayError> {
        let mut chunks = submit::compute(std::slice::from_ref(self), engine)?;
        Ok(chunks.pop().expect("one array, one chunk"))
    }

    /// Computes it and leaves the chunks on the workers; the array returned reads them there. They are freed when
    /// the last array that reads them is dropped.
    ///
    /// # Errors
    /// As [`compute`](Array::compute).
    pub fn persist(&self) -> Result<Self, ArrayError> {
        self.persist_with(&submit::engine())
    }

    /// [`persist`](Array::persist) on `engine`.
    ///
    /// # Errors
    /// As [`compute`](Array::compute).
    pub fn persist_with(&self, engine: &Arc<dyn Engine>) -> Result<Self, ArrayError> {
        let mut held = submit::persist(std::slice::from_ref(self), engine)?;
        Ok(held.pop().expect("one array, one array"))
    }

    /// Writes it to a stored array that exists already. Blocks are cut at the target's chunks.
    ///
    /// # Errors
    /// [`ArrayErrorKind::SinkShape`] if the shapes differ; else as [`compute`](Array::compute).
    pub fn write_to(&self, sink: &dyn ChunkSink) -> Result<(), ArrayError> {
        submit::write(&[(self.clone(), sink)], &submit::engine())
    }

    /// The plan that [`compute`](Array::compute) would submit.
    ///
    /// # Errors
    /// If a part of it is held by another engine than the default one.
    pub fn plan(&self) -> Result<Plan, ArrayError> {
        let goal = (self.node.clone(), Goal::Keep(Keep::Deliver));
        Ok(planner::plan(&self.expression(), &[goal], &submit::engine())?.plan)
    }

    /// What computing it would do: stages, blocks, bytes read and moved, memory per block.
    ///
    /// # Errors
    /// As [`plan`](Array::plan).
    pub fn explain(&self) -> Result<String, ArrayError> {
        submit::explain(std::slice::from_ref(self), &submit::engine())
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Array {} {:?}, chunks {:?}: {}",
            self.dtype(),
            self.shape(),
            &self.chunks().chunk_shape()[..],
            self.node
        )
    }
}

/// Applies a shipped function to the blocks of several arrays that have the same number of chunks along every axis.
///
/// # Errors
/// [`ArrayErrorKind::BlockCounts`] if they have not.
pub fn map_blocks_call(inputs: &[Array], options: MapBlocks, call: Call) -> Result<Array, ArrayError> {
    let Some(first) = inputs.first() else { return Err(ArrayErrorKind::NothingToJoin.into()) };
    let grid = options.chunks.unwrap_or_else(|| first.chunks().clone());
    for other in inputs {
        if other.chunks().block_grid() != grid.block_grid() {
            return Err(ArrayErrorKind::BlockCounts {
                operation: format!("map_blocks({})", options.name),
                left_name: other.expression(),
                left: other.chunks().block_grid().shape().to_vec(),
                right_name: "the result".to_owned(),
                right: grid.block_grid().shape().to_vec(),
            }
            .into());
        }
    }
    let reads = inputs.iter().map(|input| planner::own_cuts(input.chunks())).collect();
    let inputs = inputs.iter().map(|a| a.node.clone()).collect();
    let name = format!("map_blocks({})", options.name);
    let op = Op::Opaque { inputs, reads, call: Arc::new(call), name, scratch: 0, lines: None };
    Ok(Array::from_node(Expr::new(op, options.dtype, grid)))
}

/// Takes the closure behind a pointer: as a parameter of its own type, all of this would be compiled beside every one.
pub(crate) fn run_block(
    index: u64,
    values: &[nuna_plan::Value],
    function: &dyn Fn(Block<'_>) -> Result<Chunk, String>,
) -> Result<nuna_plan::Value, nuna_plan::TaskError> {
    let inputs: Result<Vec<_>, _> = values.iter().map(Chunk::from_value).collect();
    let inputs = inputs.map_err(|error| nuna_plan::TaskError::fatal(error.to_string()))?;
    let chunk = function(Block { index, inputs: &inputs }).map_err(nuna_plan::TaskError::fatal)?;
    Ok(chunk.to_value())
}

/// How a stored array is cut into blocks: whole stored chunks, merged from the last axis to the first until a block
/// is worth its overhead. Depends on the array alone, so that results do not depend on the cluster.
fn source_grid(shape: &[u64], stored: &[u64], dtype: DType) -> ChunkGrid {
    let total = shape.iter().fold(dtype.size() as u64, |bytes, &n| bytes.saturating_mul(n));
    let target = (total / BLOCKS_WANTED).clamp(1 << 20, BLOCK_BYTES);
    let mut chunk: Shape = stored.iter().zip(shape).map(|(&c, &n)| c.clamp(1, n.max(1))).collect();
    for axis in (0..shape.len()).rev() {
        let bytes = chunk.iter().fold(dtype.size() as u64, |bytes, &n| bytes.saturating_mul(n));
        let factor = (target / bytes.max(1)).max(1);
        let merged = chunk[axis].saturating_mul(factor).min(shape[axis].max(1));
        let whole = merged == shape[axis].max(1);
        chunk[axis] = merged;
        if !whole {
            break;
        }
    }
    ChunkGrid::regular(shape, &chunk).expect("one length of at least 1 per axis")
}

/// Cuts both sides respect: the cuts of either.
pub(crate) fn common_refinement(a: &Splits, b: &Splits) -> Splits {
    let mut all = bounds(a);
    all.extend(bounds(b));
    all.sort_unstable();
    all.dedup();
    normal(all)
}

/// Cuts of `splits` moved to multiples of `unit`, so that blocks cover whole stored chunks.
pub(crate) fn aligned(splits: &Splits, unit: u64, length: u64) -> Splits {
    let mut cuts: Vec<u64> =
        bounds(splits).into_iter().map(|b| if b == length { b } else { b / unit * unit }).collect();
    cuts.dedup();
    normal(cuts)
}
