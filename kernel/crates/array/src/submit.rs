//! Owns handing plans to an engine and putting the delivered blocks together.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use nuna_chunk::{Chunk, Region, assemble::Assembly};
use nuna_plan::{Engine, EngineError, Finished, Keep, Plan, default_engine};

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    expr::{Expr, Held, Node, Op},
    origin,
    planner::{self, Fusion, Goal},
    sink::ChunkSink,
    threads::ThreadEngine,
};

/// How long one wait for the next block lasts; also how fast an interrupt is noticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// The cluster started last, else the threads of this process.
pub fn engine() -> Arc<dyn Engine> {
    static THREADS: OnceLock<Arc<dyn Engine>> = OnceLock::new();
    default_engine().unwrap_or_else(|| {
        THREADS
            .get_or_init(|| {
                let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                Arc::new(ThreadEngine::new(count))
            })
            .clone()
    })
}

/// Computes several arrays in one plan; what they share is computed once, and reductions of the same stored elements read
/// them once: they take the chunks in another order then than one that is computed by itself, so the last bits of sums of
/// floats may differ between the two.
///
/// # Errors
/// As [`Array::compute`].
pub fn compute(arrays: &[Array], engine: &Arc<dyn Engine>) -> Result<Vec<Chunk>, ArrayError> {
    compute_with(arrays, engine, Fusion::Whole)
}

/// [`compute`] with every operation in a stage of its own: slower, but an error names the one operation that failed.
/// Results are equal.
///
/// # Errors
/// As [`Array::compute`].
pub fn compute_stepwise(arrays: &[Array], engine: &Arc<dyn Engine>) -> Result<Vec<Chunk>, ArrayError> {
    compute_with(arrays, engine, Fusion::None)
}

fn compute_with(
    arrays: &[Array],
    engine: &Arc<dyn Engine>,
    fusion: Fusion,
) -> Result<Vec<Chunk>, ArrayError> {
    if arrays.is_empty() {
        return Ok(Vec::new());
    }
    let (label, goals) = delivered(arrays);
    let planned = planner::plan_with(&label, &goals, engine, fusion)?;
    // Several goals may be one expression; each has a stage of its own.
    let wanted: HashMap<u32, usize> =
        planned.stages.iter().enumerate().map(|(goal, &stage)| (stage, goal)).collect();
    let mut parts: Vec<Parts> = arrays.iter().map(Parts::new).collect();
    follow(planned.plan, engine, &mut |stage, block, value| {
        let Some(&goal) = wanted.get(&stage) else { return Ok(()) };
        let odd = |message: String| ArrayError::from(ArrayErrorKind::Result { stage, block, message });
        let chunk = Chunk::from_value(&value).map_err(|error| odd(error.to_string()))?;
        parts[goal].put(block, chunk).map_err(|error| odd(error.to_string()))
    })?;
    Ok(parts.into_iter().map(Parts::finish).collect())
}

/// What [`compute`] would do with the arrays, in words: stages, blocks, bytes read and moved, memory per block.
///
/// # Errors
/// If a part of one is held by another engine.
pub fn explain(arrays: &[Array], engine: &Arc<dyn Engine>) -> Result<String, ArrayError> {
    let (label, goals) = delivered(arrays);
    Ok(crate::explain::explain(&planner::plan(&label, &goals, engine)?.plan))
}

