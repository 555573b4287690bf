"""What xarray makes of ranks, covariances, derivatives, integrals, weighted statistics and borders, as JSON.

Run by the Rust tests: make_statistics.py FOLDER. Writes FOLDER/a.zarr and FOLDER/expected.json.
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
xr.set_options(use_flox=False, use_bottleneck=False, use_numbagg=False)
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(21)

shape = (12, 5, 4)
t = rng.normal(10, 5, shape).round(1)
t[rng.random(shape) < 0.15] = np.nan
t[:, 1, 2] = np.nan
u = 0.5 * t + rng.normal(0, 1, shape)
u[rng.random(shape) < 0.1] = np.nan
smooth = rng.normal(0, 1, shape)
days = np.array([0, 1, 2, 4, 7, 8, 9, 12, 13, 20, 21, 22])
ds = xr.Dataset(
    {
        "t": (("time", "y", "x"), t, {"units": "degC"}),
        "u": (("time", "y", "x"), u, {"units": "degC"}),
        "single": (("time", "y"), rng.normal(0, 1, shape[:2]).astype("f4")),
        "smooth": (("time", "y", "x"), smooth),
        "n": (("time", "x"), rng.integers(0, 6, (12, 4)).astype("i4")),
        "line": (("time",), rng.normal(0, 1, 12)),
        "area": (("y", "x"), np.where(rng.random((5, 4)) < 0.2, 0, rng.random((5, 4)))),
        "fill": (("y",), np.arange(5) * 100.0),
    },
    coords={
        "time": np.datetime64("2001-01-01", "ns") + days * np.timedelta64(1, "D"),
        "y": [0.0, 1.0, 2.5, 4.0, 8.0],
        "x": [0.0, 0.5, 1.0, 1.5],
        "depth": ("y", [10.0, 30.0, 60.0, 100.0, 200.0]),
    },
)
ds.to_zarr(out / "a.zarr", zarr_format=3, encoding={"t": {"chunks": (5, 2, 3)}, "smooth": {"chunks": (4, 3, 2)}})
t, u, n, single, smooth, line, area = ds.t, ds.u, ds.n, ds.single, ds.smooth, ds.line, ds.area



def rank(da, dim, pct=False):
    """xarray's own needs another library."""
    ranks = lambda line: pd.Series(line).rank(method="average", pct=pct).values
    return da.copy(data=np.apply_along_axis(ranks, da.get_axis_num(dim), da.values))


results = {}
for dim in ("time", "y", "x"):
    results[f"rank {dim}"], results[f"rank pct {dim}"] = rank(t, dim), rank(t, dim, True)
    results[f"differentiate {dim}"] = smooth.differentiate(dim, datetime_unit="s" if dim == "time" else None)
    results[f"cumulative {dim}"] = smooth.cumulative_integrate(dim, datetime_unit="s" if dim == "time" else None)
    results[f"integrate {dim}"] = smooth.integrate(dim, datetime_unit="s" if dim == "time" else None)
    for pad, mode in (("constant", "constant"), ("edge", "edge"), ("wrap", "wrap"), ("reflect", "reflect"), ("symmetric", "symmetric")):
        if dim != "time" or mode != "constant":
            results[f"pad {pad} {dim}"] = t.pad({dim: (2, 1)}, mode=mode)
results |= {
    "rank n": rank(n, "time"),
    "rank single": rank(single, "y"),
    "differentiate depth": smooth.differentiate("depth"),
    "integrate y x": smooth.integrate(["y", "x"]),
    "integrate n": n.integrate("x"),
    "integrate nan": t.integrate("x"),
    "cumulative nan": t.cumulative_integrate("x"),
    "pad n": n.pad(x=(1, 2)),
    "pad zero": n.pad(x=(1, 2), constant_values=7).assign_coords(x=n.pad(x=(1, 2)).x),
    "cov time": xr.cov(t, u, "time"),
    "cov all": xr.cov(t, u),
    "cov line": xr.cov(t, line, "time"),
    "cov ddof": xr.cov(t, u, ["y", "x"], ddof=0),
    "cov labels": xr.cov(t, u.isel(time=slice(3, None)), "time"),
    "corr time": xr.corr(t, u, "time"),
    "corr y x": xr.corr(t, u, ["y", "x"]),
    "corr all": xr.corr(t, u),
    "corr line": xr.corr(line, t, "time"),
    "head": t.head(time=3),
    "tail": t.tail(time=3),
    "tail all": t.tail(time=30),
    "thin": t.thin(time=5),
    "broadcast": ds.fill.broadcast_like(t),
    "broadcast n": n.broadcast_like(area),
    "fillna": t.fillna(ds.fill),
    "fillna shorter": t.fillna(u.isel(time=slice(2, 6))),
    "clip": t.clip(ds.fill * 0.05, 12.0),
}
for name in ("mean", "sum", "sum_of_squares", "var", "std"):
    results[f"weighted {name}"] = getattr(t.weighted(area), name)(["y", "x"])
    results[f"weighted y {name}"] = getattr(t.weighted(area), name)("y")
results["weighted sum_of_weights"] = t.weighted(area).sum_of_weights(["y", "x"])
results["weighted quantile"] = t.weighted(area).quantile([0.0, 0.1, 0.5, 0.9, 1.0], dim=["y", "x"])
results["weighted quantile x"] = t.weighted(area).quantile(0.3, dim="x")
for name, found in (("argmin", t.fillna(50.0).argmin(["x", "time"])), ("argmax", t.fillna(-50.0).argmax(["y", "x"]))):
    for dim, places in found.items():
        results[f"{name} {dim}"] = places
(out / "expected.json").write_text(json.dumps({name: describe(da) for name, da in results.items()}))
