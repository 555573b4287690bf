//! Owns the journal's records: what of the scheduler's state nobody else could tell it after its process was lost, how a
//! record becomes bytes and is read back, and what many of them come to. No files: those are `runtime`'s.
//!
//! A journal is [`MAGIC`], then records one after another, each behind its length and a checksum. Records are only ever
//! added, so a process that is killed while it writes leaves a journal that ends in the middle of a record: all before
//! it counts. `docs/decisions/journal.md` says why this is a log, and why it does not name every block.

use std::collections::{BTreeMap, BTreeSet};

use nuna_plan::{BlockMap, HeldId, Plan, RangeSet};
use nuna_wire::{ClientId, StageKey, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{lifetime::held_by, published::Publication};

/// What a journal begins with; the digit is the version of its records.
pub const MAGIC: &[u8; 8] = b"nunajrn1";
/// No record is longer: a plan travels in a frame that may have as many bytes.
pub const RECORD_BYTES_MAX: u32 = 256 << 20;
/// Length and checksum.
const PRELUDE: usize = 8;

/// Something that must not be forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// When the cluster began, in microseconds since 1970.
    Began {
        unix_us: u64,
    },
    Client(ClientId),
    ClientGone(ClientId),
    Worker {
        worker: WorkerId,
        name: String,
    },
    WorkerGone(WorkerId),
    Plan(Box<Accepted>),
    /// Blocks that are done although nobody has their value: no reader, no client, no holder could tell.
    Committed {
        stage: StageKey,
        runs: Vec<(u64, u64)>,
    },
    /// So many attempts of a block have failed.
    Failed {
        stage: StageKey,
        block: u64,
        attempts: u32,
    },
    /// Its client was told that it is done; it stays for the sake of what it holds.
    Over {
        computation: u32,
    },
    /// Nothing of it is needed any more, however it ended.
    Removed {
        computation: u32,
    },
    Published {
        name: String,
        summary: String,
        about: Vec<u8>,
        held: Vec<HeldId>,
    },
    Unpublished {
        name: String,
    },
    /// No numbers below these are given out again.
    Next(Next),
    /// So many workers are wanted, at least and at most.
    Scaled {
        least: u32,
        most: u32,
    },
}

impl Record {
    /// Whether it is to be written at once, and no client hears anything more before it is: they count on it from then
    /// on. What others only save work by, or tell once more if it is lost, is written when there is more.
    pub fn hurries(&self) -> bool {
        match self {
            // Of any other its client remembers the plan for as long as it waits, and submits it again.
            Record::Plan(accepted) => {
                accepted.plan.terms.detached
                    || accepted.plan.stages.iter().any(|stage| held_by(stage).is_some())
            }
            Record::Published { .. }
            | Record::Unpublished { .. }
            | Record::Client(_)
            | Record::Worker { .. }
            | Record::Scaled { .. } => true,
            Record::Began { .. }
            | Record::ClientGone(_)
            | Record::WorkerGone(_)
            | Record::Committed { .. }
            | Record::Failed { .. }
            | Record::Over { .. }
            | Record::Removed { .. }
            | Record::Next(_) => false,
        }
    }
}

/// A plan that runs, or whose results are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    pub computation: u32,
    pub client: ClientId,
    /// The client's own number for it.
    pub submission: u32,
    /// Its stages have this key and those that follow.
    pub first: StageKey,
    pub plan: Plan,
    /// Which stages each of its stages reads.
    pub inputs: Vec<Vec<StageKey>>,
}

/// The next numbers to give out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    pub client: u32,
    /// They come round again; nothing where another knows.
    pub worker: Option<u16>,
    pub stage: u32,
    pub computation: u32,
    /// How often a process took the place of a lost one; no number to give out, but it only grows either.
    pub restarts: u32,
}

/// Where and why the rest of a journal was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is no journal, or one of another version")]
    NotAJournal,
    #[error("it ends inside a record, at byte {at}")]
    Truncated { at: usize },
    #[error("the record at byte {at} is damaged")]
    Record { at: usize },
}

