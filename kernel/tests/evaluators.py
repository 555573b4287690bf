"""A kernelspec for each evaluator, and kernels of them."""

import contextlib
import json
import os

import pytest
from conftest import programs
from jupyter_client.manager import start_new_kernel
from session import Session


@pytest.fixture(scope="module")
def kernelspecs(tmp_path_factory):
    """A kernelspec for each evaluator, in a folder of their own."""
    data = tmp_path_factory.mktemp("evaluators")
    for evaluator in ["direct", "evcxr"]:
        folder = data / "kernels" / evaluator
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({
            "argv": [str(programs() / "nuna-kernel"), "--evaluator", evaluator, "{connection_file}"],
            "display_name": evaluator, "language": "rust", "interrupt_mode": "message",
            "env": {
                "NUNA_RUNTIME_DIR": str(programs()), "NUNA_BIN": str(programs() / "nuna"),
                # When a cell awaits, evcxr adds tokio, which was fetched to build our own programs.
                "CARGO_NET_OFFLINE": "true",
            },
        }))
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(data)
    yield
    if before is None:
        del os.environ["JUPYTER_PATH"]
    else:
        os.environ["JUPYTER_PATH"] = before


@contextlib.contextmanager
def kernel(evaluator):
    """A kernel whose cells this evaluator runs."""
    manager, client = start_new_kernel(kernel_name=evaluator, startup_timeout=60)
    try:
        session = Session(client)
        session.manager = manager
        yield session
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def evcxr(kernelspecs):
    """One kernel for all notebooks: evcxr needs several seconds for its start, and `:clear` makes it forget."""
    missing = programs() / "nuna-evcxr.missing"
    if missing.exists():
        pytest.skip(missing.read_text())
    if not (programs() / "nuna-evcxr").exists():
        pytest.fail(f"no nuna-evcxr in {programs()}; `cargo xtask evcxr` builds it")
    with kernel("evcxr") as session:
        yield session
