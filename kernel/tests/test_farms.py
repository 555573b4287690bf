"""Task farms as a person uses them: limits, priorities, and what becomes of tasks that never end."""

import json
import re
import time

import pytest
from pyarrow import parquet


@pytest.fixture(scope="module")
def cells(shared):
    """A kernel with a cluster."""
    ran = shared.run('use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).threads(1).memory("300MB").start()?;')
    assert ran.ok, ran.failure
    yield shared
    shared.run("cluster.shutdown();")


def test_a_task_that_never_ends_fails_alone_and_its_worker_is_replaced(cells):
    pids = "cluster.info().workers.iter().map(|w| w.pid).collect::<Vec<_>>()"
    before = cells.run(pids).result
    ran = cells.run(
        "let tasks = cluster.map(0..6_u64, |x: u64| { while x == 2 { std::hint::spin_loop(); } x * x })\n"
        '    .named("simulate").timeout(Duration::from_secs(1));\n'
        "tasks.outcomes()?.into_iter().map(|r| r.map_or_else(|e| e.to_string(), |x| x.to_string())).collect::<Vec<_>>()"
    )
    assert ran.ok, ran.failure
    failed = "task simulate[2] failed: timed out, as it ran for more than 1s, with parameter 2"
    assert json.loads(re.sub(r",\s*\]", "]", ran.result)) == ["0", "1", failed, "9", "16", "25"]
    until = time.monotonic() + 60
    while (now := cells.run(pids).result) == before or now == "[]":
        assert time.monotonic() < until, f"the worker with a thread that never ends is still {now}"
    assert cells.run("cluster.map(0..3_u64, |x: u64| x + 1).gather()?").result == "[1, 2, 3]"


def test_a_short_farm_does_not_wait_for_a_long_one_and_an_urgent_one_comes_first(cells):
    ran = cells.run(
        "fn nap(x: u64) -> u64 { std::thread::sleep(Duration::from_millis(10)); x }\n"
        "let long = cluster.map(0..100_000_u64, nap).batch(10).start();\n"
        "while long.done() == 0 {}\n"
        "let short = cluster.map(0..10_u64, nap).gather()?.len();\n"
        "let urgent = cluster.map(0..10_u64, nap).priority(10).gather()?.len();\n"
        "let meanwhile = long.done();\n"
        "long.cancel();\n"
        "(short, urgent, meanwhile < 5_000)"
    )
    assert ran.ok, ran.failure
    assert ran.result == "(10, 10, true)", ran.result


def test_a_scattered_value_is_read_by_tasks_survives_its_worker_and_is_freed(cells):
    used = "cluster.info().workers.iter().map(|w| w.used_bytes).sum::<u64>()"
    ran = cells.run(
        "let table = cluster.scatter((0..1_000_000).map(|i| i as f64).collect::<Vec<f64>>())?;\n"
        "cluster.map_with(captures!(table), 0..100_usize, |table, i: usize| table[i] + table[table.len() - 1]).gather()?[7]"
    )
    assert ran.ok and ran.result == "1000006.0", ran.failure or ran.result
    ran = cells.run(
        "let pid = cluster.info().workers[0].pid;\n"
        'std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;\n'
        "let parameters = vec![(table.clone(), 3_usize), (table.clone(), 4)];\n"
        "cluster.map(parameters, |(table, i): (Scattered<Vec<f64>>, usize)| table[i]).gather()?"
    )
    assert ran.ok and ran.result == "[3.0, 4.0]", ran.failure or ran.result
    cells.run("drop(table);")
    until = time.monotonic() + 60
    while cells.run(used).result != "0":
        assert time.monotonic() < until, "a scattered value without handles is still there"


def test_workers_write_rows_once_though_one_is_lost(cells, tmp_path):
    ran = cells.run(
        "fn row(x: u64) -> (u64, f64) { std::thread::sleep(Duration::from_millis(1)); (x, x as f64 / 2.0) }\n"
        f'let runs = cluster.map(0..2_000_u64, row).batch(10).to_csv("{tmp_path}/runs").start();\n'
        "while runs.done() < 20 {}\n"
        'std::process::Command::new("kill").args(["-9", &cluster.info().workers[0].pid.to_string()]).status()?;\n'
        "let written = runs.result()?;\n"
        "(written.rows, written.parts, written.failed)"
    )
    assert ran.ok and ran.result == "(2000, 200, 0)", ran.failure or ran.result
    files = list((tmp_path / "runs").iterdir())
    rows = [line for file in files for line in file.read_text().splitlines()[1:]]
    assert len(files) == 200 and all(file.name.startswith("part-") for file in files)
    assert sorted(rows) == sorted(f"{x},{x},{x / 2:g}" for x in range(2000))


