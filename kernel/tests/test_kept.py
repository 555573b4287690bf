"""What a cluster keeps when the process that runs cells ends, and that nothing is left when the kernel does."""

import os
import pathlib
import re
import signal
import time

import pytest
from jupyter_client.manager import start_new_kernel
from session import Session
from test_processes import ENDS, interrupt, until

# The goal is 2 s on an idle machine; this one may be building something.
AFTER_A_CRASH = 30


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts kernels with a folder and a state directory of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("NUNA_STATE_DIR", str(tmp_path / "state"))
    running = []

    def start():
        manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
        running.append((manager, client))
        return manager, Session(client)

    yield start
    for manager, client in running:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def with_cluster(cells, workers: int = 1) -> str:
    """Starts a cluster in variable `cluster` and gives its name."""
    made = cells.run(f"use nuna::prelude::*;\nlet cluster = Cluster::local().workers({workers}).threads(1).memory(\"200MB\").start()?;")
    assert made.ok, made.failure
    return cells.value("cluster.name().to_owned()").strip('"')


def processes_of(tmp_path) -> dict:
    """Schedulers and workers of this test: process ids with their arguments."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"--options {tmp_path}/" in arguments:
                found[int(entry.name)] = arguments
    return found


def scheduler_of(tmp_path) -> int:
    return next(pid for pid, arguments in processes_of(tmp_path).items() if " scheduler " in arguments)


def workers_of(tmp_path) -> set:
    return {pid for pid, arguments in processes_of(tmp_path).items() if " worker " in arguments}


CRASHES = {**ENDS, "interrupted": (None, "interrupted")}


def crash(manager, cells, how: str) -> str:
    """Ends the process that runs cells; gives the message."""
    if how == "interrupted":
        code = 'println!("begun");\nlet mut n = 0u64;\n#[inline(never)] fn deaf(n: &mut u64) { (0..u64::MAX).for_each(|i| *n = std::hint::black_box(*n ^ i)) }\ndeaf(&mut n);'
        reply, _ = interrupt(manager, cells, code, presses=2)
        assert reply["status"] == "error", reply
        return reply["evalue"]
    return cells.fails(ENDS[how][0])


@pytest.mark.parametrize("how", CRASHES)
def test_a_cluster_outlives_a_crash_and_the_next_cell_computes_on_it(started, tmp_path, how):
    manager, cells = started()
    name = with_cluster(cells)
    cells.run("let doomed = vec![1];")
    before = processes_of(tmp_path)
    message = crash(manager, cells, how)
    begun = time.monotonic()
    assert CRASHES[how][1] in message and "doomed" in message, message
    assert f"Cluster {name} still runs with 1 worker" in message, message
    assert f'Cluster::attach("{name}")' in message
    where = cells.value("nuna::engine().describe()")
    assert name in where
    assert time.monotonic() - begun < AFTER_A_CRASH
    assert cells.value("use nuna::prelude::*;\nArray::arange(0, 1, 10).sum(&[0])?.compute()?.to_vec::<i64>()") == "[45]"
    assert processes_of(tmp_path) == before
    again = cells.value(f'let cluster = Cluster::attach("{name}")?;\n(cluster.name().to_owned(), cluster.info().workers.len())')
    assert again == f'("{name}", 1)'


def test_a_worker_that_dies_after_a_crash_is_replaced(started, tmp_path):
    _, cells = started()
    with_cluster(cells, workers=2)
    cells.fails("std::process::abort();")
    [first, *_] = before = sorted(workers_of(tmp_path))
    os.kill(first, signal.SIGKILL)
    until(lambda: len(workers_of(tmp_path)) == 2 and sorted(workers_of(tmp_path)) != before, "the worker was not replaced")
    assert cells.value("use nuna::prelude::*;\nArray::arange(0, 1, 10).sum(&[0])?.compute()?.to_vec::<i64>()") == "[45]"


def test_a_cluster_that_was_kept_ends_when_told_to(started, tmp_path):
    _, cells = started()
    name = with_cluster(cells)
    cells.fails("std::process::exit(3);")
    assert cells.run(f'use nuna::prelude::*;\nCluster::attach("{name}")?.shutdown();').ok
    until(lambda: not processes_of(tmp_path), "processes of the cluster are left")
    assert "threads of this process" in cells.value("nuna::engine().describe()")
    assert "no cluster named" in cells.fails(f'Cluster::attach("{name}")?')


def test_dropping_a_cluster_ends_it(started, tmp_path):
    _, cells = started()
    with_cluster(cells)
    assert cells.run("drop(cluster);").ok
    until(lambda: not processes_of(tmp_path), "processes of the cluster are left")


@pytest.mark.parametrize("crashed", [False, True], ids=["healthy", "crashed"])
@pytest.mark.parametrize("how", ["shutdown", "killed", "terminated"])
def test_nothing_of_a_cluster_outlives_its_kernel(started, tmp_path, how, crashed):
    manager, cells = started()
    with_cluster(cells, workers=2)
    if crashed:
        cells.fails("std::process::abort();")
    assert len(processes_of(tmp_path)) == 3
    kernel = manager.provisioner.process.pid
    if how == "shutdown":
        manager.shutdown_kernel()
    else:
        os.kill(kernel, signal.SIGKILL if how == "killed" else signal.SIGTERM)
    until(lambda: not processes_of(tmp_path), f"left behind: {processes_of(tmp_path)}")
    until(lambda: not list((tmp_path / "state/clusters").iterdir()), "files of the cluster are left")


def test_a_programs_own_cluster_still_ends_with_the_program(started, tmp_path):
    """A kernel's clusters are told apart from those of programs that its cells start."""
    _, cells = started()
    name = with_cluster(cells)
    file = (tmp_path / "state/clusters" / f"{name}.json").read_text()
    assert re.search(r'"lifeline": ".*/nuna-cells-[0-9a-f]+/lifeline"', file), file
    environment = cells.value('std::env::vars().filter(|(_, value)| value.contains("lifeline")).count()')
    assert environment == "0"


