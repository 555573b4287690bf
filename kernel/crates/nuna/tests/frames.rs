//! Frames run as blocks of any engine, in whatever order it takes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use nuna::{parts::plan::set_default_engine, prelude::*};

#[test]
fn a_frame_of_files_is_grouped_by_whoever_runs_its_blocks() {
    set_default_engine(Some(support::engine()));
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..5000).map(|i| format!("u{},{i},2024-01-{:02}\n", i % 7, 1 + i % 28)).collect();
    std::fs::write(folder.path().join("usage.csv"), format!("user,size,day\n{rows}")).unwrap();
    let options = CsvOptions::new().block_bytes(1000);
    let usage = scan_csv_with(folder.path().join("*.csv"), options).unwrap();
    let late = usage.filter(col("day").greater_equal("2024-01-15")).unwrap();
    let table = late.groupby("user").unwrap().agg([count_rows(), col("size").sum()]).unwrap();
    let table = table.compute().unwrap();
    assert_eq!(table.column_text("user").unwrap(), ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]);
    let kept = || (0..5000_i64).filter(|i| 1 + i % 28 >= 15);
    let counts: Vec<i64> = (0..7).map(|user| kept().filter(|i| i % 7 == user).count() as i64).collect();
    let sums: Vec<i64> = (0..7).map(|user| kept().filter(|i| i % 7 == user).sum()).collect();
    assert_eq!((table.column_i64("count").unwrap(), table.column_i64("size_sum").unwrap()), (counts, sums));
    let first = usage.head(3).compute().unwrap();
    assert_eq!(first.column_i64("size").unwrap(), [0, 1, 2]);
    let error =
        usage.filter(col("user").equal("u1")).unwrap().select((col("size") * i64::MAX).named("n")).unwrap();
    assert!(error.compute().unwrap_err().to_string().contains("int64"));
}
