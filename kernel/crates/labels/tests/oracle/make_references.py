"""NetCDF files, and references to their chunks as kerchunk makes them."""

import json
import pathlib
import sys

import kerchunk.hdf
import kerchunk.netCDF3
import numpy as np
import xarray as xr

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
