"""What a person reads when their code fails on a worker."""

import pytest


@pytest.fixture(scope="module")
def cells(shared):
    """A kernel with a cluster."""
    ran = shared.run("use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).start()?;")
    assert ran.ok, ran.failure
    yield shared
    shared.run("cluster.shutdown();")


def test_a_panic_on_a_worker_names_the_cells_line(cells):
    message = cells.fails(
        'let limit = 2;\nlet tasks = cluster.map(0..4, move |i: i32| {\n    assert!(i < limit, "{i} is too much");\n    i\n});\ntasks.gather()?'
    )
    assert "is too much" in message
    assert f"In [{cells.number}]:3:" in message, message
    assert "nuna-cells" not in message and ".rs:" not in message
    # Where the error came out of the cell.
    assert f"In [{cells.number}]:6:1" in message, message


def test_a_panic_in_an_earlier_cells_function_names_that_cell(cells):
    cells.run('fn checked(i: i32) -> i32 {\n    if i > 2 { panic!("not {i}") }\n    i\n}')
    made = cells.number
    message = cells.fails("cluster.map(0..4, checked).gather()?")
    assert f"In [{made}]:2:" in message and "nuna-cells" not in message, message


def test_an_error_of_a_closure_keeps_its_own_words(cells):
    message = cells.fails('cluster.try_map(0..3, |i: i32| if i == 1 { Err("no ones".to_owned()) } else { Ok(i) }).gather()?')
    assert "no ones" in message and "nuna-cells" not in message, message


def test_array_blocks_that_fail_name_the_cells_line(cells):
    message = cells.fails(
        "let a = Array::from_slice(&[2], &[1.0, 2.0])?;\n"
        'let options = nuna::MapBlocks { name: "odd".into(), dtype: nuna::DType::F64, chunks: None };\n'
        "let b = a.map_blocks(options, |_| {\n    panic!(\"block trouble\")\n})?;\nb.compute()?"
    )
    assert "block trouble" in message and f"In [{cells.number}]:4:" in message and "nuna-cells" not in message, message


def test_a_failed_task_that_is_a_result_names_the_cells_line(cells):
    ran = cells.run('let tasks = cluster.map(0..4, |i: i32| if i == 2 { panic!("odd") } else { i });\ntasks.gather()')
    assert ran.ok, ran.failure
    assert f"In [{cells.number}]:1:" in ran.result and "nuna-cells" not in ran.result, ran.result


@pytest.mark.parametrize("captured, ty", [
    ('vec!["a".to_owned()]', "Vec<"),
    ("std::collections::HashMap::from([(0, 1)])", "HashMap<"),
])
def test_what_cannot_travel_is_named_once_and_by_its_own_name(cells, captured, ty):
    message = cells.fails(f"let owned = {captured};\ncluster.map(0..2, move |i: i32| owned.len() as i32 + i).gather()?")
    assert "cannot travel to another process" in message.splitlines()[0] and ty in message.splitlines()[0], message
    assert "captures!" in message and "{closure}" in message, message
    assert "nuna-cells" not in message and "is not satisfied" not in message, message


def test_a_cluster_that_was_shut_down_says_so(cells):
    ran = cells.run('let other = Cluster::local().workers(1).start()?;\nother.shutdown();\nother')
    assert ran.ok and ran.result.endswith(": ended or out of reach"), ran.result or ran.failure
