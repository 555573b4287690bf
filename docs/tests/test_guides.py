"""Every Rust block of the user's guide runs, in order, as cells of one notebook."""

import os
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

GUIDE = REPOSITORY / "docs/guides/user.md"
TABLE = re.findall(r"^\| [^|]* \| `([^`]*\?)`", GUIDE.read_text(), re.M)


def on_an_array(call: str) -> str:
    """The table writes some calls without what they are called on."""
    return call if call.startswith("theta.") else 'theta.isel("time", 0)?.' + call


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The blocks, with what the kernel said to each."""
    data, folder = tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("work")
    write_kernelspec(data)
    write(str(folder / "sea.zarr"))
    blocks = re.findall(r"^```rust\n(.*?)^```$", GUIDE.read_text(), re.S | re.M)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(block.rstrip()) for block in blocks])
    at = next(index for index, cell in enumerate(notebook.cells) if "Cluster::local()" in cell.source)
    notebook.cells[at:at] = [nbformat.v4.new_code_cell(on_an_array(call)) for call in TABLE]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("NUNA_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        settings = {"timeout": 240, "kernel_name": "nuna", "resources": {"metadata": {"path": str(folder)}}}
        # An error ends the run and is shown with its cell.
        nbclient.NotebookClient(notebook, **settings).execute()
    return notebook.cells


def shown(cell) -> str:
    return "\n".join(
        output["data"].get("text/plain", "") for output in cell.outputs if output.output_type in ("execute_result", "display_data")
    )


def test_blocks_run_and_show_what_the_guide_says(cells):
    assert len(cells) >= 8
    assert shown(cells[0]).startswith("100")
    text = "\n".join(shown(cell) for cell in cells)
    assert "theta" in text and "1000" in text
    assert '"u10"' in text and '"v20"' in text


def test_pictures_are_pictures(cells):
    plots = [cell for cell in cells if ".plot()" in cell.source]
    assert plots
    for cell in plots:
        assert any(key.startswith("image/") for output in cell.outputs for key in output.get("data", {})), cell.outputs


def test_calls_of_the_table_run(cells):
    """The fixture ran them: each of the table's right column, on an array of the examples."""
    assert len(TABLE) >= 7
    ran = {cell.source for cell in cells}
    assert all(call in ran for call in map(on_an_array, TABLE))


def test_store_of_the_examples_is_the_tutorials():
    assert "sea.zarr" in GUIDE.read_text()
    assert os.path.exists(REPOSITORY / "docs/tutorials/make_store.py")
