//! An engine that runs blocks in this process, one at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use nuna::parts::{
    plan::{Engine, EngineError, Finished, HeldId, Plan, Prepared, Running},
    ship,
};

/// Runs blocks when results are asked for, last block first, so that order is nobody's gift.
struct Backwards;

struct BackwardsRun {
    prepared: Box<dyn Prepared>,
    blocks: VecDeque<u64>,
    cancelled: bool,
    total: u64,
}

impl Engine for Backwards {
    fn submit(&self, plan: Plan) -> Result<Box<dyn Running>, EngineError> {
        plan.validate()?;
        let total = plan.block_count();
        let prepared =
            ship::executor().prepare(&plan.stages[0]).map_err(|error| EngineError::Refused(error.message))?;
        Ok(Box::new(BackwardsRun { prepared, blocks: (0..total).rev().collect(), cancelled: false, total }))
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
        let value =
            self.prepared.run(block, Vec::new()).map_err(|error| EngineError::Refused(error.message))?;
        Ok(Finished::Block { stage: 0, block, value })
    }

    fn cancel(&mut self) {
        self.cancelled = true;
    }
}

pub(crate) fn engine() -> Arc<dyn Engine> {
    Arc::new(Backwards)
}
