//! Owns a plan in words, for `explain()`.

use std::fmt::Write;

use nuna_plan::{BlockMap, Plan, Source};

/// Stages with their blocks, what they read, and the memory one block takes.
pub(crate) fn explain(plan: &Plan) -> String {
    let mut text = format!("{}: {} stages, {} blocks\n", plan.label, plan.stages.len(), plan.block_count());
    for (number, stage) in plan.stages.iter().enumerate() {
        let grid: Vec<String> = stage.grid.shape().iter().map(u64::to_string).collect();
        let grid = if grid.is_empty() { "1".to_owned() } else { grid.join("×") };
        let bound = stage.bound;
        let _ = writeln!(
            text,
            "{number}. {}: {grid} blocks, at most {} per block (inputs {}, output {}, scratch {})",
            stage.name,
            bytes(bound.total()),
            bytes(bound.inputs),
            bytes(bound.output),
            bytes(bound.scratch),
        );
        for input in &stage.inputs {
            let from = match input.source {
                Source::Stage(stage) => format!("stage {stage}"),
                Source::Held(id) => format!("persisted blocks {}", id.0),
            };
            let how = match &input.map {
                BlockMap::Same => "block by block".to_owned(),
                BlockMap::Axes { .. } if stage.grid.count() == 0 => "nothing".to_owned(),
                BlockMap::Axes { .. } => {
                    format!("{} blocks for the first", input.map.read_count(&stage.grid, 0))
                }
            };
            let _ = writeln!(text, "   from {from}, {how}");
        }
    }
    text
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
