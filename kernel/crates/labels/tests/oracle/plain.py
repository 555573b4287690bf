"""Arrays of xarray as JSON, for the Rust tests."""

import numpy as np


def plain(array):
    """Values: times as text, missing as None, long integers exactly."""
    array = np.asarray(array)
    if array.dtype.kind == "M":
        return [None if np.isnat(t) else str(t.astype("datetime64[s]")) for t in array.ravel()]
    if array.dtype.kind == "O" and array.size and hasattr(array.ravel()[0], "isoformat"):
        return [t.isoformat()[:19] for t in array.ravel()]
    if array.dtype.kind in "OUST":
        return [str(x) for x in array.ravel()]
    if array.dtype.kind == "b":
        return [bool(x) for x in array.ravel()]
    if array.dtype.kind in "iu":
        return [int(x) for x in array.ravel()]
    return [None if np.isnan(x) else float(x) for x in array.ravel()]


def describe(da):
    return {
        "dims": list(da.dims),
        "shape": list(da.shape),
        "dtype": str(da.dtype),
        "values": plain(da.values),
        "attrs": {k: str(v) for k, v in da.attrs.items() if isinstance(v, str)},
        "coords": {str(k): plain(v.values) for k, v in da.coords.items()},
    }
