"""Kernels and evaluators that end in all the ways there are."""

import os
import pathlib
import signal
import subprocess
import time

import pytest
from jupyter_client.manager import start_new_kernel
from session import Session


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts kernels whose cells are compiled below a folder of this test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    running = []

    def start():
        manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
        running.append((manager, client))
        return manager, Session(client)

    yield start
    for manager, client in running:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def folders(parent: pathlib.Path) -> list[pathlib.Path]:
    return list(parent.glob("nuna-cells-*"))


def until(holds, what: str, patience: float = 20):
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def child_of(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(pid)], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0]) for line in found.splitlines() if "nuna-evaluator" in line)


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_kernels_folder_is_private_and_goes_with_it(started, tmp_path):
    manager, cells = started()
    assert cells.value("1 + 1") == "2"
    [folder] = folders(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    manager.shutdown_kernel()
    until(lambda: not folders(tmp_path), "the folder outlived its kernel")


def test_a_killed_kernel_takes_its_evaluator_and_its_folder_along(started, tmp_path):
    manager, cells = started()
    cells.run("let held = 1;")
    kernel = manager.provisioner.process.pid
    evaluator = child_of(kernel)
    os.kill(kernel, signal.SIGKILL)
    until(lambda: not alive(evaluator), "the evaluator outlived its kernel")
    until(lambda: not folders(tmp_path), "the folder outlived its kernel")


def test_the_next_kernel_sweeps_what_nobody_could_remove(started, tmp_path):
    manager, cells = started()
    cells.run("let held = 1;")
    kernel = manager.provisioner.process.pid
    evaluator = child_of(kernel)
    os.kill(evaluator, signal.SIGSTOP)
    os.kill(kernel, signal.SIGKILL)
    os.kill(evaluator, signal.SIGKILL)
    until(lambda: not alive(evaluator), "the evaluator outlived a SIGKILL")
    [left] = folders(tmp_path)
    started()
    until(lambda: not left.exists(), "the next kernel left the folder")
    assert len(folders(tmp_path)) == 1


ENDS = {
    "abort": ("std::process::abort();", "SIGABRT"),
    "exit": ("std::process::exit(3);", "exit code 3"),
    "overflow": ("fn deeper(n: u64) -> u64 { if n == u64::MAX { 0 } else { 1 + deeper(std::hint::black_box(n + 1)) } }\ndeeper(0)", "StackOverflow"),
    "killed": ('std::process::Command::new("sh").args(["-c", "kill -9 $PPID"]).status()?;\nloop {}', "memory"),
    "segfault": ("unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }", "SIGSEGV"),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_evaluator_that_ends_is_reported_and_replaced(started, how):
    cell, words = ENDS[how]
    _, cells = started()
    cells.run("let doomed = vec![1]; fn survivor() -> i32 { 5 }")
    message = cells.fails(cell)
    assert words in message and "doomed" in message
    assert cells.value("survivor()") == "5"
    assert "`doomed` was lost" in cells.fails("doomed")


def interrupt(manager, cells, code: str, presses: int = 1):
    """Runs a cell that prints first, and interrupts it when it has."""
    client = cells.client
    sent = client.execute(code)
    outputs = []
    while not outputs or outputs[-1]["msg_type"] != "stream":
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == sent:
            outputs.append(message)
    begun = time.monotonic()
    for _ in range(presses):
        manager.interrupt_kernel()
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == sent:
            return reply["content"], time.monotonic() - begun


STOPPABLE = {
    "loop": "let mut n = 0u64;\nloop { n = n.wrapping_add(1); }",
    "while_in_function": "fn spin() { let mut n = 0u64; while n < u64::MAX { n = std::hint::black_box(n + 1) } }\nspin();",
    "allocating": "let mut v: Vec<u64> = Vec::new();\nloop { v.push(1); if v.len() > 1_000_000 { v.clear(); } }",
    "sleeping": "loop { std::thread::sleep(std::time::Duration::from_millis(20)); }",
    "awaiting": "std::future::pending::<()>().await;",
}


@pytest.mark.parametrize("what", STOPPABLE)
def test_the_first_interrupt_keeps_every_variable(started, what):
    manager, cells = started()
    cells.run("let kept = vec![4, 2];")
    reply, _ = interrupt(manager, cells, f'let made = kept.len();\nprintln!("begun");\n{STOPPABLE[what]}')
    assert reply["ename"] == "Interrupted", reply
    assert cells.value("(kept, made)") == "([4, 2], 2)"


def test_the_second_interrupt_ends_what_does_not_look(started):
    manager, cells = started()
    cells.run("let doomed = 1; fn survivor() -> i32 { 5 }")
    reply, _ = interrupt(manager, cells, 'println!("begun");\nstd::thread::sleep(std::time::Duration::from_secs(600));', presses=2)
    assert reply["status"] == "error" and "doomed" in reply["evalue"] and "interrupted" in reply["evalue"]
    assert cells.value("survivor()") == "5"
