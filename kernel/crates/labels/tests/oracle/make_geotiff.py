"""Writes TIFF files of many kinds with rasterio, and what rasterio reads back: elements as bytes, the rest as JSON.

Run by the Rust tests: make_geotiff.py FOLDER. Writes FOLDER/*.tif, FOLDER/*.bin and FOLDER/expected.json.
"""

import itertools
import json
import pathlib
import struct
import sys
import warnings

import numpy as np
import rasterio
from rasterio.transform import Affine, from_origin
from rasterio.windows import Window

warnings.simplefilter("ignore")
out = pathlib.Path(sys.argv[1])
out.mkdir(exist_ok=True)
rng = np.random.default_rng(5)
UTM = dict(crs="EPSG:32633", transform=from_origin(300000, 5000000, 10, 20))
expected = []


def values(dtype, shape):
    """Smooth, as pixels are, with some that are as odd as the dtype allows."""
    bands, rows, columns = shape
    base = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 2)[None] + np.arange(bands)[:, None, None] * 7
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        made = (base / 3).astype(dtype)
        made[..., 3, 4:8] = [np.nan, np.inf, -np.inf, np.finfo(dtype).max]
    else:
        made = (base + rng.integers(0, 3, shape)).astype(dtype)
        made[..., 3, 4:6] = [np.iinfo(dtype).max, np.iinfo(dtype).min]
    return made


def write(name, data, **profile):
    bands, rows, columns = data.shape
    profile = {"driver": "GTiff", **UTM, **profile}
    with rasterio.open(out / name, "w", width=columns, height=rows, count=bands, dtype=data.dtype, **profile) as file:
        file.write(data)


