"""Hosts on one machine: each has a network, a name and a `/tmp` of its own, and everything else in common, as the
nodes of a centre do. Run in namespaces of their own by `test_several_hosts.py`, never by itself."""

import json
import os
import re
import signal
import subprocess
import time

import numpy
import pytest
import xarray
from conftest import programs
from jupyter_client.manager import start_new_kernel
from session import Session

HEAD = "10.77.0.1"
# A worker that says nothing for 30 s is given up; the rest is for what it had to be done by others.
PATIENCE = 120


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


def wait_until(what: str, condition, patience: float = PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {patience} s"
        time.sleep(0.2)


class Node:
    """A host that is a process, whose namespaces others enter."""

    def __init__(self, name: str, address: str):
        self.name, self.address, self.port = name, address, f"to-{name}"
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "sh", "-c", f"hostname {name} && mount -t tmpfs tmpfs /tmp && echo up && exec sleep 3600"],
            stdout=subprocess.PIPE, text=True,
        )
        assert self.holder.stdout.readline() == "up\n", f"{name} did not come up"
        run("ip", "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        run("ip", "link", "set", self.port, "master", "wire", "up")
        self.enter("ip", "link", "set", "lo", "up")
        self.enter("ip", "address", "add", f"{address}/24", "dev", "eth0")
        self.enter("ip", "link", "set", "eth0", "up")

    def launcher(self) -> list[str]:
        return ["/usr/bin/nsenter", "--target", str(self.holder.pid), "--net", "--uts", "--mount"]

    def enter(self, *command: str) -> str:
        return run(*self.launcher(), *command)

    def cut(self):
        """Nothing arrives any more, and nobody is told."""
        run("ip", "link", "set", self.port, "down")

    def mend(self):
        run("ip", "link", "set", self.port, "up")

    def isolate(self, on: bool):
        """Nodes isolated from each other reach the head only."""
        run("ip", "link", "set", self.port, "type", "bridge_slave", "isolated", "on" if on else "off")


@pytest.fixture(scope="module")
def nodes():
    run("hostname", "head")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "wire", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    run("ip", "address", "add", f"{HEAD}/24", "dev", "wire")
    run("ip", "link", "set", "wire", "up")
    # Where packets to far away would go: hosts have such a route, and find their own address by it.
    run("ip", "route", "add", "default", "dev", "wire")
    nodes = [Node("node1", "10.77.0.11"), Node("node2", "10.77.0.12")]
    yield nodes
    for node in nodes:
        node.holder.kill()
        node.holder.wait()


@pytest.fixture(scope="module")
def batch(nodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pbs")
    table = "".join(
        f"[[nodes]]\nname = '{node.name}'\nncpus = 2\nmem = '4gb'\nlauncher = {json.dumps(node.launcher())}\n" for node in nodes
    )
    (folder / "pbs.toml").write_text(
        "server = 'head'\nqueue_delay_seconds = 0\nkill_delay_seconds = 2\n" + table + "[[queues]]\nname = 'workq'\nmax_walltime = '01:00:00'\n"
    )
    commands = folder / "bin"
    commands.mkdir()
    for name in ["qsub", "qstat", "qdel"]:
        (commands / name).symlink_to(programs() / "nuna-pbs")
    server = subprocess.Popen([programs() / "nuna-pbs", "server", "--die-with-parent", "--state", folder / "state", "--config", folder / "pbs.toml"])
    os.environ["NUNA_PBS_DIR"] = str(folder / "state")
    os.environ["PATH"] = f"{commands}:{os.environ['PATH']}"

    def answers() -> bool:
        assert server.poll() is None, "the batch system ended"
        return subprocess.run(["qstat", "-B"], capture_output=True).returncode == 0

    wait_until("the batch system answers", answers)
    yield
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=30)


@pytest.fixture(scope="module")
def cells(batch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60, env={**os.environ, "XDG_STATE_HOME": str(home)})
    session = Session(client)
    session.folder = home
    ran = session.run(
        "use nuna::prelude::*;\nuse std::time::Duration;\n"
        'let cluster = Cluster::pbs().cores(1).memory("600MB").walltime("30m").scale(4).start()?;\n'
        "cluster.wait_for_workers(4, Duration::from_secs(60))?;"
    )
    assert ran.ok, ran.failure
    yield session
    session.run("cluster.shutdown();")
    client.stop_channels()
    manager.shutdown_kernel()
    wait_until("no job is left", lambda: run("qstat").strip() == "")


WHERE = 'std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()'


def test_closures_run_on_every_node(cells):
    """What a cell compiles reaches nodes that share no `/tmp` with it."""
    ran = cells.value(
        f"let names = cluster.map(0..40u64, |_i: u64| {{ std::thread::sleep(Duration::from_millis(50)); {WHERE} }}).gather()?;\n"
        "names.into_iter().collect::<std::collections::BTreeSet<String>>()"
    )
    assert re.findall(r'"(\w+)"', ran) == ["node1", "node2"], ran


@pytest.fixture(scope="module")
def rows(cells):
    """67 MB, in chunks of whole rows."""
    values = numpy.random.default_rng(4).integers(0, 1 << 40, (64, 256, 512))
    sst = xarray.DataArray(values, dims=("time", "lat", "lon"), name="sst")
    sst.to_dataset().to_zarr(cells.folder / "rows.zarr", encoding={"sst": {"chunks": (2, 256, 512)}}, zarr_format=3)
    return values


def columns(name: str) -> str:
    return f'open_zarr("{{folder}}/rows.zarr")?.rechunk([("time", 64), ("lat", 32), ("lon", 64)])?.to_zarr("{{folder}}/{name}")?;'


def check(cells, rows, name: str):
    assert numpy.array_equal(xarray.open_zarr(cells.folder / name)["sst"].values, rows)


def test_a_rechunk_goes_between_nodes(cells, rows):
    ran = cells.run(columns("columns.zarr").format(folder=cells.folder))
    assert ran.ok, ran.failure
    check(cells, rows, "columns.zarr")


def test_nodes_that_cannot_reach_each_other_are_no_reason_to_wait_for_ever(cells, rows, nodes):
    """A site's firewall, say: both reach the scheduler. Either it is done by other ways, or the error says who cannot reach whom."""
    for node in nodes:
        node.isolate(True)
    began = time.monotonic()
    try:
        ran = cells.run(columns("apart.zarr").format(folder=cells.folder), patience=300)
    finally:
        for node in nodes:
            node.isolate(False)
    print(f"nodes isolated: {time.monotonic() - began:.1f} s, {ran.reply['status']} {ran.failure}")
    if ran.ok:
        check(cells, rows, "apart.zarr")
    else:
        assert "10.77.0.1" in ran.failure, ran.failure


def test_a_node_that_is_cut_off_costs_time_and_nothing_else(cells, nodes):
    """The farm goes on elsewhere; the node's own workers find out, and are there again when the link is."""
    nodes[0].cut()
    began = time.monotonic()
    try:
        ran = cells.value(
            "let squares = cluster.map(0..2000u64, |i: u64| { std::thread::sleep(Duration::from_millis(5)); i * i }).gather()?;\n"
            "(0..2000u64).zip(&squares).all(|(i, square)| i * i == *square)"
        )
    finally:
        nodes[0].mend()
    assert ran == "true", ran
    print(f"a farm with one of two nodes cut off took {time.monotonic() - began:.1f} s")
    ran = cells.run("cluster.wait_for_workers(4, Duration::from_secs(90))?;")
    assert ran.ok, ran.failure
    ran = cells.value(
        f"let names = cluster.map(0..40u64, |_i: u64| {{ std::thread::sleep(Duration::from_millis(50)); {WHERE} }}).gather()?;\n"
        "names.into_iter().collect::<std::collections::BTreeSet<String>>().len()"
    )
    assert ran == "2", ran
