"""Comms, as widgets use them."""

import pytest
from wire import kernel, text


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


def info(wire, **content):
    return wire.reply(wire.send("shell", "comm_info_request", content))["comms"]


def test_a_counter_made_in_a_cell_counts_while_another_cell_runs(wire):
    sent = wire.execute("""use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use nuna::serde_json::json;
let count = Arc::new(AtomicI64::new(0));
let counter = nuna::comm::open("jupyter.widget", json!({"state": {"_model_name": "IntSliderModel", "value": 0}}));
let shared = Arc::clone(&count);
counter.on_message(move |comm, message| {
    let step = message.data["state"]["value"].as_i64().unwrap_or(0);
    let now = shared.fetch_add(step, Ordering::SeqCst) + step;
    println!("now {now}");
    comm.send(json!({"method": "update", "state": {"value": now}}));
});""")
    opened = wire.output(sent, "comm_open")
    assert wire.reply(sent)["status"] == "ok"
    content = opened["content"]
    assert content["target_name"] == "jupyter.widget" and content["data"]["state"]["value"] == 0
    assert info(wire, target_name="jupyter.widget") == {content["comm_id"]: {"target_name": "jupyter.widget"}}
    running = wire.begin('println!("begun");\nwhile count.load(Ordering::SeqCst) < 5 { std::thread::sleep(std::time::Duration::from_millis(10)); }')
    for step in (2, 3):
        changed = wire.send("shell", "comm_msg", {"comm_id": content["comm_id"], "data": {"method": "update", "state": {"value": step}}})
        outputs = wire.outputs(changed)
        assert [m["msg_type"] for m in outputs] == ["stream", "comm_msg"]
        assert outputs[0]["content"]["text"] == f"now {2 if step == 2 else 5}\n"
    assert outputs[1]["content"]["data"]["state"]["value"] == 5
    assert wire.reply(running)["status"] == "ok"
    assert wire.value("count.load(Ordering::SeqCst)") == "5"


def test_a_target_registered_in_a_cell_answers_with_buffers_and_metadata(wire):
    reply, _ = wire.run("""nuna::comm::register_target("echo", |comm, opened| {
    comm.on_message(|comm, message| comm.send(nuna::comm::Message { buffers: message.buffers.iter().rev().cloned().collect(), ..message }));
    comm.on_close(|_, _| println!("closed"));
    comm.send(nuna::serde_json::json!({"got": opened.data}));
});""")
    assert reply["status"] == "ok", reply
    opened = wire.send("shell", "comm_open", {"comm_id": "mine", "target_name": "echo", "data": {"n": 1}})
    assert wire.output(opened, "comm_msg")["content"] == {"comm_id": "mine", "data": {"got": {"n": 1}}}
    assert "mine" in info(wire)
    sent = wire.send("shell", "comm_msg", {"comm_id": "mine", "data": [1, "ä"]}, metadata={"m": 1}, buffers=[b"one", b"\x00\xff"])
    echoed = wire.output(sent, "comm_msg")
    assert [bytes(b) for b in echoed["buffers"]] == [b"\x00\xff", b"one"]
    assert echoed["content"]["data"] == [1, "ä"] and echoed["metadata"] == {"m": 1}
    closed = wire.send("shell", "comm_close", {"comm_id": "mine", "data": {}})
    assert text(wire.outputs(closed)) == "closed\n" and "mine" not in info(wire)


def test_an_unknown_target_is_closed(wire):
    opened = wire.send("shell", "comm_open", {"comm_id": "lost", "target_name": "nobody", "data": {}})
    closed = wire.output(opened, "comm_close")["content"]
    assert closed["comm_id"] == "lost" and "nobody" in closed["data"]["reason"]
    assert "lost" not in info(wire)


def test_a_handler_that_panics_stops_nothing(wire):
    wire.run('nuna::comm::register_target("bad", |_, _| panic!("in the handler"));')
    opened = wire.send("shell", "comm_open", {"comm_id": "b", "target_name": "bad", "data": {}})
    assert "in the handler" in text(wire.outputs(opened), "stderr")
    opened = wire.send("shell", "comm_open", {"comm_id": "e", "target_name": "echo", "data": 2})
    assert wire.output(opened, "comm_msg")["content"]["data"] == {"got": 2}


def test_messages_to_comms_that_are_not_there_end_with_idle(wire):
    for content in ({"comm_id": "unknown", "data": {}}, {"data": {}}, {"comm_id": 3}):
        assert wire.outputs(wire.send("shell", "comm_msg", content)) == []


def test_comms_of_a_process_that_ended_are_closed(wire):
    sent = wire.execute("std::process::abort();")
    assert wire.output(sent, "comm_close")
    assert wire.reply(sent)["ename"] == "EvaluatorEnded"
    assert info(wire) == {}
