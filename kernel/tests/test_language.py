"""Completion and inspection as a notebook asks for them: `|` in a sample is the cursor."""

import json
import os
import stat
import time

import pytest
from conftest import programs, write_kernelspec
from jupyter_client.manager import start_new_kernel
from session import COLOURS, Session


CELL = """
use nuna::prelude::*;
use std::collections::HashMap;
let numbers = vec![1.5, 2.5];
let words = String::from("sea");
let mut table: HashMap<String, Vec<f64>> = HashMap::new();
/// A place on a map.
#[derive(Clone, Debug)]
struct Station {
    /// Metres above the sea.
    height: f64,
    name: String,
}
impl Station {
    /// How warm it is there.
    fn warmth(&self, lapse: f64) -> f64 { 15.0 - lapse * self.height }
    fn here() -> Station { Station { height: 1.0, name: "here".into() } }
}
enum Season { Wet, Dry(u32) }
mod geometry { pub fn area(r: f64) -> f64 { r * r } }
let station = Station::here();
let shared = std::sync::Arc::new(vec![1u8]);
let pair = (1, "two");
macro_rules! square { ($x:expr) => { $x * $x } }
let kind: DType = DType::F64;
let ran = 1;
"""


class Editor(Session):
    """Asks while a person types."""

    def asked(self, send) -> dict:
        message = send()
        while True:
            reply = self.client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == message:
                return reply["content"]

    def complete(self, marked: str) -> dict:
        cursor = marked.index("|")
        code = marked[:cursor] + marked[cursor + 1 :]
        return self.asked(lambda: self.client.complete(code, cursor))

    def offers(self, marked: str) -> list:
        reply = self.complete(marked)
        assert reply["status"] == "ok"
        return reply["matches"]

    def about(self, marked: str, detail: int = 0) -> str:
        cursor = marked.index("|")
        code = marked[:cursor] + marked[cursor + 1 :]
        reply = self.asked(lambda: self.client.inspect(code, cursor, detail))
        assert reply["status"] == "ok"
        return COLOURS.sub("", reply["data"]["text/plain"]) if reply["found"] else ""


@pytest.fixture(scope="module")
def editor(indexes):
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    made = Editor(client)
    ran = made.run(CELL)
    assert ran.ok, ran.failure
    yield made
    client.stop_channels()
    manager.shutdown_kernel()


METHODS = {
    "a_vector": ("numbers.pu|", ["push"]),
    "a_slice_through_the_vector": ("numbers.bin|", ["binary_search"]),
    "text_through_string": ("words.to_up|", ["to_uppercase"]),
    "a_map": ("table.ent|", ["entry"]),
    "behind_arc": ("shared.le|", ["len"]),
    "a_chain": ("numbers.iter().fil|", ["filter"]),
    "a_chain_with_a_closure": ("numbers.iter().map(|x| x * 2.0).su¦", ["sum"]),
    "a_literal": ('"text".tri|', ["trim"]),
    "a_number": ("2.5_f64.sq|", ["sqrt"]),
    "own_fields": ("station.|", ["height", "name", "warmth"]),
    "own_method": ("station.war|", ["warmth"]),
    "derived": ("station.clo|", ["clone"]),
    "a_field_of_own": ("station.name.le|", ["len"]),
    "fields_of_a_tuple": ("pair.|", ["0", "1"]),
    "a_tuples_field": ("pair.1.le|", ["len"]),
    "a_new_variable": ("let local = numbers.clone();\nlocal.exte|", ["extend"]),
    "a_parameter": ("fn f(text: &str) -> usize {\n    text.cha|", ["chars"]),
    "a_loop_variable": ("for (i, x) in numbers.iter().enumerate() {\n    x.flo|\n}", ["floor"]),
    "a_closures_parameter": ("numbers.iter().map(|x| x.sq¦", ["sqrt"]),
    "a_call": ("Station::here().war|", ["warmth"]),
    "self_in_an_impl": ("struct Deep { inner: Vec<u8> }\nimpl Deep {\n    fn f(&self) -> usize { self.inn|", ["inner"]),
    "inside_a_macro": ('println!("{}", words.le|)', ["len"]),
    "before_more_code": ("let n = words.le|\nlet m = n + 1;", ["len"]),
    "behind_a_question_mark": ("std::fs::read_to_string(\"x\")?.li|", ["lines"]),
    "an_array": ("open_zarr(\"x\")?.att|", ["attrs"]),
    "a_parameter_by_its_bounds": ("fn g<T: Iterator<Item = f64>>(mut it: T) {\n    it.fil|", ["filter"]),
    "impl_trait": ("fn g(it: impl Iterator<Item = f64>) {\n    it.fil|", ["filter"]),
    "a_trait_object": ("fn g(it: Box<dyn Iterator<Item = f64>>) {\n    it.fil|", ["filter"]),
    "through_own_deref": (
        "struct W(Vec<f64>);\nimpl std::ops::Deref for W {\n    type Target = Vec<f64>;\n    fn deref(&self) -> &Vec<f64> { &self.0 }\n}\nlet w = W(vec![]);\nw.spli|",
        ["split_at"],
    ),
    "a_trait_of_this_cell": ("trait Walk { fn walk(&self) {} }\nimpl Walk for Station {}\nstation.wal|", ["walk"]),
    "an_array_of_ndarray": ("let a = nuna::ndarray::Array2::<f64>::zeros((2, 2));\na.sum_|", ["sum_axis"]),
    "behind_commands": (":opt 2\nlet n = words.clone();\nn.to_up|", ["to_uppercase"]),
    "in_a_command": (":type words.chars().re|", ["rev"]),
    "an_enum_of_the_library": ("kind.siz|", ["size"]),
}


