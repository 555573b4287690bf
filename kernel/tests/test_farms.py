"""Task farms as a person uses them: limits, priorities, and what becomes of tasks that never end."""

import time

import pytest
from jupyter_client.manager import start_new_kernel
from session import Session


@pytest.fixture(scope="module")
def cells():
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    session = Session(client)
    ran = session.run('use nuna::prelude::*;\nlet cluster = Cluster::local().workers(1).threads(1).memory("300MB").start()?;')
    assert ran.ok, ran.failure
    yield session
    session.run("cluster.shutdown();")
    client.stop_channels()
    manager.shutdown_kernel()


def test_a_task_that_never_ends_fails_alone_and_its_worker_is_replaced(cells):
    pids = "cluster.info().workers.iter().map(|w| w.pid).collect::<Vec<_>>()"
    before = cells.run(pids).result
    ran = cells.run(
        "let tasks = cluster.map(0..6_u64, |x: u64| { while x == 2 { std::hint::spin_loop(); } x * x })\n"
        '    .named("simulate").timeout(Duration::from_secs(1));\n'
        "tasks.outcomes()?.into_iter().map(|r| r.map_or_else(|e| e.to_string(), |x| x.to_string())).collect::<Vec<_>>()"
    )
    assert ran.ok, ran.failure
    assert '"0", "1", "task simulate[2] failed: timed out, as it ran for more than 1s, with parameter 2", "9", "16", "25"' in ran.result
    until = time.monotonic() + 60
    while (now := cells.run(pids).result) == before or now == "[]":
        assert time.monotonic() < until, f"the worker with a thread that never ends is still {now}"
    assert cells.run("cluster.map(0..3_u64, |x: u64| x + 1).gather()?").result == "[1, 2, 3]"


def test_a_short_farm_does_not_wait_for_a_long_one_and_an_urgent_one_comes_first(cells):
    ran = cells.run(
        "fn nap(x: u64) -> u64 { std::thread::sleep(Duration::from_millis(10)); x }\n"
        "let long = cluster.map(0..100_000_u64, nap).start();\n"
        "while long.done() == 0 {}\n"
        "let short = cluster.map(0..10_u64, nap).gather()?.len();\n"
        "let urgent = cluster.map(0..10_u64, nap).priority(10).gather()?.len();\n"
        "let meanwhile = long.done();\n"
        "long.cancel();\n"
        "(short, urgent, meanwhile < 5_000)"
    )
    assert ran.ok, ran.failure
    assert ran.result == "(10, 10, true)", ran.result
