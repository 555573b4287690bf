"""Writes the tutorial's store: three years of daily sea surface temperature on a coarse globe, as xarray writes it.

    python make_store.py sea.zarr

The field is synthetic and the same on every machine: a latitude profile, a seasonal cycle, drifting eddies, and land
as NaN. About 47 MB of float32 before compression.
"""

import sys

import numpy as np
import xarray as xr

TIMES, LATITUDES, LONGITUDES = 1096, 72, 144


def sea_surface_temperature() -> xr.Dataset:
    """Daily means, `(time, lat, lon)`, float32, degrees Celsius; land is NaN."""
    time = np.arange("2021-01-01", "2024-01-02", dtype="datetime64[D]")[:TIMES].astype("datetime64[ns]")
    lat = -90 + 180 * (np.arange(LATITUDES) + 0.5) / LATITUDES
    lon = 360 * (np.arange(LONGITUDES) + 0.5) / LONGITUDES
    day = np.arange(TIMES)[:, None, None]
    phi, lam = np.deg2rad(lat)[None, :, None], np.deg2rad(lon)[None, None, :]
    field = 28 * np.cos(phi) ** 2 + 5 * np.sin(phi) * np.cos(2 * np.pi * (day - 45) / 365.25)
    field = field + 0.8 * np.sin(9 * lam - 7 * phi - 2 * np.pi * day / 61.0) + 0.0004 * day
    land = (np.sin(2 * lam + 1) + np.cos(3 * phi + lam) + 0.5 * np.sin(5 * lam - 4 * phi)) > 0.7
    field = np.where(land, np.nan, field).astype("f4")
    theta = xr.DataArray(
        field,
        dims=("time", "lat", "lon"),
        coords={
            "time": time,
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
        },
        attrs={"units": "degC", "long_name": "sea surface temperature"},
    )
    return xr.Dataset({"theta": theta}, attrs={"title": "synthetic daily sea surface temperature"})


def write(path: str, zarr_format: int = 3) -> xr.Dataset:
    """Writes the store to `path`, replacing what was there, and returns what was written."""
    dataset = sea_surface_temperature()
    dataset.to_zarr(path, mode="w", zarr_format=zarr_format, encoding={"theta": {"chunks": (100, 36, 72)}})
    return dataset


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
