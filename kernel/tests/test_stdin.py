"""Cells that ask the person."""

import pytest
from wire import kernel, text


@pytest.fixture(scope="module")
def wire():
    with kernel() as wire:
        yield wire


def asked(wire, answer):
    question = wire.wait("stdin", lambda m: m["msg_type"] == "input_request", "question")
    wire.send("stdin", "input_reply", {"value": answer})
    return question


def test_standard_input_is_the_notebooks_field(wire):
    sent = wire.execute('print!("your name: ");\nlet mut line = String::new();\nlet n = std::io::stdin().read_line(&mut line)?;\n(n, line)')
    question = asked(wire, "Ada")
    assert question["parent_header"]["msg_id"] == sent and question["content"] == {"prompt": "", "password": False}
    outputs = wire.outputs(sent)
    assert text(outputs) == "your name: "
    assert outputs[-1]["content"]["data"]["text/plain"] == '(4, "Ada\\n")'
    assert wire.reply(sent)["status"] == "ok"


def test_lines_are_asked_for_one_by_one(wire):
    sent = wire.execute("let lines: Vec<String> = std::io::stdin().lines().take(2).collect::<Result<_, _>>()?;\nlines")
    asked(wire, "one")
    asked(wire, "zwei ä")
    assert wire.outputs(sent)[-1]["content"]["data"]["text/plain"] == '["one", "zwei ä"]'
    assert wire.reply(sent)["status"] == "ok"


def test_input_has_a_prompt_and_a_password_is_shown_nowhere(wire):
    sent = wire.execute('let name = nuna::input("name? ")?;\nlet secret = nuna::password("password? ")?;\n(name, secret.len())')
    assert asked(wire, "Ada")["content"] == {"prompt": "name? ", "password": False}
    assert asked(wire, "open sesame")["content"] == {"prompt": "password? ", "password": True}
    outputs = wire.outputs(sent)
    assert outputs[-1]["content"]["data"]["text/plain"] == '("Ada", 11)'
    assert "sesame" not in repr(outputs) + repr(wire.reply(sent))
    history = wire.reply(wire.send("shell", "history_request", {"hist_access_type": "tail", "n": 9, "output": True, "raw": True}))
    assert "sesame" not in repr(history)


def test_evcxrs_input_crate_asks(wire):
    # Its source, as `evcxr_input` 1.0 has it.
    wire.run("""fn get_string(prompt: &str) -> String {
    println!("{}:{}", "EVCXR_INPUT_REQUEST", prompt);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}""")
    sent = wire.execute('println!("before");\nget_string("Name")')
    assert asked(wire, "Ada")["content"] == {"prompt": "Name", "password": False}
    outputs = wire.outputs(sent)
    assert text(outputs) == "before\n" and outputs[-1]["content"]["data"]["text/plain"] == '"Ada"'
    assert wire.reply(sent)["status"] == "ok"


ASKING = {
    "stdin": "let mut line = String::new();\nstd::io::stdin().read_line(&mut line)?;",
    "unwrap": "let mut line = String::new();\nstd::io::stdin().read_line(&mut line).unwrap();",
    "input": 'let line = nuna::input("name? ")?;',
}


@pytest.mark.parametrize("how", ASKING)
def test_nobody_to_ask_is_an_error_at_once(wire, how):
    reply, _ = wire.run(ASKING[how], allow_stdin=False)
    assert reply["status"] == "error" and "allow_stdin is false" in reply["evalue"], reply
    assert wire.value("2 + 2") == "4"


def test_an_answer_to_a_question_that_was_given_up_answers_no_other(wire):
    first = wire.execute('nuna::input("first? ")?')
    question = wire.wait("stdin", lambda m: m["msg_type"] == "input_request", "question")
    wire.interrupt()
    assert wire.reply(first)["ename"] == "Interrupted"
    second = wire.execute('nuna::input("second? ")?')
    wire.wait("stdin", lambda m: m["msg_type"] == "input_request", "question")
    late = wire.client.session.msg("input_reply", {"value": "late"}, parent=question)
    wire.client.session.send(wire.client.stdin_channel.socket, late)
    wire.send("stdin", "input_reply", {"value": "in time"})
    assert wire.outputs(second)[-1]["content"]["data"]["text/plain"] == '"in time"'
