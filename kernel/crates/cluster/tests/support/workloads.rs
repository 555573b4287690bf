//! What is computed while processes are killed: work of every shape, whose bits are known to be the same each time.

use std::{collections::BTreeMap, path::Path};

use nuna_plan::{AxisMap, BlockGrid, BlockMap, Keep, Plan, Source};

use super::*;

const SEEDS: u64 = 3;

pub fn seeds() -> std::ops::Range<u64> {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
    };
    match number("NUNA_LOSS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NUNA_LOSS_SEEDS").unwrap_or(SEEDS),
    }
}

/// From maps to time series: every file has a part of every map.
pub fn rechunk(folder: &Path) -> Plan {
    let maps = BlockGrid::new([16, 6]);
    let axes = vec![AxisMap::All, AxisMap::Along { axis: 0, offset: 0 }];
    let map = BlockMap::Axes { input_grid: maps.clone(), axes };
    let store = format!("store 5 {}", folder.display());
    plan(vec![
        stage("mix 3", maps.clone(), Keep::No),
        reads(stage("mix 2", maps, Keep::No), Source::Stage(0), BlockMap::Same),
        reads(stage(&store, BlockGrid::new([6, 10]), Keep::Deliver), Source::Stage(1), map),
    ])
}

/// A tree, whose numbers show the order of what was combined.
pub fn reduction() -> Plan {
    let mut tree = tree("mix 3", 240, 4);
    for stage in &mut tree.stages[1..] {
        stage.work.payload = b"mix 2".to_vec();
    }
    tree
}

/// Every task fails the first time.
pub fn failing_farm(folder: &Path) -> Plan {
    // What remembers the failures is no result, and may be cut short: its name has a dot.
    let mut farm = farm(&format!("flaky {}", folder.join("tried.").display()), 300);
    farm.stages[0].retries = 3;
    // What reads them takes its time; the failures alone would be over at once.
    let all =
        BlockMap::Axes { input_grid: BlockGrid::line(300), axes: vec![AxisMap::Group { axis: 0, size: 3 }] };
    farm.stages.push(reads(stage("mix 5", BlockGrid::line(100), Keep::Deliver), Source::Stage(0), all));
    farm
}

/// Results that the client fetches from the workers.
pub fn large_farm() -> Plan {
    let line = || BlockGrid::line(120);
    plan(vec![
        stage("mix 4", line(), Keep::No),
        reads(stage("large 300000", line(), Keep::Deliver), Source::Stage(0), BlockMap::Same),
    ])
}

pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the test has made it");
    let read = |path: std::path::PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        (!name.contains('.')).then(|| (name, std::fs::read(&path).expect("it is listed")))
    };
    entries.filter_map(|entry| read(entry.expect("readable").path())).collect()
}

/// What a run gave: delivered values, and files.
pub type Outcome = (Results, BTreeMap<String, Vec<u8>>);
