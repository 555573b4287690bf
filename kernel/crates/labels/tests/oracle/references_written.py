"""Compares references with the files that they are to, read by xarray, and with what kerchunk says of the chunks."""

import json
import pathlib
import sys

import fsspec
import kerchunk.hdf
import numpy as np
import xarray as xr
import zarr
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.reference import LazyReferenceMapper

references, pattern, dim, group = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
files = sorted(pathlib.Path(pattern).parent.glob(pathlib.Path(pattern).name))
assert files, pattern
if references.suffix == ".json":
    source = json.loads(references.read_text())
else:
    source = LazyReferenceMapper(str(references), fs=LocalFileSystem(), engine="pyarrow")
system = fsspec.filesystem("reference", fo=source, remote_protocol="file", asynchronous=True, skip_instance_cache=True)
store = zarr.storage.FsspecStore(system, read_only=True, path=group)
found = xr.open_dataset(store, engine="zarr", consolidated=False)
options = {"group": group} if group else {}
if len(files) > 1:
    joined = {"combine": "nested", "concat_dim": dim, "data_vars": "minimal", "coords": "minimal", "compat": "override"}
    expected = xr.open_mfdataset(files, **joined)
else:
    expected = xr.open_dataset(files[0], **options)
assert set(found.variables) == set(expected.variables), (list(found.variables), list(expected.variables))
for name in expected.variables:
    a, b = found[name], expected[name]
    assert a.dims == b.dims and a.shape == b.shape, (name, a.dims, a.shape, b.dims, b.shape)
    if a.dtype.kind in "OUST":
        assert [str(v) for v in a.values.ravel()] == [str(v) for v in b.values.ravel()], name
    else:
        np.testing.assert_array_equal(a.values, b.values, err_msg=name)
        assert a.dtype == b.dtype or a.dtype.kind == b.dtype.kind == "M", (name, a.dtype, b.dtype)

# Chunks lie where kerchunk finds them.
compared = 0
if references.suffix == ".json" and not group:
    ours = source["refs"]
    for number, file in enumerate(files):
        if file.read_bytes()[:4] != b"\x89HDF":
            break
        theirs = kerchunk.hdf.SingleHdf5ToZarr(str(file), inline_threshold=0).translate()["refs"]
        for key, value in theirs.items():
            if isinstance(value, list) and value[2] >= 500 and not key.startswith(("station", "letters")):
                name, index = key.rsplit("/", 1)
                if number and dim in (expected[name].dims if name in expected else ()):
                    continue
                # What lies in one piece is cut otherwise.
                same = json.loads(ours[f"{name}/.zarray"])["chunks"] == json.loads(theirs[f"{name}/.zarray"])["chunks"]
                if isinstance(ours.get(key), list) and same:
                    assert ours[key] == value, (key, ours[key], value)
                    compared += 1
print(compared)
