//! Task farms as a program sees them.

mod support;

use nuna::{EngineError, MapTasks, TasksError, captures, grid};
use support::engine;

#[test]
fn results_come_back_in_the_order_of_their_parameters() {
    let scale = 2.5;
    let tasks = engine().map(0..1000, move |i: i32| f64::from(i) * scale);
    assert_eq!(tasks.len(), 1000);
    let results = tasks.gather().unwrap();
    assert!(results.iter().enumerate().all(|(i, &result)| result == i as f64 * scale));
    // A second look costs nothing and gives the same, also through a clone.
    assert_eq!(tasks.clone().gather().unwrap(), results);
}

#[test]
fn results_are_handed_out_as_they_complete() {
    let tasks = engine().map(0..5_u32, |i: u32| i * i);
    let completed: Vec<(u64, u32)> =
        tasks.as_completed().indexed().map(|(i, result)| (i, result.unwrap())).collect();
    assert_eq!(completed, [(4, 16), (3, 9), (2, 4), (1, 1), (0, 0)]);
    assert_eq!(tasks.done(), 5);
}

#[test]
fn a_failed_task_is_named_and_the_others_count() {
    fn invert(x: i32) -> Result<i32, String> {
        100_i32.checked_div(x).ok_or_else(|| "division by zero".to_owned())
    }
    let tasks = engine().try_map([5, 0, 20], invert).retries(1);
    let error = tasks.gather().unwrap_err();
    assert_eq!(error.to_string(), "task invert[1] failed: division by zero, with parameter 0, 2 times");
    let outcomes = tasks.outcomes().unwrap();
    assert_eq!((outcomes[0].as_ref().unwrap(), outcomes[2].as_ref().unwrap()), (&20, &5));
}

#[test]
fn a_panic_fails_its_task_with_message_and_place() {
    let tasks = engine().map([1_usize, 7], |i: usize| [0.5, 1.5][i]).named("look");
    let error = tasks.gather().unwrap_err().to_string();
    assert!(error.starts_with("task look[1] panicked at ") && error.contains("tasks.rs:"), "{error}");
    assert!(error.contains("index out of bounds"), "{error}");
}

#[test]
fn an_environment_is_lent_to_each_call() {
    let (names, offset) = (vec!["u".to_owned(), "v".to_owned()], 3_usize);
    let tasks = engine().map_with(
        captures!(names, offset),
        grid([0, 1], [10, 20]),
        |(names, offset), (which, x): (usize, usize)| format!("{}{}", names[which], x + offset),
    );
    assert_eq!(tasks.gather().unwrap(), ["u13", "u23", "v13", "v23"]);
}

#[test]
fn cancelled_tasks_say_so() {
    let tasks = engine().map(0..10, |i: i32| i);
    tasks.cancel();
    assert!(matches!(tasks.gather(), Err(TasksError::Engine(EngineError::Cancelled))));
    let started = engine().map(0..10, |i: i32| i).start();
    started.cancel();
    assert!(matches!(started.gather(), Err(TasksError::Engine(EngineError::Cancelled))));
}

#[test]
fn no_parameters_give_no_results() {
    let tasks = engine().map(Vec::<u8>::new(), |i: u8| i);
    assert!(tasks.is_empty());
    assert_eq!(tasks.gather().unwrap().len(), 0);
}

#[test]
fn named_parameters_span_a_grid() {
    #[derive(Clone, Debug, PartialEq, nuna::serde::Serialize, nuna::serde::Deserialize)]
    #[serde(crate = "nuna::serde")]
    struct Params {
        scheme: String,
        steps: u32,
    }
    let all = grid!(Params { scheme: ["euler".to_owned(), "rk4".to_owned()], steps: 1..=2 });
    let labels = engine().map(all, |p: Params| format!("{}{}", p.scheme, p.steps)).gather().unwrap();
    assert_eq!(labels, ["euler1", "euler2", "rk41", "rk42"]);
}

#[test]
fn steps_and_reductions_follow_from_results() {
    let squares = engine().map(0..1000_u64, |x: u64| x * x);
    let lengths = squares.then(|x: u64| x.to_string().len());
    assert_eq!(lengths.gather().unwrap()[999], "998001".len());
    let sum = squares.reduce(|a: u64, b: u64| a + b);
    assert_eq!(sum.result().unwrap(), (0..1000).map(|x| x * x).sum::<u64>());
    assert_eq!(sum.result().unwrap(), 332_833_500, "it may be asked twice");
    assert_eq!(
        sum.then(|x: u64| x + 1).result().unwrap_err().to_string().split(';').next(),
        Some("tasks `map` have started already")
    );
    let text =
        engine().map(1..=4, |x: i32| x).batch(1).reduce(i32::max).then(|x: i32| format!("{x} at most"));
    assert_eq!(text.result().unwrap(), "4 at most");
    assert_eq!(squares.gather().unwrap()[3], 9, "the tasks themselves are as they were");
}

#[test]
fn a_reduction_of_no_parameters_says_that_there_is_no_result() {
    let sum = engine().map(Vec::<u64>::new(), |x: u64| x).reduce(|a: u64, b: u64| a + b).named("total");
    assert!(matches!(sum.result(), Err(TasksError::Nothing { .. })));
    assert_eq!(sum.result().unwrap_err().to_string(), "`total` has no result, as it was given no parameters");
}

#[test]
fn one_task_is_submitted_and_gives_its_result() {
    let engine = engine();
    let task = MapTasks::submit(&engine, 20_u64, |x: u64| x + 1);
    assert_eq!(task.result().unwrap(), 21);
    assert!(task.is_done());
    let failed = MapTasks::submit(&engine, 0_u64, |x: u64| 1 / x).named("invert");
    assert!(failed.result().unwrap_err().to_string().contains("divide by zero"));
}
