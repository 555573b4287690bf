"""What rasterio sees in TIFF files that Nuna wrote: geotiff_written.py FILE... Prints JSON; elements of the image and of its
overviews go to FILE.raw, FILE.0.raw, …"""

import json
import math
import pathlib
import sys
import warnings

import rasterio
import rioxarray

number = lambda x: None if x is None else ("NaN" if math.isnan(x) else x)


def look(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(file) as src:
            pathlib.Path(f"{file}.raw").write_bytes(src.read().tobytes())
            levels = src.overviews(1)
            structure = src.tags(ns="IMAGE_STRUCTURE")
            seen = {
                "driver": src.driver,
                "dtype": src.dtypes[0],
                "shape": [src.count, *src.shape],
                "crs": src.crs.to_string() if src.crs else None,
                "is_geographic": bool(src.crs and src.crs.is_geographic),
                "transform": list(src.transform)[:6],
                "nodata": number(src.nodata),
                "blocks": list(src.block_shapes[0]),
                "compression": src.compression.name if src.compression else None,
                "predictor": structure.get("PREDICTOR", "1"),
                "interleaving": structure.get("INTERLEAVE"),
                "tags": src.tags(),
                "scales": list(src.scales),
                "offsets": list(src.offsets),
                "units": list(src.units),
                "descriptions": list(src.descriptions),
                "overviews": levels,
            }
        for level in range(len(levels)):
            with rasterio.open(file, overview_level=level) as src:
                pathlib.Path(f"{file}.{level}.raw").write_bytes(src.read().tobytes())
        with rioxarray.open_rasterio(file) as array:
            seen["coords"] = {dim: array[dim].values.tolist() for dim in ("y", "x") if dim in array.coords}
    with open(file, "rb") as f:
        magic = f.read(4)
    seen["big"] = magic[2] == 43
    return seen


print(json.dumps([look(pathlib.Path(file)) for file in sys.argv[1:]]))
