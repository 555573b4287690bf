"""NetCDF files, and references to their chunks as kerchunk makes them."""

import base64
import json
import pathlib
import sys
import warnings

import kerchunk.hdf
import kerchunk.netCDF3
import netCDF4
import numpy as np
import xarray as xr
import zarr
from fsspec.implementations.reference import LazyReferenceMapper

folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(5)
theta = random.normal(280, 10, (6, 20, 30)).astype("f4")
theta[random.random(theta.shape) < 0.1] = np.nan
dataset = xr.Dataset(
    {
        "theta": (("time", "lat", "lon"), theta, {"units": "K"}),
        "packed": (("time", "lat"), np.round(random.normal(0, 5, (6, 20)), 1)),
        "count": (("lat",), np.arange(20, dtype="i4")),
    },
    coords={"time": np.arange("2001-01-01", "2001-01-07", dtype="M8[D]").astype("M8[ns]"), "lat": np.linspace(-9.5, 9.5, 20)},
    attrs={"title": "references"},
)
dataset.to_netcdf(
    folder / "chunked.nc",
    encoding={
        "theta": {"zlib": True, "shuffle": True, "chunksizes": (2, 10, 30)},
        "packed": {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -999, "zlib": True},
    },
)
dataset.to_netcdf(folder / "classic.nc", format="NETCDF3_64BIT")
chunked = kerchunk.hdf.SingleHdf5ToZarr(str(folder / "chunked.nc"), inline_threshold=100).translate()
classic = kerchunk.netCDF3.NetCDF3ToZarr(str(folder / "classic.nc")).translate()


def renamed(references, change):
    """The same with each address changed."""
    refs = {key: [change(value[0]), *value[1:]] if isinstance(value, list) else value for key, value in references["refs"].items()}
    return {**references, "refs": refs}


def write(name, references):
    (folder / name).write_text(json.dumps(references))


write("chunked.json", chunked)
write("classic.json", classic)
write("relative.json", renamed(chunked, lambda url: url.rsplit("/", 1)[-1]))
write("templates.json", {**renamed(chunked, lambda url: "{{f}}"), "templates": {"f": f"file://{folder}/chunked.nc"}})
write("older.json", chunked["refs"])
write("far.json", renamed(chunked, lambda url: "gs://somewhere/chunked.nc"))
write("gone.json", renamed(chunked, lambda url: url.replace("chunked.nc", "removed.nc")))
short = dict(chunked["refs"])
short["theta/0.0.0"] = [short["theta/0.0.0"][0], 10**9, 100]
write("short.json", {"version": 1, "refs": short})
damaged = dict(chunked["refs"])
damaged["theta/0.0.0"] = [damaged["theta/0.0.0"][0], 0, 100]
write("damaged.json", {"version": 1, "refs": damaged})
empty = {
    ".zgroup": '{"zarr_format": 2}',
    "e/.zarray": json.dumps(
        {"zarr_format": 2, "shape": [0, 8], "chunks": [0, 8], "dtype": "<f8", "compressor": None, "filters": None, "fill_value": None, "order": "C"}
    ),
    "e/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": ["x", "y"]}),
}
write("empty.json", {"version": 1, "refs": empty})


def write_parquet(name, references, record_size):
    """The same in Parquet, as fsspec writes it."""
    mapper = LazyReferenceMapper.create(str(folder / name), record_size=record_size, engine="pyarrow")
    # Arrays come before their chunks.
    for key, value in sorted(references.items(), key=lambda item: not item[0].rsplit("/", 1)[-1].startswith(".")):
        mapper[key] = value.encode() if isinstance(value, str) else value
    mapper.flush()


write_parquet("chunked.parq", chunked["refs"], 5)
write_parquet("relative.parq", renamed(chunked, lambda url: url.rsplit("/", 1)[-1])["refs"], 100)
# A whole file, chunks within the table, and one that was never written, in one table.
(folder / "whole.bin").write_bytes(np.array([1.0, 2.0]).tobytes())
mixed = {
    ".zgroup": '{"zarr_format": 2}',
    "m/.zarray": json.dumps(
        {"zarr_format": 2, "shape": [8], "chunks": [2], "dtype": "<f8", "compressor": None, "filters": None, "fill_value": -9, "order": "C"}
    ),
    "m/.zattrs": json.dumps({"_ARRAY_DIMENSIONS": ["x"]}),
    "m/0": ["whole.bin"],
    "m/1": "base64:" + base64.b64encode(np.array([3.0, 4.0]).tobytes()).decode(),
    "m/3": np.array([1e300, 8.0]).tobytes(),
}
write_parquet("mixed.parq", mixed, 4)

# Groups, and texts made of characters.
text = xr.Dataset(
    {"t": (("time", "station"), np.arange(12.0).reshape(4, 3))},
    coords={"name": ("station", np.array(["Zürich", "Bern", ""])), "time": np.arange(4)},
)
text.to_netcdf(folder / "text.nc", encoding={"name": {"dtype": "S1"}, "t": {"chunksizes": (2, 3)}})
with netCDF4.Dataset(folder / "text.nc", "a") as file:
    group = file.createGroup("forecast/surface")
    group.title = "inner"
    group.createDimension("x", 6)
    group.createVariable("u", "f4", ("x",), chunksizes=(4,), fill_value=-1)[:] = np.arange(6)
text = kerchunk.hdf.SingleHdf5ToZarr(str(folder / "text.nc"), inline_threshold=0).translate()
write("text.json", text)
write_parquet("text.parq", text["refs"], 10)

# Texts of fixed length in stores of both versions.
fixed = xr.Dataset(
    {"t": ("station", np.arange(3.0))},
    coords={
        "wide": ("station", np.array(["Zürich", "Bern", "😀"])),
        "bytes": ("station", np.array([b"ab", b"", b"abcde"])),
        "square": (("station", "two"), np.array([["a", "b"], ["c", ""], ["é", "f"]]).astype("U3")),
    },
)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for version in [2, 3]:
        store = zarr.create_group(folder / f"fixed{version}.zarr", zarr_format=version)
        for name, variable in fixed.variables.items():
            options = {"dimension_names": variable.dims} if version == 3 else {"order": "F"}
            dtype = variable.dtype.newbyteorder(">") if version == 2 else variable.dtype
            array = store.create_array(name, shape=variable.shape, chunks=[2] * variable.ndim, dtype=dtype, **options)
            array[:] = variable.values
            array.attrs["_ARRAY_DIMENSIONS"] = list(variable.dims)
        store["t"].attrs["coordinates"] = "wide bytes square"
    for name, group in [("grouped2.zarr", 2), ("grouped3.zarr", 3)]:
        for inner in ["", "a", "a/b"]:
            xr.Dataset({"v": ("x", np.arange(3) + len(inner))}).to_zarr(folder / name, group=inner, mode="a", zarr_format=group, consolidated=False)
        zarr.consolidate_metadata(folder / name, zarr_format=group)
        xr.Dataset({"v": ("x", np.arange(3))}).to_zarr(folder / f"plain_{name}", group="a/b", zarr_format=group, consolidated=False)
