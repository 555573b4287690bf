"""Writes NetCDF and HDF5 files with netCDF4, h5py and xarray, and what xarray reads back, as JSON.

Run by the Rust tests: make_netcdf.py FOLDER. Writes FOLDER/*.nc, FOLDER/*.h5 and FOLDER/expected.json.
"""

import json
import pathlib
import sys
import warnings

import h5py
import netCDF4
import numpy as np
import xarray as xr

warnings.simplefilter("ignore")
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(11)
engines = {}


def plain(array):
    array = np.asarray(array)
    if array.dtype.kind == "M":
        return [None if np.isnat(t) else str(t.astype("datetime64[s]")) for t in array.ravel()]
    if array.dtype.kind == "O" and array.size and hasattr(array.ravel()[0], "isoformat"):
        return [t.isoformat()[:19] for t in array.ravel()]
    if array.dtype.kind == "S":
        return [x.decode() for x in array.ravel()]
    if array.dtype.kind == "O":
        return [x.decode() if isinstance(x, bytes) else str(x) for x in array.ravel()]
    if array.dtype.kind in "UT":
        return [str(x) for x in array.ravel()]
    if array.dtype.kind == "b":
        return [bool(x) for x in array.ravel()]
    if array.dtype.kind in "iu":
        return [int(x) for x in array.ravel()]
    return [None if np.isnan(x) else float(x) for x in array.ravel()]


def attribute(value):
    value = np.asarray(value)
    if value.dtype.kind in "OUS":
        values = [x.decode() if isinstance(x, bytes) else str(x) for x in value.ravel()]
    else:
        values = [float(x) for x in value.ravel()]
    return values[0] if len(values) == 1 else values


def describe(da):
    return {
        "dims": list(da.dims),
        "shape": list(da.shape),
        "dtype": da.dtype.newbyteorder("=").name,
        "is_text": da.dtype.kind in "OSUT" and not (da.size and hasattr(np.asarray(da.values).ravel()[0], "isoformat")),
        "values": plain(da.values),
        "attrs": {k: attribute(v) for k, v in da.attrs.items()},
    }


