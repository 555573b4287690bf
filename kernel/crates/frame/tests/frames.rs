//! Frames of files give the same however the files are cut, and say where a file is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{collections::BTreeMap, path::Path};

use nuna_frame::{
    ColumnType, CsvOptions, DataTable, Frame, FrameError, col, concat_frames, count_rows, lit, scan_csv,
    scan_csv_with,
};
use proptest::prelude::*;

fn file(contents: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    std::fs::write(&path, contents).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

/// The whole table as text, missing elements being `-`.
fn cells(table: &DataTable) -> Vec<Vec<String>> {
    let columns = table.columns();
    let texts: Vec<Vec<String>> = columns.iter().map(|name| table.column_text(name).unwrap()).collect();
    (0..table.len()).map(|row| texts.iter().map(|column| column[row].clone()).collect()).collect()
}

fn computed(contents: impl AsRef<[u8]>, options: CsvOptions) -> Result<Vec<Vec<String>>, FrameError> {
    let (_folder, path) = file(contents);
    Ok(cells(&scan_csv_with(path, options)?.compute()?))
}

#[track_caller]
fn fails(contents: impl AsRef<[u8]>, options: CsvOptions, expected: &[&str]) {
    let error = computed(contents, options).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{error:?} says nothing of {part:?}");
    }
}

fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
}

#[test]
fn files_are_read_whatever_their_line_ends_and_quotes() {
    let expected = rows(&[&["1", "a"], &["2", ""], &["3", "c,d"], &["", "e\"f"]]);
    for contents in [
        "n,t\n1,a\n2,\n3,\"c,d\"\n,\"e\"\"f\"\n",
        "n,t\n1,a\n2,\n3,\"c,d\"\n,\"e\"\"f\"",
        "n,t\r\n1,a\r\n2,\r\n3,\"c,d\"\r\n,\"e\"\"f\"\r\n",
        "n,t\r\n1,a\r\n2,\r\n3,\"c,d\"\r\n,\"e\"\"f\"\r",
        "\u{feff}n,t\n1,\"a\"\n\n\n2,\n3,\"c,d\"\n,\"e\"\"f\"\n\n",
        "\"n\",\"t\"\n1,a\nNA,\n3,\"c,d\"\nnull,\"e\"\"f\"\n",
    ] {
        let mut expected = expected.clone();
        if contents.contains("NA") {
            expected[1][0].clear();
        }
        for block in [1, 2, 3, 7, 16, 1000] {
            let found = computed(contents, CsvOptions::new().block_bytes(block)).unwrap();
            assert_eq!(found, expected, "{contents:?} in blocks of {block}");
        }
    }
}

#[test]
fn types_are_guessed_and_may_be_said() {
    let (_folder, path) = file(
        "i,f,b,d,t,s,big,none\n1,1.5,true,2001-02-03,2001-02-03 04:05:06,x,12345678901234567890,\n-2,3,False,1969-12-31,1970-01-01T00:00:00Z,1x,1,\n",
    );
    let frame = scan_csv(&path).unwrap();
    use ColumnType::{Bool, Date, Float64, Int64, Text, Time};
    let kinds = [
        ("i", Int64),
        ("f", Float64),
        ("b", Bool),
        ("d", Date),
        ("t", Time),
        ("s", Text),
        ("big", Text),
        ("none", Text),
    ];
    for (name, kind) in kinds {
        assert_eq!(frame.column_type(name).unwrap(), kind, "{name}");
    }
    let said = scan_csv_with(&path, CsvOptions::new().column("i", Text).column("f", Text)).unwrap();
    assert_eq!(said.compute().unwrap().column_text("f").unwrap(), ["1.5", "3"]);
    let table = frame.compute().unwrap();
    assert_eq!(table.column_i64("d").unwrap(), [11356, -1]);
    assert_eq!(table.missing("none").unwrap(), 2);
    assert!(
        scan_csv_with(&path, CsvOptions::new().column("j", Text)).unwrap_err().to_string().contains("`j`")
    );
}

