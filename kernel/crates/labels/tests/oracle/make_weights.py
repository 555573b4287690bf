"""A file of weights as ESMF writes it, and what they make of a field.

Run by the Rust tests: make_weights.py FOLDER. Writes FOLDER/weights.nc, damaged.nc and fractions.nc and prints JSON.
"""

import json
import pathlib
import sys

import netCDF4
import numpy as np
from scipy import sparse

out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(5)
source, target = (4, 6), (3, 2)
n_a, n_b, n_s = 24, 6, 20
row = np.sort(rng.integers(1, n_b, n_s))  # the last cell has no weight
column = rng.integers(1, n_a + 1, n_s)
weight = rng.random(n_s)
for name, rows in (("weights.nc", row), ("damaged.nc", row + 3), ("fractions.nc", row + 0.5)):
    with netCDF4.Dataset(out / name, "w") as file:
        file.createDimension("n_a", n_a)
        file.createDimension("n_b", n_b)
        file.createDimension("n_s", n_s)
        file.createDimension("dst_grid_rank", 2)
        # The fastest first, as Fortran has it.
        file.createVariable("dst_grid_dims", "i4", ("dst_grid_rank",))[:] = target[::-1]
        file.createVariable("row", rows.dtype, ("n_s",))[:] = rows
        file.createVariable("col", "i4", ("n_s",))[:] = column
        file.createVariable("S", "f8", ("n_s",))[:] = weight
field = np.arange(2 * n_a, dtype=float).reshape(2, *source)
matrix = sparse.coo_matrix((weight, (row - 1, column - 1)), (n_b, n_a)).tocsr()
made = (matrix @ field.reshape(2, n_a).T).T
made[:, np.setdiff1d(np.arange(n_b), row - 1)] = np.nan
print(json.dumps([None if np.isnan(x) else x for x in made.ravel()]))
