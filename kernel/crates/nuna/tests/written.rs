//! Results that are written where they are made.

mod support;

use std::{fs, path::Path};

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
