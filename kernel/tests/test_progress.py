"""What a person sees of a computation while it runs."""

import re

import nbclient
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from session import Session

KINDS = ("display_data", "update_display_data")


@pytest.fixture(scope="module")
def cells():
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    session = Session(client)
    ran = session.run("use nuna::prelude::*;\nlet cluster = Cluster::local().workers(2).threads(1).memory(\"200MB\").start()?;")
    assert ran.ok, ran.failure
    yield session
    session.run("cluster.shutdown();")
    client.stop_channels()
    manager.shutdown_kernel()


def shown(ran) -> list:
    """Progress in the order in which it came: kind, display id, text, HTML."""
    found = []
    for kind, content in ran.outputs:
        identity = content.get("transient", {}).get("display_id", "")
        if kind in KINDS and identity.startswith("nuna-progress-"):
            found.append((kind, identity, content["data"]["text/plain"], content["data"]["text/html"]))
    return found


def slow(tasks: int, milliseconds: int) -> str:
    return f"cluster.map(0..{tasks}, |i: i32| {{ std::thread::sleep(std::time::Duration::from_millis({milliseconds})); i }})"


def done(text: str) -> int:
    return int(re.search(r"(\d+)(?: of \d+)? (?:task|block)s", text)[1])


def check(ran, total: int, unit: str):
    """One display, brought up to date in its place, growing to the end."""
    progress = shown(ran)
    assert len(progress) >= 3, ran.outputs
    assert [kind for kind, *_ in progress] == ["display_data"] + ["update_display_data"] * (len(progress) - 1)
    assert len({identity for _, identity, *_ in progress}) == 1
    counts = [done(text) for _, _, text, _ in progress]
    assert counts == sorted(counts) and counts[-1] == total, counts
    *running, (_, _, text, html) = progress
    assert all(f" of {total} {unit}s" in text for _, _, text, _ in running)
    assert all("<label" in html and f'max="{total}"' in html for *_, html in running)
    assert f"{total} {unit}s" in text and "done in" in text, text
    assert "<progress" not in html


def test_a_slow_farm_shows_one_display_that_ends_with_its_totals(cells):
    ran = cells.run(slow(24, 150) + ".batch(1).gather()?.len()")
    assert ran.ok and ran.result == "24", ran.failure
    check(ran, 24, "task")
    assert "2 workers" in shown(ran)[-1][2]


def test_array_computations_count_blocks(cells):
    ran = cells.run(
        'let options = nuna::MapBlocks { name: "slow".into(), dtype: nuna::DType::F64, chunks: None };\n'
        "Array::arange(0.0, 1.0, 20).rechunk(&[1])?.map_blocks(options, |block| {\n"
        "    std::thread::sleep(std::time::Duration::from_millis(200));\n    Ok(block.inputs[0].clone())\n})?.compute()?.len()"
    )
    assert ran.ok and ran.result == "20", ran.failure
    progress = shown(ran)
    assert progress and "blocks" in progress[-1][2] and "done in" in progress[-1][2], progress


def test_bytes_read_from_a_store_are_counted(cells, tmp_path):
    ran = cells.run(
        'let made = DataArray::new(Array::arange(0.0, 1.0, 16), ["i"])?;\n'
        f'Dataset::new().assign("x", &made)?.to_zarr("{tmp_path}/x.zarr")?;\n'
        'let options = nuna::MapBlocks { name: "slow".into(), dtype: nuna::DType::F64, chunks: None };\n'
        f'open_zarr("{tmp_path}/x.zarr")?.var("x")?.array().rechunk(&[1])?.map_blocks(options, |block| {{\n'
        "    std::thread::sleep(std::time::Duration::from_millis(200));\n    Ok(block.inputs[0].clone())\n})?.compute()?.len()"
    )
    assert ran.ok and ran.result == "16", ran.failure
    assert ", 128 B read, done in" in shown(ran)[-1][2], shown(ran)


