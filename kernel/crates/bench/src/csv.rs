//! Owns the counterpart of `w8_csv.py`: how much each user has in each project by day, from CSV files of disk usage.

use std::path::Path;

use nuna::prelude::*;
use serde_json::json;

use crate::{Shape, meter::Meter};

/// Starts a cluster, groups the files of `folder` by user, project and day of `ctime`, and prints the line.
///
/// # Errors
/// If the files cannot be read or the cluster does not start.
pub fn csv(shape: &Shape, folder: &Path) -> anyhow::Result<()> {
    let (cluster, start_seconds) = shape.start()?;
    let pattern = folder.join("*.csv");
    let meter = Meter::start();
    let daily = scan_csv(&pattern)?
        .with_column("date", col("ctime").date())?
        .groupby(["user", "project", "date"])?
        .agg([count_rows(), col("size").sum().named("sum")])?
        .compute()?;
    let reading = meter.stop();
    cluster.shutdown();
    let (counts, sums) = (daily.column_i64("count")?, daily.column_i64("sum")?);
    let groups = daily.len();
    let mut at = Vec::new();
    if groups > 0 {
        let keys = ["user", "project", "date"].map(|key| daily.column_text(key));
        let [users, projects, dates] = keys;
        let (users, projects, dates) = (users?, projects?, dates?);
        for row in [0, groups / 2, groups - 1] {
            at.push(json!([users[row], projects[row], dates[row], counts[row], sums[row]]));
        }
    }
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    let result = json!({
        "groups": groups,
        "rows": counts.iter().sum::<i64>(),
        "total": sums.iter().sum::<i64>(),
        "at": at,
    });
    let more = json!({ "mb_per_s": bytes as f64 / 1e6 / reading.seconds, "result": result });
    shape.report("w8_csv", start_seconds, reading, more);
    Ok(())
}