# What xarray users write.
time = xr.date_range("2000-01-01", periods=24, freq="MS", use_cftime=False)
lat, lon = np.linspace(-60, 60, 9), np.linspace(0, 330, 12)
theta = rng.normal(10, 5, (24, 9, 12)).astype("f4")
theta[rng.random(theta.shape) < 0.1] = np.nan
ocean = xr.Dataset(
    {
        "theta": (("time", "lat", "lon"), theta, {"units": "degC", "long_name": "potential température"}),
        "packed": (("time", "lat"), rng.normal(280, 10, (24, 9)).round(2), {"units": "K"}),
        "packed32": (("time", "lat"), rng.normal(280, 10, (24, 9)).astype("f4")),
        "count": (("lat", "lon"), rng.integers(-5, 50, (9, 12)).astype("i4")),
        "wet": (("lat", "lon"), rng.random((9, 12)) < 0.7),
        "total": ((), np.float64(42.5)),
        "area": (("lat",), np.cos(np.deg2rad(lat)), {"valid_range": np.array([0.0, 1.0]), "level": np.int16(3)}),
    },
    coords={
        "time": ("time", time),
        "lat": ("lat", lat, {"units": "degrees_north"}),
        "lon": ("lon", lon.astype("f4"), {"units": "degrees_east"}),
        "depth2d": (("lat", "lon"), rng.random((9, 12)) * 4000),
        "region": ("lat", np.array([f"région {i}" for i in range(9)], dtype=object)),
    },
    attrs={"title": "an ocean", "version": 3, "empty": ""},
)
packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
packing32 = {"dtype": "i2", "scale_factor": np.float32(0.01), "add_offset": np.float32(280.0), "_FillValue": np.int16(-32767)}
encoding = {"packed": packing, "packed32": packing32, "count": {"_FillValue": -5}}
ocean.to_netcdf(out / "plain.nc", encoding=encoding)
for name, theta_encoding in {
    "deflate": {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": (5, 4, 12)},
    "fletcher": {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True, "chunksizes": (1, 9, 12)},
    "noshuffle": {"zlib": True, "complevel": 9, "shuffle": False, "chunksizes": (24, 1, 5)},
    "checked": {"zlib": False, "fletcher32": True, "chunksizes": (7, 9, 12)},
}.items():
    ocean.to_netcdf(out / f"{name}.nc", encoding={**encoding, "theta": theta_encoding})
ocean.to_netcdf(out / "unlimited.nc", encoding=encoding, unlimited_dims=["time"])
classic = ocean.drop_vars("wet")
for name, fmt in {"classic": "NETCDF3_CLASSIC", "offset64": "NETCDF3_64BIT", "model": "NETCDF4_CLASSIC"}.items():
    classic.to_netcdf(out / f"{name}.nc", format=fmt, encoding={"packed": packing, "packed32": packing32})
    classic.to_netcdf(
        out / f"{name}_records.nc", format=fmt, encoding={"packed": packing, "packed32": packing32}, unlimited_dims=["time"]
    )

# One record variable alone, of few bytes, is not padded.
with netCDF4.Dataset(out / "one_record.nc", "w", format="NETCDF3_CLASSIC") as nc:
    nc.createDimension("t", None)
    nc.createDimension("x", 3)
    nc.createVariable("short", "i2", ("t", "x"))[:] = np.arange(21).reshape(7, 3)

# All types in all byte orders, written by the C library.
types = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
for fmt, kinds in {"NETCDF4": types, "NETCDF3_64BIT_DATA": types}.items():
    with netCDF4.Dataset(out / f"types_{fmt.lower()}.nc", "w", format=fmt) as nc:
        nc.createDimension("y", 6)
        nc.createDimension("x", 10)
        # A length of 0 is the unlimited dimension in NetCDF3.
        if fmt == "NETCDF4":
            nc.createDimension("none", 0)
        nc.createDimension("t", None)
        for kind in kinds:
            data = np.arange(60, dtype=kind).reshape(6, 10)
            for order in ("little", "big") if fmt == "NETCDF4" else ("native",):
                name = f"{kind}_{order}"
                nc.createVariable(name, kind, ("y", "x"), endian=order, chunksizes=(4, 3) if fmt == "NETCDF4" else None)[:] = data
            nc.createVariable(f"{kind}_rec", kind, ("t", "x"))[:] = data
        nc.createVariable("scalar", "f8")[...] = 3.25
        if fmt == "NETCDF4":
            nc.createVariable("nothing", "f4", ("none", "x"))
        unwritten = nc.createVariable("unwritten", "f4", ("y", "x"), fill_value=-9.0)
        letters = nc.createVariable("letters", "S1", ("y", "x"))
        letters[:] = netCDF4.stringtochar(np.array(["one", "two", "three", "four", "", "sixsixsix!"], dtype="S10"))
        nc.note = "plain"
        nc.numbers = np.arange(3, dtype="f4") / 2

# Unlimited dimensions that variables fill to different lengths, groups that use dimensions of those around them, a coordinate
# of another rank than its dimension, a variable named as a dimension that it does not have.
with netCDF4.Dataset(out / "groups.nc", "w") as nc:
    nc.createDimension("time", None)
    nc.createDimension("x", 4)
    nc.createDimension("len", 2)
    nc.createVariable("time", "f8", ("time",))[:] = np.arange(5.0)
    nc.createVariable("short", "f4", ("time", "x"))[:3] = np.arange(12).reshape(3, 4)
    nc.createVariable("x", "f4", ("x", "len"))[:] = np.arange(8).reshape(4, 2)
    nc.createVariable("len", "f4", ("x",))[:] = np.arange(4)
    inner = nc.createGroup("forecast/surface")
    inner.createDimension("member", 3)
    inner.createVariable("wind", "f4", ("member", "time", "x"), zlib=True)[:] = np.arange(60).reshape(3, 5, 4)
    inner.createVariable("member", "i4", ("member",))[:] = [3, 1, 2]
    inner.title = "inner"
    # More attributes and variables than fit into a header.
    dense = nc.createGroup("dense")
    for i in range(40):
        dense.setncattr(f"attribute_{i:02}", f"value {i}")
    for i in range(30):
        v = dense.createVariable(f"v{29 - i:02}", "i4", ("x",))
        v[:] = np.arange(4) + i
        v.long_name = "a name of some length " * 20

# HDF5 files that never saw NetCDF, with every kind of index.
data = np.arange(40 * 30, dtype="f4").reshape(40, 30)
for libver in ("earliest", "latest"):
    with h5py.File(out / f"indices_{libver}.h5", "w", libver=libver) as h5:
        h5.create_dataset("contiguous", data=data)
        h5.create_dataset("big", data=data.astype(">i4"))
        h5.create_dataset("single", data=data, chunks=(40, 30), compression="gzip")
        h5.create_dataset("single_plain", data=data, chunks=(40, 30))
        h5.create_dataset("fixed", data=data, chunks=(7, 11), compression="gzip", shuffle=True)
        h5.create_dataset("fixed_plain", data=data, chunks=(7, 11))
        h5.create_dataset("fixed_pages", data=data, chunks=(1, 1), compression="gzip", compression_opts=1)
        h5.create_dataset("fixed_larger", data=data, chunks=(7, 11), maxshape=(80, 90))
        h5.create_dataset("growing", data=data, chunks=(1, 30), maxshape=(None, 30), compression="gzip")
        h5.create_dataset("growing_second", data=data, chunks=(7, 1), maxshape=(40, None))
        # 30 x 1,500 chunks: enough for secondary blocks with pages.
        long = h5.create_dataset("growing_long", shape=(1500, 6), chunks=(1, 1), maxshape=(None, 6), dtype="i4")
        long[:] = np.arange(9000).reshape(1500, 6)
        h5.create_dataset("growing_both", data=data, chunks=(3, 4), maxshape=(None, None), compression="gzip")
        h5.create_dataset("growing_both_plain", data=data, chunks=(3, 4), maxshape=(None, None))
        h5.create_dataset("lzf", data=data, chunks=(8, 30), compression="lzf", shuffle=True)
        h5.create_dataset("checked", data=data, chunks=(8, 30), fletcher32=True, compression="gzip", shuffle=True)
        h5.create_dataset("odd_checked", data=np.arange(77, dtype="u1"), chunks=(25,), fletcher32=True)
        holes = h5.create_dataset("holes", shape=(40, 30), chunks=(8, 8), dtype="f4", fillvalue=-9.5)
        holes[9:20, 3:9] = 1.0
        h5.create_dataset("half", data=data[0].astype("f2"))
        h5.create_dataset("bool", data=data > 300)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_chunk((8, 7))
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        space = h5py.h5s.create_simple((40, 30))
        implicit = h5py.h5d.create(h5.id, b"implicit", h5py.h5t.NATIVE_FLOAT, space, early)
        implicit.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(h5.id, b"compact", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((5, 3)), compact).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(data[:5, :3])
        )
        h5.attrs["numbers"] = np.arange(5, dtype=">i2")
        h5.attrs["fixed"] = np.bytes_("fixed text")
        h5.attrs["texts"] = ["one", "zwölf"]
        h5.attrs["half"] = np.float16(1.5)

