"""Writes stores with xarray and zarr-python, and what xarray reads back and computes, as JSON.

Run by the Rust tests: make_stores.py FOLDER. Writes FOLDER/*.zarr and FOLDER/expected.json.
"""

import json
import pathlib
import sys
import warnings

import numcodecs
import numpy as np
import xarray as xr
import zarr
import zarr.codecs as zc

warnings.simplefilter("ignore")
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(7)


def plain(array):
    """Values as JSON: times as text, missing as None."""
    array = np.asarray(array)
    if array.dtype.kind == "M":
        return [None if np.isnat(t) else str(t.astype("datetime64[s]")) for t in array.ravel()]
    if array.dtype.kind == "O" and array.size and hasattr(array.ravel()[0], "isoformat"):
        return [t.isoformat()[:19] for t in array.ravel()]
    if array.dtype.kind in "OUST":
        return [str(x) for x in array.ravel()]
    if array.dtype.kind == "b":
        return [bool(x) for x in array.ravel()]
    if array.dtype.kind in "iu":
        return [int(x) for x in array.ravel()]
    return [None if np.isnan(x) else float(x) for x in array.ravel()]


def describe(da):
    return {
        "dims": list(da.dims),
        "shape": list(da.shape),
        "dtype": str(da.dtype),
        "values": plain(da.values),
        "attrs": {k: str(v) for k, v in da.attrs.items() if isinstance(v, str)},
        "coords": {str(k): plain(v.values) for k, v in da.coords.items()},
    }


def ocean():
    time = xr.date_range("2000-01-01", periods=36, freq="MS", use_cftime=False)
    lat, lon = np.linspace(-60, 60, 9), np.linspace(0, 330, 12)
    theta = rng.normal(10, 5, (36, 9, 12)).astype("f4")
    theta[rng.random(theta.shape) < 0.1] = np.nan
    theta[:, 0, 0] = np.nan
    return xr.Dataset(
        {
            "theta": (("time", "lat", "lon"), theta, {"units": "degC", "long_name": "potential temperature"}),
            "packed": (("time", "lat"), rng.normal(280, 10, (36, 9)).round(2), {"units": "K"}),
            "count": (("lat", "lon"), rng.integers(-5, 50, (9, 12)).astype("i4")),
            "area": (("lat",), np.cos(np.deg2rad(lat)), {"units": "m2"}),
            "wet": (("lat", "lon"), rng.random((9, 12)) < 0.7),
            "total": ((), np.float64(42.5)),
        },
        coords={
            "time": ("time", time),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
            "depth2d": (("lat", "lon"), rng.random((9, 12)) * 4000),
            "region": ("lat", np.array([f"région {i}" for i in range(9)], dtype=object)),
        },
        attrs={"title": "a <small> ocean", "version": 3},
    )


packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
chunks = {"theta": {"chunks": (10, 4, 12)}, "packed": {**packing, "chunks": (7, 9)}}


def v2(name, compressor, consolidated=True, **extra):
    encoding = {k: {**v, "compressors": [compressor]} for k, v in chunks.items()}
    encoding["count"] = {"_FillValue": -5, "compressors": [compressor]}
    ds = ocean()
    ds.to_zarr(out / name, zarr_format=2, encoding=encoding, consolidated=consolidated, **extra)


def v3(name, compressors, consolidated=True, **theta):
    encoding = {k: {**v, "compressors": compressors} for k, v in chunks.items()}
    encoding["theta"].update(theta)
    encoding["count"] = {"_FillValue": -5, "compressors": compressors}
    ocean().to_zarr(out / name, zarr_format=3, encoding=encoding, consolidated=consolidated)


v2("v2_zstd.zarr", numcodecs.Zstd(level=3))
v2("v2_blosc.zarr", numcodecs.Blosc(cname="lz4", shuffle=1))
v2("v2_blosc_zstd.zarr", numcodecs.Blosc(cname="zstd", shuffle=2))
v2("v2_gzip.zarr", numcodecs.GZip(level=1))
v2("v2_zlib.zarr", numcodecs.Zlib(level=1), consolidated=False)
v3("v3_zstd.zarr", (zc.ZstdCodec(level=3),))
v3("v3_blosc.zarr", (zc.BloscCodec(cname="lz4", shuffle="shuffle", typesize=4),))
v3("v3_gzip.zarr", (zc.GzipCodec(level=1),), consolidated=False)
v3("v3_crc.zarr", (zc.ZstdCodec(level=1), zc.Crc32cCodec()))
v3("v3_sharded.zarr", (zc.ZstdCodec(level=3),), shards=(20, 8, 12))

