"""A notebook on one host, its workers on two others, and links that are cut: `several_hosts.py`, in namespaces."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

# Each asks the kernel for the same, as root on this machine or as root of a user namespace.
WAYS = [["unshare", "--net", "--uts", "--mount"], ["unshare", "--user", "--map-root-user", "--net", "--uts", "--mount"]]
PROBE = "ip link add probe type bridge && unshare --net --uts --mount true && mount -t tmpfs tmpfs /tmp"


def namespaces() -> list[str]:
    """How namespaces can be had here; the test is skipped if in no way."""
    refused = []
    for way in WAYS:
        done = subprocess.run([*way, "sh", "-c", PROBE], capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return way
        refused.append(f"`{' '.join(way)}`: {done.stderr.strip()}")
    pytest.skip("this machine lays no networks of its own for tests: " + "; ".join(refused))


def test_workers_on_several_hosts():
    way = namespaces()
    with tempfile.TemporaryDirectory(prefix="nuna-hosts-", dir="/var/tmp") as folder:
        inside = pathlib.Path(__file__).with_name("several_hosts.py")
        command = [*way, sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", "--basetemp", f"{folder}/t", str(inside)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "TMPDIR": folder})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
