"""What nobody should send. The kernel refuses it or answers with an error, and runs the next cell."""

import json
import os
import signal
import socket
import struct
import subprocess
import uuid

import pytest
import zmq
from conftest import programs
from jupyter_client.session import Session
from wire import kernel

SECRET = "a key of this test"


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


def ports(wire):
    info = wire.client.get_connection_info()
    return {name: info[f"{name}_port"] for name in ("shell", "control", "stdin", "iopub", "hb")}


def alive(wire):
    assert wire.value("1 + 1") == "2"


CELLS = {
    "half a cell": ("let x = (1 +", "SyntaxError"),
    "a bracket too many": ("}}}}", "SyntaxError"),
    "a lone quote": ("\"", "SyntaxError"),
    "nested deeply": ("(" * 100_000 + ")" * 100_000, "SyntaxError"),
    "operators without end": ("!" * 1_000_000 + "true", "SyntaxError"),
    "control characters": ("\x00\x01\x02 let \x7f", "Error"),
    "words": ("what is this", "Error"),
    "more than is compiled": ("//" + "x" * (17 << 20), "BadRequest"),
}


@pytest.mark.parametrize("what", CELLS)
def test_a_cell_that_is_none_fails_and_the_next_runs(wire, what):
    cell, name = CELLS[what]
    reply, _ = wire.run(cell)
    assert reply["status"] == "error" and name in reply["ename"], str(reply)[:500]
    alive(wire)


def test_a_cell_of_five_megabytes_is_run_or_refused(wire):
    reply, _ = wire.run("// " + "x" * 5_000_000 + "\nlet large = 5;\nlarge")
    assert reply["status"] == "ok", str(reply)[:500]
    reply, _ = wire.run(f'let text = "{"y" * 5_000_000}";\ntext.len()')
    assert reply["status"] == "ok", str(reply)[:500]
    alive(wire)


CONTENTS = [{}, {"code": None}, {"code": 3}, {"code": ["1"]}, {"code": {"a": 1}}, {"silent": "yes"}]


@pytest.mark.parametrize("content", CONTENTS, ids=json.dumps)
def test_an_execute_request_without_a_cell_is_answered_with_an_error(wire, content):
    sent = wire.send("shell", "execute_request", content)
    reply = wire.reply(sent)
    assert reply["status"] == "error" and "code" in reply["evalue"]
    wire.outputs(sent)


WRONG = {"code": [1], "cursor_pos": "x", "silent": 3, "store_history": {}, "user_expressions": [1], "allow_stdin": "maybe",
         "stop_on_error": None, "detail_level": "deep", "hist_access_type": 5, "n": -3, "start": "a", "stop": [], "session": {},
         "pattern": 7, "target_name": 1, "comm_id": 2, "data": 3, "restart": "no", "subshell_id": 4, "unique": "u", "output": 9}


def test_fields_of_wrong_types_are_survived_by_every_request(wire):
    for kind in ("kernel_info", "is_complete", "complete", "inspect", "history", "comm_info", "delete_subshell", "list_subshell", "usage", "debug"):
        for content in (WRONG, {}, WRONG | {"hist_access_type": "range"}, WRONG | {"hist_access_type": "search"}):
            for channel in ("shell", "control"):
                wire.reply(wire.send(channel, f"{kind}_request", content), channel)
    reply, _ = wire.run("1 + 1", **{key: value for key, value in WRONG.items() if key != "code"})
    assert reply["status"] == "ok", reply
    for value in (0, -1, 2**63, 1e300, 10**9):
        wire.reply(wire.send("shell", "complete_request", {"code": "äß let", "cursor_pos": value}))
        wire.reply(wire.send("shell", "inspect_request", {"code": "äß let", "cursor_pos": value}))
        wire.reply(wire.send("shell", "history_request", {"hist_access_type": "range", "start": value, "stop": value, "n": value}))
    alive(wire)


def test_an_unknown_request_ends_with_idle(wire):
    for channel in ("shell", "control"):
        sent = wire.send(channel, "make_coffee_request", {"milk": True})
        assert wire.outputs(sent) == []
    alive(wire)


def test_a_cell_in_a_subshell_that_is_not_there_is_refused(wire):
    reply = wire.reply(wire.execute("1", header={"subshell_id": "nowhere"}))
    assert reply["status"] == "error" and "nowhere" in reply["evalue"]