#[test]
fn a_wrong_file_is_named_with_line_and_column() {
    let plain = CsvOptions::new;
    fails("a,b\n1,2\n3\n4,5\n", plain(), &["table.csv, line 3", "1 fields instead of 2"]);
    fails("a,b\n1,2\n3,4,5\n4,5\n", plain(), &["line 3", "3 fields instead of 2"]);
    fails("a,b\n1,2\n\n3,\"4\",5\n4,5\n", plain(), &["line 4", "3 fields"]);
    fails("a,b\n1,\"x\ny\"\n", plain(), &["line 2", "`b`", "quoted_newlines(true)"]);
    fails("a,b\n1,\"x\n", plain().quoted_newlines(true), &["line 2", "not closed before the end"]);
    fails("a,b\n1,x\"y\n2,z\n", plain().quoted_newlines(true), &["line 2", "within a field"]);
    fails("a,b\n1,\"x\"y\n", plain(), &["line 2", "followed by a delimiter"]);
    fails(b"a,b\n1,caf\xe9\n", plain(), &["line 2", "`b`", "UTF-8"]);
    fails("", plain(), &["empty"]);
    fails("\n\n", plain(), &["only empty lines"]);
    fails("a,a\n1,2\n", plain().names(["x", "x"]), &["`x`"]);
    fails("a,b\n1,2\n", plain().names(["x"]), &["2 columns", "1 names"]);
    fails("a,b\n1,2\n", plain().delimiter('é'), &["ASCII"]);
    let huge = format!("a,b\n1,{}\n", "x".repeat(17 << 20));
    fails(&huge, plain(), &["line 2", "`b`", "longer than 16777215 bytes"]);
    // Beyond what types are guessed from.
    let late = format!("a,b\n{}7,x1\n", "1,2\n".repeat(400_000));
    fails(&late, plain(), &["line 400002", "column `b`", "\"x1\" is no int64", "nulls"]);
    assert!(matches!(scan_csv("/nowhere/*.csv"), Err(FrameError::NoFiles { .. })));
}

#[test]
fn a_header_may_come_after_empty_lines_and_a_mark() {
    for contents in ["\n1", "\n\r\n\n1\n", "\u{feff}\n1\n", "\u{feff}1\n", "\u{feff}\r\n\r\n1"] {
        for block in 1..12 {
            let found = computed(contents, CsvOptions::new().block_bytes(block)).unwrap();
            assert!(found.is_empty(), "{contents:?} in blocks of {block}: {found:?}");
            let row = format!("{}\n2\n", contents.trim_end());
            let found = computed(&row, CsvOptions::new().block_bytes(block)).unwrap();
            assert_eq!(found, rows(&[&["2"]]), "{row:?} in blocks of {block}");
        }
    }
}

#[test]
fn quotes_in_the_middle_of_a_field_are_letters() {
    let found = computed("a,b\nx\"y\"z,5\" pipe\n\"q\",\n", CsvOptions::new()).unwrap();
    assert_eq!(found, rows(&[&["x\"y\"z", "5\" pipe"], &["q", ""]]));
    let found = computed("a,b\n\"q,\"\"\n", CsvOptions::new().quote(None)).unwrap();
    assert_eq!(found, rows(&[&["\"q", "\"\""]]));
}

