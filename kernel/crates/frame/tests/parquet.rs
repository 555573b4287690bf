//! Parquet files that pyarrow wrote in many ways hold what it says; files written here hold the same for it; and what is wrong
//! with a file is said with its name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod oracle;

use std::path::Path;

use nuna_frame::{
    ColumnType, DataTable, Expr, Frame, ParquetOptions, col, count_rows, lit, scan_csv, scan_parquet,
    scan_parquet_with,
};
use oracle::{assert_same, run, script_in};
use proptest::prelude::*;

const WAYS: [&str; 11] =
    ["default", "plain", "plain2", "dictionary2", "gzip", "lz4", "delta", "delta2", "split", "old", "int96"];

#[test]
fn files_of_pyarrow_hold_what_it_says() {
    let (folder, expected) = run("parquet.py");
    for way in WAYS {
        let path = folder.path().join(format!("{way}.parquet"));
        for block in [1, 50_000, 1 << 30] {
            let options = ParquetOptions::new().block_bytes(block);
            let frame = scan_parquet_with(&path, options).unwrap();
            assert_same(&format!("{way} in blocks of {block}"), &frame.compute().unwrap(), &expected, 0.0);
        }
        // Some rows of some columns, of which others are skipped.
        let frame = scan_parquet(&path).unwrap();
        let some = frame.filter(col("sorted").is_in([5, 1650, 2999])).unwrap();
        let found = some
            .select(["unique", "words", "int64", "bool", "float64", "dec38", "us"])
            .unwrap()
            .compute()
            .unwrap();
        for (row, sorted) in [5, 1650, 2999].into_iter().enumerate() {
            for name in found.columns() {
                let text = found.column_text(&name).unwrap()[row].clone();
                let all = frame.select(name.as_str()).unwrap().compute().unwrap().column_text(&name).unwrap();
                assert_eq!(text, all[sorted], "{way}: {name}[{sorted}]");
            }
        }
    }
    parts_of_a_folder(folder.path());
    refusals(folder.path());
}

/// How many blocks a frame reads, as its plan says by what it costs: a frame that reads none of a file does not notice that it
/// is gone.
fn reads_without(folder: &Path, gone: &[u32], filter: Expr) -> usize {
    let frame = scan_parquet(folder).unwrap().filter(filter).unwrap();
    let aside = folder.with_extension("aside");
    std::fs::create_dir_all(&aside).unwrap();
    for part in gone {
        std::fs::rename(folder.join(format!("{part}.parquet")), aside.join(format!("{part}.parquet")))
            .unwrap();
    }
    let rows = frame.compute().map(|table| table.len());
    for part in gone {
        std::fs::rename(aside.join(format!("{part}.parquet")), folder.join(format!("{part}.parquet")))
            .unwrap();
    }
    rows.unwrap()
}

fn parts_of_a_folder(folder: &Path) {
    let parts = folder.join("parts");
    let frame = scan_parquet(&parts).unwrap();
    assert_eq!(frame.columns(), ["key", "value", "day"]);
    let counted =
        frame.agg([count_rows(), col("value").sum(), col("value").count()]).unwrap().compute().unwrap();
    assert_eq!(counted.column_i64("count").unwrap(), [4000]);
    assert_eq!(counted.column_i64("value_count").unwrap(), [3600]);
    assert_eq!(counted.column_f64("value_sum").unwrap(), [7_200_000.0]);
    let groups =
        scan_parquet(parts.join("?.parquet")).unwrap().groupby(["day", "key"]).unwrap().count().unwrap();
    let groups = groups.compute().unwrap();
    assert_eq!((groups.len(), groups.column_i64("count").unwrap()[0]), (28, 143));
    // Files whose bounds leave everything out are not opened.
    assert_eq!(reads_without(&parts, &[0, 1, 3], col("day").equal("2024-01-03")), 1000);
    assert_eq!(reads_without(&parts, &[0, 1, 2], col("value").greater_equal(3500)), 450);
    assert_eq!(reads_without(&parts, &[0, 1, 2, 3], col("value").greater(1e9)), 0);
    assert_eq!(reads_without(&parts, &[0, 1, 2, 3], col("key").isnull() | col("key").equal("z")), 0);
    let none = frame.filter(col("value").less(-1)).unwrap();
    assert_eq!(none.groupby("key").unwrap().count().unwrap().compute().unwrap().len(), 0);
    assert_eq!(none.agg([count_rows()]).unwrap().compute().unwrap().column_i64("count").unwrap(), [0]);
    assert_eq!(none.sort("value").unwrap().split_into(3).unwrap().compute().unwrap().len(), 0);
    assert_eq!(frame.head(3).compute().unwrap().column_text("key").unwrap(), ["k0", "k1", "k2"]);
    assert_eq!(
        frame
            .select(["value"])
            .unwrap()
            .top_k(1, "value")
            .unwrap()
            .compute()
            .unwrap()
            .column_f64("value")
            .unwrap(),
        [3999.0]
    );
    assert!(frame.explain().contains("4 files, 40 groups of rows"), "{}", frame.explain());
}

