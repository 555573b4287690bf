//! Sorts and groups that the cluster divides give the same as those of one process, in the same order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_frame::{
    ColumnType, CsvOptions, DataTable, Frame, col, concat_frames, count_rows, scan_csv_with, scan_parquet,
};
use proptest::prelude::*;

fn cells(table: &DataTable) -> Vec<Vec<String>> {
    table.columns().iter().map(|name| table.column_text(name).unwrap()).collect()
}

#[track_caller]
fn same(a: &Frame, b: &Frame) {
    let (a, b) = (a.compute().unwrap(), b.compute().unwrap());
    assert_eq!(a.columns(), b.columns());
    assert_eq!(cells(&a), cells(&b));
}

/// Rows in blocks of some hundred, with missing elements, NaN, and many that are alike.
fn rows(folder: &tempfile::TempDir, count: usize) -> Frame {
    let mut text = "n,f,t,k,when\n".to_owned();
    for i in 0..count {
        let x = (i * 7919) % 1009;
        let n = if x % 13 == 0 { String::new() } else { (x as i64 - 500).to_string() };
        let f = match x % 17 {
            0 => "nan".to_owned(),
            1 => String::new(),
            2 => "-0.0".to_owned(),
            3 => "0.0".to_owned(),
            _ => format!("{:?}", x as f64 / 7.0 - 50.0),
        };
        text += &format!("{n},{f},t{}é,{},2024-01-{:02} 10:00:00\n", x % 31, i % 5, x % 28 + 1);
    }
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, text).unwrap();
    let options = CsvOptions::new().block_bytes(4000).nulls([""]).column("f", ColumnType::Float64);
    scan_csv_with(path, options).unwrap()
}

#[test]
fn sorts_in_parts_are_sorts() {
    let folder = tempfile::tempdir().unwrap();
    let frame = rows(&folder, 3000);
    for parts in [1, 2, 7, 100] {
        for by in [vec!["n"], vec!["f", "t"], vec!["t", "n", "f"], vec!["k"], vec!["when", "k"]] {
            let sorted = frame.sort(by.clone()).unwrap();
            same(&sorted.split_into(parts).unwrap(), &sorted);
            let sorted = frame.sort_descending(by).unwrap();
            same(&sorted.split_into(parts).unwrap(), &sorted);
        }
    }
    let sorted = frame.filter(col("n").greater(0)).unwrap().sort(["t", "f"]).unwrap();
    let split = sorted.split_into(5).unwrap();
    // What is done with the rows of parts.
    same(&split.select(["k"]).unwrap(), &sorted.select(["k"]).unwrap());
    same(&split.head(70), &sorted.head(70));
    let some =
        |frame: &Frame| frame.filter(col("k").equal(3)).unwrap().with_column("m", col("n") * 2).unwrap();
    same(&some(&split), &some(&sorted));
    same(&split.groupby("t").unwrap().count().unwrap(), &sorted.groupby("t").unwrap().count().unwrap());
    same(
        &concat_frames(&[split.clone(), sorted.clone()]).unwrap(),
        &concat_frames(&[sorted.clone(), split.clone()]).unwrap(),
    );
    same(&split.sort("f").unwrap().split_into(3).unwrap(), &sorted.sort("f").unwrap());
    let none = frame.filter(col("n").greater(1000)).unwrap().sort("n").unwrap().split_into(4).unwrap();
    assert_eq!(none.compute().unwrap().len(), 0);
    assert!(frame.split_into(3).unwrap_err().to_string().contains("no sort"));
    assert!(frame.agg([count_rows()]).unwrap().split_into(3).is_err());
}

