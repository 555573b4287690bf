"""What the evcxr evaluator's kernel does besides running cells: completion, tooltips, interrupts, crashes."""

import os
import pathlib
import signal
import threading
import time

from evaluators import evcxr, kernelspecs  # noqa: F401 (fixtures)

PATIENCE = 90


def waits_for(what, patience=60):
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def test_completion_and_tooltips_know_the_type_of_a_variable(evcxr):
    assert evcxr.run(":clear\nlet text = String::from(\"abc\");", PATIENCE).ok
    reply = evcxr.client.complete("text.to_upperc", 14, reply=True, timeout=PATIENCE)["content"]
    assert any(match.startswith("to_uppercase") for match in reply["matches"]), reply
    assert (reply["cursor_start"], reply["cursor_end"]) == (5, 14)
    reply = evcxr.client.inspect("text", 2, reply=True, timeout=PATIENCE)["content"]
    assert reply["found"] and "String" in reply["data"]["text/plain"], reply


def test_an_interrupt_says_what_was_lost_and_the_next_cell_runs(evcxr):
    assert evcxr.run("fn seven() -> i32 { 7 }\nlet held = vec![1];", PATIENCE).ok
    started = threading.Event()
    ran = []

    def run():
        ran.append(evcxr.run('println!("begun"); loop { std::thread::sleep(std::time::Duration::from_millis(10)); }', PATIENCE))

    hook = evcxr.client.execute_interactive

    def watched(*args, output_hook, **options):
        def tell(message):
            output_hook(message)
            if "begun" in message["content"].get("text", ""):
                started.set()
        return hook(*args, output_hook=tell, **options)

    evcxr.client.execute_interactive = watched
    try:
        thread = threading.Thread(target=run)
        thread.start()
        assert started.wait(PATIENCE)
        evcxr.manager.interrupt_kernel()
        thread.join(PATIENCE)
    finally:
        del evcxr.client.execute_interactive
    failure = ran[0].failure
    assert failure.startswith("Interrupted") and "held" in failure.split("lost variables:")[1], failure
    assert evcxr.run("seven()", PATIENCE).result.strip() == "7"


def test_a_crash_says_what_was_lost_and_functions_are_kept(evcxr):
    assert evcxr.run("fn eight() -> i32 { 8 }\nlet dear = 1;", PATIENCE).ok
    ran = evcxr.run("std::process::abort();", PATIENCE)
    assert "lost variables: " in ran.failure and "dear" in ran.failure, ran.failure
    assert evcxr.run("eight()", PATIENCE).result.strip() == "8"


def test_evcxr_itself_can_die_and_the_kernel_goes_on(evcxr):
    kernel = evcxr.manager.provisioner.pid
    [program] = children(kernel)
    os.kill(program, signal.SIGKILL)
    waits_for(lambda: program not in children(kernel) or pathlib.Path(f"/proc/{program}/stat").read_text().split()[2] == "Z")
    assert "ended" in evcxr.run("1", PATIENCE).failure
    assert evcxr.run("2 + 3", PATIENCE).result.strip() == "5"
