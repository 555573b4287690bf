"""Writes the small input data that the guides' notebooks read. Seeded: the same on every machine.

    python make.py FOLDER              # all of it, about 30 MB
    python make.py FOLDER climatology  # that of one guide

Each function below writes what the guide of its name reads. Whoever has such data already has files that look like these:
they are written by the packages that the field writes them with.
"""

import json
import pathlib
import sys

import numpy as np
import pandas as pd
import xarray as xr


def globe(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of the centres of a regular grid."""
    return -90 + 180 * (np.arange(rows) + 0.5) / rows, 360 * (np.arange(columns) + 0.5) / columns


def land(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Where there is no sea."""
    phi, lam = np.deg2rad(lat)[:, None], np.deg2rad(lon)[None, :]
    return (np.sin(2 * lam + 1) + np.cos(3 * phi + lam) + 0.5 * np.sin(5 * lam - 4 * phi)) > 0.7


def sea_surface(years: range) -> xr.Dataset:
    """Daily sea surface temperature, `(time, lat, lon)`; land is NaN."""
    lat, lon = globe(45, 90)
    time = pd.date_range(f"{years[0]}-01-01", f"{years[-1]}-12-31", freq="D")
    day = np.arange(len(time))[:, None, None]
    phi, lam = np.deg2rad(lat)[None, :, None], np.deg2rad(lon)[None, None, :]
    field = 28 * np.cos(phi) ** 2 + 5 * np.sin(phi) * np.cos(2 * np.pi * (day - 45) / 365.25) + 0.0004 * day
    field = field + 0.8 * np.sin(9 * lam - 7 * phi - 2 * np.pi * day / 61.0)
    sst = (("time", "lat", "lon"), np.where(land(lat, lon), np.nan, field).astype("f4"))
    coords = {"time": time, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    dataset = xr.Dataset({"sst": sst}, coords)
    dataset.sst.attrs = {"units": "degC", "long_name": "sea surface temperature"}
    return dataset


def netcdf_and_zarr(folder: pathlib.Path) -> None:
    """Three yearly NetCDF4 files, deflated as archives do, and the same as one Zarr store."""
    dataset = sea_surface(range(2021, 2024))
    for year, part in dataset.groupby("time.year"):
        encoding = {"sst": {"zlib": True, "shuffle": True, "complevel": 4, "chunksizes": (73, 45, 90)}}
        part.to_netcdf(folder / f"sst_{year}.nc", engine="netcdf4", encoding=encoding)
    dataset.to_zarr(folder / "sst.zarr", mode="w", encoding={"sst": {"chunks": (73, 45, 90)}})


def catalogue(folder: pathlib.Path) -> None:
    """A SpatioTemporal Asset Catalog of yearly files: a collection, an item for each year, and the files they name."""
    (folder / "catalogue").mkdir()
    links = [{"rel": "root", "href": "./collection.json", "type": "application/json"}]
    for year in range(2019, 2024):
        file = f"sst_{year}.nc"
        sea_surface(range(year, year + 1)).isel(time=slice(0, None, 5)).to_netcdf(folder / "catalogue" / file, engine="netcdf4")
        item = {
            "type": "Feature", "stac_version": "1.0.0", "id": f"sst-{year}", "collection": "sst",
            "geometry": None, "links": [{"rel": "collection", "href": "./collection.json"}],
            "properties": {
                "datetime": f"{year}-07-01T00:00:00Z", "title": f"sea surface temperature, {year}",
                "processing:level": "L4" if year > 2020 else "L3",
            },
            "assets": {"data": {"href": f"./{file}", "type": "application/netcdf", "roles": ["data"]}},
        }  # fmt: skip
        (folder / "catalogue" / f"sst-{year}.json").write_text(json.dumps(item, indent=1))
        links.append({"rel": "item", "href": f"./sst-{year}.json", "type": "application/geo+json"})
    extent = {"spatial": {"bbox": [[0, -90, 360, 90]]}, "temporal": {"interval": [["2019-01-01T00:00:00Z", "2023-12-31T00:00:00Z"]]}}
    collection = {
        "type": "Collection", "stac_version": "1.0.0", "id": "sst", "description": "synthetic sea surface temperature",
        "license": "CC0-1.0", "extent": extent, "links": links,
    }  # fmt: skip
    (folder / "catalogue" / "collection.json").write_text(json.dumps(collection, indent=1))


def climatology(folder: pathlib.Path) -> None:
    """Ten years of monthly surface temperature of an ensemble of five, `(member, time, lat, lon)`."""
    random = np.random.default_rng(7)
    lat, lon = globe(24, 48)
    time = pd.date_range("2011-01-01", periods=120, freq="MS")
    month = np.arange(120)[:, None, None]
    phi = np.deg2rad(lat)[None, :, None]
    mean = 27 * np.cos(phi) ** 2 - 8 + 9 * np.sin(phi) * np.cos(2 * np.pi * (month - 6) / 12) + 0.005 * month
    weather = random.normal(0, 1.5, (5, 120, 24, 48))
    tas = (("member", "time", "lat", "lon"), (mean[None] + weather).astype("f4"), {"units": "degC"})
    dataset = xr.Dataset({"tas": tas}, {"member": np.arange(5), "time": time, "lat": lat, "lon": lon})
    dataset.to_zarr(folder / "ensemble.zarr", mode="w", encoding={"tas": {"chunks": (1, 40, 24, 48)}})


def spectra(folder: pathlib.Path) -> None:
    """Sixty days of hourly surface currents: a tide, inertial oscillations, a slow flow, noise."""
    random = np.random.default_rng(11)
    y, x = np.linspace(20.5, 49.5, 30), np.linspace(150.5, 189.5, 40)
    hour = np.arange(1440)[:, None, None]
    inertial = 2 * np.sin(np.deg2rad(y))[None, :, None] / 23.934
    phase = random.uniform(0, 2 * np.pi, (2, 30, 40))
    fields = {}
    for at, name in enumerate(["u", "v"]):
        turn = np.pi / 2 * at
        field = 0.20 * np.cos(2 * np.pi * hour / 12.42 + phase[0] + turn)
        field = field + 0.12 * np.cos(2 * np.pi * hour * inertial + phase[1] + turn) + 0.1 + 0.0001 * hour
        field = field + random.normal(0, 0.03, field.shape)
        fields[name] = (("time", "y", "x"), field.astype("f4"), {"units": "m s-1"})
    time = pd.date_range("2020-01-01", periods=1440, freq="h")
    dataset = xr.Dataset(fields, {"time": time, "y": y, "x": x})
    chunks = {name: {"chunks": (24, 30, 40)} for name in fields}
    dataset.to_zarr(folder / "currents.zarr", mode="w", encoding=chunks)


def argo(folder: pathlib.Path) -> None:
    """Two dozen Argo floats, a file each as the data centres have them: profiles of different numbers and lengths, padded with
    the fill value."""
    random = np.random.default_rng(3)
    for number in range(24):
        profiles, levels = random.integers(20, 60), random.integers(50, 120)
        pressure = np.cumsum(random.uniform(5, 30, (profiles, levels)), axis=1)
        surface, depth = random.uniform(5, 28, (profiles, 1)), random.uniform(200, 600, (profiles, 1))
        temperature = 2 + (surface - 2) * np.exp(-pressure / depth) + random.normal(0, 0.02, pressure.shape)
        missing = np.arange(levels) >= random.integers(1, levels + 1, (profiles, 1))
        dims = ("N_PROF", "N_LEVELS")
        variables = {
            "JULD": ("N_PROF", 25000 + random.integers(0, 50) + 10.0 * np.arange(profiles)),
            "LATITUDE": ("N_PROF", random.uniform(-60, 60) + np.cumsum(random.normal(0, 0.2, profiles))),
            "LONGITUDE": ("N_PROF", random.uniform(-150, 150) + np.cumsum(random.normal(0, 0.2, profiles))),
            "PRES": (dims, np.where(missing, np.nan, pressure).astype("f4"), {"units": "decibar"}),
            "TEMP": (dims, np.where(missing, np.nan, temperature).astype("f4"), {"units": "degree_Celsius"}),
        }
        encoding = {name: {"_FillValue": 99999.0, "zlib": True} for name in ("PRES", "TEMP")}
        file = folder / f"{5900000 + number}_prof.nc"
        xr.Dataset(variables, attrs={"platform": 5900000 + number}).to_netcdf(file, engine="netcdf4", encoding=encoding)


def ndvi(folder: pathlib.Path) -> None:
    """A year of a satellite's images, one each month: red and near infrared as reflectance times 10,000, 0 where there is none,
    and the scene classification (4 vegetation, 5 soil, 6 water, 9 cloud). Deflated tiles, with a reference system."""
    import rasterio

    random = np.random.default_rng(5)
    side = 512
    y, x = np.mgrid[0:side, 0:side] / side
    fields = np.floor(8 * x).astype(int) * 8 + np.floor(8 * y).astype(int)
    peak = random.uniform(120, 240, 64)[fields]
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 1, "crs": "EPSG:32632", "tiled": True}
    profile |= {"blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
    profile["transform"] = rasterio.transform.from_origin(500_000, 5_900_000, 10, 10)
    for date in pd.date_range("2024-01-10", periods=12, freq="30D"):
        green = np.exp(-(((date.day_of_year - peak) / 60) ** 2))
        red = 1800 - 1300 * green + random.normal(0, 40, green.shape)
        nir = 2200 + 2300 * green + random.normal(0, 60, green.shape)
        centre = random.uniform(0, 1, (6, 2))
        cloud = np.any([(y - a) ** 2 + (x - b) ** 2 < 0.02 for a, b in centre], axis=0)
        outside = x + y < random.uniform(0, 0.3)
        scl = np.where(outside, 0, np.where(cloud, 9, np.where(green > 0.3, 4, 5)))
        for name, band in {"red": red + 6000 * cloud, "nir": nir + 5000 * cloud, "scl": scl}.items():
            dtype = "uint8" if name == "scl" else "uint16"
            with rasterio.open(folder / f"{name}_{date:%Y%m%d}.tif", "w", dtype=dtype, nodata=0, **profile) as file:
                file.write(np.where(outside, 0, np.round(band)).astype(dtype), 1)


def disk_usage(folder: pathlib.Path) -> None:
    """What a file system says about its files, in four CSV files of 25,000 lines."""
    random = np.random.default_rng(13)
    users, projects = [f"u{n:06d}" for n in range(40)], [f"bm{n:04d}" for n in range(12)]
    for number in range(4):
        count = 25_000
        project = random.integers(0, 12, count)
        seconds = random.integers(0, 20 * 86_400, count)
        frame = pd.DataFrame({
            "path": [f"/scratch/{projects[p]}/run_{n}.nc" for n, p in enumerate(project)],
            "user": np.take(users, (project * 7 + random.integers(0, 6, count)) % 40),
            "project": np.take(projects, project),
            "size": random.lognormal(14, 3, count).astype("i8"),
            "ctime": pd.Timestamp("2024-03-01") + pd.to_timedelta(seconds, unit="s"),
        })  # fmt: skip
        frame.to_csv(folder / f"usage_{number}.csv", index=False)


def bilinear(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `target` the position in `source` before it, and how far it is on the way to the next."""
    left = np.clip(np.searchsorted(source, target) - 1, 0, len(source) - 2)
    return left, np.clip((target - source[left]) / (source[left + 1] - source[left]), 0, 1)


def regridding(folder: pathlib.Path) -> None:
    """A year of daily fields on a regular grid, and bilinear weights to a coarser one, as ESMF and xESMF write them:
    one-based `row` (target cell), `col` (source cell) and the factor `S`."""
    fine = sea_surface(range(2021, 2022)).fillna(0.0)
    fine.to_zarr(folder / "fine.zarr", mode="w", encoding={"sst": {"chunks": (73, 45, 90)}})
    lat, lon = np.linspace(-87, 87, 30), np.linspace(3, 357, 60)
    (i, a), (j, b) = bilinear(fine.lat.values, lat), bilinear(fine.lon.values, lon)
    cell = np.arange(30 * 60).reshape(30, 60)
    rows, columns, factors = [], [], []
    for down, along_lat in ((0, 1 - a), (1, a)):
        for right, along_lon in ((0, 1 - b), (1, b)):
            rows.append(cell.ravel() + 1)
            columns.append(((i + down)[:, None] * 90 + (j + right)[None, :]).ravel() + 1)
            factors.append((along_lat[:, None] * along_lon[None, :]).ravel())
    order = np.argsort(np.concatenate(rows), kind="stable")
    weights = {
        "row": ("n_s", np.concatenate(rows)[order].astype("i4")),
        "col": ("n_s", np.concatenate(columns)[order].astype("i4")),
        "S": ("n_s", np.concatenate(factors)[order]),
    }
    xr.Dataset(weights, {"lat": lat, "lon": lon}).to_netcdf(folder / "weights.nc", engine="netcdf4")


#: What each guide reads. Guides that are not here make their data themselves.
WRITERS = {
    "argo": argo,
    "catalogue": catalogue,
    "climatology": climatology,
    "disk-usage": disk_usage,
    "ndvi": ndvi,
    "netcdf-and-zarr": netcdf_and_zarr,
    "regridding": regridding,
    "spectra": spectra,
}


def write(folder: str | pathlib.Path, guide: str) -> None:
    """Writes the data of `guide` into `folder`; nothing if it needs none."""
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    if guide in WRITERS:
        WRITERS[guide](path)


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(WRITERS):
        sys.exit(__doc__)
    for name in sys.argv[2:] or WRITERS:
        write(sys.argv[1], name)