#[test]
fn groups_in_parts_are_groups() {
    let folder = tempfile::tempdir().unwrap();
    let frame = rows(&folder, 3000);
    let aggs = || {
        [
            count_rows(),
            col("n").sum(),
            col("n").mean(),
            col("f").max(),
            col("t").nunique().named("texts"),
            col("n").std(),
            // Called as a key.
            (col("n") * 2).max().named("k_max"),
        ]
    };
    for keys in [vec!["f"], vec!["t", "k"], vec!["n", "when"]] {
        let groups = frame.groupby(keys).unwrap().agg(aggs()).unwrap();
        for parts in [2, 9] {
            let split = groups.split_into(parts).unwrap();
            let (a, b) = (split.compute().unwrap(), groups.compute().unwrap());
            assert_eq!((a.columns(), a.len()), (b.columns(), b.len()));
            for name in a.columns() {
                let pairs = a.column_text(&name).unwrap().into_iter().zip(b.column_text(&name).unwrap());
                for (row, (x, y)) in pairs.enumerate() {
                    // Sums are made in another order.
                    let close = || (x.parse::<f64>().unwrap() - y.parse::<f64>().unwrap()).abs() < 1e-9;
                    assert!(x == y || close(), "{name}[{row}]: {x} and {y}");
                }
            }
        }
    }
    let days = frame.groupby(col("when").date().named("day")).unwrap().count().unwrap();
    same(&days.split_into(3).unwrap(), &days);
    let large = days.split_into(3).unwrap().filter(col("count").greater(100)).unwrap();
    same(&large, &days.filter(col("count").greater(100)).unwrap());
}

#[test]
fn parts_are_written_as_files_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let frame = rows(&folder, 3000);
    let sorted = frame.sort(["n", "t"]).unwrap();
    let out = folder.path().join("sorted");
    assert_eq!(sorted.split_into(6).unwrap().write_parquet(&out).unwrap(), 3000);
    let names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 6);
    same(&scan_parquet(&out).unwrap(), &sorted);
    for path in names {
        let part = scan_parquet(&path).unwrap().agg([count_rows()]).unwrap().compute().unwrap();
        let rows = part.column_i64("count").unwrap()[0];
        assert!((100..1500).contains(&rows), "{rows} rows in {}", path.display());
    }
}

#[test]
fn a_frame_is_described_in_one_reading() {
    let table = DataTable::new()
        .with_i64("n", [1, 2, 6])
        .unwrap()
        .with_text("t", ["b", "a", "c"])
        .unwrap()
        .frame()
        .with_column("m", col("n") % (col("n") - 2))
        .unwrap();
    let about = table.describe().unwrap();
    let column = |name: &str| about.column_text(name).unwrap();
    assert_eq!(column("column"), ["n", "t", "m"]);
    assert_eq!(column("type"), ["int64", "text", "int64"]);
    assert_eq!(
        (about.column_i64("count").unwrap(), about.column_i64("missing").unwrap()),
        (vec![3, 3, 2], vec![0, 0, 1])
    );
    assert_eq!(column("mean"), ["3.0", "", "1.0"]);
    assert_eq!(column("min"), ["1", "a", "0"]);
    assert_eq!(column("max"), ["6", "c", "2"]);
    assert_eq!(about.missing("std").unwrap(), 1);
    let none = table.filter(col("n").greater(9)).unwrap().describe().unwrap();
    assert_eq!((none.column_i64("count").unwrap(), none.missing("mean").unwrap()), (vec![0, 0, 0], 3));
    assert_eq!(table.to_data_array("n").unwrap().shape(), [3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_rows_in_any_parts_are_sorted(
        rows in proptest::collection::vec((proptest::option::of(-5_i64..5), 0_u8..4), 1..120), block in 1_u64..60, parts in 1_u64..9, descending: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = rows
            .iter()
            .enumerate()
            .map(|(i, (n, k))| format!("{},k{k},{i}", n.map_or_else(String::new, |n| n.to_string())))
            .collect();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, format!("n,k,i\n{}", lines.join("\n"))).unwrap();
        let frame = scan_csv_with(&path, CsvOptions::new().block_bytes(block).column("n", ColumnType::Int64)).unwrap();
        let sorted = if descending { frame.sort_descending(["n", "k"]) } else { frame.sort(["n", "k"]) }.unwrap();
        let (a, b) = (sorted.split_into(parts).unwrap().compute().unwrap(), sorted.compute().unwrap());
        prop_assert_eq!(cells(&a), cells(&b));
        let groups = frame.groupby(["n", "k"]).unwrap().agg([col("i").sum(), col("i").nunique()]).unwrap();
        let (a, b) = (groups.split_into(parts).unwrap().compute().unwrap(), groups.compute().unwrap());
        prop_assert_eq!(cells(&a), cells(&b));
    }
}
