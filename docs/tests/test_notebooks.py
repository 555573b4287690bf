"""Each guide's notebook runs beside its counterpart in Python: the results are equal, and it takes no more than a third more lines."""

import json
import pathlib
import re
import sys

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GUIDES = REPOSITORY / "docs/guides"
sys.path.insert(0, str(REPOSITORY / "kernel/tests"))
sys.path.insert(0, str(GUIDES / "data"))

import make  # noqa: E402
from conftest import write_kernelspec  # noqa: E402

#: What each guide writes.
RESULTS = {
    "argo": ["argo.zarr", "upper.zarr", "deepest.zarr"],
    "catalogue": ["mean.zarr"],
    "climatology": ["climatology.zarr", "anomaly.zarr"],
    "disk-usage": ["usage", "largest"],
    "instruments": ["total.zarr"],
    "monte-carlo": ["ashore.zarr"],
    "ndvi": ["ndvi.zarr"],
    "netcdf-and-zarr": ["from_files.zarr", "from_store.zarr"],
    "regridding": ["coarse.zarr"],
    "spectra": ["spectrum.zarr", "by_latitude.zarr"],
}
#: How far results may differ. Counted random numbers and sums in double precision leave only the order of additions.
DOUBLE = 1e-10
#: Where the data are float32, xarray adds them up in float32: some units in the last place of 30 °C.
SINGLE = 1e-5
TOLERANCE = {"catalogue": SINGLE, "climatology": SINGLE, "ndvi": SINGLE, "netcdf-and-zarr": SINGLE, "spectra": SINGLE}
WIDTH = 100


def counterpart(guide: str) -> str:
    return f"{guide}_xarray"


def cells(notebook: str, kind: str = "code") -> list[str]:
    whole = nbformat.read(GUIDES / f"{notebook}.ipynb", 4)
    return [cell.source for cell in whole.cells if cell.cell_type == kind]


def code_lines(notebook: str) -> list[str]:
    """Lines that are neither empty nor only a comment."""
    lines = [line for cell in cells(notebook) for line in cell.splitlines()]
    return [line for line in lines if line.strip() and not re.match(r"\s*(#[^!]|//)", line)]


def run(notebook: str, folder: pathlib.Path) -> nbformat.NotebookNode:
    whole = nbformat.read(GUIDES / f"{notebook}.ipynb", 4)
    resources = {"metadata": {"path": str(folder)}}
    # An error ends the run and is shown with its cell.
    return nbclient.NotebookClient(whole, timeout=600, resources=resources).execute()


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory):
    data = tmp_path_factory.mktemp("jupyter")
    write_kernelspec(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(data))
        patch.setenv("NUNA_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("NUNA_CELL_CACHE", str(tmp_path_factory.mktemp("cells")))
        patch.setenv("DASK_DISTRIBUTED__DASHBOARD__LINK", "")
        yield


@pytest.fixture(scope="module", params=sorted(RESULTS))
def ran(request, tmp_path_factory):
    """A guide's name, the folders in which it and its counterpart have run, and what the guide showed."""
    folders = []
    for side in ("nuna", "xarray"):
        folder = tmp_path_factory.mktemp(side)
        make.write(folder, request.param)
        folders.append(folder)
    shown = run(request.param, folders[0])
    run(counterpart(request.param), folders[1])
    return request.param, *folders, shown


def equal(found: xr.Dataset, expected: xr.Dataset, tolerance: float) -> None:
    """Same variables, dimensions, labels, gaps and values; whole numbers exactly."""
    assert set(found.data_vars) == set(expected.data_vars)
    for name, right in expected.data_vars.items():
        left = found[name]
        assert left.dims == right.dims, name
        for dim in right.dims:
            if dim in right.coords:
                np.testing.assert_array_equal(left[dim].values, right[dim].values, err_msg=f"labels of {name}")
        assert np.nanstd(right.values) > 100 * tolerance, f"{name} says nothing"
        bound = 0 if right.dtype.kind in "iub" else tolerance * max(1.0, np.nanmax(np.abs(right.values)) / 30)
        np.testing.assert_allclose(left.values, right.values, rtol=0, atol=bound, err_msg=name)


def rows(path: pathlib.Path) -> pd.DataFrame:
    """A CSV file, or a folder of parts that lie one below another."""
    parts = sorted(path.glob("part-*.csv")) if path.is_dir() else [path.with_suffix(".csv")]
    return pd.concat([pd.read_csv(part) for part in parts], ignore_index=True)


def test_results_are_equal(ran):
    guide, nuna, other, _ = ran
    for result in RESULTS[guide]:
        if not result.endswith(".zarr"):
            found, expected = rows(nuna / result), rows(other / result)
            assert len(expected) >= 10
            pd.testing.assert_frame_equal(found, expected)
            continue
        equal(xr.open_zarr(nuna / result).load(), xr.open_zarr(other / result).load(), TOLERANCE.get(guide, DOUBLE))


def test_guides_show_a_picture_or_a_table(ran):
    guide, _, _, shown = ran
    last = [output.get("data", {}) for cell in shown.cells[-6:] for output in cell.get("outputs", [])]
    kinds = {kind for data in last for kind in data}
    table = any("<table" in data.get("text/html", "") for data in last)
    assert table or any(kind.startswith("image/") for kind in kinds), f"{guide} shows only {sorted(kinds)}"


def test_every_guide_is_run_and_has_its_counterpart():
    names = {path.stem for path in GUIDES.glob("*.ipynb")}
    assert names == {name for guide in RESULTS for name in (guide, counterpart(guide))}
    assert set(make.WRITERS) <= set(RESULTS)


@pytest.mark.parametrize("guide", sorted(RESULTS))
def test_guides_are_no_longer_than_their_counterparts_plus_a_third(guide):
    ours, theirs = len(code_lines(guide)), len(code_lines(counterpart(guide)))
    assert 3 * ours <= 4 * theirs, f"{guide}: {ours} lines of code, the counterpart has {theirs}"


@pytest.mark.parametrize("guide", sorted(RESULTS))
def test_lines_are_counted_fairly(guide):
    """A statement for each line on both sides, and none longer than a screen is wide."""
    for notebook in (guide, counterpart(guide)):
        for line in code_lines(notebook):
            assert len(line) <= WIDTH, f"{notebook}: {line}"
            outside = re.sub(r'"[^"]*"|\[[^\]]*\]', "", line)
            assert len(re.findall(r";\s*\S", outside)) == 0, f"{notebook}: several statements in {line}"


def test_index_tells_the_lines():
    index = (REPOSITORY / "docs/README.md").read_text()
    rows = dict(re.findall(r"^\| \[[^\]]*\]\(guides/([\w-]+)\.ipynb\) \|.*?\| (\d+ : \d+) \|$", index, re.M))
    assert rows == {guide: f"{len(code_lines(guide))} : {len(code_lines(counterpart(guide)))}" for guide in RESULTS}


def test_notebooks_hold_no_output():
    for path in GUIDES.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [] and cell["execution_count"] is None, path.name


def test_links_of_notebooks_lead_somewhere():
    for path in GUIDES.glob("*.ipynb"):
        text = "\n".join(cells(path.stem, "markdown"))
        links = re.findall(r"\]\(([^)\s#]+)", text)
        assert links, f"{path.name} does not say where its counterpart is"
        for link in links:
            assert link.startswith("https://") or (path.parent / link).exists(), f"{path.name}: {link}"
