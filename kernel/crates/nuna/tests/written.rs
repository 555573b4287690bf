//! Results that are written where they are made.

mod support;

use std::{fs, path::Path, process::Command};

use nuna::{MapTasks, TasksError, serde};
use support::engine;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "nuna::serde")]
struct Run {
    x: i32,
    energy: f64,
    path: [f32; 2],
}

fn simulate(x: i32) -> Run {
    assert!(x != 7, "unlucky, \"very\"");
    Run { x, energy: f64::from(x) / 3.0, path: [x as f32, f32::NAN] }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn rows_are_in_a_file_for_each_block_and_failed_tasks_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let writing = engine().map(0..10, simulate).batch(4).named("simulate").to_csv(&runs);
    let written = writing.partial().unwrap();
    assert_eq!((written.rows, written.failed, written.parts), (9, 1, 3));
    assert_eq!(names(&runs), ["failed-000001.csv", "part-000000.csv", "part-000001.csv", "part-000002.csv"]);
    let text = fs::read_to_string(runs.join("part-000001.csv")).unwrap();
    let third = 4.0 / 3.0;
    assert_eq!(
        text.lines().take(2).collect::<Vec<_>>(),
        ["task,x,energy,path.0,path.1", &format!("4,4,{third},4,NaN")]
    );
    assert_eq!(text.lines().count(), 4, "a line of names and three of rows");
    let failed = fs::read_to_string(runs.join("failed-000001.csv")).unwrap();
    assert!(
        failed.starts_with("task,message\n7,\"panicked at ") && failed.contains("unlucky, \"\"very\"\""),
        "{failed}"
    );
    let error = writing.result().unwrap_err();
    assert!(matches!(error, TasksError::Incomplete { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("tasks `simulate` are not complete: 9 rows, ") && text.contains("[7], panicked at"),
        "{text}"
    );
}

#[test]
fn what_is_there_already_is_not_mixed_with_new_rows() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("part-000000.csv"), "task\n").unwrap();
    let error = engine().map(0..3, |x: i32| x).to_csv(folder.path()).result().unwrap_err().to_string();
    assert!(error.contains("there is something already; choose another folder"), "{error}");
}

#[test]
fn no_tasks_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let written =
        engine().map(Vec::<i32>::new(), |x: i32| x).to_csv(folder.path().join("a")).result().unwrap();
    assert_eq!((written.rows, written.parts), (0, 0));
}

#[test]
fn numbers_are_a_zarr_store_with_a_variable_for_each_field() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("runs.zarr");
    let written = engine().map(0..10, simulate).batch(4).to_zarr(&store).partial().unwrap();
    assert_eq!((written.rows, written.failed), (9, 1));
    let runs = nuna::open_zarr(&store).unwrap();
    let energy = runs.var("energy").unwrap().to_ndarray::<f64>().unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(energy.len(), 10);
    for (task, energy) in energy.into_iter().enumerate() {
        assert!(if task == 7 { energy.is_nan() } else { energy == task as f64 / 3.0 }, "{task}: {energy}");
    }
    let path = runs.var("path").unwrap();
    assert_eq!(path.shape(), [10, 2]);
    let done = fs::read(store.join("done/c/1")).unwrap();
    assert_eq!(done, [1, 1, 1, 0]);
    assert!(!names(&store).iter().any(|name| name.starts_with('.')));
}

#[test]
fn sequences_of_different_lengths_are_refused_in_a_zarr_store() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = engine().map(1..4_usize, |n: usize| vec![1.5; n]).batch(2);
    let error = tasks.to_zarr(folder.path().join("a.zarr")).result().unwrap_err().to_string();
    assert!(error.contains("`value` of task 1 has 2 elements, of another task 1"), "{error}");
    let text = engine().map(0..2, |x: i32| x.to_string()).to_zarr(folder.path().join("b.zarr"));
    assert!(text.result().unwrap_err().to_string().contains("use to_csv"));
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "nuna::serde")]
struct Spin {
    up: bool,
    label: String,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "nuna::serde")]
struct Sample {
    x: u32,
    energy: f32,
    /// In no row of the first block, so that nothing but the type says what it is.
    count: Option<i16>,
    /// The same, with fields.
    spin: Option<Spin>,
    path: [f64; 2],
}