@pytest.mark.parametrize("lost", ["worker", "scheduler"])
def test_rows_are_in_parquet_files_once_though_some_fail_at_first_and_a_process_is_lost(cells, tmp_path, lost):
    runs = tmp_path / "runs"
    ran = cells.run(
        "#[derive(Serialize, Deserialize)]\nstruct Sampled { x: u64, half: Option<f64>, name: String }\n"
        'let parquet = Cluster::local().workers(2).threads(1).memory("200MB").start()?;\n'
        'let marks = String::from("%s");\n'
        "let sampled = parquet.map_with(captures!(marks), 0..2_000_u64, |marks: &String, x: u64| {\n"
        "    std::thread::sleep(Duration::from_millis(1));\n"
        '    // Fails the first time.\n'
        '    assert!(x %% 50 != 7 || std::fs::File::create_new(format!("{marks}/{x}")).is_err(), "not yet");\n'
        '    assert!(x != 77, "never");\n'
        '    Sampled { x, half: (x >= 1000).then_some(x as f64 / 2.0), name: format!("«{x}»") }\n'
        "}).retries(2).batch(10);\n"
        'let written = sampled.to_parquet("%s").start();\n'
        "while written.done() < 20 {}\n"
        "let pid = parquet.%s;\n"
        'std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;\n'
        "let written = written.partial()?;\n"
        "(written.rows, written.parts, written.failed)"
        % (tmp_path, runs, {"worker": "info().workers[0].pid", "scheduler": "file().pid"}[lost])
    )
    assert ran.ok and ran.result == "(1999, 200, 1)", ran.failure or ran.result
    names = sorted(path.name for path in runs.iterdir())
    assert names == ["_failed-000007.csv"] + [f"part-{block:06}.parquet" for block in range(200)]
    table = parquet.read_table(runs).sort_by("task")
    assert [str(field.type) for field in table.schema] == ["int64", "int64", "double", "string"]
    expected = [x for x in range(2000) if x != 77]
    assert table["task"].to_pylist() == table["x"].to_pylist() == expected
    assert table["half"].to_pylist() == [x / 2 if x >= 1000 else None for x in expected]
    assert table["name"].to_pylist() == [f"«{x}»" for x in expected]
    assert "never" in (runs / "_failed-000007.csv").read_text()
    cells.run("parquet.shutdown();")


def test_rows_of_a_table_are_parameters(cells, tmp_path):
    (tmp_path / "runs.csv").write_text("viscosity,steps,label\n0.5,10,first\n0.25,20,\n")
    ran = cells.run(
        "#[derive(Serialize, Deserialize)]\nstruct Planned { steps: u32, viscosity: f64, label: Option<String> }\n"
        f'let planned = scan_csv("{tmp_path}/runs.csv")?.compute()?.to_rows::<Planned>()?;\n'
        "cluster.map(planned, |p: Planned| (f64::from(p.steps) * p.viscosity, p.label)).gather()?"
    )
    assert ran.ok and ran.result == '[(5.0, Some("first")), (5.0, None)]', ran.failure or ran.result


def test_numbers_are_scattered_once_for_all_processes_of_a_node(cells):
    ran = cells.run(
        'let many = Cluster::local().workers(4).threads(1).memory("300MB").start()?;\n'
        "let numbers = many.scatter_numbers(&(0..5_000_000).map(f64::from).collect::<Vec<f64>>())?;\n"
        "let read = many.map_with(captures!(numbers), 0..400_usize, |numbers: &Scattered<[f64]>, i: usize| {\n"
        "    std::thread::sleep(Duration::from_millis(5));\n"
        "    (numbers[i], numbers.len())\n"
        "}).batch(1).gather()?;\n"
        "read.iter().enumerate().all(|(i, &(number, count))| number == i as f64 && count == 5_000_000)"
    )
    assert ran.ok and ran.result == "true", ran.failure or ran.result
    mapped = [
        {line.split()[4] for line in open(f"/proc/{pid}/maps") if "/memfd:nuna-value" in line}
        for pid in json.loads(cells.run("many.info().workers.iter().map(|w| w.pid).collect::<Vec<_>>()").result)
    ]
    assert len(mapped) == 4 and all(len(files) == 1 and files == mapped[0] for files in mapped), mapped
    # Their worker is lost, and they are there again.
    ran = cells.run(
        'std::process::Command::new("kill").args(["-9", &many.info().workers[0].pid.to_string()]).status()?;\n'
        "many.map_with(captures!(numbers), 0..8_usize, |numbers: &Scattered<[f64]>, i: usize| numbers[i]).batch(1).gather()?"
    )
    assert ran.ok and json.loads(ran.result) == [float(i) for i in range(8)], ran.failure or ran.result
    cells.run("many.shutdown();")


def test_no_more_tasks_run_at_once_than_there_are_licences(cells, tmp_path):
    ran = cells.run(
        'let licensed = Cluster::local().workers(2).threads(2).memory("200MB").shared_resource("licence", 1).resource("gpu", 1).start()?;\n'
        f'fn alone(mark: &str) -> bool {{ let alone = std::fs::File::create_new(mark).is_ok(); std::thread::sleep(Duration::from_millis(20)); let _ = std::fs::remove_file(mark); alone }}\n'
        f'let one = licensed.map(0..20_u32, |_: u32| alone("{tmp_path}/mark")).batch(1).needs("licence", 1).gather()?;\n'
        'licensed.map(0..4_u32, |x: u32| x).needs("gpu", 1).gather()?;\n'
        "one.iter().filter(|alone| **alone).count()"
    )
    assert ran.ok and ran.result == "20", ran.failure or ran.result
    message = cells.fails('licensed.map(0..4_u32, |x: u32| x).needs("gpu", 2).gather()?')
    assert "needs 2 `gpu`, but a worker has 1 at most" in message, message


def test_a_detached_farm_goes_on_without_its_handle(cells, tmp_path):
    ran = cells.run(f'licensed.map(0..300_u32, |x: u32| {{ std::thread::sleep(Duration::from_millis(2)); x }}).batch(10).to_csv("{tmp_path}/runs").detach()?;')
    assert ran.ok, ran.failure
    until = time.monotonic() + 60
    while len(list((tmp_path / "runs").glob("part-*.csv"))) < 30:
        assert time.monotonic() < until, "a detached farm has not ended"
        time.sleep(0.05)
    cells.run("licensed.shutdown();")