def place(editor, sample):
    """What is offered; closures have bars of their own, so `¦` may be the cursor."""
    mark = "¦" if "¦" in sample else "|"
    cursor = sample.index(mark)
    code = sample[:cursor] + sample[cursor + 1 :]
    reply = editor.asked(lambda: editor.client.complete(code, cursor))
    assert reply["status"] == "ok"
    return reply["matches"]


@pytest.mark.parametrize("kind", METHODS)
def test_methods_and_fields_complete(editor, kind):
    sample, wanted = METHODS[kind]
    offers = place(editor, sample)
    assert [name for name in wanted if name in offers] == wanted, offers[:40]


NAMES = {
    "variables": ("numb|", ["numbers"]),
    "functions_of_modules": ("geometry::ar|", ["area"]),
    "modules": ("std::coll|", ["collections"]),
    "use_lines": ("use std::collections::{HashMap, BTree|", ["BTreeMap", "BTreeSet"]),
    "associated_functions": ("Vec::with_cap|", ["with_capacity"]),
    "own_associated_functions": ("Station::he|", ["here"]),
    "variants": ("Season::|", ["Dry", "Wet"]),
    "variants_of_the_library": ("DType::F|", ["F32", "F64"]),
    "the_facade": ("nuna::open_|", ["open_zarr"]),
    "the_prelude_of_the_facade": ("open_z|", ["open_zarr"]),
    "macros": ("printl|", ["println!"]),
    "own_macros": ("squ|", ["square!"]),
    "imports": ("HashM|", ["HashMap"]),
    "locals": ("let precipitation = 1;\npreci|", ["precipitation"]),
    "keywords": ("whil|", ["while"]),
    "fields_of_a_struct_that_is_made": ("Station { hei|", ["height"]),
    "commands": (":ti|", [":timing"]),
    "patterns": ("if let So|", ["Some"]),
    "words_of_commands": (":doc HashM|", ["HashMap"]),
    "magics": ("%ti|", ["%time", "%timeit"]),
    "the_environment": (":env HOM|", ["HOME"]),
    "constants": ("std::f64::consts::P|", ["PI"]),
    "numbers": ("f64::INFIN|", ["INFINITY"]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_complete(editor, kind):
    sample, wanted = NAMES[kind]
    offers = place(editor, sample)
    assert [name for name in wanted if name in offers] == wanted, offers[:40]


def test_own_things_come_first_and_noise_not_at_all(editor):
    offers = editor.offers("station.|")
    assert offers[:2] == ["height", "name"] and offers[2] == "warmth"
    offers = editor.offers("numbers.|")
    assert "push" in offers and "borrow" not in offers and "try_into" not in offers
    assert offers.index("push") < offers.index("first") and len(offers) < 300
    assert "borrow" in editor.offers("numbers.borr|")
    assert "slice_unchecked" not in editor.offers("words.|")


def test_positions_count_characters(editor):
    reply = editor.complete('let crab = "🦀é"; numbers.pu|')
    assert "push" in reply["matches"]
    assert (reply["cursor_start"], reply["cursor_end"]) == (25, 27)


def test_kinds_and_signatures_are_told(editor):
    reply = editor.complete("numbers.pus|")
    (push,) = [kind for kind in reply["metadata"]["_jupyter_types_experimental"] if kind["text"] == "push"]
    assert push["type"] == "function" and push["signature"] == "fn push(&mut self, value: T)"


def test_nothing_is_offered_where_nothing_is_known(editor):
    for sample in ["|", "let n|", '"no|', "numbers.|; let", "1.5|", "}}}|", "'|", "x.|\n}"]:
        assert editor.complete(sample)["status"] == "ok"
    assert editor.offers("// numb|") == [] and editor.offers("no_such_thing.pu|") == []


def test_files_complete_within_strings(editor, tmp_path):
    (tmp_path / "sea surface.zarr").mkdir()
    (tmp_path / "sea.csv").write_text("")
    reply = editor.complete(f'open_zarr("{tmp_path}/se|')
    assert reply["matches"] == ["sea surface.zarr/", "sea.csv"]
    assert reply["cursor_end"] - reply["cursor_start"] == 2
    assert "numbers" in editor.offers('println!("{num|')


def test_requests_are_answered_while_a_cell_runs(editor):
    client = editor.client
    cell = client.execute('let mut turns = 0;\nwhile !nuna::session::interrupted() { turns += 1; std::thread::sleep(std::time::Duration::from_millis(5)); }')
    while True:
        output = client.get_iopub_msg(timeout=60)
        if output["msg_type"] == "execute_input" and output["parent_header"].get("msg_id") == cell:
            break
    # Neither waits for the cell, which ends only when it is interrupted below.
    assert "push" in editor.offers("numbers.pu|") and "filter" in editor.offers("numbers.iter().fil|")
    assert "fn push" in editor.about("numbers.push|")
    client.control_channel.send(client.session.msg("interrupt_request", {}))
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == cell:
            break


ABOUT = {
    "a_variable": ("numbers|", ["numbers", "Vec<f64>"]),
    "a_method": ("numbers.pu|sh(1.0)", ["fn push(&mut self, value: T)", "Appends an element"]),
    "a_chain": ("numbers.iter().map|(f)", ["fn map", "std::iter::Iterator"]),
    "own_type": ("Station|", ["struct Station", "A place on a map"]),
    "own_method": ("station.warmth|", ["fn warmth(&self, lapse: f64) -> f64", "How warm"]),
    "own_field": ("station.height|", ["height: f64", "Metres above"]),
    "a_type": ("HashMap|::new()", ["struct HashMap", "hash map"]),
    "a_path": ("std::fs::read_to_str|ing", ["fn read_to_string", "Reads the entire contents"]),
    "a_variant": ("Some|(1)", ["Some(T)"]),
    "the_facade": ("open_zarr|", ["fn open_zarr"]),
    "a_macro": ("println|!()", ["macro_rules! println", "standard output"]),
    "a_keyword": ("match| x", ["match"]),
    "an_open_call": ("station.warmth(|", ["fn warmth(&self, lapse: f64)"]),
    "an_open_call_with_arguments": ("open_zarr(\"a\", |", ["fn open_zarr"]),
}


@pytest.mark.parametrize("kind", ABOUT)
def test_tooltips_say_what_something_is(editor, kind):
    sample, words = ABOUT[kind]
    text = editor.about(sample)
    assert [word for word in words if word in text] == words, text


def test_details_are_whole_documentation_or_source(editor):
    assert "lapse * self.height" in editor.about("station.warmth|", 1)
    assert len(editor.about("HashMap|", 1)) > len(editor.about("HashMap|"))
    assert editor.about("no_such_thing|") == ""


def test_commands_answer_from_the_same_service(editor):
    assert "Appends an element" in editor.value(":doc Vec::push")
    assert editor.value(":type numbers.iter().map(|x| x * 2.0).sum::<f64>()") == "f64"
    assert "Vec<f64>" in editor.value(":type numbers")
    assert "no_such_thing" in editor.fails(":doc no_such_thing")


def test_a_kernel_without_an_index_answers_and_makes_one(tmp_path, monkeypatch):
    runtime, data, cache = tmp_path / "runtime", tmp_path / "data", tmp_path / "cache"
    runtime.mkdir()
    for name in ["libnuna.so", "deps", "nuna-kernel", "nuna-evaluator"]:
        (runtime / name).symlink_to(programs() / name)
    write_kernelspec(data)
    path = data / "kernels/nuna/kernel.json"
    specification = json.loads(path.read_text())
    specification["env"]["NUNA_RUNTIME_DIR"] = str(runtime)
    path.write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(data))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    try:
        editor = Editor(client)
        assert editor.run("let numbers = vec![1.5];").ok
        assert "numbers" in editor.offers("numb|")
        # It comes while other things are asked.
        deadline = time.monotonic() + 240
        while "push" not in editor.offers("numbers.pu|") or "open_zarr" not in editor.offers("nuna::open_|"):
            assert time.monotonic() < deadline, os.listdir(cache)
            time.sleep(0.5)
        assert stat.S_IMODE((cache / "nuna").stat().st_mode) == 0o700
        assert sorted(name for name in os.listdir(cache / "nuna") if name.endswith(".index")) == ["nuna.index", "std.index"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
