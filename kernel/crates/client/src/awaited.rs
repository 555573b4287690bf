//! Owns what a client has and waits for, so that a scheduler that takes the place of a lost one can be told: plans with
//! the blocks that have arrived, held values, questions without an answer.

use std::{collections::BTreeMap, sync::mpsc};

use nuna_plan::{HeldId, Keep, Plan, Value};
use nuna_wire::message::{Ask, PublishError, ReturningSubmission, Told};

use crate::connection::Update;

/// A number of bits, all 0 at first.
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u64) -> Self {
        Self(vec![0; count.div_ceil(64) as usize])
    }

    /// False if it was set, or there is no such bit.
    fn set(&mut self, bit: u64) -> bool {
        let Some(word) = self.0.get_mut((bit / 64) as usize) else { return false };
        let mask = 1 << (bit % 64);
        let new = *word & mask == 0;
        *word |= mask;
        new
    }

    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (number, &word) in self.0.iter().enumerate() {
            let mut left = word;
            while left != 0 {
                let start = u64::from(left.trailing_zeros());
                let length = u64::from((left >> start).trailing_ones());
                left &= if start + length == 64 { 0 } else { u64::MAX << (start + length) };
                let (start, end) = (64 * number as u64 + start, 64 * number as u64 + start + length);
                match runs.last_mut() {
                    Some(last) if last.1 == start => last.1 = end,
                    Some(_) | None => runs.push((start, end)),
                }
            }
        }
        runs
    }
}

/// A plan that somebody waits for.
pub(crate) struct Listener {
    pub(crate) sender: mpsc::Sender<Update>,
    /// To be submitted again if no journal tells of it.
    pub(crate) plan: Plan,
    /// Of stages that are delivered: the blocks that have been passed on. A block comes again if a worker or the
    /// scheduler is lost before it is known that it has arrived.
    received: BTreeMap<u32, Bits>,
}

impl Listener {
    pub(crate) fn new(sender: mpsc::Sender<Update>, plan: Plan) -> Self {
        let delivered = plan.stages.iter().enumerate().filter(|(_, stage)| stage.keep == Keep::Deliver);
        let received =
            delivered.map(|(index, stage)| (index as u32, Bits::new(stage.grid.count()))).collect();
        Self { sender, plan, received }
    }

    /// Passes on the values that have not come before; gives the bytes of the others, or of all if nobody listens.
    pub(crate) fn pass_on(&mut self, stage: u32, mut values: Vec<(u64, Value)>) -> u64 {
        let mut untaken = 0;
        if let Some(received) = self.received.get_mut(&stage) {
            values.retain(|(block, value)| {
                let new = received.set(*block);
                untaken += if new { 0 } else { value.byte_count() };
                new
            });
        }
        let bytes: u64 = values.iter().map(|(_, value)| value.byte_count()).sum();
        if !values.is_empty() && self.sender.send(Update::Blocks { stage, values }).is_err() {
            untaken += bytes;
        }
        untaken
    }

    pub(crate) fn returning(&self, submission: u32) -> ReturningSubmission {
        let received = self.received.iter().map(|(&stage, bits)| (stage, bits.runs()));
        ReturningSubmission { submission, received: received.filter(|(_, runs)| !runs.is_empty()).collect() }
    }
}

/// A question without an answer.
pub(crate) struct Question {
    pub(crate) sender: mpsc::Sender<Told>,
    pub(crate) ask: Ask,
    /// Asked of a second scheduler too: the first may have done what was asked before it was lost.
    pub(crate) again: bool,
}

impl Question {
    /// The answer as if it had been asked once.
    pub(crate) fn answer(&self, told: Told) -> Told {
        match (&self.ask, told) {
            (
                Ask::Publish { name, summary, .. },
                Told::Refused(PublishError::Taken { name: of, summary: found }),
            ) if self.again && *name == of && *summary == found => Told::Done,
            (Ask::Unpublish { .. }, Told::Refused(PublishError::Unknown { .. })) if self.again => Told::Done,
            (_, told) => told,
        }
    }
}