/// A name for the plan, and that all arrays are wanted here.
fn delivered(arrays: &[Array]) -> (String, Vec<(Node, Goal<'static>)>) {
    let label = arrays.iter().map(Array::expression).collect::<Vec<_>>().join(", ");
    (label, arrays.iter().map(|array| (array.node.clone(), Goal::Keep(Keep::Deliver))).collect())
}

/// Computes an array and hands over its blocks as they come, in any order, without putting them together.
pub(crate) fn each_block(
    array: &Array,
    engine: &Arc<dyn Engine>,
    take: &mut dyn FnMut(Chunk) -> Result<(), ArrayError>,
) -> Result<(), ArrayError> {
    let goal = (array.node.clone(), Goal::Keep(Keep::Deliver));
    let planned = planner::plan(&array.expression(), &[goal], engine)?;
    let wanted = planned.stages.first().copied();
    follow(planned.plan, engine, &mut |stage, block, value| {
        if wanted != Some(stage) {
            return Ok(());
        }
        let odd = |message: String| ArrayError::from(ArrayErrorKind::Result { stage, block, message });
        take(Chunk::from_value(&value).map_err(|error| odd(error.to_string()))?)
    })
}

/// Persists several arrays in one plan; what they share is computed once.
///
/// # Errors
/// As [`Array::persist`].
pub fn persist(arrays: &[Array], engine: &Arc<dyn Engine>) -> Result<Vec<Array>, ArrayError> {
    if arrays.is_empty() {
        return Ok(Vec::new());
    }
    let held: Vec<Arc<Held>> =
        arrays.iter().map(|_| Arc::new(Held { id: engine.new_held_id(), engine: engine.clone() })).collect();
    let goals: Vec<_> =
        arrays.iter().zip(&held).map(|(a, held)| (a.node.clone(), Goal::Keep(Keep::Hold(held.id)))).collect();
    let label = arrays.iter().map(Array::expression).collect::<Vec<_>>().join(", ");
    run(planner::plan(&label, &goals, engine)?.plan, engine)?;
    let hold = |(a, held): (&Array, Arc<Held>)| {
        Array::from_node(Expr::new(Op::Held(held), a.dtype(), a.chunks().clone()))
    };
    Ok(arrays.iter().zip(held).map(hold).collect())
}

/// Writes several arrays in one plan; what they share is computed once. One that is cut anew, and is larger than what the
/// workers can hold, is written in several plans one after another instead, each a part of it.
///
/// # Errors
/// As [`Array::write_to`].
pub fn write(arrays: &[(Array, &dyn ChunkSink)], engine: &Arc<dyn Engine>) -> Result<(), ArrayError> {
    let mut together = Vec::new();
    let mut apart = Vec::new();
    for (array, sink) in arrays {
        let windows = planner::waves(&array.node, *sink, engine)?;
        match windows.len() {
            0 | 1 => together.push((array, *sink)),
            _ => apart.push((array, *sink, windows)),
        }
    }
    if !together.is_empty() {
        let goals: Vec<_> =
            together.iter().map(|(array, sink)| (array.node.clone(), Goal::Write(*sink))).collect();
        let names: Vec<String> = together.iter().map(|(_, sink)| format!("write {}", sink.name())).collect();
        run(planner::plan(&names.join(", "), &goals, engine)?.plan, engine)?;
    }
    for (array, sink, windows) in apart {
        for (number, window) in windows.iter().enumerate() {
            let label = format!("write {} ({} of {})", sink.name(), number + 1, windows.len());
            run(planner::plan_window(&label, &array.node, sink, engine, window)?.plan, engine)?;
        }
    }
    Ok(())
}

/// Runs a plan that delivers nothing.
pub(crate) fn run(plan: Plan, engine: &Arc<dyn Engine>) -> Result<(), ArrayError> {
    follow(plan, engine, &mut |_, _, _| Ok(()))
}

fn follow(
    plan: Plan,
    engine: &Arc<dyn Engine>,
    take: &mut dyn FnMut(u32, u64, nuna_plan::Value) -> Result<(), ArrayError>,
) -> Result<(), ArrayError> {
    let mut running = nuna_plan::watch::submit(engine, plan, None)?;
    loop {
        if origin::take_interrupt() {
            running.cancel();
            return Err(EngineError::Cancelled.into());
        }
        match running.next(PATIENCE)? {
            Finished::Block { stage, block, value } => {
                if let Err(error) = take(stage, block, value) {
                    running.cancel();
                    return Err(error);
                }
            }
            // The engine decides when a computation has failed; a slow block is no failure.
            Finished::Waiting { .. } => {}
            Finished::End => return Ok(()),
        }
    }
}

/// A result being put together.
struct Parts {
    array: Array,
    /// The only block, or all of them so far.
    one: Option<Chunk>,
    assembly: Option<Assembly>,
}

impl Parts {
    fn new(array: &Array) -> Self {
        Self { array: array.clone(), one: None, assembly: None }
    }

    fn put(&mut self, block: u64, chunk: Chunk) -> Result<(), nuna_chunk::ChunkError> {
        let grid = self.array.chunks();
        let region = grid.region(&grid.block_grid().coords(block));
        if region.shape()[..] == *self.array.shape() && chunk.shape() == self.array.shape() {
            self.one = Some(chunk);
            return Ok(());
        }
        let assembly =
            self.assembly.get_or_insert_with(|| Assembly::new(self.array.dtype(), self.array.shape()));
        assembly.put(&region, &chunk, &Region::all(chunk.shape()))
    }

    fn finish(self) -> Chunk {
        match (self.one, self.assembly) {
            (Some(chunk), _) => chunk,
            (None, Some(assembly)) => assembly.finish(),
            // No blocks: an axis has length 0.
            (None, None) => Assembly::new(self.array.dtype(), self.array.shape()).finish(),
        }
    }
}
