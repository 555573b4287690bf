"""Compares a NetCDF file that Nuna wrote with a Zarr store of the same dataset: netcdf_written.py FILE STORE. Prints differences
and what NetCDF's and HDF5's own libraries see, as JSON. Then appends to a copy of the file, as other programs do."""

import json
import pathlib
import shutil
import sys
import warnings

import h5py
import netCDF4
import numpy as np
import xarray as xr

file, store = map(pathlib.Path, sys.argv[1:])
differences = []


def same(engine, a, b):
    if list(a.sizes.items()) != list(b.sizes.items()) and dict(a.sizes) != dict(b.sizes):
        differences.append(f"{engine}: sizes {dict(a.sizes)}, expected {dict(b.sizes)}")
    if set(a.variables) != set(b.variables) or set(a.coords) != set(b.coords):
        differences.append(f"{engine}: {sorted(a.variables)}, expected {sorted(b.variables)}")
        return
    for name in b.variables:
        x, y = a[name], b[name]
        kinds = [v.dtype.kind if v.dtype.kind not in "OUT" else "T" for v in (x, y)]
        if x.dims != y.dims or kinds[0] != kinds[1] or (kinds[0] != "T" and x.dtype != y.dtype):
            differences.append(f"{engine} {name}: {x.dims} {x.dtype}, expected {y.dims} {y.dtype}")
        elif not np.array_equal(x.values, y.values, equal_nan=kinds[0] in "fmM"):
            differences.append(f"{engine} {name}: {x.values.ravel()[:9]}, expected {y.values.ravel()[:9]}")
        compare(f"{engine} {name}", x.attrs, y.attrs)
    compare(engine, a.attrs, b.attrs)


def compare(what, a, b):
    if list(a) != list(b):
        differences.append(f"{what}: attributes {list(a)}, expected {list(b)}")
    for key in a.keys() & b.keys():
        x, y = np.asarray(a[key]), np.asarray(b[key])
        numbers = x.dtype.kind in "iufb" and y.dtype.kind in "iufb"
        if not (x.shape == y.shape or x.size == y.size == 1) or not (x.ravel() == y.ravel()).all() or (
            not numbers and x.dtype.kind != y.dtype.kind
        ):
            differences.append(f"{what}.{key}: {a[key]!r}, expected {b[key]!r}")


with warnings.catch_warnings():
    warnings.simplefilter("error")
    want = xr.open_zarr(store, consolidated=True).load()
    for engine in ["netcdf4", "h5netcdf"]:
        with xr.open_dataset(file, engine=engine) as ds:
            same(engine, ds.load(), want)

seen = {}
with netCDF4.Dataset(file) as nc:
    nc.set_auto_maskandscale(False)
    dims = {name: [len(dim), dim.isunlimited()] for name, dim in nc.dimensions.items()}
    for name, var in nc.variables.items():
        filters = var.filters() or {}
        seen[name] = {
            "dtype": str(np.dtype(var.dtype)) if var.dtype is not str else "str",
            "chunks": var.chunking(),
            "level": filters.get("complevel", 0) if filters.get("zlib") else 0,
            "shuffle": bool(filters.get("shuffle")),
            "attrs": {k: [np.asarray(var.getncattr(k)).dtype.name, np.size(var.getncattr(k))] for k in var.ncattrs()},
        }
        # Parts of chunks, in any order.
        if var.ndim and 0 not in var.shape:
            whole = var[...]
            for step in (1, 3):
                part = var[tuple(slice(n // 3, None, step) for n in var.shape)]
                expected = whole[tuple(slice(n // 3, None, step) for n in var.shape)]
                if not np.array_equal(part, expected, equal_nan=part.dtype.kind == "f"):
                    differences.append(f"{name}: a part differs")

scales = {}
with h5py.File(file) as h5:
    for name, dataset in h5.items():
        if dataset.is_scale:
            continue
        scales[name] = [[scale.name for scale in dim.values()] for dim in dataset.dims]
        for dim in dataset.dims:
            for scale in dim.values():
                users = h5[scale.name].attrs.get("REFERENCE_LIST", [])
                if dataset.name not in [h5[user[0]].name for user in users]:
                    differences.append(f"{scale.name} does not know that {name} uses it")

# What others may do with it.
copy = file.with_name("appended.nc")
shutil.copy(file, copy)
grows = [name for name, (_, unlimited) in dims.items() if unlimited]
with netCDF4.Dataset(copy, "a") as nc:
    nc.history = "appended"
    nc.createDimension("more", 3)
    nc.createVariable("added", "f8", ("more",))[:] = [1, 2, 3]
    for dim in grows:
        n = len(nc.dimensions[dim])
        for var in nc.variables.values():
            if dim in var.dimensions and var.dtype is not str:
                at = tuple(slice(n, n + 2) if d == dim else slice(None) for d in var.dimensions)
                var[at] = 7
            var.setncattr("note", "again")
with netCDF4.Dataset(copy) as nc:
    if nc.history != "appended" or list(nc["added"][:]) != [1, 2, 3]:
        differences.append("what was added is not there")
    for dim in grows:
        if len(nc.dimensions[dim]) != dims[dim][0] + 2:
            differences.append(f"{dim} did not grow")
with netCDF4.Dataset(file) as before, netCDF4.Dataset(copy) as after:
    for name, var in before.variables.items():
        var.set_auto_mask(False), after[name].set_auto_mask(False)
        a, b = var[...], after[name][tuple(slice(0, n) for n in var.shape)]
        if not np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"):
            differences.append(f"{name}: lost by appending")

print(json.dumps({"differences": differences, "dims": dims, "seen": seen, "scales": scales}, default=str))
