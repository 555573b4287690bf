"""Complex numbers in Zarr stores: `complex.py write FOLDER` makes some, `complex.py read STORE…` prints what others hold."""
import json
import sys

import numpy as np
import zarr

values = (np.arange(12) + 1j * np.arange(12)[::-1] / 4).reshape(3, 4)
if sys.argv[1] == "write":
    for version in [2, 3]:
        group = zarr.open_group(f"{sys.argv[2]}/theirs{version}.zarr", mode="w", zarr_format=version)
        for name, dtype in [("single", "<c8"), ("double", "<c16"), ("big", ">c16")]:
            attributes = {"_ARRAY_DIMENSIONS": ["y", "x"]} if version == 2 else None
            names = None if version == 2 else ["y", "x"]
            array = group.create_array(name, shape=(3, 4), chunks=(2, 3), dtype=dtype, attributes=attributes,
                                       dimension_names=names)
            array[:] = values
        if version == 2:
            group.create_array("nothing", shape=(2,), chunks=(1,), dtype="c8", fill_value=None, attributes={"_ARRAY_DIMENSIONS": ["z"]})
        if version == 3:
            group.create_array("unwritten", shape=(2,), chunks=(1,), dtype="c8", fill_value=1 + 2j, dimension_names=["z"])
else:
    found = []
    for path in sys.argv[2:]:
        group = zarr.open_group(path, mode="r")
        for name in sorted(group.array_keys()):
            array = group[name][:]
            found.append([name, str(array.dtype), np.ravel(array).real.tolist(), np.ravel(array).imag.tolist()])
    print(json.dumps(found))