#[test]
fn bad_rows_are_left_out_and_counted_if_that_is_asked_for() {
    let (_folder, path) = file("a,b\n1,2\n3\nx,4\n5,y\n6,7,8\n9,10\n");
    let options = || {
        CsvOptions::new().column("a", ColumnType::Int64).column("b", ColumnType::Int64).skip_bad_rows(true)
    };
    for block in [1, 4, 5, 1000] {
        let frame = scan_csv_with(&path, options().block_bytes(block)).unwrap();
        let table = frame.compute().unwrap();
        assert_eq!(table.column_i64("a").unwrap(), [1, 9]);
        assert_eq!(table.skipped_rows(), 4, "in blocks of {block}");
        assert!(table.to_string().contains("4 malformed rows"), "{table}");
        // The other column is not read, so its fields are not looked at.
        let sums = frame.agg([col("a").sum()]).unwrap().compute().unwrap();
        assert_eq!((sums.column_i64("a_sum").unwrap(), sums.skipped_rows()), (vec![15], 3));
    }
}

#[test]
fn a_row_of_too_many_fields_ends_where_its_quotes_say_however_the_file_is_cut() {
    let open = ".\0\n\u{90},x*\0,\n\u{12}\0,&\0\0\n\n\n\n,\"m\0&\n\u{2}\n\n\n\0\0\n\n\0\0,&,&\n\n";
    let closed = "1\n2,\"3\n4\",5\n6\n7,8,\"9\n\n\"\n10\n";
    for block in (1..60).chain([1000]) {
        let options =
            || CsvOptions::new().header(false).quoted_newlines(true).skip_bad_rows(true).block_bytes(block);
        let found = computed(closed, options()).unwrap();
        assert_eq!(found.concat(), ["1", "6", "10"], "in blocks of {block}");
        // What follows would be part of the field, so it is not left out without a word.
        let error = computed(open, options()).unwrap_err().to_string();
        assert!(error.contains("a quote is not closed before the end"), "{error}, in blocks of {block}");
    }
}

