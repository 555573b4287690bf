"""The same notebooks on both evaluators: equal outputs, but for the differences that `docs/reference/evaluators.md` lists."""

import pytest
from evaluators import evcxr, kernel, kernelspecs  # noqa: F401 (fixtures)
from session import Ran
from suite_notebooks import differences, notebooks, summary

NOTEBOOKS = notebooks()
# evcxr compiles a cell up to five times, and other tests may run beside.
PATIENCE = {"direct": 60, "evcxr": 90}


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


def run(session, code, patience):
    """A cell that does not end is interrupted, so that those behind it have their turn."""
    try:
        return session.run(code, patience)
    except TimeoutError:
        session.manager.interrupt_kernel()
        return Ran({"status": "did not end", "ename": "Timeout", "evalue": f"not within {patience} s", "traceback": []})


def compare(session, notebook, evaluator):
    listed = differences()
    faults = []
    for cell in NOTEBOOKS[notebook]:
        ran = run(session, cell.code, PATIENCE[evaluator])
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