# What zarr-python alone writes: another byte order, Fortran order, half precision, chunks left out.
for fmt in (2, 3):
    group = zarr.open_group(out / f"raw_v{fmt}.zarr", mode="w", zarr_format=fmt)
    def array(name, data, dims, attrs=None, **kwargs):
        if fmt == 2:
            attrs = {**(attrs or {}), "_ARRAY_DIMENSIONS": dims}
        else:
            kwargs["dimension_names"] = dims
        a = group.create_array(name, shape=data.shape, dtype=data.dtype, attributes=attrs or {}, **kwargs)
        a[...] = data
        return a
    array("big", np.arange(60, dtype=">f8").reshape(6, 10), ["y", "x"], chunks=(4, 4))
    array("fortran", np.arange(60, dtype="i4").reshape(6, 10), ["y", "x"], chunks=(3, 5), order="F")
    array("half", np.linspace(0, 1, 10).astype("f2"), ["x"], chunks=(4,))
    array("bytes", np.arange(10, dtype="u1"), ["x"], chunks=(3,), attrs={"missing_value": 4})
    array("signed", np.array([-1, 1, -2, 3, 4, 5, 6, 7, 8, 9], dtype="i1"), ["x"], chunks=(10,), attrs={"_Unsigned": "true"})
    array("long", np.arange(10, dtype="i8") + 2**60, ["x"], chunks=(10,))
    holes = group.create_array(
        "holes", shape=(6, 10), chunks=(2, 5), dtype="f4", fill_value=-9.0,
        attributes={"_ARRAY_DIMENSIONS": ["y", "x"]} if fmt == 2 else {},
        **({} if fmt == 2 else {"dimension_names": ["y", "x"]}),
    )
    holes[0:2, 0:5] = 3.5
    zarr.consolidate_metadata(out / f"raw_v{fmt}.zarr", zarr_format=fmt)

# Calendars and units.
calendars = xr.Dataset()
for number, (units, calendar, values) in enumerate([
    ("days since 2000-01-01", "standard", [0, 59, 60, 365, 366]),
    ("hours since 1900-01-01 00:00:00.0", "gregorian", [0.5, 24, 876576, 1000000, 999]),
    ("seconds since 1970-01-01T00:00:00Z", "proleptic_gregorian", [0, 1, 86399, 86400, 10**9]),
    ("days since 0001-01-01", "noleap", [0, 58, 59, 364, 730000]),
    ("days since 1850-01-01", "360_day", [0, 29, 30, 359, 100000]),
    ("days since 2000-02-28", "all_leap", [0, 1, 2, 366, 5000]),
    ("days since 1582-10-01", "julian", [0, 3, 4, 5, 160000]),
    ("minutes since 2010-06-15 12:30:00", "standard", [0, 30, 1440, 525600, -1440]),
    ("days since 1800-01-01 00:00:0.0", "standard", [0, 1, 2, 60000, 70000]),
]):
    name = f"t{number}"
    calendars[name] = (name, np.array(values), {"units": units, "calendar": calendar})
calendars.to_zarr(out / "calendars.zarr", zarr_format=3)

expected = {}
for path in sorted(out.glob("*.zarr")):
    ds = xr.open_zarr(path, consolidated=None)
    expected[path.name] = {
        "attrs": {k: str(v) for k, v in ds.attrs.items()},
        "data_vars": {str(k): describe(v) for k, v in ds.data_vars.items()},
        "coords": {str(k): describe(v) for k, v in ds.coords.items()},
        "sizes": {str(k): int(v) for k, v in ds.sizes.items()},
    }

# Computations, all on one store.
ds = xr.open_zarr(out / "v3_zstd.zarr").load()
t = ds.theta
month = t.groupby("time.month")
results = {
    "mean_time": t.mean("time"),
    "mean_all": t.mean(),
    "mean_lat_lon": t.mean(["lat", "lon"]),
    "mean_noskip": t.mean("time", skipna=False),
    "sum_time": t.sum("time"),
    "min_time": t.min("time"),
    "max_lon": t.max("lon"),
    "std_time": t.std("time"),
    "var_time": t.var("time"),
    "count_time": t.count("time"),
    "isel": t.isel(time=slice(2, 20, 3), lat=4),
    "sel_nearest": t.sel(lat=13.0, lon=100.0, method="nearest"),
    "sel_year": t.sel(time="2001"),
    "sel_month": t.sel(time="2001-06"),
    "sel_slice": t.sel(time=slice("2000-06", "2001-02-15"), lat=slice(-30, 30)),
    "arithmetic": (t - t.mean("time")) * 2 + 1 / (ds.area + 1.0),
    "broadcast": ds.area * ds["count"],
    "where": t.where(t > 10),
    "where_else": t.where(ds.wet, -1.0),
    "month_mean": month.mean(),
    "season_mean": t.groupby("time.season").mean(),
    "year_sum": t.groupby("time.year").sum(),
    "year_max": t.groupby("time.year").max(),
    "month_std": month.std(),
    "anomaly": month - month.mean(),
    "weighted_mean": t.weighted(ds.area).mean("lat"),
    "weighted_mean_all": t.weighted(ds.area).mean(["lat", "lon"]),
    "weighted_sum": t.weighted(ds.area).sum(["lat", "lon"]),
    "transpose": t.transpose("lon", "time", "lat"),
    "concat": xr.concat([t.isel(time=slice(0, 3)), t.isel(time=slice(10, 14))], "time"),
    "rename": t.rename(lat="y"),
    "int_mean": ds["count"].mean("lon"),
    "wet_sum": ds.wet.sum("lon"),
}
expected["results"] = {name: describe(da) for name, da in results.items()}
expected["repr"] = repr(xr.open_zarr(out / "v3_zstd.zarr"))
(out / "expected.json").write_text(json.dumps(expected))
