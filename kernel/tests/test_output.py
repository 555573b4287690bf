"""What cells print: whole, in order, and with the cell it belongs to."""

import pytest
from wire import kernel, text


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


def test_both_streams_keep_their_order(wire):
    _, outputs = wire.run('for i in 0..20 { println!("out {i}"); eprintln!("err {i}"); }')
    streams = [m for m in outputs if m["msg_type"] == "stream"]
    joined = "".join(m["content"]["text"] for m in streams)
    assert joined == "".join(f"out {i}\nerr {i}\n" for i in range(20))
    assert {m["content"]["name"] for m in streams} == {"stdout", "stderr"}


def test_what_a_thread_prints_late_belongs_to_the_cell_that_started_it(wire):
    first = wire.begin("""let (go, wait) = std::sync::mpsc::channel::<()>();
std::thread::spawn(move || { let _ = wait.recv(); println!("late"); eprintln!("later"); nuna::display::publish("text/html", "<b>latest</b>"); });
println!("begun");""")
    assert wire.reply(first)["status"] == "ok"
    second = wire.begin('println!("second before");\ngo.send(())?;\nstd::thread::sleep(std::time::Duration::from_millis(300));\nprintln!("second after");')
    assert wire.reply(second)["status"] == "ok"
    shown = wire.output(first, "display_data")
    assert shown["content"]["data"] == {"text/html": "<b>latest</b>"}
    mine = [m for m in wire.held["iopub"] if m["parent_header"].get("msg_id") == first]
    assert "late\n" in text(mine) and "later\n" in text(mine, "stderr")
    assert text(wire.outputs(second)) == "second after\n"


def test_what_a_thread_prints_between_cells_is_shown_at_once(wire):
    sent = wire.begin('std::thread::spawn(|| { std::thread::sleep(std::time::Duration::from_millis(700)); println!("between"); });\nprintln!("begun");')
    assert wire.reply(sent)["status"] == "ok"
    # No further cell runs.
    while "between" not in wire.output(sent, "stream")["content"]["text"]:
        pass


def test_twenty_thousand_lines_arrive_in_few_messages(wire):
    _, outputs = wire.run('for i in 0..20_000 { println!("line {i}"); }')
    assert text(outputs) == "".join(f"line {i}\n" for i in range(20_000))
    assert len(outputs) < 500


def test_a_line_of_fifty_megabytes_arrives_whole(wire):
    _, outputs = wire.run('println!("{}", "x".repeat(50_000_000));\nprintln!("end");')
    printed = text(outputs)
    assert len(printed) == 50_000_005 and printed.endswith("x\nend\n") and printed.startswith("xxx")


def test_a_display_of_fifty_megabytes_arrives_whole(wire):
    _, outputs = wire.run('nuna::display::publish("text/plain", &"y".repeat(50_000_000));')
    assert len(outputs[-1]["content"]["data"]["text/plain"]) == 50_000_000


def test_a_hundred_thousand_flushes_lose_nothing(wire):
    _, outputs = wire.run('use std::io::Write;\nlet mut out = std::io::stdout();\nfor i in 0..100_000 { write!(out, "{}", i % 10)?; out.flush()?; if i % 1000 == 0 { eprint!("."); } }')
    assert text(outputs) == "".join(str(i % 10) for i in range(100_000))
    assert text(outputs, "stderr") == "." * 100
    assert len(outputs) < 3000


def test_bytes_that_are_no_text_are_replaced_and_stop_nothing(wire):
    _, outputs = wire.run('use std::io::Write;\nlet mut out = std::io::stdout();\nout.write_all(&[b\'a\', 0xff, 0xfe, b\'b\', 0, b\'\\n\'])?;\nout.write_all("é".as_bytes().split_at(1).0)?;')
    assert text(outputs) == "a\ufffd\ufffdb\0\n\ufffd"
    assert wire.value("3 + 3") == "6"


def test_programs_print_into_the_cell(wire):
    _, outputs = wire.run('println!("before");\nstd::process::Command::new("sh").args(["-c", "echo out; echo err >&2"]).status()?;\nprintln!("after");')
    assert text(outputs) == "before\nout\nafter\n" and text(outputs, "stderr") == "err\n"


def test_nobody_waits_behind_a_cell_that_prints_without_end(wire):
    sent = wire.begin('let line = "z".repeat(1000);\nloop { println!("{line}"); }')
    assert wire.reply(wire.send("shell", "kernel_info_request"))["status"] == "ok"
    assert wire.reply(wire.send("control", "kernel_info_request"), "control")["status"] == "ok"
    wire.interrupt()
    assert wire.reply(sent)["ename"] == "Interrupted"
    wire.outputs(sent)


def test_a_silent_cell_shows_nothing_and_is_not_counted(wire):
    count = wire.run("1")[0]["execution_count"]
    reply, outputs = wire.run('println!("unheard");\nlet silent = 3;\nsilent', silent=True)
    assert (reply["status"], reply["execution_count"], outputs) == ("ok", count, [])
    reply, outputs = wire.run('println!("heard");\nsilent', store_history=False)
    assert (reply["execution_count"], text(outputs)) == (count, "heard\n")
    assert outputs[-1]["content"]["data"]["text/plain"] == "3"
    history = wire.reply(wire.send("shell", "history_request", {"hist_access_type": "tail", "n": 3, "raw": True, "output": False}))
    assert all("heard" not in row[2] for row in history["history"])
    assert wire.run("2")[0]["execution_count"] == count + 1
