"""Files of profiles, and what NumPy makes of all of them as contiguous ragged arrays.

Run by the Rust tests: make_ragged.py FOLDER. Writes FOLDER/{0..4}.nc and FOLDER/expected.json.
"""

import json
import pathlib
import sys

import numpy as np
import xarray as xr

out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(9)
columns = {name: [] for name in ("row_size", "LATITUDE", "CYCLE", "PRES", "TEMP", "FLAG", "STATION")}
# The third file holds no level that counts, the last one profile without a dimension of profiles.
for number, (profiles, levels) in enumerate([(4, 6), (1, 9), (2, 3), (5, 4), (None, 5)]):
    shape = (levels,) if profiles is None else (profiles, levels)
    dims = ("N_LEVELS",) if profiles is None else ("N_PROF", "N_LEVELS")
    pres = rng.normal(100, 10, shape).astype("f4")
    temp = rng.normal(10, 3, shape)
    pres[rng.random(shape) < 0.3] = np.nan
    temp[rng.random(shape) < 0.3] = np.nan
    if number == 2:
        temp[:] = np.nan
    flag = rng.integers(0, 2**60, shape)
    count = profiles or 1
    variables = {
        "PRES": (dims, pres, {"units": "decibar"}),
        "TEMP": (dims, temp, {"units": "degree_Celsius"}),
        "FLAG": (dims, flag),
        "OTHER": (dims, temp + 1),
    }
    good = ~np.isnan(pres) & ~np.isnan(temp)
    columns["row_size"] += np.atleast_1d(good.sum(-1)).tolist()
    for name, values in (("PRES", pres), ("TEMP", temp), ("FLAG", flag)):
        columns[name] += values[good].tolist()
    if profiles is not None:
        latitude, cycle = rng.uniform(-60, 60, count), np.arange(count, dtype="i4") + 10 * number
        station = np.array([f"s{number}{'x' * at}" for at in range(count)], dtype=object)
        variables |= {"LATITUDE": ("N_PROF", latitude), "CYCLE": ("N_PROF", cycle), "STATION": ("N_PROF", station)}
        columns["LATITUDE"] += latitude.tolist()
        columns["CYCLE"] += cycle.tolist()
        columns["STATION"] += station.tolist()
    xr.Dataset(variables, attrs={"platform": number}).to_netcdf(out / f"{number}.nc", engine="netcdf4")
(out / "expected.json").write_text(json.dumps(columns))
