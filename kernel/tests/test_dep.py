"""`:dep`: crates of the user's own, with crates of a folder and of cargo's cache only; no test needs a network."""

import json
import os
import pathlib
import re
import subprocess

import pytest
from conftest import programs
from jupyter_client.manager import start_new_kernel
from session import Session


@pytest.fixture(scope="module")
def crates(tmp_path_factory):
    """A cache that no kernel has used, and a folder with crates in it."""
    folder = tmp_path_factory.mktemp("crates")
    cache = tmp_path_factory.mktemp("cache")
    before = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "CARGO_NET_OFFLINE")}
    os.environ["XDG_CACHE_HOME"] = str(cache)
    os.environ["CARGO_NET_OFFLINE"] = "true"
    yield folder
    for name, value in before.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value


def write_crate(folder, name, code, dependencies="", more=""):
    (folder / name / "src").mkdir(parents=True, exist_ok=True)
    (folder / name / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.3.1"\nedition = "2021"\n{more}\n[dependencies]\n{dependencies}'
    )
    (folder / name / "src/lib.rs").write_text(code)
    return folder / name


def begin(folder):
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60, cwd=str(folder))
    session = Session(client)
    session.manager = manager
    return session


def end(session):
    session.client.stop_channels()
    session.manager.shutdown_kernel()


@pytest.fixture(scope="module")
def shared(crates):
    session = begin(crates)
    yield session
    end(session)


@pytest.fixture
def cells(shared):
    assert shared.run(":clear").ok
    return shared


GRIDS = """
use ndarray::Array2;
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grid { pub values: Array2<f64>, pub name: String }
static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
pub fn count() -> u32 { COUNT.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 }
pub fn doubled(a: &Array2<f64>) -> Array2<f64> { a * 2.0 }
#[macro_export]
macro_rules! grid { ($name:expr) => { $crate::Grid { values: Default::default(), name: $name.to_string() } } }
"""


def displays(ran):
    return [content["data"]["text/plain"] for kind, content in ran.outputs if kind.endswith("display_data")]


@pytest.fixture(scope="module")
def grids(crates, shared):
    """A crate that uses `ndarray` and `serde`, added."""
    write_crate(crates, "my-grids", GRIDS, 'ndarray = "0.17"\nserde = { version = "1", features = ["derive"] }\n')
    ran = shared.run(':dep my-grids = { path = "my-grids" }\n1 + 1', patience=600)
    assert ran.ok, ran.failure
    assert ran.result == "2" and displays(ran)[-1].startswith("added my-grids 0.3.1"), ran.outputs
    return shared


def test_a_crate_that_uses_ndarray_and_serde_shares_them_with_nuna(grids, cells):
    cells.run("let a: nuna::ndarray::Array2<f64> = nuna::ndarray::Array2::ones((2, 3));")
    cells.run("let twice: nuna::ndarray::Array2<f64> = my_grids::doubled(&a);")
    assert cells.value("twice.sum()") == "12.0"
    cells.run("fn is_serialisable<T: nuna::serde::Serialize>(_: &T) -> bool { true }")
    cells.run('let g = my_grids::Grid { values: twice, name: "g".to_owned() };')
    assert cells.value("is_serialisable(&g)") == "true"
    assert cells.value(":type g") == "my_grids::Grid"


def test_names_macros_and_uses_of_a_crate_stay_for_later_cells(grids, cells):
    cells.run("use my_grids::{Grid, doubled};\nextern crate my_grids as mg;")
    assert cells.value('let g: Grid = my_grids::grid!("m");\ng.name') == '"m"'
    assert cells.value("doubled(&g.values).len()") == "0"


def test_statics_of_a_crate_exist_once(grids, cells):
    first = int(cells.value("my_grids::count()"))
    cells.run("fn next() -> u32 { my_grids::count() }")
    assert int(cells.value("next() + 0")) == first + 1
    assert int(cells.value("my_grids::count() + 0")) == first + 2


def test_the_same_crate_again_is_nothing_to_do(grids, cells):
    ran = cells.run(':dep my-grids = { path = "my-grids" }')
    assert ran.ok and all("compiling" not in text for text in displays(ran))
    assert "my-grids = { path" in cells.value(":show_deps") and "0.3.1" in cells.value(":show_deps")


def test_a_new_process_that_runs_cells_has_the_crates_too(grids, cells):
    cells.run("fn again() -> u32 { my_grids::count() }")
    assert "exit code 3" in cells.fails("std::process::exit(3)")
    assert cells.value("again()") == "1"