def test_what_is_quick_shows_nothing(cells):
    ran = cells.run(slow(4, 1) + ".gather()?.len()")
    assert ran.ok and not shown(ran)
    ran = cells.run("Array::arange(0, 1, 1000).sum(&[0])?.compute()?.to_vec::<i64>()")
    assert ran.ok and not shown(ran)


def test_a_failed_computation_says_how_far_it_was(cells):
    ran = cells.run(
        "let tasks = cluster.map(0..20, |i: i32| { std::thread::sleep(std::time::Duration::from_millis(150)); i }).batch(1);\n"
        "let waits = tasks.clone();\nfor (n, result) in waits.as_completed().enumerate() { result?; if n == 14 { tasks.cancel() } }"
    )
    assert not ran.ok
    _, _, text, html = shown(ran)[-1]
    assert re.search(r"interrupted after .* \d+ of 20 tasks done", text), text
    assert "<progress" not in html


def test_computations_of_one_cell_share_a_display(cells):
    ran = cells.run(
        f"let one = {slow(8, 200)}.batch(1).named(\"one\");\nlet two = {slow(8, 200)}.batch(1).named(\"two\");\n"
        "one.gather()?;\ntwo.gather()?;"
    )
    assert ran.ok, ran.failure
    progress = shown(ran)
    assert len({identity for _, identity, *_ in progress}) == 1
    assert re.search(r"one: 8 tasks, done in .*\ntwo: 8 tasks, done in ", progress[-1][2]), progress[-1][2]


def test_what_a_cell_does_not_wait_for_is_left_and_a_later_cell_goes_on(cells, tmp_path):
    # The last ones end when the second cell has been waiting for a while, however long it took to begin.
    gate = tmp_path / "gate"
    ran = cells.run(
        "let later = cluster.map(0..24, |i: i32| {\n"
        f'    while i >= 10 && !std::path::Path::new("{gate}").exists() {{ std::thread::sleep(std::time::Duration::from_millis(20)); }}\n'
        "    std::thread::sleep(std::time::Duration::from_millis(150));\n    i\n}).batch(1).start();\n"
        "for _ in later.as_completed().take(10) {}"
    )
    assert ran.ok, ran.failure
    assert "not waited for any longer" in shown(ran)[-1][2]
    first = shown(ran)[0][1]
    ran = cells.run(
        "std::thread::spawn(|| {\n    std::thread::sleep(std::time::Duration::from_secs(2));\n"
        f'    std::fs::write("{gate}", "").unwrap();\n}});\nlater.gather()?.len()'
    )
    assert ran.ok and ran.result == "24", ran.failure
    assert shown(ran)[0][1] != first and "24 tasks, done in" in shown(ran)[-1][2]


def test_progress_can_be_turned_off(cells):
    ran = cells.run("nuna::progress(false);\n" + slow(8, 200) + ".batch(1).gather()?.len()")
    assert ran.ok and not shown(ran)
    assert cells.run("nuna::progress(true);").ok


def test_the_threads_of_the_process_show_progress_too(cells):
    ran = cells.run(
        'let options = nuna::MapBlocks { name: "slow".into(), dtype: nuna::DType::F64, chunks: None };\n'
        "let here: std::sync::Arc<dyn nuna::parts::plan::Engine> = std::sync::Arc::new(nuna::parts::array::ThreadEngine::new(2));\n"
        "Array::arange(0.0, 1.0, 12).rechunk(&[1])?.map_blocks(options, |block| {\n"
        "    std::thread::sleep(std::time::Duration::from_millis(250));\n    Ok(block.inputs[0].clone())\n})?.compute_with(&here)?.len()"
    )
    assert ran.ok and ran.result == "12", ran.failure
    progress = shown(ran)
    assert "2 threads" in progress[-1][2] and "done in" in progress[-1][2], progress


def test_a_notebook_run_from_outside_keeps_the_final_state_only():
    code = ["use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).threads(1).memory(\"200MB\").start()?;", slow(8, 200) + ".batch(1).gather()?.len()"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="nuna").execute()
    [progress] = [output for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    assert progress["data"]["text/plain"].startswith("map: 8 tasks, done in"), progress
