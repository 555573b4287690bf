//! Journals that were cut off or damaged in every way: what comes out is a prefix of what was written, or an error,
//! never a panic. The same parser is fuzzed at length by a target in `kernel/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use nuna_plan::{BlockGrid, BlockMap, HeldId, Keep, Source};
use nuna_scheduler::journal::{Accepted, Damage, Image, MAGIC, Next, Record, decode, encode};
use nuna_wire::{ClientId, StageKey, WorkerId};
use support::*;

const ROUNDS: u64 = 20_000;

fn accepted(computation: u32, first: u32, reads_key: Option<u32>) -> Box<Accepted> {
    let line = || BlockGrid::line(9);
    let mut stages = vec![stage("a", line(), Keep::No), stage("b", line(), Keep::Hold(HeldId(3)))];
    let mut inputs = vec![Vec::new(), vec![StageKey(first)]];
    stages[1] = reads(stages[1].clone(), Source::Stage(0), BlockMap::Same);
    if let Some(key) = reads_key {
        stages[0] = reads(stages[0].clone(), Source::Held(HeldId(3)), BlockMap::Same);
        inputs[0] = vec![StageKey(key)];
    }
    let client = ClientId(2);
    Box::new(Accepted {
        computation,
        client,
        submission: 4,
        first: StageKey(first),
        plan: plan(stages),
        inputs,
    })
}

fn records() -> Vec<Record> {
    vec![
        Record::Began { unix_us: 1_700_000_000_000_000 },
        Record::Client(ClientId(2)),
        Record::Worker { worker: WorkerId(7), name: "w7".into() },
        Record::Worker { worker: WorkerId(8), name: "w8".into() },
        Record::WorkerGone(WorkerId(8)),
        Record::Plan(accepted(1, 1, None)),
        Record::Committed { stage: StageKey(2), runs: vec![(0, 3), (5, 9)] },
        Record::Failed { stage: StageKey(1), block: 4, attempts: 2 },
        Record::Over { computation: 1 },
        Record::Plan(accepted(2, 3, Some(2))),
        Record::Published {
            name: "mean".into(),
            summary: "a mean".into(),
            about: vec![1; 40],
            held: vec![HeldId(3)],
        },
        Record::Published { name: "x".into(), summary: "y".into(), about: vec![], held: vec![] },
        Record::Unpublished { name: "x".into() },
        Record::Scaled { least: 2, most: 40 },
        Record::Next(Next { client: 3, worker: Some(9), stage: 5, computation: 3, restarts: 1 }),
    ]
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    assert!(records.iter().all(|record| encode(record, &mut bytes)));
    bytes
}

#[test]
fn a_journal_is_read_back_and_its_shortest_form_comes_to_the_same() {
    let records = records();
    let (back, damage) = decode(&written(&records));
    assert_eq!((back, damage), (records.clone(), None));
    let (image, unfit) = Image::of(records);
    assert_eq!(unfit, 0);
    let short: Vec<Record> = image.records().collect();
    assert_eq!(Image::of(short).0, image);
    assert_eq!(image.counts(), (1, 1));
}

#[test]
fn a_journal_that_ends_anywhere_gives_what_was_whole() {
    let records = records();
    let bytes = written(&records);
    for end in 0..bytes.len() {
        let (back, damage) = decode(&bytes[..end]);
        assert_eq!(back, records[..back.len()], "cut at {end}");
        let between = end == MAGIC.len() || written(&records[..back.len()]).len() == end;
        assert_eq!(damage.is_none(), between, "cut at {end}: {damage:?}");
    }
    assert_eq!(decode(b"something else entirely").1, Some(Damage::NotAJournal));
}

/// Numbers that follow from a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

#[test]
fn damaged_journals_give_a_prefix_and_say_where_they_are_damaged() {
    let records = records();
    let whole = written(&records);
    let mut noticed = 0;
    for round in 0..ROUNDS {
        let mut noise = Noise(round + 1);
        let mut bytes = whole.clone();
        for _ in 0..=noise.next(3) {
            let at = noise.next(bytes.len());
            match noise.next(5) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << noise.next(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][noise.next(5)],
                3 => bytes.insert(at, noise.next(256) as u8),
                _ => drop(bytes.splice(at..at, [0xff; 9])),
            }
        }
        let (back, damage) = decode(&bytes);
        noticed += u64::from(damage.is_some());
        assert_eq!(back, records[..back.len()], "round {round}");
        Image::of(back);
    }
    assert!(noticed > ROUNDS / 2);
}

/// Damage that a checksum does not show: another program's records, in any order, with any numbers.
#[test]
fn records_that_fit_to_nothing_are_left_out() {
    let all = records();
    for round in 0..ROUNDS {
        let mut noise = Noise(round + 1);
        let mut mixed: Vec<Record> =
            (0..noise.next(20)).map(|_| all[noise.next(all.len())].clone()).collect();
        for record in &mut mixed {
            if let Record::Plan(accepted) = record {
                match noise.next(6) {
                    0 => accepted.first = StageKey([0, 2, 4, u32::MAX, u32::MAX - 1][noise.next(5)]),
                    1 => accepted.computation = noise.next(4) as u32,
                    2 => accepted.inputs = vec![vec![StageKey(noise.next(6) as u32)]; noise.next(3)],
                    3 => accepted.plan.stages.truncate(noise.next(3)),
                    _ => {}
                }
            }
        }
        let (image, _) = Image::of(mixed);
        let (again, unfit) = Image::of(image.records());
        assert_eq!((again, unfit), (image, 0), "round {round}");
    }
}
