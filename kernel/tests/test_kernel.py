"""jupyter_kernel_test's own suite, and the promises of this kernel that it does not ask about."""

import unittest

import jupyter_kernel_test
import pytest
from jupyter_client.manager import start_new_kernel


@pytest.mark.usefixtures("indexes")
class NunaKernelTests(jupyter_kernel_test.KernelTests):
    kernel_name = "nuna"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("trouble");'
    complete_code_samples = ["1 + 1", "let x = 1;", "fn f() -> i32 {\n    1\n}", ":vars"]
    incomplete_code_samples = ["let x = (1 +", "fn f() {", "let x ="]
    invalid_code_samples = ["let = 1;", "fn 3() {}"]
    code_generate_error = 'panic!("on purpose");'
    code_execute_result = [{"code": "1 + 2 + 3", "result": "6"}, {"code": "vec![1.5, 2.0]", "result": "[1.5, 2.0]"}]
    code_display_data = [{"code": 'nuna::display::publish("text/html", "<b>bold</b>");', "mime": "text/html"}]
    code_history_pattern = "1 + 2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "inspected"
    code_page_something = "?"
    code_clear_output = "nuna::display::clear_output();"
    completion_samples = [{"text": "stru", "matches": {"struct"}}, {"text": "let x = whi", "matches": {"while"}},
                          {"text": "std::collections::HashM", "matches": {"HashMap"}}, {"text": "vec![1.5].trunc", "matches": {"truncate"}},
                          {"text": "let v = vec![1];\nv.iter().enumer", "matches": {"enumerate"}}, {"text": "println", "matches": {"println!"}},
                          {"text": ":hel", "matches": {":help"}}]

    def test_inspect(self):
        self.flush_channels()
        self.execute_helper(code="let inspected: f64 = 2.0;")
        self.flush_channels()
        self.kc.inspect(self.code_inspect_sample)
        reply = self.kc.get_shell_msg(timeout=10)
        self.assertEqual(reply["content"]["status"], "ok")
        self.assertTrue(reply["content"]["found"])


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel()


def run(client, code, patience=60):
    """Runs a cell; gives the reply's content and every output."""
    outputs = []
    reply = client.execute_interactive(code, timeout=patience, output_hook=lambda m: outputs.append(m["content"]), allow_stdin=False)
    return reply["content"], outputs


def result_of(outputs):
    return [o["data"]["text/plain"] for o in outputs if "data" in o]


def messages(client, code):
    found = []
    client.execute_interactive(code, timeout=60, output_hook=lambda m: found.append((m["msg_type"], m["content"])), allow_stdin=False)
    return found


def test_displays_are_whole_and_can_be_updated(kernel):
    shown = messages(kernel, 'struct Bar(u32);\nimpl nuna::display::Display for Bar {\n    fn mime_bundle(&self) -> Vec<(String, String)> {\n        vec![("text/plain".into(), format!("{} %", self.0)), ("text/html".into(), format!("<b>{}</b>", self.0))]\n    }\n}\nnuna::display::display_as("bar", &Bar(10));\nnuna::display::update("bar", &Bar(20));\nnuna::display::display(&Bar(30));')
    displays = [(kind, content) for kind, content in shown if "display" in kind]
    assert [kind for kind, _ in displays] == ["display_data", "update_display_data", "display_data"]
    assert displays[0][1]["data"] == {"text/plain": "10 %", "text/html": "<b>10</b>"}
    assert displays[1][1]["transient"] == {"display_id": "bar"}


def test_variables_items_and_uses_persist(kernel):
    run(kernel, "use std::collections::BTreeMap;\nstruct P { x: f64 }\nimpl P { fn twice(&self) -> f64 { self.x * 2.0 } }\nfn make(x: f64) -> P { P { x } }")
    run(kernel, "let p = make(1.5); let mut map = BTreeMap::new(); map.insert(1, \"one\");")
    _, outputs = run(kernel, "map.insert(2, \"two\");\n(p.twice(), map.len())")
    assert result_of(outputs) == ["(3.0, 2)"]