#[test]
fn columns_that_nothing_reads_are_not_parsed_nor_are_rows_that_are_filtered_out() {
    let (_folder, path) = file("a,b,c\n1,x,1\n2,y,2\n");
    let frame = scan_csv_with(&path, CsvOptions::new().column("b", ColumnType::Int64)).unwrap();
    assert!(frame.compute().is_err());
    assert_eq!(frame.select(["c", "a"]).unwrap().compute().unwrap().column_i64("c").unwrap(), [1, 2]);
    let none = frame.filter(col("a").greater(5)).unwrap().compute().unwrap();
    assert_eq!((none.len(), none.columns()), (0, vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
    // Through a renaming, past a computed column.
    let renamed = frame.rename("a", "n").unwrap().with_column("m", col("n") * 2).unwrap();
    assert_eq!(renamed.filter(col("n").greater(5)).unwrap().compute().unwrap().len(), 0);
}

fn people() -> DataTable {
    DataTable::new()
        .with_text("user", ["ann", "bob", "ann", "cy", "bob", "ann"])
        .unwrap()
        .with_i64("size", [3, 5, 4, 1, 5, 3])
        .unwrap()
        .with_f64("load", [0.5, f64::NAN, 1.5, 2.0, 4.0, -1.0])
        .unwrap()
}

#[test]
fn groups_know_what_is_asked() {
    let table = people()
        .frame()
        .groupby("user")
        .unwrap()
        .agg([
            count_rows(),
            col("size").sum(),
            col("size").mean(),
            col("size").std(),
            col("size").nunique(),
            col("load").min(),
            col("load").max(),
            col("user").max().named("last"),
            (col("size") * 2).sum().named("twice"),
        ])
        .unwrap()
        .compute()
        .unwrap();
    assert_eq!(table.column_text("user").unwrap(), ["ann", "bob", "cy"]);
    assert_eq!(table.column_i64("count").unwrap(), [3, 2, 1]);
    assert_eq!(table.column_i64("size_sum").unwrap(), [10, 10, 1]);
    assert_eq!(table.column_f64("size_mean").unwrap(), [10.0 / 3.0, 5.0, 1.0]);
    let std = table.column_f64("size_std").unwrap();
    assert!((std[0] - (1.0_f64 / 3.0).sqrt()).abs() < 1e-15 && std[1] == 0.0 && std[2].is_nan(), "{std:?}");
    assert_eq!(table.column_i64("size_nunique").unwrap(), [2, 1, 1]);
    assert_eq!(table.column_f64("load_min").unwrap(), [-1.0, 4.0, 2.0]);
    assert_eq!(table.column_f64("load_max").unwrap(), [1.5, 4.0, 2.0]);
    assert_eq!(table.column_text("last").unwrap(), ["ann", "bob", "cy"]);
    assert_eq!(table.column_i64("twice").unwrap(), [20, 20, 2]);
    // Of nothing there is one row.
    let none = people().frame().filter(lit(false)).unwrap().agg([count_rows(), col("size").max()]).unwrap();
    let none = none.compute().unwrap();
    assert_eq!((none.column_i64("count").unwrap(), none.missing("size_max").unwrap()), (vec![0], 1));
}

#[test]
fn sums_that_do_not_fit_are_errors() {
    let table = DataTable::new().with_i64("n", [i64::MAX, 1]).unwrap();
    let error = table.frame().agg([col("n").sum()]).unwrap().compute().unwrap_err().to_string();
    assert!(error.contains("int64"), "{error}");
    let error = table.frame().with_column("m", col("n") + 1).unwrap().compute().unwrap_err().to_string();
    assert!(error.contains("(n + 1)"), "{error}");
}

#[test]
fn expressions_follow_their_rules() {
    let table = DataTable::new().with_i64("a", [7, -7, 0]).unwrap().with_text("t", ["été", "b", ""]).unwrap();
    let with = |expr: nuna_frame::Expr| {
        table.frame().select(expr.named("x")).unwrap().compute().unwrap().column_text("x").unwrap()
    };
    assert_eq!(with(col("a") / 2), ["3.5", "-3.5", "0.0"]);
    assert_eq!(with(col("a") % 3), ["1", "2", "0"]);
    assert_eq!(with(lit(5) % col("a")), ["5", "-2", ""]);
    assert_eq!(with((lit(5) % col("a")).isnull()), ["false", "false", "true"]);
    assert_eq!(with((lit(5) % col("a")).fillna(9)), ["5", "-2", "9"]);
    // Known whatever is missing.
    assert_eq!(with((lit(5) % col("a")).greater(0) | lit(true)), ["true"; 3]);
    assert_eq!(with((lit(5) % col("a")).greater(0) & lit(false)), ["false"; 3]);
    assert_eq!(with((lit(5) % col("a")).greater(0) & lit(true)), ["true", "false", ""]);
    assert_eq!(with(col("t").slice(1, 1)), ["t", "", ""]);
    assert_eq!(with(col("t").slice(2, 9)), ["é", "", ""]);
    assert_eq!(with(col("t").length()), ["3", "1", "0"]);
    assert_eq!(with(col("t").upper()), ["ÉTÉ", "B", ""]);
    assert_eq!(with(col("t").is_in(["b", "c"])), ["false", "true", "false"]);
    assert_eq!(with(col("t").contains("t") | col("t").ends_with("b")), ["true", "true", "false"]);
    assert_eq!(with(!col("t").starts_with("é")), ["false", "true", "true"]);
    assert_eq!(with(col("a").from_unix().date()), ["1970-01-01", "1969-12-31", "1970-01-01"]);
    assert_eq!(with(col("a").from_unix().year()), ["1970", "1969", "1970"]);
    let frame = table.frame();
    for wrong in [col("a") + col("t"), col("t").year(), !col("a"), col("a").slice(0, 1), col("z") + 1] {
        assert!(frame.select(wrong.clone()).is_err(), "{wrong}");
    }
    assert!(frame.filter(col("a")).unwrap_err().to_string().contains("condition"));
    assert!(frame.select(col("a").cast(ColumnType::Date)).is_err());
    assert!(frame.select(col("t").cast(ColumnType::Int64)).unwrap().compute().is_err());
}

#[test]
fn dates_are_compared_with_text_and_grouped_by_their_parts() {
    let (_folder, path) =
        file("t,n\n2024-01-31 23:59:59,1\n2024-02-01 00:00:00,2\n2024-02-29 12:00:00.5,3\n");
    let frame = scan_csv(&path).unwrap();
    let late = frame.filter(col("t").greater_equal("2024-02-01")).unwrap();
    assert_eq!(late.compute().unwrap().column_i64("n").unwrap(), [2, 3]);
    let months = frame.groupby(col("t").month().named("month")).unwrap().sum("n").unwrap().compute().unwrap();
    assert_eq!(cells(&months), rows(&[&["1", "1"], &["2", "5"]]));
    let days = frame.groupby(col("t").date().named("day")).unwrap().count().unwrap().compute().unwrap();
    assert_eq!(days.column_text("day").unwrap(), ["2024-01-31", "2024-02-01", "2024-02-29"]);
    assert!(frame.filter(col("t").less("yesterday")).unwrap_err().to_string().contains("2024-06-15"));
}

#[test]
fn small_tables_are_joined() {
    let teams = DataTable::new()
        .with_text("user", ["bob", "ann", "bob", "zoe"])
        .unwrap()
        .with_text("team", ["x", "y", "z", "w"])
        .unwrap()
        .with_i64("size", [1, 2, 3, 4])
        .unwrap();
    let joined = people().frame().join(&teams, "user").unwrap();
    assert_eq!(joined.columns(), ["user", "size", "load", "team", "size_right"]);
    let table = joined.compute().unwrap();
    assert_eq!(table.column_text("user").unwrap(), ["ann", "bob", "bob", "ann", "bob", "bob", "ann"]);
    assert_eq!(table.column_text("team").unwrap(), ["y", "x", "z", "y", "x", "z", "y"]);
    let left = people().frame().left_join(&teams, "user").unwrap().select(["user", "size_right"]).unwrap();
    let table = left.compute().unwrap();
    assert_eq!((table.len(), table.missing("size_right").unwrap()), (8, 1));
    // A filter on either side.
    let some = joined.filter(col("team").equal("y") & col("size").greater(3)).unwrap().compute().unwrap();
    assert_eq!(some.column_i64("size").unwrap(), [4]);
    assert!(people().frame().join(&teams, "load").is_err());
}

#[test]
fn rows_are_ordered_and_the_first_are_taken() {
    let frame = people().frame();
    let sizes = |frame: &Frame| frame.compute().unwrap().column_i64("size").unwrap();
    assert_eq!(sizes(&frame.sort(["size", "user"]).unwrap()), [1, 3, 3, 4, 5, 5]);
    let loads = |frame: Frame| frame.compute().unwrap().column_text("load").unwrap();
    assert_eq!(loads(frame.sort("load").unwrap()), ["-1.0", "0.5", "1.5", "2.0", "4.0", "NaN"]);
    assert_eq!(loads(frame.sort_descending("load").unwrap()), ["4.0", "2.0", "1.5", "0.5", "-1.0", "NaN"]);
    assert_eq!(loads(frame.top_k(2, "load").unwrap()), ["4.0", "2.0"]);
    assert_eq!(loads(frame.bottom_k(2, "size").unwrap()), ["2.0", "0.5"]);
    assert_eq!(sizes(&frame.head(2)), [3, 5]);
    assert_eq!(sizes(&frame.head(2).sort("size").unwrap().head(1)), [3]);
    assert_eq!(frame.top_k(0, "load").unwrap().compute().unwrap().len(), 0);
    let twice = concat_frames(&[frame.clone(), frame.select(["load", "user", "size"]).unwrap()]).unwrap();
    assert_eq!(sizes(&twice).len(), 12);
    assert!(concat_frames(&[frame.clone(), frame.select(["load"]).unwrap()]).is_err());
}

#[test]
fn what_is_written_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let strange = ["", "a,b", "c\"d\"", "NA", " e ", "ü"];
    let table = people().with_text("s, t", strange).unwrap();
    let written = table.frame().with_column("n", (lit(5) % (col("size") - 3)).abs()).unwrap();
    assert_eq!(written.write_csv(&out).unwrap(), 6);
    let back = scan_csv(out.join("part-*.csv")).unwrap();
    let expected = written.compute().unwrap();
    let found = back.compute().unwrap();
    assert_eq!(found.columns(), expected.columns());
    for name in ["user", "size", "s, t", "n"] {
        assert_eq!(found.column_text(name).unwrap(), expected.column_text(name).unwrap(), "{name}");
    }
    assert_eq!((found.missing("n").unwrap(), found.missing("s, t").unwrap()), (2, 0));
    assert!(table.frame().write_csv(&out).unwrap_err().to_string().contains("part-00000.csv"));
    // A file for each block.
    let parts = folder.path().join("parts");
    let (_in, path) = file(format!("a\n{}", "12345\n".repeat(1000)));
    let frame = scan_csv_with(path, CsvOptions::new().block_bytes(1000)).unwrap();
    assert_eq!(frame.write_csv(&parts).unwrap(), 1000);
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 7);
    assert_eq!(scan_csv(parts.join("*.csv")).unwrap().compute().unwrap().len(), 1000);
}

