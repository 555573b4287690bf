"""The same notebooks on both evaluators: equal outputs, but for the differences that `docs/reference/evaluators.md` lists."""

import contextlib
import json
import os

import pytest
from conftest import programs
from jupyter_client.manager import start_new_kernel
from session import Session
from suite_notebooks import differences, notebooks, summary

NOTEBOOKS = notebooks()
# evcxr compiles a cell up to five times, and other tests may run beside.
PATIENCE = {"direct": 60, "evcxr": 90}


@pytest.fixture(scope="module")
def kernelspecs(tmp_path_factory):
    """A kernelspec for each evaluator, in a folder of their own."""
    data = tmp_path_factory.mktemp("evaluators")
    # evcxr fetches tokio when a cell awaits. Without a registry it is the same wherever this runs.
    cargo_home = tmp_path_factory.mktemp("cargo")
    for evaluator in ["direct", "evcxr"]:
        folder = data / "kernels" / evaluator
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({
            "argv": [str(programs() / "nuna-kernel"), "--evaluator", evaluator, "{connection_file}"],
            "display_name": evaluator, "language": "rust", "interrupt_mode": "message",
            "env": {
                "NUNA_RUNTIME_DIR": str(programs()), "NUNA_BIN": str(programs() / "nuna"),
                **({"CARGO_HOME": str(cargo_home), "CARGO_NET_OFFLINE": "true"} if evaluator == "evcxr" else {}),
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
    manager, client = start_new_kernel(kernel_name=evaluator, startup_timeout=60)
    try:
        yield Session(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def evcxr(kernelspecs):
    """One kernel for all notebooks: evcxr needs several seconds for its start, and `:clear` makes it forget."""
    if not (programs() / "nuna-evcxr").exists():
        pytest.fail(f"no nuna-evcxr in {programs()}; `cargo xtask evcxr` builds it")
    with kernel("evcxr") as session:
        yield session


def test_the_suite_is_as_large_as_promised():
    assert sum(len(cells) for cells in NOTEBOOKS.values()) >= 60


def test_every_listed_difference_is_of_a_cell_that_there_is():
    cells = {(notebook, cell.name) for notebook, cells in NOTEBOOKS.items() for cell in cells}
    assert set(differences()) <= cells


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_on_the_direct_evaluator(notebook, kernelspecs):
    with kernel("direct") as session:
        compare(session, notebook, "direct")


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_on_evcxr(notebook, evcxr):
    evcxr.run(":clear", PATIENCE["evcxr"])
    compare(evcxr, notebook, "evcxr")


def compare(session, notebook, evaluator):
    listed = differences()
    faults = []
    for cell in NOTEBOOKS[notebook]:
        ran = session.run(cell.code, PATIENCE[evaluator])
        found = cell.faults(ran)
        difference = listed.get((notebook, cell.name))
        if difference is None or difference.evaluator != evaluator:
            if found:
                faults.append(f"{notebook}, {cell.name!r}: {'; '.join(found)}\n{summary(ran)}")
        elif not found:
            faults.append(f"{notebook}, {cell.name!r}: a difference is listed, but there is none any more\n{summary(ran)}")
        else:
            missing = [word for word in difference.words if word not in summary(ran)]
            faults += [f"{notebook}, {cell.name!r}: listed with {word!r}\n{summary(ran)}" for word in missing]
    assert not faults, "\n\n".join(faults)