def test_workers_are_sent_the_crates(grids, cells):
    cells.run("use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).start()?;")
    ran = cells.run("cluster.map(0..4, |n: i32| my_grids::doubled(&nuna::ndarray::Array2::ones((1, n as usize))).sum()).gather()?")
    assert ran.ok, ran.failure
    assert ran.result == "[0.0, 2.0, 4.0, 6.0]"
    cells.run("cluster.shutdown();")


def test_a_crate_that_was_edited_is_another_and_variables_keep_the_old_one(crates, cells):
    write_crate(crates, "edited", "#[derive(Debug)] pub struct Value(pub u32); pub fn make() -> Value { Value(1) }")
    cells.run(':dep edited = { path = "edited" }')
    cells.run("let old = edited::make();\nfn of_old() -> u32 { edited::make().0 }")
    write_crate(crates, "edited", "#[derive(Debug)] pub struct Value(pub u32, pub u8); pub fn make() -> Value { Value(2, 3) }")
    ran = cells.run(':dep edited = { path = "edited" }')
    assert ran.ok, ran.failure
    assert "`old` is of the `edited` that was there before" in displays(ran)[-1]
    assert cells.value("edited::make()") == "Value(2, 3)"
    assert cells.value("old") == "Value(1)"


def test_types_that_show_themselves_as_evcxrs_crates_do_are_shown(crates, cells):
    write_crate(crates, "shows", 'pub struct Picture; impl Picture { pub fn evcxr_display(&self) { println!("EVCXR_BEGIN_CONTENT text/html\\n<b>picture</b>\\nEVCXR_END_CONTENT"); } }')
    ran = cells.run(':dep ./shows\nshows::Picture')
    assert ran.ok, ran.failure
    assert {"text/html": "<b>picture</b>"} in [c["data"] for kind, c in ran.outputs if kind == "display_data"]
    assert ran.result is None
    assert cells.value("vec![1, 2]") == "[1, 2]"
    cells.run('struct Own; impl Own { fn evcxr_display(&self) { println!("EVCXR_BEGIN_CONTENT text/html\\nown\\nEVCXR_END_CONTENT"); } }')
    ran = cells.run("Own")
    assert {"text/html": "own"} in [c["data"] for kind, c in ran.outputs if kind == "display_data"]


def test_c_code_comes_along(crates, cells):
    folder = write_crate(
        crates, "with-c", 'extern "C" { fn forty_two() -> i32; } pub fn answer() -> i32 { unsafe { forty_two() } }',
        more='build = "build.rs"',
    )
    (folder / "c.c").write_text("int forty_two(void) { return 42; }\n")
    (folder / "build.rs").write_text("""
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let run = |program: &str, arguments: &[&str]| assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
    run("cc", &["-fPIC", "-c", "c.c", "-o", &format!("{out}/c.o")]);
    run("ar", &["crs", &format!("{out}/libforty.a"), &format!("{out}/c.o")]);
    println!("cargo:rustc-link-search=native={out}\\ncargo:rustc-link-lib=static=forty");
}
""")
    ran = cells.run(':dep with-c = { path = "with-c" }')
    assert ran.ok, ran.failure
    assert cells.value("with_c::answer()") == "42"


def test_mistakes_are_explained_and_leave_everything_as_it_was(crates, cells):
    cells.run("let kept = 1;")
    message = cells.fails(':dep no-such-crate-of-nuna = "1"')
    assert "no-such-crate-of-nuna" in message and "nuna-session" not in message
    assert "there is no crate at" in cells.fails(':dep a = { path = "nowhere" }')
    assert "version in quotes" in cells.fails(":dep a = 1")
    write_crate(crates, "broken", "pub fn f() -> i32 {\n    \"text\"\n}")
    message = cells.fails(':dep broken = { path = "broken" }')
    assert "mismatched types" in message and "src/lib.rs:2:5" in message
    write_crate(crates, "featureless", "pub fn f() {}")
    message = cells.fails(':dep featureless = { path = "featureless", features = ["nothing"] }')
    assert "nothing" in message and "nuna-session" not in message
    assert cells.value("kept") == "1" and "broken" not in cells.value(":show_deps")
    write_crate(crates, "broken", "pub fn f() -> i32 { 5 }")
    assert cells.run(':dep broken = { path = "broken" }').ok
    assert cells.value("broken::f()") == "5"