PUBLISH = """
let sst = Array::arange(0.0, 0.1, 24).rechunk(&[5])?;
let labelled = DataArray::new(sst.clone(), ["time"])?.named("sst").with_attr("units", "K").with_attr("tenth", 0.1 + 0.2)
    .assign_coord("time", (0..24).map(|i| f64::from(i) / 3.0).collect::<Vec<_>>())?;
let ds = Dataset::new().assign("sst", &labelled)?.assign("double", &(&labelled * 2.0))?;
cluster.publish("plain", &sst)?;
let labelled = cluster.publish("labelled", &labelled)?;
cluster.publish("set", &ds)?;
fn bits(array: &DataArray) -> u64 {
    array.values_f64().unwrap().iter().fold(7, |hash: u64, x| hash.wrapping_mul(31).wrapping_add(x.to_bits()))
}
"""
FACTS = """
let plain = DataArray::new(cluster.get::<Array>("plain")?, ["x"])?;
let labelled: DataArray = cluster.get("labelled")?;
let set: Dataset = cluster.get("set")?;
let time = labelled.coord("time")?.values()?.clone();
(bits(&plain), bits(&labelled), bits(&set.var("double")?), format!("{time:?}"), format!("{:?}", labelled.attrs()), format!("{set:?}"))
"""


@pytest.mark.parametrize("how", CRASHES)
def test_published_data_is_the_same_after_a_crash(started, how):
    manager, cells = started()
    name = with_cluster(cells, workers=2)
    made = cells.run(PUBLISH)
    assert made.ok, made.failure
    before = cells.value(FACTS)
    assert "units" in before and "0.30000000000000004" in before
    message = crash(manager, cells, how)
    assert "holds labelled (DataArray float64 (time: 24))" in message and "plain (Array float64 [24])" in message, message
    assert 'let data: DataArray = cluster.get("labelled")?;' in message, message
    assert cells.run(f'use nuna::prelude::*;\nlet cluster = Cluster::attach("{name}")?;').ok
    assert cells.value(FACTS) == before


