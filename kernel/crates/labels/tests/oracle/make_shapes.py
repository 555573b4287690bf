"""What xarray makes of alignment, merging, sorting, windows and interpolation, as JSON.

Run by the Rust tests: make_shapes.py FOLDER. Writes FOLDER/{a,b,c}.zarr and FOLDER/expected.json.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import xarray as xr

from plain import describe

warnings.simplefilter("ignore")
xr.set_options(use_flox=False, use_bottleneck=False, use_numbagg=False)
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(5)


def dataset(days, lat, lon, seed):
    own = np.random.default_rng(seed)
    t = own.normal(10, 5, (len(days), len(lat), len(lon)))
    t[own.random(t.shape) < 0.1] = np.nan
    return xr.Dataset(
        {
            "t": (("time", "lat", "lon"), t, {"units": "degC"}),
            "n": (("lat", "lon"), own.integers(0, 90, (len(lat), len(lon))).astype("i4")),
            "line": (("time",), own.normal(0, 1, len(days))),
        },
        coords={
            "time": ("time", np.datetime64("2001-01-01", "ns") + np.array(days) * np.timedelta64(1, "D")),
            "lat": ("lat", np.array(lat, dtype="f8"), {"units": "degrees_north"}),
            "lon": ("lon", np.array(lon, dtype="i8")),
            "height": ("lat", own.normal(0, 100, len(lat))),
            "season": ("time", np.array([f"s{day % 3}" for day in days], dtype=object)),
        },
        attrs={"title": "shapes"},
    )


a = dataset(range(0, 10), [-10, 0, 10, 20], [0, 90, 180], 1)
b = dataset(range(4, 16), [0, 10, 20, 30], [90, 180, 270], 2)
c = dataset([3, 1, 2, 1, 9], [20, 10, -10, 0], [180, 0, 90], 3)
for name, ds in {"a": a, "b": b, "c": c}.items():
    ds.to_zarr(out / f"{name}.zarr", zarr_format=3, encoding={"t": {"chunks": (4, 3, 2)}})
bare = a.t.drop_vars("season")  # of text there is no mean
u = c.drop_duplicates("time")

results = {}
for join in ("inner", "outer", "left", "right"):
    first, second = xr.align(a, b, join=join)
    results[f"align {join} t"], results[f"align {join} second n"] = first.t, second.n
    results[f"align {join} line"] = second.line
    with xr.set_options(arithmetic_join=join):
        results[f"arithmetic {join}"] = a.t.reset_coords(drop=True) + b.t.reset_coords(drop=True)
days = np.datetime64("2001-01-01", "ns") + np.array([-1, 0, 3, 12]) * np.timedelta64(1, "D")
results |= {
    "reindex": a.t.reindex(time=days),
    "reindex int": a.n.reindex(lat=[0.0, 5.0, 20.0]),
    "reindex fill": a.n.drop_vars("height").reindex(lat=[0.0, 5.0, 20.0], fill_value=-1),
    "reindex none": a.line.reindex(time=days[:1]),
    "reindex like": a.t.reindex_like(b.n),
    "reindex nearest": a.t.reindex(lat=[-30.0, -6.0, 5.0, 14.9, 99.0], method="nearest"),
    "reindex tolerance": a.t.reindex(lat=[-30.0, -6.0, 5.0, 14.9, 99.0], method="nearest", tolerance=4.5),
    "reindex pad": a.t.reindex(lat=[-30.0, -6.0, 5.0, 14.9, 99.0], method="pad"),
    "reindex backfill": a.t.reindex(lat=[-30.0, -6.0, 5.0, 14.9, 99.0], method="backfill"),
    "reindex unsorted": u.t.reindex(time=a.time),
    "merge t": xr.merge([a[["t"]].reset_coords(drop=True), b[["line"]].reset_coords(drop=True)], join="outer", compat="no_conflicts").t,
    "merge line": xr.merge([a[["t"]].reset_coords(drop=True), b[["line"]].reset_coords(drop=True)], join="outer", compat="no_conflicts").line,
    "merge gaps": xr.merge([a[["t"]].isel(time=slice(0, 6)), a[["t"]].isel(time=slice(3, 10))], join="outer", compat="no_conflicts").t,
    "concat outer": xr.concat([a.t.reset_coords("height", drop=True), b.t.isel(time=slice(6, 12)).reset_coords("height", drop=True)], "time", join="outer", coords="minimal", compat="override"),
    "concat inner": xr.concat([a.t.reset_coords("height", drop=True), b.t.isel(time=slice(6, 12)).reset_coords("height", drop=True)], "time", join="inner", coords="minimal", compat="override"),
    "concat new": xr.concat([a.n, a.n + 1], "member"),
    "concat dataset": xr.concat([a.isel(time=slice(0, 3)), a.isel(time=slice(5, 7))], "time", data_vars="minimal", coords="minimal", compat="override").t,
    "squeeze": a.t.isel(time=slice(2, 3)).squeeze(),
    "expand": a.t.isel(time=2).expand_dims("time"),
    "expand labels": a.n.expand_dims(member=[3, 5]),
    "swap": a.t.swap_dims(lat="height"),
    "rename all": a.t.rename(lat="y", lon="x", height="z"),
    "sortby": c.t.sortby("lat"),
    "sortby time": c.t.sortby("time"),
    "sortby height": c.t.sortby("height", ascending=False),
    "sortby text": c.t.sortby("season"),
    "drop duplicates": c.t.drop_duplicates("time"),
    "isin": a.n.isin([3, 17, 40, 41, 42, 43, 44, 45, 5.0]),
    "where drop": a.t.where((a.lat > 5) & (a.lon < 100) & (a.line > 0), drop=True),
    "month": a.time.dt.dayofyear.rename("dayofyear"),
    "set coords": a.set_coords("line").t,
    "reset coords": a.reset_coords("height").height,
    "argmax": a.line.argmax("time"),
    "diff": a.t.diff("time"),
    "diff 2": a.t.diff("lat", 2),
    "shift": a.t.shift(time=2),
    "shift back": a.n.shift(lon=-1),
    "roll": a.t.roll(lon=1),
    "roll labels": a.t.roll(lon=1, roll_coords=True),
    "cumsum": a.t.cumsum("time"),
    "cumprod": a.line.cumprod("time"),
    "median": a.t.median("time"),
    "median two": a.t.median(["lat", "lon"]),
    "quantile": a.t.quantile(0.3, "time"),
    "quantiles": a.t.quantile([0.1, 0.5, 1.0], ["time", "lon"]),
    "rolling mean": a.t.rolling(time=3).mean(),
    "rolling center": a.t.rolling(time=4, center=True).sum(),
    "rolling odd center": a.t.rolling(time=3, center=True, min_periods=1).max(),
    "rolling periods": a.t.rolling(time=4, min_periods=2).std(),
    "rolling count": a.t.rolling(time=4).count(),
    "rolling long": a.t.rolling(time=10, min_periods=1).min(),
    "coarsen": bare.coarsen(time=5).mean(),
    "coarsen two": bare.coarsen(time=5, lat=2).mean(),
    "coarsen trim": bare.coarsen(time=3, boundary="trim").max(),
    "coarsen pad": bare.coarsen(time=3, boundary="pad").mean(),
    "coarsen pad two": bare.coarsen(time=3, lon=2, boundary="pad").mean(),
    "coarsen int": a.n.coarsen(lat=2).sum(),
    # At a label that is there ours is its value, where xarray's is NaN beside a NaN.
    "interp": a.t.interp(lat=[-20.0, -4.0, 12.5, 25.0]),
    "interp exact": a.n.interp(lat=[-10.0, 20.0, 10.0]),
    "interp time": a.line.drop_vars("season").interp(time=np.array(["2001-01-02T06", "2001-01-05", "2001-02-01"], dtype="M8[ns]")),
    "interp unsorted": c.n.interp(lat=[5.0, 15.0]),
    "interp two": a.t.interp(lat=[5.0, 15.0], lon=[10.0, 100.0]),
    "ds mean": a.mean("time").t,
    "ds median": a.median("lat").n,
    "ds group": a.groupby("season").mean().t,
    "ds resample": a.resample(time="3D").max().line,
    "ds anomaly": (lambda g: g - g.mean())(a[["t", "line"]].groupby("time.month")).line,
    "ds diff": a[["t", "n"]].diff("time").t,
    "ds map": a.map(lambda v: v.max()).n,
}
expected = {name: describe(array) for name, array in results.items()}
for array in expected.values():
    # Where text is missing ours is empty.
    if "season" in array["coords"]:
        array["coords"]["season"] = ["" if text == "nan" else text for text in array["coords"]["season"]]
(out / "expected.json").write_text(json.dumps({"results": expected}))
