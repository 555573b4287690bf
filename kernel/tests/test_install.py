"""`nuna kernel install`, and the kernel that it leaves in an environment that has nothing."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import programs

SCRIPT = """
import json, sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
results = []
for code in json.loads(sys.argv[1]):
    outputs = []
    reply = client.execute_interactive(code, timeout=120, allow_stdin=False, output_hook=lambda m: outputs.append(m["content"]))
    results.append([reply["content"]["status"], reply["content"].get("evalue"), [o["data"]["text/plain"] for o in outputs if "data" in o]])
client.stop_channels()
manager.shutdown_kernel()
print(json.dumps(results))
"""

CELLS = [
    "use nuna::prelude::*;\nlet a = 20;",
    "a + 22",
    "let cluster = Cluster::local().workers(1).start()?;",
    "let doubled = cluster.map([1.0, 2.0], |x: f64| x * 2.0).gather()?;\ndoubled",
    "cluster.shutdown();",
]


@pytest.fixture
def prefix(tmp_path):
    command = [str(programs() / "nuna"), "kernel", "install", "--prefix", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_kernelspec_names_its_programs_by_whole_paths(prefix):
    specification = json.loads((prefix / "share/jupyter/kernels/nuna/kernel.json").read_text())
    assert specification["interrupt_mode"] == "message" and specification["language"] == "rust"
    for path in [specification["argv"][0], specification["env"]["NUNA_RUSTC"], specification["env"]["NUNA_BIN"]]:
        assert os.path.isabs(path) and os.access(path, os.X_OK), path


# The second has no gcc either.
@pytest.mark.parametrize("path", ["/usr/bin:/bin", "/nonexistent"])
def test_the_kernel_works_in_an_empty_environment(prefix, tmp_path, path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": path, "JUPYTER_PATH": str(prefix / "share/jupyter")}
    command = [sys.executable, "-c", SCRIPT, json.dumps(CELLS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert [status for status, *_ in results] == ["ok"] * len(CELLS), results
    assert results[1][2] == ["42"] and results[3][2] == ["[2.0, 4.0]"]
    assert not list(pathlib.Path(home).glob(".local/state/nuna/clusters/*.json"))