def test_an_interrupt_ends_the_build_and_leaves_the_session_usable(crates, cells):
    folder = write_crate(crates, "slow", "pub fn f() {}", more='build = "build.rs"')
    begun = folder / "begun"
    (folder / "build.rs").write_text(f'fn main() {{ std::fs::write({str(begun)!r:s}, "").unwrap(); std::thread::sleep(std::time::Duration::from_secs(600)); }}'.replace("'", '"'))
    cells.run("let kept = 2;")
    cells.client.execute(':dep slow = { path = "slow" }', allow_stdin=False)
    while not begun.exists():
        assert cells.client.is_alive()
    cells.manager.interrupt_kernel()
    reply = cells.client.get_shell_msg(timeout=30)
    assert reply["content"]["ename"] == "Interrupted"
    assert cells.value("kept") == "2" and "slow" not in cells.value(":show_deps")


def test_two_kernels_that_add_crates_at_once_both_finish(crates, shared):
    write_crate(crates, "left", "pub fn f() -> i32 { 1 }")
    write_crate(crates, "right", "pub fn f() -> i32 { 2 }")
    sessions = [begin(crates), begin(crates)]
    try:
        for session, name in zip(sessions, ["left", "right"]):
            session.client.execute(f':dep {name} = {{ path = "{name}" }}', allow_stdin=False)
        for session, name, value in zip(sessions, ["left", "right"], "12"):
            reply = session.client.get_shell_msg(timeout=300)
            assert reply["content"]["status"] == "ok", reply
            assert session.value(f"{name}::f()") == value
    finally:
        for session in sessions:
            end(session)


def test_what_one_kernel_added_the_next_one_has_at_once(crates, shared):
    """`serde` is in every cache that can build this repository."""
    sessions = []
    try:
        for _ in range(2):
            session = begin(crates)
            sessions.append(session)
            ran = session.run(":dep serde", patience=600)
            assert ran.ok, ran.failure
            version = re.match(r"added serde (1\.\S+)", displays(ran)[-1])
            assert version, displays(ran)
            ok = session.run("#[derive(serde::Serialize)]\nstruct Own { x: i32 }\nfn f<T: nuna::serde::Serialize>(_: &T) -> bool { true }\nf(&Own { x: 1 })")
            assert ok.ok, ok.failure
        assert len(displays(ran)) == 1
    finally:
        for session in sessions:
            end(session)


def packed_runtime(folder):
    """What `ansible/bundle.py` packs: of the crates in the runtime library there is only metadata."""
    built = programs()
    (folder / "lib/deps").mkdir(parents=True)
    (folder / "bin").mkdir()
    for name in ("nuna-kernel", "nuna-evaluator", "nuna"):
        (folder / "bin" / name).symlink_to(built / name)
    (folder / "lib/libnuna.so").symlink_to(built / "libnuna.so")
    said = subprocess.run(
        ["rustc", "-Zls=root", str(built / "libnuna.so")], env={**os.environ, "RUSTC_BOOTSTRAP": "1"},
        capture_output=True, text=True, check=True, timeout=60,
    )
    for unit in re.findall(r"^\d+ (\S+-[0-9a-f]{16}) hash", said.stdout, re.M):
        for kind in ("rmeta", "so"):
            path = built / "deps" / f"lib{unit}.{kind}"
            if path.exists():
                (folder / "lib/deps" / path.name).symlink_to(path)
    crates = subprocess.run(
        [built / "nuna-kernel", "--runtime-crates"], env={**os.environ, "NUNA_RUNTIME_DIR": str(built)},
        capture_output=True, text=True, check=True, timeout=60,
    )
    (folder / "lib/deps/crates.json").write_text(crates.stdout)
    specification = {
        "argv": [str(built / "nuna-kernel"), "{connection_file}"], "display_name": "packed", "language": "rust",
        "interrupt_mode": "message", "env": {"NUNA_RUNTIME_DIR": str(folder)},
    }
    kernels = pathlib.Path(os.environ["JUPYTER_PATH"]) / "kernels/packed"
    kernels.mkdir(parents=True, exist_ok=True)
    (kernels / "kernel.json").write_text(json.dumps(specification))


def test_a_packed_runtime_shares_its_crates_too(crates, tmp_path):
    packed_runtime(tmp_path / "packed")
    write_crate(crates, "my-grids", GRIDS, 'ndarray = "0.17"\nserde = { version = "1", features = ["derive"] }\n')
    manager, client = start_new_kernel(kernel_name="packed", startup_timeout=60, cwd=str(crates))
    session = Session(client)
    session.manager = manager
    try:
        ran = session.run(':dep my-grids = { path = "my-grids" }', patience=600)
        assert ran.ok, ran.failure
        assert session.value("my_grids::doubled(&nuna::ndarray::Array2::ones((2, 2))).sum()") == "8.0"
    finally:
        end(session)
