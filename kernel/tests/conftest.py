"""Installs the built kernel into a folder of its own, so that no kernelspec of this machine is touched."""

import json
import os
import pathlib
import subprocess

import pytest
from jupyter_client.manager import start_new_kernel
from session import Session

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def programs() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("NUNA_BIN_DIR", REPOSITORY / "target/debug"))
    if not (folder / "nuna-kernel").exists():
        raise RuntimeError(f"no nuna-kernel in {folder}; run `cargo xtask setup`")
    return folder


def write_kernelspec(data: pathlib.Path) -> None:
    """What `nuna kernel install` writes, for the programs under test."""
    folder = data / "kernels/nuna"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps({
        "argv": [str(programs() / "nuna-kernel"), "{connection_file}"],
        "display_name": "Nuna (Rust)", "language": "rust", "interrupt_mode": "message",
        "env": {"NUNA_RUNTIME_DIR": str(programs()), "NUNA_BIN": str(programs() / "nuna")},
    }))


@pytest.fixture(scope="session", autouse=True)
def kernelspec(tmp_path_factory):
    data = tmp_path_factory.mktemp("jupyter")
    write_kernelspec(data)
    os.environ["JUPYTER_PATH"] = str(data)
    # Nothing is taken from, or left in, the cache of who runs the tests.
    os.environ.setdefault("NUNA_HISTORY", "0")
    os.environ["NUNA_CELL_CACHE"] = str(tmp_path_factory.mktemp("cells"))
    yield


@pytest.fixture(scope="session")
def indexes(kernelspec):
    """What completion knows of the libraries, as `nuna kernel install` leaves it; nothing is done if it is there."""
    environment = {**os.environ, "NUNA_RUNTIME_DIR": str(programs())}
    done = subprocess.run([str(programs() / "nuna-kernel"), "index", str(programs())], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shared():
    """One kernel for the tests of a file."""
    manager, client = start_new_kernel(kernel_name="nuna", startup_timeout=60)
    session = Session(client)
    session.manager = manager
    yield session
    client.stop_channels()
    manager.shutdown_kernel()


@pytest.fixture
def cells(shared):
    """A kernel that knows nothing of the test before."""
    assert shared.run(":clear").ok
    return shared
