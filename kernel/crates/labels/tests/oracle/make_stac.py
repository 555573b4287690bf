"""A STAC catalogue with collections, items in folders of their own and GeoTIFF files, and the same items as one page of a search.

Run by the Rust tests: make_stac.py FOLDER.
"""

import json
import pathlib
import sys

import numpy as np
import rasterio

folder = pathlib.Path(sys.argv[1])
links = {"a": [], "b": []}
features = []
for number, (collection, day, cloud) in enumerate(
    [("a", "2021-07-14T10:00:00Z", 5.5), ("a", "2021-03-01T12:30:00+02:00", 80), ("b", "2022-01-01T00:00:00Z", 0), ("a", "2021-07-01T00:00:00Z", None)]
):
    name = f"item-{number}"
    here = folder / collection / name
    here.mkdir(parents=True)
    for band in ["red", "nir"]:
        profile = {"driver": "GTiff", "width": 6, "height": 4, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
        with rasterio.open(here / f"{band}.tif", "w", transform=rasterio.transform.from_origin(0, 40, 10, 10), **profile) as file:
            file.write(np.full((4, 6), 100 * number + (band == "nir"), "u2"), 1)
    west = -5.0 if number != 2 else 175.0
    assets = {band: {"href": f"./{band}.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]} for band in ["red", "nir"]}
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection, "geometry": None,
        "bbox": [west, 40.0, west + 10 if number != 2 else -175.0, 50.0] if number != 3 else None,
        "properties": {"datetime": day, "eo:cloud_cover": cloud, "platform": "one" if number % 2 else "two"},
        "links": [{"rel": "parent", "href": "../collection.json"}], "assets": assets,
    }  # fmt: skip
    (here / "item.json").write_text(json.dumps(item))
    links[collection].append({"rel": "item", "href": f"./{name}/item.json"})
    far = {band: {**asset, "href": f"{collection}/{name}/{band}.tif"} for band, asset in assets.items()}
    features.append({**item, "assets": far})
root = {"rel": "root", "href": "../catalog.json"}
for collection, items in links.items():
    document = {"type": "Collection", "id": collection, "links": [root, {"rel": "parent", "href": "../catalog.json"}, *items]}
    (folder / collection / "collection.json").write_text(json.dumps(document))
children = [{"rel": "child", "href": f"./{collection}/collection.json"} for collection in links]
(folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "root", "links": children}))
second = {"type": "FeatureCollection", "features": features[2:], "links": []}
(folder / "page-2.json").write_text(json.dumps(second))
first = {"type": "FeatureCollection", "features": features[:2], "links": [{"rel": "next", "href": "page-2.json"}]}
(folder / "page-1.json").write_text(json.dumps(first))
