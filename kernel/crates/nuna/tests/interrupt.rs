//! Interrupts concern the whole process, so this test has one of its own.

mod support;

use nuna::{MapTasks, session};
use support::engine;

#[test]
fn an_interrupted_wait_leaves_the_tasks_alone() {
    let tasks = engine().map(0..10, |i: i32| i);
    session::set_cell(1);
    session::interrupt();
    let error = tasks.gather().unwrap_err();
    assert!(error.to_string().contains("the tasks go on"), "{error}");
    session::set_cell(2);
    assert_eq!(tasks.gather().unwrap().len(), 10);
}
