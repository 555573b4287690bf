//! An engine that runs blocks in this process, one at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use nuna::parts::{
    plan::{Engine, EngineError, Finished, HeldId, Plan, Prepared, Running, Stage, TaskError, Value},
    ship,
};

/// Runs blocks of the last stage when results are asked for, last block first, so that order is nobody's gift. What they
/// read is made when the plan is submitted.
struct Backwards;

struct BackwardsRun {
    prepared: Box<dyn Prepared>,
    last: Stage,
    /// Its number.
    stage: u32,
    /// Of the stage before.
    made: Vec<Value>,
    blocks: VecDeque<u64>,
    cancelled: bool,
    total: u64,
}

impl Engine for Backwards {
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError> {
        plan.validate()?;
        let refused = |error: TaskError| EngineError::Refused(error.message);
        let (mut stages, mut made) = (plan.stages, Vec::new());
        let last = stages.pop().expect("plans have a stage");
        for stage in &stages {
            let prepared = ship::executor().prepare(stage).map_err(refused)?;
            let blocks = 0..stage.grid.count();
            let values: Result<_, _> =
                blocks.map(|block| run(prepared.as_ref(), stage, &made, block)).collect();
            made = values?;
        }
        let total = last.grid.count();
        let prepared = ship::executor().prepare(&last).map_err(refused)?;
        let blocks = (0..total).rev().collect();
        let stage = stages.len() as u32;
        Ok(Box::new(BackwardsRun { prepared, last, stage, made, blocks, cancelled: false, total }))
    }

    fn new_held_id(&self) -> HeldId {
        HeldId(0)
    }

    fn release(&self, _: HeldId) {}

    fn thread_count(&self) -> usize {
        1
    }

    fn describe(&self) -> String {
        "this test".to_owned()
    }
}

impl Running for BackwardsRun {
    fn next(&mut self, patience: Duration) -> Result<Finished, EngineError> {
        if self.cancelled {
            return Err(EngineError::Cancelled);
        }
        if patience.is_zero() {
            return Ok(Finished::Waiting { done: self.total - self.blocks.len() as u64, total: self.total });
        }
        let Some(block) = self.blocks.pop_front() else { return Ok(Finished::End) };
        let value = run(self.prepared.as_ref(), &self.last, &self.made, block)?;
        Ok(Finished::Block { stage: self.stage, block, value })
    }

    fn cancel(&mut self) {
        self.cancelled = true;
    }
}

fn run(prepared: &dyn Prepared, stage: &Stage, made: &[Value], block: u64) -> Result<Value, EngineError> {
    let reads = stage.inputs.iter().map(|input| input.map.read_indices(&stage.grid, block));
    let inputs = reads.map(|reads| reads.iter().map(|&read| made[read as usize].clone()).collect()).collect();
    prepared.run(block, inputs).map_err(|error| EngineError::Refused(error.message))
}

pub(crate) fn engine() -> Arc<dyn Engine> {
    Arc::new(Backwards)
}
