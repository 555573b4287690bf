"""What xarray makes of points, masks, methods with tolerances, gaps, ranges of dates and arithmetic of datasets, as JSON.

Run by the Rust tests: make_points.py FOLDER. Writes FOLDER/{a,b}.nc and FOLDER/expected.json.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import pandas as pd
import xarray as xr

from plain import describe

warnings.simplefilter("ignore")
out = pathlib.Path(sys.argv[1])


def dataset(days, lat, lon, seed):
    own = np.random.default_rng(seed)
    t = own.normal(10, 5, (len(days), len(lat), len(lon)))
    t[own.random(t.shape) < 0.05] = np.nan
    t[3, :, :] = np.nan
    time = np.datetime64("2001-01-01", "ns") + np.array(days) * np.timedelta64(1, "D")
    return xr.Dataset(
        {
            "t": (("time", "lat", "lon"), t, {"units": "degC"}),
            "n": (("lat", "lon"), own.integers(0, 90, (len(lat), len(lon))).astype("i4")),
            "line": (("time",), own.normal(0, 1, len(days))),
            "time_bnds": (("time", "nv"), np.stack([time, time + np.timedelta64(1, "D")], -1)),
        },
        coords={
            "time": ("time", time, {"bounds": "time_bnds"}),
            "lat": ("lat", np.array(lat, dtype="f4"), {"units": "degrees_north"}),
            "lon": ("lon", np.array(lon, dtype="i8")),
            "height": ("lat", own.normal(0, 100, len(lat))),
            "area": (("lat", "lon"), own.normal(0, 1, (len(lat), len(lon)))),
        },
        attrs={"title": "points", "source": str(seed)},
    )


a = dataset(range(0, 40, 2), [0.1, 10.1, 20.1, 30.7], [0, 90, 180, 270, 300], 1)
b = dataset(range(10, 50, 2), [20.1, 30.7, 40.2], [90, 180, 270], 2)
chunks = {"t": {"chunksizes": (4, 3, 2)}}
a.to_netcdf(out / "a.nc", encoding=chunks)
b.to_netcdf(out / "b.nc", encoding=chunks)
a, b = xr.open_dataset(out / "a.nc"), xr.open_dataset(out / "b.nc")


def along(values, dim="station"):
    return xr.DataArray(values, dims=dim)


two = {"lat": along([3, 0, 3, 1]), "lon": along([4, 4, 0, 2])}
near = {"lat": along([29.0, 2.0, 11.0]), "lon": along([300, 100, 0])}
every = {"time": along(pd.to_datetime(["2001-01-05", "2001-01-03", "2001-02-08"]).values), "lat": along([10.1, 30.7, 0.1]), "lon": along([90, 0, 300])}
bare, other = a.t.drop_vars(["height", "area"]), b.t.drop_vars(["height", "area"])
month = a.time.dt.month == 2
numbers = ["t", "n", "line"]
def years(of, start):
    """The same times counted from another year, in other units."""
    out = of.copy()
    out.time_bnds.encoding = {"units": f"hours since {start}-01-01", "dtype": "f8"}
    out["seen"] = ("time", out.time.values + np.timedelta64(7, "h"))
    out.seen.encoding = {"units": f"days since {start}-01-01", "dtype": "f8"}
    return out.drop_vars(["t", "n", "height", "area", "lat", "lon"])


later = a.assign_coords(time=a.time + np.timedelta64(40, "D"))
later["time_bnds"] = (("time", "nv"), a.time_bnds.values + np.timedelta64(40, "D"))
c = years(a, 1990), years(later, 2001)
c[0].to_netcdf(out / "c0.nc")
c[1].to_netcdf(out / "c1.nc")
c[0].drop_vars("time_bnds").to_zarr(out / "c.zarr", zarr_format=2)
both = xr.concat(c, "time", data_vars="all")
lags = (c[0].seen.reset_index("time", drop=True) - c[1].time_bnds.isel(nv=0).reset_index("time", drop=True)) / np.timedelta64(1, "D")
lags.attrs["units"] = "days"
results = {
    "dot": xr.dot(bare, other, dim="time"),
    "dot two": xr.dot(bare.fillna(0), a.line.drop_vars("height", errors="ignore"), dim=["time", "lon"]),
    "dot all": xr.dot(a.n.drop_vars(["height", "area"]), a.n.drop_vars(["height", "area"]), dim=...),
    "group quantiles": bare.groupby("time.month").quantile([0.1, 0.5]),
    "group quantile": bare.resample(time="MS").quantile(0.5),
    "lags": lags.drop_vars("time", errors="ignore"),
    "later": (c[0].seen.reset_index("time", drop=True) > c[1].seen.reset_index("time", drop=True) - np.timedelta64(30, "D")).drop_vars("time", errors="ignore"),
    "points": a.t.isel(two),
    "points int": a.n.isel(two),
    "points one dim": a.t.isel(lat=along([1, 1, 0])),
    "points last": a.t.transpose("lat", "lon", "time").isel(time=along([5, 1]), lon=along([0, 3])),
    "points apart": a.t.transpose("lat", "time", "lon").isel(two),
    "points none": a.t.isel(lat=along(np.array([], dtype=int)), lon=along(np.array([], dtype=int))),
    "points labels": a.t.sel(every),
    "points nearest": a.t.sel(near, method="nearest"),
    "points tolerance": a.t.sel(lat=along([11.0, 0.0]), method="nearest", tolerance=1.0),
    "points dataset t": a.isel(two).t,
    "points dataset line": a.isel(two).line,
    "points dataset n": a.sel(near, method="nearest").n,
    "float label": a.t.sel(lat=10.1),
    "float labels": a.t.sel(lat=[30.7, 0.1]),
    "float range": a.t.sel(lat=slice(10.1, 30.7)),
    "float many": a.n.sel(lat=[30.7, 0.1, 0.1, 10.1, 20.1, 30.7]),
    "float equal": a.lat == 20.1,
    "with nearest": a.t.sel(lat=11.0, method="nearest", tolerance=1),
    "with pad": a.t.sel(time="2001-01-06", method="pad"),
    "with backfill": a.t.sel(time=pd.to_datetime(["2001-01-06", "2001-01-07"]), method="backfill"),
    "with whole": a.n.sel(lon=[100, 299], method="nearest", tolerance=10),
    "mask": a.t.isel(time=month),
    "mask list": a.n.isel(lat=[True, False, True, False]),
    "mask int": a.n.isel(lon=xr.DataArray([4, -1, 0], dims="lon")),
    "mask dataset": a.isel(time=month).line,
    "dropna": a.t.dropna("time"),
    "dropna all": a.t.dropna("time", how="all"),
    "dropna line": a.t.isel(lat=0, lon=0).dropna("time"),
    "dropna dataset": a[["t", "line"]].dropna("time").line,
    "combine first": bare.combine_first(other),
    "interp like": bare.fillna(0).interp_like(other.isel(lat=slice(0, 2))),
    "dataset add": (a[numbers] + 1.5).t,
    "dataset sub": (a[numbers] - a[numbers].mean("time")).t,
    "dataset sub line": (a[numbers] - a[numbers].mean("time")).line,
    "dataset mul array": (a[numbers] * a.line).n,
    "dataset joined": (a[["t", "line"]].reset_coords(drop=True) + b[["t"]].reset_coords(drop=True)).t,
    "round": a.t.round(1),
    "round tens": a.t.round(-1),
    "round float32": a.t.astype("f4").round(2),
    "atan2": np.arctan2(a.t, a.n),
    "sinh": np.sinh(a.line),
    "floor div": a.n // 7,
}
dates = {
    "D": pd.date_range("2000-02-27", periods=5, freq="D"),
    "6h": pd.date_range("2000-02-28T03:00", periods=9, freq="6h"),
    "MS": pd.date_range("2000-01-15", periods=14, freq="MS"),
    "MS first": pd.date_range("2000-01-01T06:00", periods=3, freq="MS"),
    "2MS": pd.date_range("2000-01-02", periods=4, freq="2MS"),
    "ME": pd.date_range("1999-12-31", periods=4, freq="ME"),
    "QS-DEC": pd.date_range("2000-01-01", periods=5, freq="QS-DEC"),
    "2QE": pd.date_range("2000-01-01", periods=5, freq="2QE"),
    "YS-JUL": pd.date_range("2000-07-02", periods=3, freq="YS-JUL"),
    "W": pd.date_range("2000-01-01", periods=3, freq="W"),
    "2W-WED": pd.date_range("2000-01-05", periods=3, freq="2W-WED"),
    "to": pd.date_range("2000-12-30", "2001-01-02T12:00", freq="D"),
    "to months": pd.date_range("2000-01-31", "2000-06-01", freq="MS"),
    "to nothing": pd.date_range("2000-01-31", "2000-01-01", freq="D"),
    "noleap": xr.date_range("2000-02-27", periods=4, freq="D", calendar="noleap", use_cftime=True),
    "360_day": xr.date_range("2000-02-01", periods=4, freq="ME", calendar="360_day", use_cftime=True),
    "warmest": a.line.idxmax("time").values.ravel(),
    "warmest each": a.t.isel(lat=1).idxmax("time").values.ravel(),
    "bounds": a.time_bnds.values.ravel(),
    "both seen": both.seen.values,
    "both bounds": both.time_bnds.values.ravel(),
    "first seen": [both.seen.min().values],
}
texts = {key: [str(t).replace(" ", "T")[:19] for t in value] for key, value in dates.items()}
expected = {"results": {name: describe(array) for name, array in results.items()}, "dates": texts}
(out / "expected.json").write_text(json.dumps(expected))