#[track_caller]
fn fails<T>(result: Result<T, nuna_frame::FrameError>, parts: &[&str]) {
    let Err(error) = result else { panic!("nothing is wrong") };
    let error = error.to_string();
    for part in parts {
        assert!(error.contains(part), "{error:?} says nothing of {part:?}");
    }
}

fn refusals(folder: &Path) {
    let nested = folder.join("nested.parquet");
    fails(
        scan_parquet(&nested),
        &["nested.parquet", "`list`", "`struct`", "`map`", "`time`", "without([\"list\""],
    );
    let options = ParquetOptions::new().without(["list", "struct", "map", "time"]);
    let table = scan_parquet_with(&nested, options).unwrap().compute().unwrap();
    assert_eq!(
        (table.columns(), table.column_f64("last").unwrap()),
        (vec!["plain".to_owned(), "last".to_owned()], vec![2.5])
    );
    fails(scan_parquet_with(&nested, ParquetOptions::new().without(["zzz"])), &["zzz"]);
    std::fs::copy(folder.join("other.parquet"), folder.join("parts/other.parquet")).unwrap();
    fails(
        scan_parquet(folder.join("parts")),
        &["other.parquet", "`value` holds int64, not float64", "`day` holds text"],
    );
    std::fs::remove_file(folder.join("parts/other.parquet")).unwrap();
    fails(
        scan_parquet(folder.join("big.parquet")).unwrap().compute(),
        &["big.parquet", "`big`", "18446744073709551615"],
    );
    fails(scan_parquet(folder.join("raw.parquet")).unwrap().compute(), &["raw.parquet", "`raw`", "UTF-8"]);
    fails(scan_parquet(folder.join("brotli.parquet")).unwrap().compute(), &["brotli.parquet", "Brotli"]);
    fails(scan_parquet(folder.join("nothing-*.parquet")), &["nothing-*.parquet"]);
    fails(scan_parquet(folder.join("expected.json")), &["expected.json", "no Parquet file"]);
    std::fs::create_dir(folder.join("empty")).unwrap();
    fails(scan_parquet(folder.join("empty")), &["empty/*.parquet"]);
    let gone = folder.join("gone.parquet");
    std::fs::copy(folder.join("plain.parquet"), &gone).unwrap();
    let frame = scan_parquet(&gone).unwrap();
    std::fs::copy(folder.join("gzip.parquet"), &gone).unwrap();
    fails(frame.compute(), &["gone.parquet", "scan it again"]);
}

fn mixed(rows: usize) -> Frame {
    let ints: Vec<i64> = (0..rows as i64).map(|i| i.wrapping_mul(7_919_777_777_777_777)).collect();
    let floats: Vec<f64> = (0..rows).map(|i| (i as f64 - 50.0) / 7.0).collect();
    let texts: Vec<String> = (0..rows).map(|i| format!("{}é{}", "t".repeat(i % 40), i % 11)).collect();
    let unique: Vec<String> = (0..rows).map(|i| format!("{}-{i}", "u".repeat(30))).collect();
    let table = DataTable::new().with_i64("i", ints).unwrap().with_f64("f", floats).unwrap();
    let table = table.with_bool("b", (0..rows).map(|i| i % 3 == 0).collect::<Vec<_>>()).unwrap();
    let table = table.with_text("t", texts).unwrap().with_text("tu", unique).unwrap();
    let nothing = (lit(1) % (col("i") % 5)).isnull();
    let some = |name: &str, other: Expr| {
        // Missing where a remainder of nothing is.
        other.named(name)
    };
    table
        .frame()
        .with_column("d", (col("i") % 20_000 * 86_400).from_unix().date())
        .unwrap()
        .with_column("w", (col("f") * 1e7).from_unix())
        .unwrap()
        .with_column("i2", some("i2", lit(9) % (col("i") % 4)))
        .unwrap()
        .with_column("f2", (lit(9) % (col("i") % 4)).cast(ColumnType::Float64) / 3)
        .unwrap()
        .with_column("t2", (lit(9) % (col("i") % 4)).cast(ColumnType::Text))
        .unwrap()
        .with_column("b2", nothing)
        .unwrap()
}