#[test]
fn files_of_a_pattern_are_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.csv", "x,y\n1,2\n");
    write("b.csv", "");
    write("c.csv", "x,y\n");
    write("d.csv", "x,y\n3,4");
    let pattern = folder.path().join("*.csv");
    let frame = scan_csv(&pattern).unwrap();
    assert_eq!(frame.compute().unwrap().column_i64("x").unwrap(), [1, 3]);
    assert_eq!(frame.head(1).compute().unwrap().len(), 1);
    write("d.csv", "x,y\n3,4\n5,6\n");
    assert!(frame.compute().unwrap_err().to_string().contains("scan it again"));
    write("d.csv", "y,x\n3,4\n");
    let error = scan_csv(&pattern).unwrap().compute().unwrap_err().to_string();
    assert!(error.contains("d.csv") && error.contains("y, x"), "{error}");
}

#[test]
fn views_show_what_is_there() {
    let table = people();
    assert_eq!(
        table.head(2).to_string(),
        "user  size  load\nann      3   0.5\nbob      5   NaN\n2 rows, 3 columns"
    );
    let html = DataTable::new().with_text("<b>", ["&"]).unwrap().html();
    assert!(html.contains("&lt;b&gt;") && html.contains("&amp;"), "{html}");
    let long = DataTable::new().with_i64("n", (0..1000).collect::<Vec<_>>()).unwrap();
    assert_eq!(long.to_string().lines().count(), 1 + 11 + 1);
    assert!(long.frame().filter(col("n").less(3)).unwrap().explain().starts_with("filter (n < 3)\n  table"));
    let array = long.to_data_array("n").unwrap();
    assert_eq!((array.dims().to_vec(), array.shape().to_vec()), (vec!["row".to_owned()], vec![1000]));
}