def test_question_mark_reports_and_keeps_variables(kernel):
    run(kernel, "let kept = vec![1, 2, 3];")
    reply, _ = run(kernel, "let n: i32 = \"x\".parse::<i32>()?;")
    assert reply["ename"] == "Error" and "invalid digit" in reply["evalue"]
    _, outputs = run(kernel, "kept.len()")
    assert result_of(outputs) == ["3"]


def test_panic_names_the_cells_own_line_and_keeps_variables(kernel):
    run(kernel, "let list = vec![1, 2, 3];")
    reply, _ = run(kernel, "let index = 7;\nlist[index]")
    assert reply["status"] == "error" and "out of bounds" in reply["evalue"]
    assert ":2:" in "\n".join(reply["traceback"])
    _, outputs = run(kernel, "list.len()")
    assert result_of(outputs) == ["3"]


def test_compile_error_underlines_the_cells_own_line(kernel):
    reply, _ = run(kernel, "let a = 1;\nlet b: i32 = \"text\";")
    assert reply["ename"] == "CompileError"
    text = "\n".join(reply["traceback"])
    assert "mismatched types" in text and ":2:14" in text and "^^^^^^" in text


def test_moved_variable_is_gone_and_shadowed_one_is_new(kernel):
    run(kernel, "let data = vec![1, 2, 3];")
    run(kernel, "let data: Vec<i32> = data.into_iter().map(|x| x * 10).collect();")
    _, outputs = run(kernel, "data[2]")
    assert result_of(outputs) == ["30"]
    run(kernel, "drop(data);")
    reply, _ = run(kernel, "data.len()")
    assert reply["status"] == "error"


def test_closure_that_cannot_be_kept_is_explained(kernel):
    reply, _ = run(kernel, "let f = |x: i32| x + 1;")
    assert reply["ename"] == "UnnameableType" and "Box<dyn Fn" in reply["evalue"]


def test_await_works_at_top_level(kernel):
    _, outputs = run(kernel, "let seven = async { 7 }.await;\nseven + 1")
    assert result_of(outputs) == ["8"]


def test_first_interrupt_keeps_variables(kernel):
    run(kernel, "let before = 42;")
    message = kernel.execute("println!(\"running\");\nwhile !nuna::session::interrupted() { std::thread::sleep(std::time::Duration::from_millis(5)); }\nprintln!(\"stopped\");")
    while True:
        output = kernel.get_iopub_msg(timeout=30)
        if output["msg_type"] == "execute_input" and output["parent_header"]["msg_id"] == message:
            break
    # The cell says that it runs; before that an interrupt would only stop the compiler.
    while output["msg_type"] != "stream":
        output = kernel.get_iopub_msg(timeout=60)
    kernel.control_channel.send(kernel.session.msg("interrupt_request", {}))
    reply = kernel.get_shell_msg(timeout=30)
    while reply["parent_header"].get("msg_id") != message:
        reply = kernel.get_shell_msg(timeout=30)
    assert reply["content"]["status"] in ("ok", "error")
    run(kernel, "let after = 1;")
    _, outputs = run(kernel, "before")
    assert result_of(outputs) == ["42"]


def test_death_of_the_evaluator_is_survived_and_told(kernel):
    run(kernel, "let doomed = 1; fn survivor() -> i32 { 5 }")
    reply, _ = run(kernel, "std::process::abort();")
    assert reply["ename"] == "EvaluatorEnded" and "doomed" in reply["evalue"]
    _, outputs = run(kernel, "survivor()")
    assert result_of(outputs) == ["5"]


def test_many_printed_lines_arrive_whole(kernel):
    _, outputs = run(kernel, "for i in 0..20_000 { println!(\"line {i}\"); }")
    text = "".join(o["text"] for o in outputs if "text" in o)
    assert text.count("\n") == 20_000 and text.endswith("line 19999\n")


def test_cells_behind_a_failure_are_aborted(kernel):
    first = kernel.execute("panic!(\"stop here\");")
    second = kernel.execute("1 + 1")
    replies = {}
    while second not in replies:
        reply = kernel.get_shell_msg(timeout=60)
        replies[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
    assert replies[first] == "error" and replies[second] == "aborted"


if __name__ == "__main__":
    unittest.main()