#[test]
fn files_written_here_hold_the_same_for_pyarrow_and_for_us() {
    let folder = tempfile::tempdir().unwrap();
    // Dictionaries that grow too large, pages and groups that are full.
    let frame = mixed(150_000);
    let written = folder.path().join("written");
    assert_eq!(frame.write_parquet(&written).unwrap(), 150_000);
    let expected = frame.compute().unwrap();
    let columns: serde_json::Map<String, serde_json::Value> = expected
        .columns()
        .into_iter()
        .map(|name| {
            let texts = expected.column_text(&name).unwrap();
            (name, texts.into())
        })
        .collect();
    std::fs::write(folder.path().join("source.json"), serde_json::to_string(&columns).unwrap()).unwrap();
    script_in("parquet.py", folder.path(), &["check"]);
    let back = scan_parquet(&written).unwrap().compute().unwrap();
    assert_eq!(back.columns(), expected.columns());
    for name in expected.columns() {
        assert_eq!(back.column_type(&name).unwrap(), expected.column_type(&name).unwrap(), "{name}");
        assert_eq!(back.missing(&name).unwrap(), expected.missing(&name).unwrap(), "{name}");
        assert!(back.column_text(&name).unwrap() == expected.column_text(&name).unwrap(), "{name}");
    }
    fails(frame.write_parquet(&written), &["part-00000.parquet"]);
    // From many blocks, of CSV.
    let csv = folder.path().join("csv");
    frame.write_csv(&csv).unwrap();
    let options = nuna_frame::CsvOptions::new().block_bytes(1 << 20);
    let again = nuna_frame::scan_csv_with(csv.join("*.csv"), options).unwrap();
    let parts = folder.path().join("parts");
    assert_eq!(again.write_parquet(&parts).unwrap(), 150_000);
    assert!(std::fs::read_dir(&parts).unwrap().count() > 10);
    let back = scan_parquet(&parts).unwrap().compute().unwrap();
    assert!(back.column_text("tu").unwrap() == expected.column_text("tu").unwrap());
    // One file of one table, and none of nothing.
    let one = folder.path().join("one.parquet");
    expected.write_parquet(&one).unwrap();
    expected.head(10).write_csv(folder.path().join("one.csv")).unwrap();
    assert_eq!(scan_csv(folder.path().join("one.csv")).unwrap().compute().unwrap().len(), 10);
    let none = scan_parquet(&one).unwrap().filter(col("f").greater(1e18)).unwrap();
    let empty = folder.path().join("empty");
    assert_eq!(none.write_parquet(&empty).unwrap(), 0);
    let empty = scan_parquet(&empty).unwrap();
    assert_eq!((empty.columns(), empty.compute().unwrap().len()), (expected.columns(), 0));
}

/// A small file with all kinds of pages.
fn sample() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.parquet");
    mixed(300).compute().unwrap().write_parquet(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    std::fs::write(&path, bytes).unwrap();
    let result = scan_parquet(&path).and_then(|frame| frame.compute()).map(|table| table.len());
    result.map_err(|error| error.to_string())
}

#[test]
fn a_file_that_was_cut_off_is_an_error_with_its_name() {
    let bytes = sample();
    assert_eq!(read(&bytes), Ok(300));
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        let error = read(&bytes[..length]).unwrap_err();
        assert!(error.contains("damaged.parquet"), "{error}");
    }
}

#[test]
fn flipped_bits_of_pages_are_noticed() {
    let bytes = sample();
    let footer = u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize;
    let body = bytes.len() - 8 - footer;
    let (mut noticed, mut all) = (0, 0);
    for at in (4..body).step_by(61) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        all += 1;
        // In a header there may be bits that say nothing.
        noticed += usize::from(read(&flipped).is_err());
    }
    assert!(noticed * 100 >= all * 95, "{noticed} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_bytes_are_a_table_or_an_error(places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), in_footer: bool) {
        use std::sync::OnceLock;
        static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
        let mut bytes = SAMPLE.get_or_init(sample).clone();
        let length = bytes.len();
        for (place, byte) in places {
            let at = place.index(if in_footer { 1800.min(length) } else { length });
            bytes[length - 1 - at] = byte;
        }
        if let Err(error) = read(&bytes) {
            prop_assert!(error.contains("damaged.parquet"), "{}", error);
        }
    }
}
