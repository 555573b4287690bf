"""Series of files to which references are written, of all the layouts that NetCDF's libraries and h5py make."""

import pathlib
import sys

import h5py
import netCDF4
import numpy as np
import xarray as xr

folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(11)
start = 0
for number, days in enumerate([4, 4, 2]):
    theta = random.normal(280, 10, (days, 20, 30)).astype("f4")
    theta[random.random(theta.shape) < 0.1] = np.nan
    dataset = xr.Dataset(
        {
            "theta": (("time", "lat", "lon"), theta, {"units": "K"}),
            "packed": (("time", "lat"), np.round(random.normal(0, 5, (days, 20)), 1)),
            "summed": (("time", "lat"), random.integers(-99, 99, (days, 20)).astype("i4")),
            "across": (("lat", "time"), random.normal(size=(20, days))),
            "count": (("lat",), np.arange(20, dtype="i2")),
            "scalar": ((), np.float64(7.5)),
        },
        coords={
            "time": np.arange(start, start + days).astype("M8[D]").astype("M8[ns]") + np.timedelta64(31 * 365, "D"),
            "lat": np.linspace(-9.5, 9.5, 20),
            "station": ("lat", np.array([f"Ort {n}" for n in range(20)])),
            "letters": ("lat", np.array([f"é{n}" for n in range(20)])),
        },
        attrs={"title": f"part {number}"},
    )
    encoding = {
        "theta": {"zlib": True, "shuffle": True, "chunksizes": (2, 10, 30)},
        "packed": {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -999, "zlib": True, "chunksizes": (2, 20)},
        "summed": {"fletcher32": True, "chunksizes": (1, 20)},
        "letters": {"dtype": "S1"},
    }
    for name, origin in [("same", 0), ("moved", start)]:
        times = {"time": {"units": f"days since {np.datetime64(origin, 'D') + 31 * 365} 00:00", "dtype": "i4"}}
        dataset.to_netcdf(folder / f"{name}_{number}.nc", encoding={**encoding, **times}, unlimited_dims=["time"])
    plain = dataset.drop_vars(["station", "letters", "packed"])
    plain.drop_vars("across").to_netcdf(
        folder / f"classic_{number}.nc",
        format="NETCDF3_64BIT",
        unlimited_dims=["time"],
        encoding={"time": {"units": "days since 2000-12-25", "dtype": "i4"}},
    )
    plain.to_netcdf(folder / f"plain_{number}.nc", encoding={"time": {"units": "days since 2000-12-25", "dtype": "i4"}})
    start += days

with netCDF4.Dataset(folder / "groups.nc", "w") as file:
    file.createDimension("x", 10)
    file.createVariable("whole", "i8", ("x",), chunksizes=(4,), zlib=True)[:] = np.arange(10)
    # Chunks that were never written, with and without a word on what they hold.
    file.createVariable("holes", "f4", ("x",), chunksizes=(2,), fill_value=-5)[2:5] = [1, 2, 3]
    group = file.createGroup("a/b")
    group.units = "1"
    group.createVariable("inner", "f8", ("x",), chunksizes=(5,), zlib=True, shuffle=True, endian="big")[:] = np.linspace(0, 1, 10)
with netCDF4.Dataset(folder / "default.nc", "w") as file:
    file.createDimension("x", 10)
    file.createVariable("counts", "i4", ("x",), chunksizes=(2,))[4:6] = [1, 2]
with h5py.File(folder / "lzf.h5", "w") as file:
    file.create_dataset("small", data=np.arange(1000.0), chunks=(100,), compression="lzf")
with h5py.File(folder / "large.h5", "w") as file:
    file.create_dataset("large", data=np.zeros((2200, 1000)), chunks=(2200, 1000), compression="lzf")
for number in range(2):
    data = xr.Dataset({"v": (("time", "x"), np.zeros((3, 1_500_000), "f4"))})
    data.to_netcdf(folder / f"odd_{number}.nc", encoding={"v": {"zlib": True, "complevel": 1, "chunksizes": (2, 1_500_000)}})
