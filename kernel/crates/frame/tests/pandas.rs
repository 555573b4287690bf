//! Files that pandas wrote, and what it makes of them: integers, text and dates equal, floats as read equal, sums and
//! moments to the order of summation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod oracle;

use nuna_frame::{CsvOptions, DataTable, Frame, col, count_rows, scan_csv, scan_csv_with};
use oracle::{assert_same, run};

/// Sums of some thousand numbers that cancel.
const TOLERANCE: f64 = 1e-9;

fn grouped(frame: &Frame, keys: &[&str]) -> DataTable {
    let aggs = [
        count_rows().named("rows"),
        col("size").sum(),
        col("size").mean(),
        col("load").count(),
        col("load").sum(),
        col("load").mean(),
        col("load").std(),
        col("load").var(),
        col("load").min(),
        col("load").max(),
        col("at").min(),
        col("user").max(),
        col("size").nunique(),
        col("ok").sum(),
        col("count").sum(),
    ];
    frame.groupby(keys).unwrap().agg(aggs).unwrap().compute().unwrap()
}

#[test]
fn tables_are_as_in_pandas() {
    let (folder, expected) = run("tables.py");
    let teams = scan_csv(folder.path().join("teams.csv")).unwrap();
    for block in [777, 20_000, 32 << 20] {
        let options = CsvOptions::new().block_bytes(block);
        let frame = scan_csv_with(folder.path().join("[ab].csv"), options).unwrap();
        let same = |what: &str, table: &DataTable, tolerance: f64| {
            assert_same(&format!("{what} in blocks of {block}"), table, &expected[what], tolerance);
        };
        same("all", &frame.compute().unwrap(), 0.0);
        same("by_user", &grouped(&frame, &["user"]), TOLERANCE);
        same("by_user_ok", &grouped(&frame, &["user", "ok"]), TOLERANCE);
        same("by_count", &grouped(&frame, &["count"]), TOLERANCE);
        let begins = col("user").starts_with("a") | col("user").starts_with("d");
        let some = frame.filter((col("load").greater(0.0) & begins) | col("size").is_in([3, 4])).unwrap();
        same("some", &some.compute().unwrap(), 0.0);
        same("some_by_user", &grouped(&some, &["user"]), TOLERANCE);
        let parts = [
            ("year", col("at").year()),
            ("month", col("at").month()),
            ("hour", col("at").hour()),
            ("day", col("at").date()),
            ("double", col("size") * 2),
            ("ratio", col("load") / col("count")),
            ("rest", col("size") % 7),
            ("letters", col("user").length()),
            ("begin", col("user").slice(1, 2)),
        ];
        let all = parts
            .into_iter()
            .fold(frame.clone(), |frame, (name, expr)| frame.with_column(name, expr).unwrap());
        same("parts", &all.compute().unwrap(), 1e-15);
        same("top", &frame.top_k(20, ["load", "size"]).unwrap().compute().unwrap(), 0.0);
        same("sorted", &frame.sort(["user", "at"]).unwrap().compute().unwrap(), 0.0);
        let joined = frame.join(&teams, "user").unwrap().sort(["size", "team"]).unwrap();
        same("join", &joined.compute().unwrap(), 0.0);
        let left = frame.left_join(&teams, "user").unwrap().sort(["size", "team"]).unwrap();
        same("left", &left.compute().unwrap(), 0.0);
    }
}