fn sample(x: u32) -> Sample {
    assert!(x != 7, "unlucky");
    let late = x >= 4;
    Sample {
        x,
        energy: if x == 2 { f32::NAN } else { x as f32 / 2.0 },
        count: late.then_some(x as i16 - 6),
        spin: late.then(|| Spin { up: x.is_multiple_of(2), label: format!("«{x}»") }),
        path: [f64::from(x), -0.5],
    }
}

/// What pyarrow reads from the whole folder.
const READ: &str = r#"
import sys, pyarrow.parquet as pq
for part in sorted(__import__("pathlib").Path(sys.argv[1]).glob("part-*.parquet")):
    pq.ParquetFile(part, page_checksum_verification=True).read()
table = pq.read_table(sys.argv[1])
print(", ".join(f"{field.name} {field.type}" for field in table.schema))
for row in table.sort_by("task").to_pylist():
    print(*row.values())
"#;

#[test]
fn parts_of_parquet_are_one_table_for_pyarrow_and_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let writing = engine().map(0..10, sample).batch(4).to_parquet(&runs);
    let written = writing.partial().unwrap();
    assert_eq!((written.rows, written.failed, written.parts), (9, 1, 3));
    assert_eq!(
        names(&runs),
        ["_failed-000001.csv", "part-000000.parquet", "part-000001.parquet", "part-000002.parquet"]
    );
    let read = Command::new(nuna_testing::python()).args(["-c", READ]).arg(&runs).output().unwrap();
    let text = String::from_utf8(read.stdout).unwrap();
    let expected = "task int64, x int64, energy double, count int64, spin.up bool, spin.label string, path.0 double, path.1 double
0 0 0.0 None None None 0.0 -0.5
1 1 0.5 None None None 1.0 -0.5
2 2 nan None None None 2.0 -0.5
3 3 1.5 None None None 3.0 -0.5
4 4 2.0 -2 True «4» 4.0 -0.5
5 5 2.5 -1 False «5» 5.0 -0.5
6 6 3.0 0 True «6» 6.0 -0.5
8 8 4.0 2 True «8» 8.0 -0.5
9 9 4.5 3 False «9» 9.0 -0.5
";
    assert_eq!(text, expected, "{}", String::from_utf8_lossy(&read.stderr));
    let back = nuna::scan_parquet(&runs).unwrap().compute().unwrap();
    assert_eq!(back.column_text("task").unwrap(), ["0", "1", "2", "3", "4", "5", "6", "8", "9"]);
    assert_eq!(back.missing("count").unwrap(), 4);
    let error = writing.result().unwrap_err();
    assert!(matches!(error, TasksError::Incomplete { .. }));
}

#[test]
fn rows_that_are_no_one_table_are_refused_as_parquet() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |writing: nuna::Writing| writing.result().unwrap_err().to_string();
    // Sequences of two lengths, in two blocks: the second one differs, whichever it is.
    let error = refused(
        engine().map(1..3_usize, |n: usize| vec![1.5; n]).batch(1).to_parquet(folder.path().join("a")),
    );
    assert!(
        error.contains("the rows of this block have other fields, types or lengths than those of another"),
        "{error}"
    );
    let error = refused(engine().map(0..2_u64, |n: u64| u64::MAX - n).to_parquet(folder.path().join("b")));
    assert!(error.contains("`value` is 1844674407370955161") && error.contains("use to_csv"), "{error}");
    let task = |n: u64| std::collections::BTreeMap::from([("task".to_owned(), n)]);
    let error = refused(engine().map(0..2_u64, task).to_parquet(folder.path().join("c")));
    assert!(error.contains("two columns would be called `task`"), "{error}");
}

#[test]
fn rows_whose_type_says_nothing_are_the_columns_that_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let row = |n: i32| std::collections::BTreeMap::from([("n".to_owned(), n), ("square".to_owned(), n * n)]);
    let written = engine().map(-2..3, row).batch(2).to_parquet(folder.path().join("a")).result().unwrap();
    assert_eq!(written.rows, 5);
    let back = nuna::scan_parquet(folder.path().join("a")).unwrap().compute().unwrap();
    assert_eq!(back.columns(), ["task", "n", "square"]);
    assert_eq!(back.column_text("square").unwrap(), ["4", "1", "0", "1", "4"]);
}
