"""The tutorial notebook runs cell by cell, and its numbers are xarray's."""

import os
import pathlib
import shutil
import sys

import nbclient
import nbformat
import numpy as np
import pytest
import xarray as xr

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "kernel/tests"))
sys.path.insert(0, str(REPOSITORY / "docs/tutorials"))

from conftest import write_kernelspec  # noqa: E402
from make_store import write  # noqa: E402


RESULTS = ("mean.zarr", "climatology.zarr", "spread.zarr")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Where the notebook has run, by the number of workers: the store it read and those it wrote."""
    data = tmp_path_factory.mktemp("jupyter")
    write_kernelspec(data)
    os.environ["JUPYTER_PATH"] = str(data)
    os.environ["NUNA_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    store = tmp_path_factory.mktemp("store") / "sea.zarr"
    write(str(store))
    work = {}
    for workers in (2, 1, 4):
        work[workers] = tmp_path_factory.mktemp(f"workers{workers}")
        shutil.copytree(store, work[workers] / "sea.zarr")
        notebook = nbformat.read(REPOSITORY / "docs/tutorials/first-cluster.ipynb", 4)
        changed = 0
        for cell in notebook.cells:
            changed += cell.source.count(".workers(2)")
            cell.source = cell.source.replace(".workers(2)", f".workers({workers})")
        assert changed == 1, "the notebook starts one cluster, and says of how many workers"
        nbclient.NotebookClient(
            notebook, timeout=240, kernel_name="nuna", resources={"metadata": {"path": str(work[workers])}}
        ).execute()
    return work


def close(path, expected, variable="theta"):
    found = xr.open_zarr(path)[variable].load()
    assert found.dims == expected.dims
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=0)


def test_mean_climatology_and_anomaly_are_xarrays(folders):
    folder = folders[2]
    # In double precision: xarray's own sums of float32 are rounded more coarsely than the tolerance.
    theta = xr.open_zarr(folder / "sea.zarr")["theta"].load().astype("f8")
    climatology = theta.groupby("time.month").mean()
    close(folder / "mean.zarr", theta.mean("time"))
    close(folder / "climatology.zarr", climatology)
    close(folder / "spread.zarr", (theta.groupby("time.month") - climatology).std("time"))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", RESULTS)
def test_results_are_the_same_bits_on_any_number_of_workers(folders, name, workers):
    two, other = (xr.open_zarr(folders[count] / name)["theta"].load().values for count in (2, workers))
    assert two.dtype == other.dtype
    assert two.tobytes() == other.tobytes()
