"""What xarray makes of variables of text, as JSON.

Run by the Rust tests: make_text.py FOLDER. Writes FOLDER/text.zarr, text2.zarr, text.nc and FOLDER/expected.json.
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
rng = np.random.default_rng(3)
text = lambda *names: np.array(names, dtype=object)
kinds = np.array([["sea", "land", "ice", "sea", "land"], ["sea", "sea", "land", "ice", ""]], dtype=object)

ds = xr.Dataset(
    {
        "t": (("time", "x"), rng.normal(0, 1, (4, 5))),
        "station": (("x",), text("Cape Grim", "Alert", "Ümlaut", "Barrow", "Carnot"), {"long_name": "name"}),
        "twin": (("x",), text("Cape Grim", "Barrow", "Ümlaut", "Alert", "Z")),
        "kind": (("y", "x"), kinds),
        "level": (("y",), [1.0, 2.0]),
    },
    coords={
        "time": np.datetime64("2001-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D"),
        "x": [0.0, 1.0, 2.0, 3.0, 4.0],
    },
)
ds.to_zarr(out / "text.zarr", zarr_format=3)
ds.to_zarr(out / "text2.zarr", zarr_format=2)
ds.to_netcdf(out / "text.nc")
name = ds.station

results = {
    "equal": name == "Alert",
    "not equal": name != "Alert",
    "less": name < "Cape Grim",
    "greater equal": name >= "Cape Grim",
    "other": name == ds.twin,
    "other less": name < ds.twin,
    "isin": name.isin(["Alert", "Ümlaut", "nowhere"]),
    "contains": name.str.contains("a", regex=False),
    "starts": name.str.startswith("Ca"),
    "ends": name.str.endswith("t"),
    "two": ds.kind == "sea",
    "time": ds.time > np.datetime64("2001-01-03"),
    "number": ds.x <= 1.0,
    "where": ds.t.where(ds.kind == "sea"),
    "drop": ds.t.where(name.isin(["Alert", "Barrow"]), drop=True),
    "group": ds.t.assign_coords(station=name).groupby("station").mean(),
    "sorted": ds.sortby("station").station,
    "selected": ds.sel(x=2.0).station,
    "positions": ds.isel(x=[3, 0]).station,
    "reindexed": ds.reindex(x=[1.0, 9.0, 3.0]).station.fillna(""),
    "joined": xr.concat([ds.isel(x=slice(2)), ds.isel(x=slice(3, None))], "x").station,
    "chosen": name.where(name < "C", "elsewhere"),
}
expected = {key: describe(da) for key, da in results.items()}
expected["whole"] = f"{sorted([*ds.data_vars, 'country'])} {name.values.tolist()} {ds.kind.values.tolist()}"
(out / "expected.json").write_text(json.dumps(expected))