#[test]
fn endless_rows_do_not_take_endless_memory() {
    let (_folder, path) = file(format!("a\n{}", "\"\n".repeat(3)));
    let error = scan_csv_with(&path, CsvOptions::new().quoted_newlines(true)).unwrap().compute().unwrap_err();
    assert!(error.to_string().contains("not closed"), "{error}");
    assert!(Path::new(&path).exists());
}

/// A table as text: rows of a number that may be missing, a text with anything in it, and a key.
fn tables(newlines: bool) -> impl Strategy<Value = (String, Vec<(Option<i64>, String, u8)>)> {
    let text = if newlines { "[a-c,\"\n\ré]{0,5}" } else { "[a-c,\"é]{0,5}" };
    let row = (proptest::option::of(-1000_i64..1000), text, 0_u8..4, any::<bool>());
    (proptest::collection::vec(row, 0..40), any::<[bool; 2]>()).prop_map(|(rows, [crlf, last])| {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = format!("n,t,k{end}");
        for (n, t, k, quoted) in &rows {
            let n = n.map_or_else(String::new, |n| n.to_string());
            let special = t.contains([',', '"', '\n', '\r']);
            let t = if special || *quoted || t.is_empty() {
                format!("\"{}\"", t.replace('"', "\"\""))
            } else {
                t.clone()
            };
            text += &format!("{n},{t},k{k}{end}");
        }
        if last {
            text.truncate(text.trim_end().len());
        }
        (text, rows.into_iter().map(|(n, t, k, _)| (n, t, k)).collect())
    })
}