/// Adds `record` to what is to be written. False if it is too long to be read back.
pub fn encode(record: &Record, bytes: &mut Vec<u8>) -> bool {
    let start = bytes.len();
    bytes.extend([0; PRELUDE]);
    let mut bytes_then = match postcard::to_extend(record, std::mem::take(bytes)) {
        Ok(bytes) => bytes,
        Err(_) => return false,
    };
    let body = &bytes_then[start + PRELUDE..];
    let (length, sum) = (body.len(), checksum(body));
    let fits = length <= RECORD_BYTES_MAX as usize;
    if fits {
        bytes_then[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes_then[start + 4..start + PRELUDE].copy_from_slice(&sum.to_le_bytes());
    } else {
        bytes_then.truncate(start);
    }
    *bytes = bytes_then;
    fits
}

/// The records of a journal, as far as they are whole. Never panics, whatever the bytes are.
pub fn decode(bytes: &[u8]) -> (Vec<Record>, Option<Damage>) {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else { return (Vec::new(), Some(Damage::NotAJournal)) };
    let mut records = Vec::new();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let word = |from: usize| {
            let bytes = rest.get(from..from + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (Some(length), Some(sum)) = (word(0), word(4)) else {
            return (records, Some(Damage::Truncated { at }));
        };
        if length > RECORD_BYTES_MAX {
            return (records, Some(Damage::Record { at }));
        }
        let Some(body) = rest.get(PRELUDE..PRELUDE + length as usize) else {
            return (records, Some(Damage::Truncated { at }));
        };
        match postcard::take_from_bytes(body) {
            Ok((record, [])) if checksum(body) == sum => records.push(record),
            Ok(_) | Err(_) => return (records, Some(Damage::Record { at })),
        }
        rest = &rest[PRELUDE + length as usize..];
    }
    (records, None)
}

/// FNV-1a. It tells torn and overwritten records; nobody else may write here.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What the records of a journal come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub began_us: Option<u64>,
    /// Those that were connected last.
    pub clients: BTreeSet<ClientId>,
    pub workers: BTreeMap<WorkerId, String>,
    pub(crate) plans: BTreeMap<u32, Kept>,
    pub(crate) committed: BTreeMap<StageKey, RangeSet>,
    pub(crate) attempts: BTreeMap<(StageKey, u64), u32>,
    pub(crate) published: BTreeMap<String, Publication>,
    /// What was last asked for, if anybody did.
    pub scaled: Option<(u32, u32)>,
    pub next: Next,
}

/// A plan, and whether it is done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) accepted: Box<Accepted>,
    pub(crate) over: bool,
}

impl Image {
    /// Takes records in their order. Those that fit to nothing before them are left out, and counted.
    pub fn of(records: impl IntoIterator<Item = Record>) -> (Self, u64) {
        let mut image = Self::default();
        let mut unfit = 0;
        for record in records {
            unfit += u64::from(!image.apply(record));
        }
        (image, unfit)
    }

    /// False if the record fits to nothing before it, and was left out.
    pub fn apply(&mut self, record: Record) -> bool {
        match record {
            Record::Began { unix_us } => self.began_us = Some(unix_us),
            Record::Client(client) => {
                self.next.client = self.next.client.max(client.0.saturating_add(1));
                self.clients.insert(client);
            }
            Record::ClientGone(client) => drop(self.clients.remove(&client)),
            Record::Worker { worker, name } => {
                self.next.worker = Some(worker.0.wrapping_add(1));
                self.workers.insert(worker, name);
            }
            Record::WorkerGone(worker) => drop(self.workers.remove(&worker)),
            Record::Plan(accepted) => {
                if !self.fits(&accepted) {
                    return false;
                }
                let end = accepted.first.0 + accepted.plan.stages.len() as u32;
                self.next.stage = self.next.stage.max(end);
                self.next.computation = self.next.computation.max(accepted.computation.saturating_add(1));
                self.plans.insert(accepted.computation, Kept { accepted, over: false });
            }
            Record::Committed { stage, runs } => {
                let set = self.committed.entry(stage).or_default();
                runs.into_iter().for_each(|(start, end)| set.insert(start..end));
            }
            Record::Failed { stage, block, attempts } => {
                self.attempts.insert((stage, block), attempts);
            }
            Record::Over { computation } => match self.plans.get_mut(&computation) {
                Some(kept) => kept.over = true,
                None => return false,
            },
            Record::Removed { computation } => {
                let Some(kept) = self.plans.get(&computation) else { return false };
                let stages = kept.accepted.stages();
                let others = self.plans.range(computation.saturating_add(1)..);
                let mut read = others.flat_map(|(_, other)| other.accepted.inputs.iter().flatten());
                if read.any(|key| stages.contains(&key.0)) {
                    return false;
                }
                self.plans.remove(&computation);
                self.committed.retain(|key, _| !stages.contains(&key.0));
                self.attempts.retain(|(key, _), _| !stages.contains(&key.0));
            }
            Record::Published { name, summary, about, held } => {
                self.published.insert(name, Publication { summary, about, held });
            }
            Record::Unpublished { name } => return self.published.remove(&name).is_some(),
            Record::Scaled { least, most } => self.scaled = Some((least, most)),
            Record::Next(next) => {
                self.next.client = self.next.client.max(next.client);
                self.next.worker = next.worker.or(self.next.worker);
                self.next.stage = self.next.stage.max(next.stage);
                self.next.computation = self.next.computation.max(next.computation);
                self.next.restarts = self.next.restarts.max(next.restarts);
            }
        }
        true
    }

