"""The first interrupt stops whatever a cell waits for, and keeps every variable."""

import pytest
from wire import kernel, text


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


WAITS = {
    "sleep": "std::thread::sleep(std::time::Duration::from_secs(600));\nlet after = 1;",
    "sleep in a function": "fn rest() -> i32 { std::thread::sleep(std::time::Duration::from_secs(600)); println!(\"went on\"); 1 }\nlet after = rest();",
    "sleep in a thread that is joined": "std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_secs(600)); println!(\"went on\"); }).join().ok();\nnuna::cell::check();\nlet after = 1;",
    "stdin": "let mut line = String::new();\nstd::io::stdin().read_line(&mut line)?;\nlet after = 1;",
    "stdin unwrapped": "let mut line = String::new();\nstd::io::stdin().read_line(&mut line).unwrap();\nlet after = 1;",
    "input": "let line = nuna::input(\"name? \")?;\nlet after = 1;",
    "allocating": "let mut v: Vec<Vec<u64>> = Vec::new();\nloop { v.push(vec![1; 1000]); if v.len() > 1000 { v.clear(); } }\nlet after = 1;",
    "a program": "let status = std::process::Command::new(\"sleep\").arg(\"600\").status()?;\nprintln!(\"went on {status}\");\nlet after = 1;",
    "await": "std::future::pending::<()>().await;\nlet after = 1;",
}


@pytest.mark.parametrize("what", WAITS)
def test_an_interrupt_keeps_every_variable(wire, what):
    assert wire.run(":clear")[0]["status"] == "ok"
    wire.run("let kept = vec![4, 2];")
    sent = wire.begin(f'let made = kept.len();\nprintln!("begun");\n{WAITS[what]}')
    if "std" in what or what == "input":
        wire.wait("stdin", lambda m: m["msg_type"] == "input_request", "question")
    wire.interrupt()
    reply = wire.reply(sent)
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted"), reply
    assert "went on" not in text(wire.outputs(sent))
    assert wire.value("(kept, made)") == "([4, 2], 2)"
    reply, _ = wire.run("after")
    assert reply["status"] == "error", "what comes after the wait has run"


def test_an_interrupt_stops_a_computation_on_a_cluster(wire):
    wire.run("use nuna::prelude::*;\nlet kept = 7;\nlet cluster = Cluster::local().workers(1).start()?;")
    assert wire.value("cluster.info().workers.len()") == "1"
    sent = wire.begin('println!("begun");\nlet tasks = cluster.map(0..2u64, |n: u64| { let mut m = n; while m < u64::MAX { m = std::hint::black_box(m + 1); } m });\nlet results = tasks.gather()?;')
    wire.interrupt()
    reply = wire.reply(sent)
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted"), reply
    assert wire.value("kept") == "7"


def test_sleeps_of_other_threads_are_not_cut(wire):
    sent = wire.begin('std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(1500)); println!("slept"); });\nprintln!("begun");')
    assert wire.reply(sent)["status"] == "ok"
    stopped = wire.begin('println!("begun");\nstd::thread::sleep(std::time::Duration::from_secs(600));')
    wire.interrupt()
    assert wire.reply(stopped)["ename"] == "Interrupted"
    # The interrupt was long before the other thread's sleep ended; it prints to its own cell.
    while "slept" not in wire.output(sent, "stream")["content"]["text"]:
        pass


def test_a_second_interrupt_ends_the_process_and_says_what_was_lost(wire):
    wire.run("let doomed = 1; fn survivor() -> i32 { 5 }")
    sent = wire.begin('println!("begun");\nlet (sender, receiver) = std::sync::mpsc::channel::<i32>();\nreceiver.recv()?;\ndrop(sender);')
    wire.interrupt()
    wire.interrupt()
    reply = wire.reply(sent)
    assert reply["ename"] == "Interrupted" and "doomed" in reply["evalue"], reply
    assert wire.value("survivor()") == "5"


def test_an_interrupt_between_cells_is_nobodys(wire):
    wire.interrupt()
    assert wire.value("1 + 1") == "2"