/// What this client holds, and how many of its arrays read that; no zeros.
#[derive(Default)]
pub(crate) struct Holds(BTreeMap<HeldId, u32>);

impl Holds {
    pub(crate) fn submitted(&mut self, plan: &Plan) {
        for stage in &plan.stages {
            if let Keep::Hold(held) = stage.keep {
                self.0.insert(held, 1);
            }
        }
    }

    pub(crate) fn got(&mut self, held: &[HeldId]) {
        held.iter().for_each(|&held| *self.0.entry(held).or_default() += 1);
    }

    pub(crate) fn released(&mut self, held: HeldId) {
        if let Some(uses) = self.0.get_mut(&held) {
            *uses -= 1;
            if *uses == 0 {
                self.0.remove(&held);
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<(HeldId, u32)> {
        self.0.iter().map(|(&held, &uses)| (held, uses)).collect()
    }
}

#[cfg(test)]
mod tests {
    use nuna_plan::{BlockGrid, MemoryBound, Stage, Work, WorkKind};

    use super::*;

    pub(crate) fn plan(blocks: u64) -> Plan {
        let stage = Stage {
            name: "tasks".to_owned(),
            grid: BlockGrid::line(blocks),
            inputs: Vec::new(),
            work: Work { kind: WorkKind::Call, payload: Vec::new(), libraries: Vec::new() },
            bound: MemoryBound::default(),
            keep: Keep::Deliver,
            retries: 0,
            origin: None,
        };
        Plan { label: "farm".to_owned(), terms: Default::default(), stages: vec![stage.clone(), stage] }
    }

    #[test]
    fn a_block_that_comes_twice_is_passed_on_once() {
        let (sender, updates) = mpsc::channel();
        let mut listener = Listener::new(sender, plan(10));
        let value = || Value { header: Default::default(), body: bytes::Bytes::from_static(b"12345") };
        assert_eq!(listener.pass_on(0, vec![(5, value())]), 0);
        assert_eq!(listener.pass_on(0, vec![(5, value())]), 5, "not taken");
        assert_eq!(listener.pass_on(1, vec![(5, value()), (6, value())]), 0);
        assert_eq!(listener.pass_on(1, vec![(77, value())]), 5, "there is no such block");
        let returning = listener.returning(3);
        assert_eq!(returning.received, [(0, vec![(5, 6)]), (1, vec![(5, 7)])]);
        drop(listener);
        assert_eq!(updates.iter().count(), 2, "of two stages, each once");
    }

    #[test]
    fn bits_become_runs_across_words() {
        let mut bits = Bits::new(300);
        for bit in (0..3).chain(60..70).chain(127..129).chain([191, 255]).chain(256..300) {
            assert!(bits.set(bit));
        }
        assert!(!bits.set(299) && !bits.set(10_000));
        assert_eq!(bits.runs(), [(0, 3), (60, 70), (127, 129), (191, 192), (255, 300)]);
        let mut all = Bits::new(128);
        (0..128).for_each(|bit| assert!(all.set(bit)));
        assert_eq!(all.runs(), [(0, 128)]);
    }

    #[test]
    fn what_was_done_before_the_loss_is_no_error_when_asked_again() {
        let (sender, _answers) = mpsc::channel();
        let ask = Ask::Publish { name: "a".into(), summary: "b".into(), about: vec![], held: vec![] };
        let mut question = Question { sender, ask, again: false };
        let taken = || Told::Refused(PublishError::Taken { name: "a".into(), summary: "b".into() });
        assert_eq!(question.answer(taken()), taken());
        question.again = true;
        assert_eq!(question.answer(taken()), Told::Done);
        let other = || Told::Refused(PublishError::Taken { name: "a".into(), summary: "another".into() });
        assert_eq!(question.answer(other()), other());
    }
}