    /// Whether a plan is one that a scheduler accepts, with stages of its own, and all it reads is there.
    fn fits(&self, accepted: &Accepted) -> bool {
        let Accepted { computation, first, plan, inputs, .. } = accepted;
        let stages = first.0..first.0.saturating_add(plan.stages.len() as u32);
        let own = stages.len() == plan.stages.len() && first.0 > 0;
        // Numbers are given out in order, so what is read always has a smaller one.
        let later = self
            .plans
            .last_key_value()
            .is_none_or(|(last, kept)| last < computation && kept.accepted.stages().end <= stages.start);
        if !own || !later || plan.validate().is_err() {
            return false;
        }
        inputs.len() == plan.stages.len()
            && plan.stages.iter().zip(inputs).enumerate().all(|(index, (stage, sources))| {
                sources.len() == stage.inputs.len()
                    && stage.inputs.iter().zip(sources).all(|(input, source)| {
                        let grid = match &input.map {
                            BlockMap::Same => &stage.grid,
                            BlockMap::Axes { input_grid, .. } => input_grid,
                        };
                        let found = if stages.contains(&source.0) {
                            let before = (source.0 - first.0) as usize;
                            plan.stages.get(before).filter(|_| before < index)
                        } else {
                            self.plans.values().find_map(|kept| kept.accepted.stage(*source))
                        };
                        source.0 < stages.end && found.is_some_and(|found| found.grid == *grid)
                    })
            })
    }

    /// Nothing that anybody could come back for.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
            && self.workers.is_empty()
            && self.plans.is_empty()
            && self.published.is_empty()
    }

    /// Plans that run, and names that are taken: for people.
    pub fn counts(&self) -> (usize, usize) {
        (self.plans.values().filter(|kept| !kept.over).count(), self.published.len())
    }

    /// The shortest journal that comes to the same.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let began = self.began_us.map(|unix_us| Record::Began { unix_us });
        let workers =
            self.workers.iter().map(|(&worker, name)| Record::Worker { worker, name: name.clone() });
        let plans = self.plans.iter().flat_map(|(&computation, kept)| {
            let plan = Record::Plan(kept.accepted.clone());
            std::iter::once(plan).chain(kept.over.then_some(Record::Over { computation }))
        });
        let committed = self.committed.iter().map(|(&stage, set)| Record::Committed {
            stage,
            runs: set.runs().map(|run| (run.start, run.end)).collect(),
        });
        let attempts = self.attempts.iter().map(|(&(stage, block), &attempts)| Record::Failed {
            stage,
            block,
            attempts,
        });
        let published = self.published.iter().map(|(name, publication)| Record::Published {
            name: name.clone(),
            summary: publication.summary.clone(),
            about: publication.about.clone(),
            held: publication.held.clone(),
        });
        let clients = self.clients.iter().copied().map(Record::Client);
        let scaled = self.scaled.map(|(least, most)| Record::Scaled { least, most });
        let all = began.into_iter().chain(clients).chain(workers).chain(plans);
        all.chain(committed).chain(attempts).chain(published).chain(scaled).chain([Record::Next(self.next)])
    }
}

impl Accepted {
    fn stages(&self) -> std::ops::Range<u32> {
        self.first.0..self.first.0.saturating_add(self.plan.stages.len() as u32)
    }

    fn stage(&self, key: StageKey) -> Option<&nuna_plan::Stage> {
        self.plan.stages.get(key.0.checked_sub(self.first.0)? as usize)
    }
}
