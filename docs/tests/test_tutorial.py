"""The tutorial notebook runs cell by cell, and its numbers are xarray's."""

import os
import pathlib
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the notebook has run: the store it read and those it wrote."""
    data = tmp_path_factory.mktemp("jupyter")
    write_kernelspec(data)
    os.environ["JUPYTER_PATH"] = str(data)
    os.environ["NUNA_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    work = tmp_path_factory.mktemp("work")
    write(str(work / "sea.zarr"))
    notebook = nbformat.read(REPOSITORY / "docs/tutorials/first-cluster.ipynb", 4)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="nuna", resources={"metadata": {"path": str(work)}}
    ).execute()
    return work


def close(path, expected, variable="theta"):
    found = xr.open_zarr(path)[variable].load()
    assert found.dims == expected.dims
    # The same float32 values, accumulated in another order.
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, atol=1e-6)


def test_mean_climatology_and_anomaly_are_xarrays(folder):
    theta = xr.open_zarr(folder / "sea.zarr")["theta"].load().astype("f8")
    climatology = theta.groupby("time.month").mean()
    close(folder / "mean.zarr", theta.mean("time"))
    close(folder / "climatology.zarr", climatology)
    close(folder / "spread.zarr", (theta.groupby("time.month") - climatology).std("time"))
