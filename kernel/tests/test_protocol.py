"""Promises of the protocol that jupyter_kernel_test does not ask about."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from test_processes import alive, until
from wire import kernel


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


def test_a_reply_tells_when_its_cell_began(wire):
    sent = wire.execute("1 + 1")
    reply = wire.wait("shell", lambda m: m["parent_header"].get("msg_id") == sent, "reply")
    assert reply["metadata"]["status"] == "ok" and reply["metadata"]["started"]


def test_kernel_info_says_what_editors_ask(wire):
    info = wire.reply(wire.send("shell", "kernel_info_request"))
    language = info["language_info"]
    assert (language["name"], language["file_extension"], language["pygments_lexer"]) == ("rust", ".rs", "rust")
    assert language["codemirror_mode"] == {"name": "rust"} and language["nbconvert_exporter"] == "script"
    assert info["supported_features"] == ["kernel subshells"] and info["banner"]
    assert wire.reply(wire.send("control", "kernel_info_request"), "control") == info


def test_a_running_cell_keeps_no_request_waiting(wire):
    sent = wire.begin('println!("begun");\nwhile !nuna::session::interrupted() { std::thread::sleep(std::time::Duration::from_millis(10)); }')
    for kind, content in {"complete": {"code": "whi", "cursor_pos": 3}, "inspect": {"code": "x", "cursor_pos": 1}, "history": {"hist_access_type": "tail", "n": 1},
                          "comm_info": {}, "is_complete": {"code": "1"}, "kernel_info": {}}.items():
        assert wire.reply(wire.send("shell", f"{kind}_request", content))["status"] in ("ok", "complete")
    wire.interrupt()
    wire.reply(sent)


def test_subshells_answer_while_a_cell_runs_and_their_cells_wait(wire):
    made = wire.reply(wire.send("control", "create_subshell_request"), "control")["subshell_id"]
    assert wire.reply(wire.send("control", "list_subshell_request"), "control")["subshell_id"] == [made]
    sent = wire.begin('println!("begun");\nstd::thread::sleep(std::time::Duration::from_secs(600));')
    header = {"subshell_id": made}
    waiting = wire.execute("let of_subshell = 1;", header=header)
    failing = wire.execute("let of_main = 1;")
    assert wire.reply(wire.send("shell", "complete_request", {"code": "whi", "cursor_pos": 3}, header=header))["matches"]
    wire.interrupt()
    assert wire.reply(sent)["status"] == "error"
    # What failed was the main shell's, so only the main shell's cell is aborted.
    assert wire.reply(failing)["status"] == "aborted"
    assert wire.reply(waiting)["status"] == "ok"
    assert wire.reply(wire.send("control", "delete_subshell_request", {"subshell_id": made}), "control")["status"] == "ok"
    assert wire.reply(wire.execute("1", header=header))["ename"] == "UnknownSubshell"


def test_cells_behind_a_failure_are_aborted_unless_it_says_otherwise(wire):
    failing = wire.execute('panic!("first");')
    behind = [wire.execute("let behind = 1;") for _ in range(20)]
    assert wire.reply(failing)["status"] == "error"
    assert {wire.reply(sent)["status"] for sent in behind} == {"aborted"}
    assert wire.run("let again = 1;")[0]["status"] == "ok"
    going_on = wire.execute('panic!("second");', stop_on_error=False)
    behind = wire.execute("let behind = 2;")
    assert (wire.reply(going_on)["status"], wire.reply(behind)["status"]) == ("error", "ok")


def test_user_expressions_are_evaluated_after_the_cell_and_fail_alone(wire):
    reply, outputs = wire.run("let a = 6;", user_expressions={"double": "a * 2", "broken": "nothing_here", "loud": 'println!("unheard"); 3', "number": 4})
    answers = reply["user_expressions"]
    assert answers["double"]["status"] == "ok" and answers["double"]["data"]["text/plain"] == "12"
    assert answers["broken"]["status"] == "error" and "nothing_here" in answers["broken"]["evalue"]
    assert answers["loud"]["data"]["text/plain"] == "3" and answers["number"]["status"] == "error"
    assert [m["msg_type"] for m in outputs] == ["execute_input"]
    reply, _ = wire.run('panic!("no");', user_expressions={"a": "a"})
    assert reply["user_expressions"] == {}


def test_a_debugger_is_told_to_be_missing_and_usage_is_told(wire):
    answer = wire.reply(wire.send("control", "debug_request", {"type": "request", "command": "initialize", "seq": 5}), "control")
    assert (answer["success"], answer["request_seq"], answer["command"]) == (False, 5, "initialize")
    usage = wire.reply(wire.send("control", "usage_request"), "control")
    assert usage["pid"] == wire.manager.provisioner.process.pid and usage["kernel_memory"] > 10_000_000
    assert usage["host_virtual_memory"]["total"] > usage["host_virtual_memory"]["available"]


def test_help_opens_in_the_pager(wire):
    wire.run("/// Half of it.\nfn half(n: f64) -> f64 { n / 2.0 }\nlet paged = half(3.0);")
    reply, _ = wire.run("?paged")
    [payload] = reply["payload"]
    assert payload["source"] == "page" and "f64" in payload["data"]["text/plain"]
    assert wire.run("?")[0]["payload"][0]["source"] == "page"


def test_what_was_typed_is_known_to_the_next_session(monkeypatch, tmp_path):
    monkeypatch.setenv("NUNA_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NUNA_HISTORY", "1")

    def tail(wire, n=3):
        return wire.reply(wire.send("shell", "history_request", {"hist_access_type": "tail", "n": n, "raw": True, "output": False}))["history"]

    with kernel() as first:
        assert tail(first) == []
        first.run("let remembered = 1;")
        first.run("let hidden = 1;", store_history=False)
        assert tail(first) == [[1, 1, "let remembered = 1;"]]
        until(lambda: "remembered" in (tmp_path / "history.jsonl").read_text(), "nothing was written")
    assert (tmp_path / "history.jsonl").stat().st_mode & 0o777 == 0o600
    with kernel() as second:
        second.run("let later = 2;")
        assert tail(second) == [[1, 1, "let remembered = 1;"], [2, 1, "let later = 2;"]]


SERVER = """
import json, sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="nuna")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute_interactive("let held = 1;", timeout=60, allow_stdin=False)
print(json.dumps([manager.provisioner.process.pid, manager.connection_file]), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_kernel_ends_with_the_server_that_was_killed(tmp_path, monkeypatch, busy):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = SERVER if not busy else SERVER.replace("print(", 'client.execute("loop {}"); client.get_iopub_msg(timeout=60)\nprint(')
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, _ = json.loads(server.stdout.readline())
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    server.stdout.close()
    until(lambda: not alive(pid), "the kernel outlived its server")
    until(lambda: not list(pathlib.Path(tmp_path).glob("nuna-cells-*")), "its folder outlived it")


def test_shutdown_is_answered_before_the_end_and_restart_begins_anew():
    with kernel() as wire:
        wire.run("let before = 1;")
        pid = wire.manager.provisioner.process.pid
        reply = wire.reply(wire.send("control", "shutdown_request", {"restart": False}), "control")
        assert reply == {"status": "ok", "restart": False}
        until(lambda: not alive(pid), "the kernel outlived its shutdown")
    with kernel() as wire:
        wire.run("let before = 1;")
        wire.manager.restart_kernel()
        wire.client.wait_for_ready(timeout=60)
        reply, _ = wire.run("before")
        assert reply["status"] == "error" and reply["execution_count"] == 1