def test_what_was_not_published_is_freed_after_a_crash(started):
    _, cells = started()
    name = with_cluster(cells)
    made = cells.run("let kept = cluster.publish(\"kept\", &Array::arange(0, 1, 1_000_000))?;\nlet held = (&kept + 1).persist()?;")
    assert made.ok, made.failure
    used = "cluster.info().workers.iter().map(|worker| worker.used_bytes).sum::<u64>() / 1_000_000"
    until(lambda: int(cells.value(used)) == 16, "two arrays of 8 MB are held")
    cells.fails("std::process::abort();")
    assert cells.run(f'use nuna::prelude::*;\nlet cluster = Cluster::attach("{name}")?;').ok
    until(lambda: int(cells.value(used)) == 8, "only the published one stays")
    assert cells.run('cluster.unpublish("kept")?;').ok
    until(lambda: int(cells.value(used)) == 0, "taken away, it is freed")


def test_another_notebook_gets_what_this_one_published(started):
    _, cells = started()
    name = with_cluster(cells)
    made = cells.run('cluster.publish("shared", &Array::arange(0, 1, 10))?;')
    assert made.ok, made.failure
    _, other = started()
    assert other.run(f'use nuna::prelude::*;\nlet cluster = Cluster::attach("{name}")?;').ok
    listed = other.value("cluster.published()?")
    assert "shared: Array int64 [10], 8" in listed, listed
    assert other.value('cluster.get::<Array>("shared")?.sum(&[0])?.compute()?.to_vec::<i64>()') == "[45]"


def test_published_lost_with_a_worker_is_computed_again(started, tmp_path):
    _, cells = started()
    name = with_cluster(cells, workers=2)
    assert cells.run(PUBLISH).ok
    before = cells.value(FACTS)
    cells.fails("std::process::abort();")
    for worker in workers_of(tmp_path):
        os.kill(worker, signal.SIGKILL)
    assert cells.run(f'use nuna::prelude::*;\nlet cluster = Cluster::attach("{name}")?;').ok
    assert cells.value(FACTS) == before


def test_names_that_are_taken_unknown_or_of_another_kind_say_so(started):
    _, cells = started()
    with_cluster(cells)
    made = cells.run('let a = Array::arange(0, 1, 10);\ncluster.publish("sst", &a)?;')
    assert made.ok, made.failure
    assert '`sst` is published already (Array int64 [10])' in cells.fails('cluster.publish("sst", &a)?;')
    assert "nothing is published as `u`; there is sst" in cells.fails('cluster.get::<Array>("u")?')
    message = cells.fails('cluster.get::<Dataset>("sst")?')
    assert 'let data: Array = cluster.get("sst")?;' in message, message
    assert "nothing is published as `u`" in cells.fails('cluster.unpublish("u")?')
    assert cells.run('cluster.unpublish("sst")?;').ok
    assert cells.value("cluster.published()?") == "nothing is published"


def test_a_new_cluster_takes_the_place_of_one_that_nothing_uses(started, tmp_path):
    _, cells = started()
    name = with_cluster(cells)
    cells.fails("std::process::abort();")
    message = cells.fails("cluster.name()")
    assert f'`let cluster = Cluster::attach("{name}")?;` gets it back' in message, message
    # As a person does who runs the first cells of the notebook again.
    made = cells.run('use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).threads(1).memory("200MB").start()?;')
    assert made.ok and f"cluster {name}" in made.printed("stderr"), made.failure
    until(lambda: len(processes_of(tmp_path)) == 2, "the old cluster is still there")


@pytest.mark.parametrize("use", ['let held = Array::arange(0, 1, 10).persist()?;', 'let old = Cluster::attach("{name}")?;', 'cluster'])
def test_a_kept_cluster_that_is_used_stays_beside_a_new_one(started, tmp_path, use):
    _, cells = started()
    name = with_cluster(cells)
    if use == "cluster":
        assert cells.run('cluster.publish("sst", &Array::arange(0, 1, 10))?;').ok
    cells.fails("std::process::abort();")
    if use != "cluster":
        assert cells.run("use nuna::prelude::*;\n" + use.format(name=name)).ok
    made = cells.run('use nuna::prelude::*;\nlet new = Cluster::local().workers(1).threads(1).memory("200MB").start()?;')
    assert made.ok and name not in made.printed("stderr"), made.failure
    assert len(processes_of(tmp_path)) == 4
    if "held" in use:
        assert cells.value(f'held.sum(&[0])?.compute_with(&Cluster::attach("{name}")?.engine())?.to_vec::<i64>()') == "[45]"
