"""The tutorial's store is what xarray would write, and the same each time."""

import importlib.util
import pathlib

import numpy as np
import xarray as xr

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "tutorials/make_store.py"


def load_script():
    spec = importlib.util.spec_from_file_location("make_store", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_store_reads_back_as_written(tmp_path):
    written = load_script().write(str(tmp_path / "sea.zarr"))
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "sea.zarr").load(), written)


def test_store_has_land_and_a_seasonal_cycle():
    theta = load_script().sea_surface_temperature()["theta"]
    land = np.isnan(theta.isel(time=0))
    assert 0.1 < float(land.mean()) < 0.5
    months = theta.sel(lat=slice(40, 50)).mean(["lat", "lon"]).groupby("time.month").mean()
    assert float(months.max() - months.min()) > 5
