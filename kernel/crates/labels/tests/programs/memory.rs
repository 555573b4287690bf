//! Owns running the plan of a program block by block, one at a time, and what each takes from the pool.

use std::{collections::HashMap, sync::Arc};

use nuna_array::{executor, pool};
use nuna_plan::{Executor, Source, Value, WorkKind};

use crate::program::{Program, Step, Subject};

/// What is rounded up: buffers and the parts of values are multiples of 64 bytes, larger buffers of a sixteenth.
/// Besides, the lanes of a tile, whatever a block's size.
const ROUNDED: u64 = 64 << 10;

/// The first block of the program's last value that takes more than its stage says, or is given or gives more.
pub(crate) fn beyond_bound<V: Subject>(program: &Program<V>) -> Option<String> {
    let mut values: Vec<Option<V>> = Vec::new();
    for step in &program.steps {
        let operands: Option<Vec<V>> = match step {
            Step::Input(_) => Some(Vec::new()),
            Step::Call(call) => call.operands.iter().map(|&at| values[at].clone()).collect(),
        };
        values.push(operands.and_then(|operands| step.apply(&operands).ok()));
    }
    let last = values.into_iter().rev().flatten().next()?;
    let plan = last.array().plan().unwrap();
    let arrays = executor();
    let mut blocks: Vec<HashMap<u64, Value>> = Vec::new();
    for stage in &plan.stages {
        let executor: Arc<dyn Executor> = match stage.work.kind {
            WorkKind::Array => arrays.clone(),
            WorkKind::Call => nuna_ship::executor(),
        };
        let prepared = executor.prepare(stage).unwrap();
        let mut made = HashMap::new();
        for block in 0..stage.grid.count() {
            let inputs: Vec<Vec<Value>> = stage
                .inputs
                .iter()
                .map(|input| {
                    let Source::Stage(source) = input.source else { panic!("nothing is held") };
                    let read = input.map.read_indices(&stage.grid, block);
                    read.iter().map(|at| blocks[source as usize][at].clone()).collect()
                })
                .collect();
            let given: u64 = inputs.iter().flatten().map(|value| value.body.len() as u64).sum();
            let before = pool::bytes_in_use();
            pool::reset_peak();
            // A block that fails, such as the place of the least of NaNs, ends the story.
            let value = prepared.run(block, inputs).ok()?;
            let taken = pool::peak_bytes().saturating_sub(before);
            let (bound, gives) = (stage.bound, value.body.len() as u64);
            let own = bound.output.saturating_add(bound.scratch);
            let what = format!("block {block} of `{}`", stage.name);
            if given > bound.inputs + ROUNDED {
                return Some(format!("{what} is given {given} bytes, {} are promised", bound.inputs));
            }
            if gives > bound.output + ROUNDED {
                return Some(format!("{what} gives {gives} bytes, {} are promised", bound.output));
            }
            if taken > own + own / 8 + ROUNDED {
                return Some(format!(
                    "{what} takes {taken} bytes, {} + {} are promised",
                    bound.output, bound.scratch
                ));
            }
            made.insert(block, value);
        }
        blocks.push(made);
    }
    None
}
