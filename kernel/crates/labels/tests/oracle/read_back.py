"""Compares a store that Nuna wrote with xarray's own results: read_back.py STORE ORIGINAL. Prints a JSON report."""

import json
import pathlib
import sys
import warnings

import numpy as np
import xarray as xr

store, original = map(pathlib.Path, sys.argv[1:])
differences = []
with warnings.catch_warnings():
    warnings.simplefilter("error")
    ds = xr.open_zarr(store, consolidated=True).load()
want = xr.open_zarr(original).load()
want["anomaly"] = (want.theta.groupby("time.month") - want.theta.groupby("time.month").mean())
want["climatology"] = want.theta.groupby("time.season").mean()
for name in want.variables:
    if name not in ds.variables:
        differences.append(f"{name} is missing")
        continue
    a, b = ds[name], want[name]
    if a.dims != b.dims or a.dtype.kind.replace("O", "T").replace("U", "T") != b.dtype.kind.replace("O", "T").replace("U", "T"):
        differences.append(f"{name}: {a.dims} {a.dtype}, expected {b.dims} {b.dtype}")
    elif a.dtype.kind in "fiub":
        # Sums of float32 are made in another order and precision.
        if not np.allclose(a, b, rtol=1e-6, atol=1e-5, equal_nan=True):
            differences.append(f"{name}: values differ")
    elif not (a.values == b.values).all():
        differences.append(f"{name}: labels differ")
    if {k: v for k, v in a.attrs.items()} != {k: v for k, v in b.attrs.items()}:
        differences.append(f"{name}: attributes {a.attrs}, expected {b.attrs}")
    if set(a.coords) != set(b.coords):
        differences.append(f"{name}: coordinates {sorted(a.coords)}, expected {sorted(b.coords)}")
if ds.attrs != want.attrs:
    differences.append(f"attributes {ds.attrs}, expected {want.attrs}")
fmt = 2 if (store / ".zmetadata").exists() else 3
print(json.dumps({"format": fmt, "consolidated": True, "differences": differences}))