fn check(text: &str, rows: &[(Option<i64>, String, u8)], block: u64, newlines: bool) {
    let (_folder, path) = file(text);
    let kinds = |o: CsvOptions| o.column("n", ColumnType::Int64).column("t", ColumnType::Text);
    let options = kinds(CsvOptions::new().block_bytes(block).quoted_newlines(newlines));
    let frame = scan_csv_with(&path, options).unwrap();
    let table = frame.compute().unwrap();
    assert_eq!(table.column_text("t").unwrap(), rows.iter().map(|r| r.1.clone()).collect::<Vec<_>>());
    let numbers: Vec<String> = rows.iter().map(|r| r.0.map_or_else(String::new, |n| n.to_string())).collect();
    assert_eq!(table.column_text("n").unwrap(), numbers);
    assert_eq!(table.missing("t").unwrap(), 0);
    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (n, _, k) in rows.iter().filter(|r| r.0.is_some_and(|n| n > -500)) {
        let entry = expected.entry(format!("k{k}")).or_default();
        *entry = (entry.0 + 1, entry.1 + n.unwrap_or(0));
    }
    let groups = frame.filter(col("n").greater(-500)).unwrap().groupby("k").unwrap();
    let groups = groups.agg([count_rows(), col("n").sum()]).unwrap().compute().unwrap();
    assert_eq!(groups.column_text("k").unwrap(), expected.keys().cloned().collect::<Vec<_>>());
    let sums: Vec<(i64, i64)> = expected.into_values().collect();
    let counts = groups.column_i64("count").unwrap();
    let found: Vec<(i64, i64)> = counts.into_iter().zip(groups.column_i64("n_sum").unwrap()).collect();
    assert_eq!(found, sums);
    let top = frame.filter(col("n").notnull()).unwrap().top_k(3, "n").unwrap().compute().unwrap();
    let mut largest: Vec<i64> = rows.iter().filter_map(|r| r.0).collect();
    largest.sort_unstable_by(|a, b| b.cmp(a));
    largest.truncate(3);
    assert_eq!(top.column_i64("n").unwrap(), largest);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_block_size_gives_the_same((text, rows) in tables(false), block in 1_u64..80) {
        check(&text, &rows, block, false);
    }

    #[test]
    fn any_block_size_gives_the_same_with_line_ends_in_quotes((text, rows) in tables(true), block in 1_u64..80) {
        check(&text, &rows, block, true);
    }

    #[test]
    fn any_bytes_are_a_table_or_an_error(bytes in proptest::collection::vec(
        prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b'1'), Just(b'a'), Just(0xe9), any::<u8>()], 0..120,
    ), block in 1_u64..50, multiline: bool) {
        let (_folder, path) = file(&bytes);
        let options = |block| CsvOptions::new().block_bytes(block).quoted_newlines(multiline);
        let result = |block| scan_csv_with(&path, options(block)).and_then(|frame| frame.compute());
        match (result(block), result(1 << 20)) {
            (Ok(a), Ok(b)) => prop_assert_eq!(cells(&a), cells(&b)),
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{a:?} in blocks of {block}, {b:?} as one"),
        }
    }
}