# What cannot be read must say so, beside what can.
with h5py.File(out / "odd.h5", "w") as h5:
    h5["good"] = np.arange(5)
    h5["record"] = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")])
    h5.create_dataset("scaled", data=np.arange(100), chunks=(10,), scaleoffset=0)
    h5.create_dataset("lists", shape=(2,), dtype=h5py.vlen_dtype(np.int32))
    h5["reference"] = h5["good"].ref
    h5["complex"] = np.zeros(3, "c8")
    h5.create_virtual_dataset("virtual", h5py.VirtualLayout((5,), "f4"))
    h5.create_dataset("empty", data=h5py.Empty("f4"))
    h5["link"] = h5py.SoftLink("/good")

# A block of the user's before the file.
with h5py.File(out / "userblock.h5", "w", userblock_size=1024) as h5:
    h5.create_dataset("x", data=np.arange(100), chunks=(7,), compression="gzip")

# A series, and files that do not fit into it.
series = out / "series"
series.mkdir()
for number, part in enumerate([slice(0, 10), slice(10, 11), slice(11, 24)]):
    # Units of time, chunks and packing differ, as they do in the wild.
    ocean.isel(time=part).to_netcdf(
        series / f"part_{number}.nc",
        encoding={
            "time": {"units": ["days since 2000-01-01", "hours since 1990-01-01", "days since 1970-01-01"][number]},
            "theta": {"zlib": number > 0, "chunksizes": (min(4, part.stop - part.start), 5, 12)} if number else {},
            "packed": {**packing, "add_offset": 280.0 + number},
        },
    )
joined = xr.concat(
    [xr.open_dataset(path) for path in sorted(series.glob("part_?.nc"))],
    "time", data_vars="minimal", coords="minimal", compat="override", join="override",
)
last = ocean.isel(time=slice(11, 24))
last.isel(lon=slice(0, 11)).to_netcdf(series / "shape.nc")
last.assign(theta=last.theta.astype("f8")).to_netcdf(series / "dtype.nc")
last.convert_calendar("noleap").to_netcdf(series / "calendar.nc")
last.assign_coords(lat=last.lat + 1).to_netcdf(series / "labels.nc")
last.drop_vars("theta").to_netcdf(series / "lacks.nc")

expected = {}
groups = {"groups.nc": ["", "forecast/surface", "dense"]}
for path in sorted(out.iterdir()):
    if path.name in ("odd.h5", "series"):
        continue
    for group in groups.get(path.name, [""]):
        if path.suffix == ".h5":
            ds = xr.open_dataset(path, engine="h5netcdf", phony_dims="sort")
        else:
            ds = xr.open_dataset(path, engine="netcdf4", group=group or None)
        expected[f"{path.name}:{group}"] = {
            "attrs": {k: attribute(v) for k, v in ds.attrs.items()},
            "data_vars": {str(k): describe(v) for k, v in ds.data_vars.items()},
            "coords": {str(k): describe(v) for k, v in ds.coords.items()},
        }
expected["series"] = {
    "data_vars": {str(k): describe(v) for k, v in joined.data_vars.items()},
    "coords": {str(k): describe(v) for k, v in joined.coords.items()},
}
(out / "expected.json").write_text(json.dumps(expected))
