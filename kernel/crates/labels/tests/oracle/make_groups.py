"""What xarray makes of groups, bins and periods, as JSON.

Run by the Rust tests: make_groups.py FOLDER. Writes FOLDER/groups.zarr, FOLDER/CALENDAR.zarr and FOLDER/expected.json.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import xarray as xr

from plain import describe

warnings.simplefilter("ignore")
# xarray's own definition of every reduction; its accelerators differ in what they make of empty bins.
xr.set_options(use_flox=False, use_bottleneck=False, use_numbagg=False)
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(11)

FREQUENCIES = ["D", "7D", "h", "6h", "5h", "2h", "W", "W-WED", "2W", "MS", "2MS", "ME", "2ME", "QS", "QS-DEC", "QE", "QE-NOV",
               "YS", "YS-JUL", "YE", "2YE", "YE-JUN", "2QS-FEB"]
OPERATIONS = ["mean", "sum", "prod", "min", "max", "count", "first", "last", "std", "var", "median", "any", "all"]


def dataset(time):
    n = len(time)
    values = rng.normal(10, 5, (n, 3, 2))
    values[rng.random(values.shape) < 0.15] = np.nan
    values[:, 0, 1] = np.nan
    return xr.Dataset(
        {
            "t": (("time", "y", "x"), values),
            "single": (("time", "y"), rng.normal(0, 1, (n, 3)).astype("f4")),
            # Beyond what doubles hold exactly.
            "big": (("x", "time"), rng.integers(2**60, 2**61, (2, n))),
            "small": (("time",), rng.integers(0, 200, n).astype("u1")),
            "flag": (("time",), rng.random(n) < 0.7),
            "depth": (("y",), np.array([5.0, 50.0, 500.0])),
        },
        coords={
            "time": time,
            "y": [10, 20, 30],
            "basin": ("time", np.array(["a", "c", "b"], dtype=object)[rng.integers(0, 3, n)]),
            "level": ("time", np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 30, n) * 1.0)),
        },
        attrs={"title": "groups"},
    )


# Every second day or so for two years, with a gap of three months, and some hours.
steps = np.sort(rng.choice(np.arange(0, 700 * 24), 300, replace=False))
steps = steps[(steps < 4000) | (steps > 6200)]
times = np.datetime64("2000-01-17T03", "ns") + steps.astype("timedelta64[h]")
ds = dataset(times)
ds["region"] = (("y", "x"), np.array([[2, 0], [1, 1], [0, 2]], "i2"))
ds["zone"] = (("time", "x"), (np.arange(2 * len(times)) // 3 % 4).reshape(-1, 2).astype("u1"))
ds.to_zarr(out / "groups.zarr", zarr_format=3, encoding={"t": {"chunks": (70, 2, 2)}, "big": {"chunks": (2, 50)}})

results = {}


def add(name, make):
    results[name] = describe(make())


for frequency in FREQUENCIES:
    add(f"resample {frequency} sum", lambda: ds.t.resample(time=frequency).sum())
for operation in OPERATIONS:
    resampled = ds.t.resample(time="MS")
    if operation in ("any", "all"):
        # xarray makes objects of bins without elements; these frequencies have none.
        add(f"resample YS {operation}", lambda: getattr(ds.flag.resample(time="YS"), operation)())
        add(f"basin {operation}", lambda: getattr(ds.t.groupby("basin"), operation)())
        continue
    add(f"resample MS {operation}", lambda: getattr(resampled, operation)())
    for name in ("single", "big", "small"):
        add(f"resample QS-DEC {operation} {name}", lambda: getattr(ds[name].resample(time="QS-DEC"), operation)())
        add(f"basin {operation} {name}", lambda: getattr(ds[name].groupby("basin"), operation)())
    add(f"basin {operation}", lambda: getattr(ds.t.groupby("basin"), operation)())
    add(f"bins {operation}", lambda: getattr(ds.t.groupby_bins("level", [0.0, 5.0, 12.5, 29.5, 80.0, 90.0]), operation)())
for operation in ("mean", "sum", "min", "first", "last", "median", "std"):
    add(f"noskip {operation}", lambda: getattr(ds.t.resample(time="QS"), operation)(skipna=False))
add("ddof", lambda: ds.t.groupby("basin").std(ddof=1))
for q in (0.0, 0.1, 0.75, 1.0):
    add(f"quantile {q}", lambda: ds.t.groupby("time.month").quantile(q))
    add(f"quantile single {q}", lambda: ds.single.resample(time="7D").quantile(q))
add("quantile noskip", lambda: ds.t.groupby("time.month").quantile(0.3, skipna=False))
for part in ("year", "quarter", "month", "season", "day", "dayofyear", "dayofweek", "days_in_month", "hour", "minute"):
    add(f"part {part}", lambda: ds.t.groupby(f"time.{part}").mean())
week = ds.time.dt.isocalendar().week.astype("i8").rename("weekofyear")
add("part weekofyear", lambda: ds.t.groupby(week).mean())
add("level", lambda: ds.t.groupby("level").mean())
add("array", lambda: ds.t.groupby(ds.small % 7).mean())
add("depth bins", lambda: ds.t.groupby_bins(ds.depth, [0.0, 50.0, 1000.0]).mean())
add("left bins", lambda: ds.t.groupby_bins(ds.depth, [5.0, 50.0, 500.0], right=False).mean())
add("lowest bins", lambda: ds.t.groupby_bins(ds.depth, [5.0, 50.0, 500.0], include_lowest=True).mean()
    .assign_coords(depth_bins=np.array(["[5.0, 50.0]", "(50.0, 500.0]"], dtype=object)))  # pandas: (4.999, 50.0]
add("anomaly", lambda: (lambda g: g - g.mean())(ds.t.groupby("time.season")))
add("ratio", lambda: (lambda g: g / g.max())(ds.t.groupby("basin")))
add("map whole", lambda: ds.t.groupby("basin").map(lambda part: part - part.mean("time")))
add("map reduced", lambda: ds.t.groupby("basin").map(lambda part: part.max("time") - part.min("time")))

LEVELS = [0.0, 5.0, 12.5, 29.5, 80.0, 90.0]
TOGETHER = {
    "season basin": (["time.season", "basin"], []),
    "year month": (["time.year", "time.month"], []),
    "month y": (["time.month", "y"], []),
    "region": (["region"], ["region"]),
    "zone": (["zone"], ["zone"]),
    "basin region": (["basin", "region"], ["region"]),
    "zone basin": (["zone", "basin"], ["zone"]),
    "region zone": (["region", "zone"], ["region", "zone"]),
    "levels basin": (["level", "basin"], []),
    "levels region": (["level", "region"], ["region"]),
}


def grouped(name, variable, more={}):
    keys, coords = TOGETHER[name]
    array = ds[variable].assign_coords({key: ds[key] for key in coords})
    if keys[0] != "level":
        return array.groupby(keys)
    return array.groupby(level=xr.groupers.BinGrouper(LEVELS), **{keys[1]: xr.groupers.UniqueGrouper()})


several = {}
for name in TOGETHER:
    for operation in OPERATIONS:
        if operation in ("any", "all") and name.split()[0] in ("year", "levels"):
            continue  # objects, where there are no elements
        several[f"{name}/{operation}/t"] = describe(getattr(grouped(name, "t"), operation)())
    for operation in ("sum", "count", "min", "mean", "last", "var"):
        if name not in ("month y", "region", "basin region", "region zone", "levels region"):
            several[f"{name}/{operation}/single"] = describe(getattr(grouped(name, "single"), operation)()) if "zone" not in name else describe(getattr(grouped(name, "big"), operation)())
season = {"season": ds.time.dt.season, "basin": ds.basin}
add("several anomaly", lambda: ds.t - grouped("season basin", "t").mean().sel(season))
add("several regions", lambda: ds.t - grouped("basin region", "t").max().sel(basin=ds.basin, region=ds.region))
add("several quantile", lambda: grouped("season basin", "t").quantile(0.3))

calendars = {}
for calendar in ("noleap", "all_leap", "360_day", "julian", "standard", "proleptic_gregorian"):
    # The standard calendar's ten lost days lie inside.
    start = "1582-08-30" if calendar in ("standard", "julian") else "1999-11-27"
    time = xr.date_range(start, periods=140, freq="4D", calendar=calendar, use_cftime=True)
    cal = dataset(time)
    cal.to_zarr(out / f"{calendar}.zarr", zarr_format=3)
    for frequency in ("D", "7D", "30D", "6h", "MS", "2MS", "ME", "QS", "QS-DEC", "QE-NOV", "YS", "YE"):
        if frequency == "6h":
            describe_it = lambda: describe(cal.t[:5].resample(time=frequency).mean())
        else:
            describe_it = lambda: describe(cal.t.resample(time=frequency).mean())
        calendars[f"{calendar} {frequency}"] = describe_it()
    for part in ("season", "dayofyear", "month"):
        calendars[f"{calendar} {part}"] = describe(cal.t.groupby(f"time.{part}").mean())

(out / "expected.json").write_text(json.dumps({"results": results, "several": several, "calendars": calendars}))