def expect(name, masked=False, scaled=False, overview=None, attrs=None):
    options = {} if overview is None else {"overview_level": overview}
    with rasterio.open(out / name, **options) as file:
        data = file.read()
        if masked:
            wide = data.dtype.itemsize > 2 if data.dtype.kind in "iu" else data.dtype.itemsize == 8
            data = data.astype("f8" if wide else "f4")
            if file.nodata is not None:
                data[file.read() == file.nodata] = np.nan
        if scaled:
            data = data.astype("f8") * file.scales[0] + file.offsets[0]
        a, b, c, d, e, f = file.transform[:6]
        labels = b == 0 and d == 0
        entry = {
            "file": name,
            "masked": masked,
            "scaled": scaled,
            "overview": overview,
            "dtype": data.dtype.name,
            "shape": list(data.shape),
            "x": [float(x) for x in (np.arange(file.width) + 0.5) * a + c] if labels else None,
            "y": [float(y) for y in (np.arange(file.height) + 0.5) * e + f] if labels else None,
            "transform": None if file.transform == Affine.identity() else [a, b, c, d, e, f],
            "crs": f"EPSG:{file.crs.to_epsg()}" if file.crs and file.crs.to_epsg() else None,
            "nodata": None if file.nodata is None or masked else str(file.nodata),
            "attrs": attrs or {},
            "elements": f"{name}.{len(expected)}.bin",
        }
        (out / entry["elements"]).write_bytes(np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<")).tobytes())
        expected.append(entry)


# Every way of storing every dtype.
layouts = {
    "strips": (1, dict(blockysize=5)),
    "one_strip": (2, dict(interleave="pixel", blockysize=1000)),
    "tiles_of_pixels": (3, dict(tiled=True, blockxsize=16, blockysize=32, interleave="pixel")),
    "tiles_of_bands": (3, dict(tiled=True, blockxsize=32, blockysize=16, interleave="band")),
}
dtypes = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
turn = itertools.cycle(itertools.product(["NO", "YES"], ["LITTLE", "BIG"]))
for dtype, compress, layout in itertools.product(dtypes, ["none", "deflate", "lzw", "zstd", "packbits"], layouts):
    predictors = [1]
    if compress in ("deflate", "lzw", "zstd"):
        predictors = [1, 2, 3] if dtype.startswith("float") else [1, 2]
    for predictor in predictors:
        bigtiff, endianness = next(turn)
        bands, how = layouts[layout]
        name = f"{dtype}_{compress}_{predictor}_{layout}_{bigtiff}_{endianness}.tif"
        if predictor > 1:
            how = {**how, "predictor": predictor}
        write(name, values(dtype, (bands, 37, 53)), compress=compress, bigtiff=bigtiff, endianness=endianness, **how)
        expect(name)
    next(turn)  # So that each meets all four in time.

# Cloud Optimized, with overviews, whose sizes are no whole parts.
for dtype, predictor in [("uint16", 2), ("float32", 3)]:
    data = values(dtype, (2, 301, 530))
    write(f"cog_{dtype}.tif", data, driver="COG", blocksize=128, compress="DEFLATE", predictor=predictor, nodata=9)
    expect(f"cog_{dtype}.tif", attrs={"OVR_RESAMPLING_ALG": None})
    for level in range(2):
        expect(f"cog_{dtype}.tif", overview=level)

# Tiles that were never written.
for name, nodata in [("sparse", None), ("sparse_nodata", 7)]:
    with rasterio.open(
        out / f"{name}.tif", "w", driver="GTiff", width=100, height=90, count=2, dtype="int16", tiled=True, blockxsize=32,
        blockysize=32, sparse_ok=True, compress="deflate", nodata=nodata, **UTM,
    ) as file:
        file.write(values("int16", (2, 32, 40)), window=Window(32, 32, 40, 32))
    expect(f"{name}.tif")
expect("sparse_nodata.tif", masked=True)

# Nodata, scales, and what else is said about bands.
for dtype, nodata in [("uint8", 0), ("int16", -9999), ("uint16", 65535), ("int32", -2147483648), ("float32", -3.4e38),
                      ("float64", -9999.0), ("float32", np.nan)]:
    data = values(dtype, (1, 20, 30))
    data[0, 5:9, 7:20] = nodata
    name = f"nodata_{dtype}_{nodata}.tif"
    write(name, data, nodata=nodata, compress="lzw")
    expect(name)
    expect(name, masked=True)
write("without_nodata.tif", values("uint16", (1, 20, 30)))
expect("without_nodata.tif", masked=True)
for name, scales in [("scaled", [0.1, 0.1]), ("scaled_apart", [0.1, 0.1, 0.2])]:
    data = values("int16", (len(scales), 20, 30))
    data[:, 2, 2] = -9999
    write(f"{name}.tif", data, nodata=-9999)
    with rasterio.open(out / f"{name}.tif", "r+") as file:
        file.scales, file.offsets = scales, [5.0] * len(scales)
        file.units = ["K"] * len(scales)
        file.set_band_description(1, "red & green")
        file.set_band_description(2, "blue <b>")
        file.update_tags(sensor="MSI \"2\"", TIFFTAG_SOFTWARE="ours")
said = {"units": "K", "long_name": ["red & green", "blue <b>"], "sensor": "MSI \"2\"", "offset": 5}
expect("scaled.tif", attrs={**said, "scale": 0.1})
expect("scaled.tif", masked=True, scaled=True, attrs={"scale": None, "offset": None})
expect("scaled_apart.tif", attrs={**said, "long_name": ["red & green", "blue <b>", None], "scale": [0.1, 0.1, 0.2]})

# Where on Earth.
data = values("uint8", (1, 20, 30))
write("point.tif", data)
with rasterio.open(out / "point.tif", "r+") as file:
    file.update_tags(AREA_OR_POINT="Point")
expect("point.tif", attrs={"AREA_OR_POINT": "Point"})
write("degrees.tif", data, crs="EPSG:4326", transform=from_origin(-180, 90, 0.1, 1 / 3))
expect("degrees.tif", attrs={"AREA_OR_POINT": "Area"})
write("rotated.tif", data, transform=Affine(10, 2, 300000, 3, -10, 5000000))
expect("rotated.tif")
write("south_up.tif", data, transform=Affine(10, 0, 300000, 0, 10, 5000000))
expect("south_up.tif")
write("nowhere.tif", data, crs=None, transform=None)
expect("nowhere.tif")
write("one.tif", data[:, :1, :1])
expect("one.tif")
write("own.tif", data, crs="+proj=laea +lat_0=52 +lon_0=10 +datum=WGS84")
write("pages.tif", data)
write("pages.tif", data + 1, append_subdataset="YES")
expect("pages.tif")

# Half precision, which this GDAL does not write: elements of 16 bits, said to be something else.
half = np.linspace(-2, 2, 600).astype("f2").reshape(1, 20, 30)
write("half.tif", half.view("u2"))
raw = bytearray((out / "half.tif").read_bytes())
(start,) = struct.unpack("<I", raw[4:8])
for entry in range(struct.unpack("<H", raw[start : start + 2])[0]):
    at = start + 2 + 12 * entry
    if struct.unpack("<H", raw[at : at + 2]) == (339,):
        raw[at + 8 : at + 10] = struct.pack("<H", 3)
(out / "half.tif").write_bytes(raw)
(out / "half.bin").write_bytes(half.astype("<f4").tobytes())

# What cannot be read must say so.
write("jpeg.tif", values("uint8", (3, 64, 64)), compress="jpeg", photometric="YCBCR", interleave="pixel")
write("lzma.tif", data, compress="lzma")
write("bits.tif", data % 2, nbits=1)
write("complex.tif", data.astype("complex64"))
with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
    write("mask.tif", data)
    with rasterio.open(out / "mask.tif", "r+") as file:
        file.write_mask(data[0] > 9)
expect("mask.tif")

# Dates, and files that do not fit.
series = out / "series"
series.mkdir(exist_ok=True)
for day in (3, 1, 2):
    write(f"series/red_2024010{day}.tif", values("uint16", (1, 64, 80)) + day, tiled=True, blockxsize=32, blockysize=32,
          compress="deflate", predictor=2, nodata=day if day < 3 else 2)
write("series/blue.tif", values("uint16", (2, 64, 80)), compress="zstd", blockysize=3)
write("series/shape.tif", values("uint16", (1, 64, 81)))
write("series/dtype.tif", values("int16", (1, 64, 80)))
write("series/moved.tif", values("uint16", (1, 64, 80)), transform=from_origin(300010, 5000000, 10, 20))
write("series/zone.tif", values("uint16", (1, 64, 80)), crs="EPSG:32632")

(out / "expected.json").write_text(json.dumps(expected))
