"""Both columns of the page for users of xarray run, and each pair ends with the same number."""

import math
import pathlib
import re
import sys

import nbclient
import nbformat
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "kernel/tests"))
sys.path.insert(0, str(REPOSITORY / "docs/tutorials"))

from conftest import write_kernelspec  # noqa: E402
from make_store import write  # noqa: E402

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (REPOSITORY / "docs/guides/coming-from-xarray.md").read_text(), re.S | re.M)
KERNELS = {"python": "python3", "rust": "nuna"}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """What the cells of each language showed last."""
    data, folder = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("work")
    write_kernelspec(data)
    write(str(folder / "sea.zarr"))
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("NUNA_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("NUNA_CELL_CACHE", str(tmp_path_factory.mktemp("cells")))
        for language, kernel in KERNELS.items():
            cells = [nbformat.v4.new_code_cell(source.rstrip()) for kind, source in BLOCKS if kind == language]
            notebook = nbformat.v4.new_notebook(cells=cells)
            settings = {"timeout": 600, "kernel_name": kernel, "resources": {"metadata": {"path": str(folder)}}}
            # An error ends the run and is shown with its cell.
            nbclient.NotebookClient(notebook, **settings).execute()
            found[language] = [shown(cell) for cell in notebook.cells]
    return found


def shown(cell) -> str:
    texts = [output["data"]["text/plain"] for output in cell.outputs if output.output_type == "execute_result"]
    assert texts, f"a cell shows nothing: {cell.source}"
    return texts[-1]


def test_every_cell_has_its_counterpart():
    assert [kind for kind, _ in BLOCKS] == ["python", "rust"] * (len(BLOCKS) // 2)
    assert len(BLOCKS) >= 20


def test_pairs_end_with_the_same_number(numbers):
    sources = [source for kind, source in BLOCKS if kind == "rust"]
    for source, ours, theirs in zip(sources, numbers["rust"], numbers["python"], strict=True):
        # xarray adds float32 up in float32.
        assert math.isclose(float(ours), float(theirs), rel_tol=2e-5), f"{ours}, {theirs}:\n{source}"


def test_rust_is_no_longer_than_python_plus_a_third():
    def lines(language: str) -> int:
        return sum(bool(line.strip()) for kind, source in BLOCKS if kind == language for line in source.splitlines())

    assert 3 * lines("rust") <= 4 * lines("python")