def raw(wire, channel):
    """A socket of our own, which signs nothing by itself."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(f"tcp://127.0.0.1:{ports(wire)[channel]}")
    return socket


def whole(wire, kind="kernel_info_request", content=None):
    session = wire.client.session
    return session.serialize(session.msg(kind, content or {}), ident=None)


def test_frames_that_are_no_message_are_dropped(wire):
    for channel in ("shell", "control", "stdin"):
        socket = raw(wire, channel)
        frames = whole(wire)
        for count in range(1, len(frames)):
            socket.send_multipart(frames[:count])
        for frame in (b"", b"\xff\xfe", b"{", b"[]", b"null", b"<IDS|MSG>", os.urandom(1000), b"[" * 1_000_000):
            socket.send(frame)
            socket.send_multipart([b"<IDS|MSG>", frame, frame, frame, frame, frame])
            socket.send_multipart([*frames[:-1], frame])
        socket.send_multipart([b"many"] * 5000)
        # The same connection still serves.
        if channel != "stdin":
            socket.send_multipart(whole(wire))
            assert socket.poll(60_000) and b"kernel_info_reply" in b"".join(socket.recv_multipart())
        socket.close()
    alive(wire)


def test_a_message_signed_with_another_key_or_sent_again_is_not_answered(wire):
    socket = raw(wire, "shell")
    stranger = Session(key=b"another key")
    socket.send_multipart(stranger.serialize(stranger.msg("execute_request", {"code": "let theirs = 1;"}), ident=None))
    once = whole(wire, "execute_request", {"code": "let counted = 1;", "silent": False})
    socket.send_multipart(once)
    socket.send_multipart(once)
    end = whole(wire, "execute_request", {"code": "let ended = 1;"})
    socket.send_multipart(end)
    replies = []
    while not replies or json.loads(end[2])["msg_id"].encode() not in replies[-1]:
        assert socket.poll(60_000)
        replies.append(b"".join(socket.recv_multipart()))
    assert len(replies) == 2, "the stranger's and the repeated one have no reply"
    socket.close()
    assert wire.run("theirs")[0]["status"] == "error"


def test_a_frame_of_two_hundred_megabytes_stops_nothing(wire):
    socket = raw(wire, "shell")
    large = b"x" * 200_000_000
    socket.send_multipart([b"<IDS|MSG>", b"", large, b"{}", b"{}", b"{}"], copy=False)
    socket.send_multipart([*whole(wire), large], copy=False)
    assert socket.poll(120_000)
    socket.recv_multipart()
    socket.close()
    alive(wire)


def test_bytes_that_are_not_zeromq_are_survived_on_all_five_sockets(wire):
    greeting = b"\xff" + b"\x00" * 8 + b"\x7f\x03\x01NULL" + b"\x00" * 48
    junk = [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100, os.urandom(4096), greeting[:20], greeting + b"\x04\xff" + b"\xff" * 50,
            greeting + b"\x06" + struct.pack(">Q", 2**62), greeting + b"\x04\x19\x05READY\x0bSocket-Type\xff\xff\xff\xff"]
    for port in ports(wire).values():
        for bytes_ in junk:
            with socket.create_connection(("127.0.0.1", port)) as stream:
                stream.sendall(bytes_)
                stream.settimeout(0.2)
                try:
                    stream.recv(1000)
                except OSError:
                    pass
    assert wire.client.hb_channel.is_beating()
    alive(wire)


def test_many_clients_that_vanish_are_survived(wire):
    for _ in range(50):
        socket = raw(wire, "shell")
        socket.send_multipart(whole(wire))
        socket.close()
    alive(wire)


# The connection file.

def connection(**changes):
    return {"transport": "tcp", "ip": "127.0.0.1", "key": SECRET, "signature_scheme": "hmac-sha256", "shell_port": 0,
            "iopub_port": 0, "stdin_port": 0, "control_port": 0, "hb_port": 0} | changes


def started(tmp_path, text):
    path = tmp_path / f"kernel-{uuid.uuid4()}.json"
    path.write_text(text)
    environment = os.environ | {"NUNA_RUNTIME_DIR": str(programs()), "TMPDIR": str(tmp_path)}
    return subprocess.Popen([programs() / "nuna-kernel", path], stderr=subprocess.PIPE, text=True, env=environment)


FILES = {
    "not JSON": ("{", "not a connection file"),
    "another JSON": ("[]", "not a connection file"),
    "no ports": ("{}", "not a connection file"),
    "a port too large": (json.dumps(connection(shell_port=70000)), "70000"),
    "a port that is text": (json.dumps(connection(shell_port="x")), "not a connection file"),
    "an unknown signature": (json.dumps(connection(signature_scheme="hmac-md5")), "hmac-sha256"),
    "an unknown transport": (json.dumps(connection(transport="pigeon")), "tcp and ipc"),
    "an address that is not ours": (json.dumps(connection(ip="203.0.113.1")), "203.0.113.1"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_connection_file_that_cannot_be_used_is_explained(tmp_path, what):
    text, words = FILES[what]
    process = started(tmp_path, text)
    _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, None) and words in errors and SECRET not in errors, errors


def test_a_port_in_use_is_explained(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        process = started(tmp_path, json.dumps(connection(shell_port=port)))
        _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, None) and str(port) in errors, errors


def test_a_missing_connection_file_is_explained(tmp_path):
    process = subprocess.run([programs() / "nuna-kernel", tmp_path / "none.json"], capture_output=True, text=True, timeout=60)
    assert process.returncode != 0 and "none.json" in process.stderr


def test_no_key_and_ipc_are_spoken(tmp_path):
    from jupyter_client.blocking import BlockingKernelClient
    info = connection(transport="ipc", ip=str(tmp_path / "socket"), key="") | {f"{name}_port": number for number, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    process = started(tmp_path, json.dumps(info))
    client = BlockingKernelClient()
    client.load_connection_info(info)
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        shown = []
        client.execute_interactive("6 * 7", timeout=60, output_hook=shown.append, allow_stdin=False)
        results = [m["content"]["data"]["text/plain"] for m in shown if m["msg_type"] == "execute_result"]
        assert results == ["42"]
        for channel in range(1, 6):
            assert (tmp_path / f"socket-{channel}").stat().st_uid == os.getuid()
    finally:
        client.stop_channels()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stderr.close()
