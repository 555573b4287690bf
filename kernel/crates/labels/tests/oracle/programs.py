"""What NumPy and xarray make of the programs of ../programs, one line of JSON for each file named on standard input.

Every step is evaluated on the operands that Nuna computed, so a tolerance is that of one operation. Floats are computed in
long double where NumPy's own loops are less exact than the tolerance, and rounded once; see `Near`.
"""
import json
import re
import sys
import warnings

import numpy as np
import xarray as xr
import zarr  # noqa: F401  for the programs
from numpy import inf, nan  # noqa: F401  for the programs

warnings.simplefilter("ignore")
xr.set_options(keep_attrs=True)
WIDE = np.longdouble
EPS = 2.0**-52
LARGEST = np.finfo("f8").max

# What Nuna refuses and the others do not, by a part of its message, and why.
REFUSED = [
    ("have nothing in common", "a join that leaves nothing is a mistake far more often than a wish"),
    ("which is to be weighted by", "weights along dimensions that the array lacks would repeat it"),
    ("does not say how to group", "a dimension without labels has no groups"),
    ("has no dimension", "xarray joins an array that lacks the dimension as if it had it"),
    ("give both the same with `expand_dims`", "xarray repeats an array along dimensions that it lacks"),
    ("which are never equal", "xarray joins text with times or numbers to nothing"),
    ("` has length 1 and ", "NumPy's einsum repeats what has length 1 under a letter of another length"),
    ("with a singular matrix", "rounding decides whether a pivot is 0"),
    ("already", "xarray renames a dimension to one that is there, and has two of one name"),
    ("which has 0 axes", "NumPy's cumulative functions and sorts take a number as an array of one axis"),
]

# What the others refuse and Nuna does not, likewise.
REFUSED_BY_OTHERS = [
    ("Singular matrix", "rounding decides whether a pivot is 0"),
    ("too large to convert to C long", "NumPy has no integer beyond int64 beside bools or on the left of an array"),
    ("`weights` cannot contain missing values", "Nuna would have to compute weights to know"),
    ("could not convert string to float", "xarray takes the mean of text along a dimension that it coarsens; Nuna leaves it out"),
    ("already exists as a scalar variable", "xarray cannot join along a dimension that has a single label of its name"),
]


class Near:
    """A reference with its own tolerance; elements where `unsure` holds have no one answer."""

    def __init__(self, value, tolerance=0, unsure=False, like=None):
        self.value, self.tolerance, self.unsure, self.like = np.asarray(value), tolerance, unsure, like


def floating(*operands):
    """The dtype in which Nuna computes functions of floats: float32 stays, all else is float64.

    NumPy takes float16 and float32 for 8 and 16 bits.
    """
    dtype = np.result_type(*operands)
    return dtype if dtype.kind == "f" else np.dtype("f8")


def precise(function, *operands):
    dtype = floating(*operands)
    wide = [np.asarray(operand).astype(dtype).astype(WIDE) for operand in operands]
    return Near(function(*wide).astype(dtype))


def root(a):
    """Rounded once, by the processor."""
    return np.sqrt(a.astype(floating(a)))


def power(a, b):
    """Integers to a negative power are 0 but for 1 and -1; NumPy refuses them."""
    dtype = np.result_type(a, b)
    if dtype.kind == "f":
        near = precise(np.power, a, b)
        # The long double of some C libraries takes infinity to the power of -2**63 for infinity.
        endless = np.isinf(np.asarray(a).astype(dtype))
        return Near(np.where(endless, np.power(np.asarray(a).astype(dtype), np.asarray(b).astype(dtype)), near.value))
    if dtype.kind == "b":
        dtype = np.dtype("i1")
    for scalar in (a, b):
        if isinstance(scalar, int) and not isinstance(scalar, bool):
            np.asarray(0, dtype) + scalar  # OverflowError if it does not fit
    a, b = np.broadcast_arrays(np.asarray(a).astype(dtype), np.asarray(b).astype(dtype))
    negative = b < 0
    out = np.power(a, np.where(negative, 0, b).astype(dtype))
    inverse = np.where(a == 1, 1, np.where(a == -1 if dtype.kind == "i" else False, np.where(b % 2 == 0, 1, -1), 0))
    return np.where(negative, inverse.astype(dtype), out)


def rounded(function, a):
    """Integers and bools stay as they are; NumPy's `rint` makes floats of them."""
    return function(a) if a.dtype.kind == "f" else a


def cast(a, dtype):
    """What C leaves undefined (NaN, or too large for the integer) is not compared."""
    dtype = np.dtype(dtype)
    if a.dtype.kind != "f" or dtype.kind not in "iu":
        return a.astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    wide = np.trunc(a.astype(WIDE))
    return Near(a.astype(dtype), unsure=~((wide >= low) & (wide <= high)))


def where(condition, a, b):
    """Scalars must fit, as in arithmetic."""
    for scalar, array in ((a, b), (b, a)):
        if not isinstance(scalar, np.ndarray):
            np.array(scalar, np.result_type(np.asarray(array).dtype, scalar))  # OverflowError if it does not fit
    return np.where(condition, a, b)


def reduced(x, axes, skip, keep, name, ddof=0):
    """A reduction; sums of floats are compared with a sum in long double, to n units of the magnitudes' sum."""
    axes = tuple(axes)
    how = {"axis": axes, "keepdims": keep}
    if x.dtype.kind != "f":
        skip = False
    if name == "count":
        there = ~np.isnan(x) if x.dtype.kind == "f" else np.ones(x.shape, bool)
        return there.sum(dtype="i8", **how)
    if name in ("any", "all"):
        return getattr(np, name)(x, **how)
    if name in ("min", "max"):
        # Which zero of several is found depends on the width of NumPy's vectors.
        return Near(getattr(np, "nan" + name if x.dtype.kind == "f" and skip else name)(x, **how))
    plain = getattr(np, name)(x, **how)
    if plain.dtype.kind != "f":
        return plain
    dtype = plain.dtype
    wide = x.astype(WIDE)
    gone = np.isnan(wide) if skip else np.zeros(x.shape, bool)
    n = (~gone).sum(**how)
    most = max(int(n.max(initial=0)), 1)
    if name == "prod":
        wide = np.where(gone, 1, wide)
        value = wide.prod(**how)
        size = np.log2(np.abs(np.where(np.isfinite(wide) & (wide != 0), wide, 1)))
        # Where a part of the product is beyond float64, the order decides.
        unsure = (np.maximum(size, 0).sum(**how) > 1023) | (np.minimum(size, 0).sum(**how) < -1021)
        return Near(value.astype(dtype), most * EPS * np.abs(value) + ulp(value, dtype), unsure)
    wide = np.where(gone, 0, wide)
    finite = np.where(np.isfinite(wide), wide, 0)
    size = np.abs(finite).sum(**how)
    # Where a part of the sum is beyond float64, the order decides.
    unsure = size > LARGEST
    total = wide.sum(**how)
    if name == "sum":
        return Near(total.astype(dtype), most * EPS * size + ulp(total, dtype), unsure)
    mean = total / n
    if name == "mean":
        return Near(mean.astype(dtype), most * EPS * size / np.maximum(n, 1) + ulp(mean, dtype), unsure)
    center = wide.sum(axis=axes, keepdims=True) / (~gone).sum(axis=axes, keepdims=True)
    squares = np.where(gone, 0, (wide - center) ** 2).sum(**how)
    value = np.where(n > ddof, squares / np.where(n > ddof, n - ddof, 1), nan)
    moment = (finite**2).sum(**how) / np.maximum(n, 1)
    unsure = unsure | (moment * n > LARGEST)
    small = most * EPS
    scale = np.maximum(n, 1) / np.maximum(n - ddof, 1)
    tolerance = scale * (8 * small * np.sqrt(np.abs(value) * moment) + 8 * small**2 * moment) + np.finfo("f8").tiny
    if name == "std":
        # From nothing, the root of what the variance may be.
        high, low = np.sqrt(value + tolerance), np.sqrt(np.maximum(value - tolerance, 0))
        value = np.sqrt(value)
        tolerance = np.maximum(high - value, value - low) + 1e-160
    return Near(value.astype(dtype), tolerance + 2 * ulp(value, dtype), unsure)


def nan_arg(x, axis, name):
    """NumPy takes a NaN for the infinity beside it, and so finds its place."""
    place = getattr(np, "nan" + name)(x, axis)
    if x.dtype.kind != "f":
        return place
    best = np.nanmin(x, axis, keepdims=True) if name == "argmin" else np.nanmax(x, axis, keepdims=True)
    return np.argmax(x == best, axis)


def scanned(x, name, axis, skip):
    """Cumulative; floats as in `reduced`, minima and maxima spread NaN."""
    if name in ("min", "max"):
        return Near((np.minimum if name == "min" else np.maximum).accumulate(x, axis))
    function = np.cumsum if name == "sum" else np.cumprod
    plain = function(x, axis)
    if plain.dtype.kind != "f":
        return plain
    wide = x.astype(WIDE)
    if skip:
        wide = np.where(np.isnan(wide), 0 if name == "sum" else 1, wide)
    value = function(wide, axis)
    steps = x.shape[axis] * EPS
    if name == "sum":
        size = np.cumsum(np.abs(np.where(np.isfinite(wide), wide, 0)), axis)
        unsure = size > LARGEST
    else:
        size = np.abs(value)
        powers = np.log2(np.abs(np.where(np.isfinite(wide) & (wide != 0), wide, 1)))
        unsure = np.cumsum(np.maximum(powers, 0), axis) > 1023
        unsure = unsure | (np.cumsum(np.minimum(powers, 0), axis) < -1021)
    return Near(value.astype(plain.dtype), steps * size + ulp(value, plain.dtype), unsure)


def quantile(x, at, axes, skip):
    """Linear interpolation in long double; infinite neighbours have no one answer."""
    if any(not 0 <= q <= 1 for q in at):
        raise ValueError("not a quantile")
    dtype = floating(x)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    shape = [x.shape[axis] for axis in kept]
    count = int(np.prod([x.shape[axis] for axis in axes], dtype=int))
    lines = x.astype(WIDE).transpose(kept + list(axes)).reshape(int(np.prod(shape, dtype=int)), count)
    out = np.full((len(at), len(lines)), nan, WIDE)
    tolerance, unsure = np.zeros(out.shape, WIDE), np.zeros(out.shape, bool)
    for row, line in enumerate(lines):
        numbers = np.sort(line[~np.isnan(line)])
        if len(numbers) == 0 or (len(numbers) < len(line) and not skip):
            continue
        for number, q in enumerate(at):
            place = q * (len(numbers) - 1)
            low = min(int(place), len(numbers) - 1)
            high = min(low + 1, len(numbers) - 1)
            a, b = numbers[low], numbers[high]
            out[number, row] = a + (b - a) * (place - low)
            tolerance[number, row] = 4 * EPS * (abs(a) + abs(b))
            unsure[number, row] = not (np.isfinite(a) and np.isfinite(b)) or abs(a) + abs(b) > LARGEST
    out = out.astype(dtype)
    tolerance = tolerance + ulp(out, dtype)
    return Near(*(part.reshape([len(at), *shape]) for part in (out, tolerance, unsure)))


def together(near, axis, dtype=None):
    """References of slices as one."""
    near = [value if isinstance(value, Near) else Near(value) for value in near]
    shape = near[0].value.shape
    parts = ([np.broadcast_to(of(value), shape) for value in near] for of in (
        lambda v: v.value if dtype is None else v.value.astype(dtype), lambda v: v.tolerance, lambda v: v.unsure))
    return Near(*(np.stack(part, axis) for part in parts))


def rolling(x, axis, left, right, least, name, ddof=0):
    """One window after another, each on its own."""
    np.moveaxis(x, axis, 0)  # AxisError if it is out of range
    dtype = floating(x)
    if 0 in x.shape:
        return np.zeros(x.shape, dtype)
    x = x.astype(dtype)
    out = []
    for at in range(x.shape[axis]):
        window = np.take(x, np.arange(max(at - left, 0), min(at + right + 1, x.shape[axis])), axis)
        if name == "median":
            value = quantile(window, [0.5], [axis], True)
            value = Near(value.value[0], value.tolerance[0], value.unsure[0])
        else:
            value = reduced(window, [axis], True, False, name, ddof)
        value = value if isinstance(value, Near) else Near(value)
        there = (~np.isnan(window)).sum(axis)
        out.append(Near(np.where(there >= least, value.value, nan).astype(dtype), value.tolerance, value.unsure))
    return together(out, axis)


def holding(x, fill):
    """The array in a dtype that holds `fill` too, and `fill` in it."""
    dtype = np.result_type(x.dtype, fill)
    return x.astype(dtype), np.array(fill, dtype)


def shifted(x, by, axis, fill):
    x, fill = holding(x, fill)
    out = np.moveaxis(np.full_like(x, fill), axis, 0)
    rows = np.moveaxis(x, axis, 0)
    n = len(rows)
    if abs(by) < n:
        out[max(by, 0) : n + min(by, 0)] = rows[max(-by, 0) : n - max(by, 0)]
    return np.moveaxis(out, 0, axis)


def padded(x, axis, before, after, mode, fill=None):
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    if mode == "constant":
        x, fill = holding(x, fill)
        return np.pad(x, widths, mode, constant_values=fill)
    if x.shape[axis] == 1 and mode == "reflect" and before + after:
        raise ValueError("NumPy repeats the one element, which reflects nothing")
    return np.pad(x, widths, mode)


def coarsened(x, axis, window, skip, name, ddof=0):
    count = x.shape[axis] // window if window else [][0]
    x = np.take(x, np.arange(count * window), axis)
    x = x.reshape(x.shape[:axis] + (count, window) + x.shape[axis + 1 :])
    return reduced(x, [axis + 1], skip, False, name, ddof)


def product(function, *operands):
    """Sums of products, to n units of the sum of their magnitudes, of the dtype's own precision."""
    plain = np.asarray(function(*operands))
    if plain.dtype.kind != "f":
        return plain
    wide = [operand.astype(WIDE) for operand in operands]
    value = np.asarray(function(*wide))
    size = np.asarray(function(*(np.abs(np.where(np.isfinite(v), v, 0)) for v in wide)))
    # At most as many elements are summed as there are in all.
    count = max(function(*(np.ones(v.shape, WIDE) for v in wide)).max(initial=1), 1)
    eps = np.finfo(plain.dtype).eps
    return Near(value.astype(plain.dtype), count * eps * size + ulp(value, plain.dtype), size > float(np.finfo(plain.dtype).max))


def matmul(a, b):
    return product(np.matmul, a, b)


def einsummed(text, *operands):
    """What only one array has is added up before it is multiplied, so infinities and NaN have no one answer."""
    near = product(lambda *v: np.einsum(text, *v), *operands)
    if not isinstance(near, Near):
        return near
    odd = [~np.isfinite(v) for v in operands]
    for at in range(len(operands)):
        marked = [o.astype("f8") if i == at else np.ones(o.shape) for i, o in enumerate(odd)]
        near.unsure = near.unsure | (np.einsum(text, *marked) > 0)
    if any(0 in v.shape for v in operands) and any(np.any(o) for o in odd):
        near.unsure = np.ones(near.value.shape, bool)
    return near


def transforms_near(x, axis, value, scale, dtype, part="real"):
    """Fourier transforms in long double: lines hold to log2(n) units of their root of n times their length as a vector."""
    n = max(x.shape[axis], value.shape[axis])
    size = np.sqrt((np.abs(np.where(np.isfinite(x), x, 0)) ** 2).sum(axis, keepdims=True)) * np.sqrt(WIDE(n))
    info = np.finfo(dtype)
    tolerance = 8 * info.eps * (np.log2(n) + 2) * size * scale + 16 * info.tiny
    unsure = ~np.isfinite(x).all(axis, keepdims=True) | (size * max(scale, 1) > float(info.max) / 4)
    if part == "abs2":
        tolerance = 2 * np.abs(value) * tolerance + tolerance**2 + 8 * info.eps * np.abs(value) ** 2
        unsure = unsure | (size * size > float(info.max) / 4)
        value = np.abs(value) ** 2
    else:
        value = getattr(value, part)
    tolerance, unsure = (np.broadcast_to(v, value.shape) for v in (tolerance, unsure))
    return Near(value.astype(dtype), tolerance + ulp(value, dtype), unsure)


def spectrum(x, axis, n, norm, kind, part):
    getattr(np.fft, kind)(x, n, axis)  # what it refuses
    dtype, wide = floating(x), x.astype(floating(x)).astype(WIDE)
    # Squares beyond the dtype are infinite on both sides or on one.
    value = getattr(np.fft, kind)(wide, n, axis, norm)
    if n is not None and n < x.shape[axis]:
        wide = np.take(wide, np.arange(n), axis)
    count = n or x.shape[axis]
    forward = kind != "ifft"
    scale = {"backward": 1 if forward else 1 / count, "ortho": count**-0.5, "forward": 1 / count if forward else 1}[norm]
    return transforms_near(wide, axis, value, scale, dtype, part)


def there_and_back(x, axis):
    np.fft.rfft(x, axis=axis)  # what it refuses
    wide = x.astype(floating(x)).astype(WIDE)
    return transforms_near(wide, axis, wide, 1, floating(x))


def detrended(x, axis, kind):
    np.moveaxis(x, axis, 0)
    dtype, n = floating(x), x.shape[axis]
    if n == 0:
        raise ValueError("no line has a trend")
    lines = np.moveaxis(x.astype(dtype).astype(WIDE), axis, -1)
    at = np.arange(n, dtype=WIDE) - WIDE(n - 1) / 2
    value = lines - lines.mean(-1, keepdims=True)
    if kind == "linear" and n > 1:
        value = value - at * (value * at).sum(-1, keepdims=True) / (at * at).sum()
    size = np.abs(np.where(np.isfinite(lines), lines, 0)).sum(-1, keepdims=True)
    unsure = ~np.isfinite(lines).all(-1, keepdims=True) | (size * n > float(np.finfo(dtype).max) / 8)
    value, tolerance, unsure = (np.moveaxis(np.broadcast_to(v, value.shape), -1, axis) for v in (value, 16 * n * EPS * size, unsure))
    return Near(value.astype(dtype), tolerance + ulp(value, dtype), unsure)


def windowed(x, axis, name, periodic):
    np.moveaxis(x, axis, 0)
    dtype, n = floating(x), x.shape[axis]
    if n == 0:
        raise ValueError("no line has a window")
    at = 2 * WIDE(np.pi) * np.arange(n, dtype=WIDE) / max(n - 1 + periodic, 1)
    terms = {"hann": (0.5, 0.5, 0), "hamming": (0.54, 0.46, 0), "blackman": (0.42, 0.5, 0.08)}[name]
    factors = terms[0] - terms[1] * np.cos(at) + terms[2] * np.cos(2 * at) if n > 1 else np.ones(1, WIDE)
    factors = factors.reshape([n if i == axis else 1 for i in range(x.ndim)])
    wide = x.astype(dtype).astype(WIDE)
    # Factors are right to some units of 1; infinity times a factor that may be 0 has no one answer.
    value = wide * factors
    unsure = np.broadcast_to(np.isinf(wide) & (np.abs(factors) < 1e-15), value.shape)
    size = np.abs(np.where(np.isfinite(wide), wide, 0))
    return Near(value.astype(dtype), 8 * np.finfo(dtype).eps * size + ulp(value, dtype), unsure)


def counted(points, edges, weights):
    """A histogram in any number of dimensions; points outside or NaN are in no bin."""
    for own in edges:
        if len(own) < 2 or np.any(np.diff(own) <= 0):
            raise ValueError("edges of bins ascend")
    shape = tuple(len(own) - 1 for own in edges)
    place, inside = np.zeros(points[0].size, int), np.ones(points[0].size, bool)
    for x, own in zip(points, edges):
        x = x.astype("f8").ravel()
        bin = np.where(x == own[-1], len(own) - 2, np.searchsorted(own, x, "right") - 1)
        inside &= (x >= own[0]) & (x <= own[-1])
        place = place * (len(own) - 1) + np.where(inside, bin, 0)
    if weights is None:
        return np.bincount(place[inside], minlength=int(np.prod(shape))).reshape(shape)
    value, size = np.zeros(int(np.prod(shape)), WIDE), np.zeros(int(np.prod(shape)), WIDE)
    wide = weights.astype("f8").astype(WIDE).ravel()[inside]
    np.add.at(value, place[inside], wide)
    np.add.at(size, place[inside], np.abs(np.where(np.isfinite(wide), wide, 0)))
    value, size = value.reshape(shape), size.reshape(shape)
    return Near(value.astype("f8"), len(wide) * EPS * size + ulp(value, "f8"), size > LARGEST)


def regridded(x, rows, columns, values, shape, axes):
    dtype = floating(x)
    kept, count = x.shape[: x.ndim - axes], int(np.prod(shape))
    lines = x.astype(WIDE).reshape(kept + (int(np.prod(x.shape[x.ndim - axes :])),))
    if any(row >= count for row in rows) or any(column >= lines.shape[-1] for column in columns):
        raise IndexError("no such cell")
    value, size = np.zeros(kept + (count,), WIDE), np.zeros(kept + (count,), WIDE)
    for row, column, weight in zip(rows, columns, values):
        part = lines[..., column] * weight
        value[..., row] += part
        size[..., row] += np.abs(np.where(np.isfinite(part), part, 0))
    for row in set(range(count)) - set(rows):
        value[..., row] = nan
    value, size = value.reshape(kept + tuple(shape)), size.reshape(kept + tuple(shape))
    return Near(value.astype(dtype), 2 * len(rows) * EPS * size + ulp(value, dtype), size > LARGEST)


def moderate(x):
    """Whether squares and products of elements stay within the range of numbers."""
    size = np.abs(x[x != 0].astype(WIDE))
    return bool(np.all((size > 1e-60) & (size < 1e60)))


def factored(x, value, tolerance):
    """What is not finite makes everything NaN; what is beyond moderation is not compared."""
    dtype = floating(x)
    if not np.isfinite(x).all():
        value = np.full(np.shape(value), nan)
    eps = np.finfo(dtype).eps
    return Near(np.asarray(value).astype(dtype), np.asarray(tolerance * eps, WIDE), not moderate(x) and bool(np.isfinite(x).all()))


def matrix(x):
    """In float64, with the largest singular value."""
    if x.ndim != 2:
        raise ValueError("no matrix")
    wide = x.astype(floating(x)).astype("f8")
    clean = np.where(np.isfinite(wide), wide, 0)
    return wide, np.linalg.norm(clean / 2.0**400) * 2.0**400


def put_together(x):
    wide, size = matrix(x)
    return factored(x, wide, 16 * sum(x.shape) * size)


def orthonormal(x):
    matrix(x)
    k = min(x.shape)
    near = factored(x, np.eye(k), 16 * sum(x.shape))
    near.unsure = False
    return near


def singular_values(x):
    wide, size = matrix(x)
    if not np.isfinite(wide).all():
        return factored(x, np.zeros(min(x.shape)), 0)
    return factored(x, np.linalg.svd(wide, compute_uv=False) if wide.size else np.zeros(min(x.shape)), 16 * sum(x.shape) * size)


def both(*operands):
    """Two arrays as one, for what `factored` asks."""
    dtype = floating(*operands)
    return np.concatenate([v.astype(dtype).ravel() for v in operands])


def solved(a, b):
    if a.shape[0] != a.shape[1]:
        raise ValueError("not square")
    dtype = floating(a, b)
    wide, right = a.astype("f8"), b.astype("f8")
    if not (np.isfinite(wide).all() and np.isfinite(right).all() and moderate(a) and moderate(b)):
        return Near(np.zeros(b.shape, dtype), unsure=True)
    value = np.linalg.solve(wide, right)
    condition = np.linalg.cond(wide) if wide.size else 1
    tolerance = 64 * len(wide) * np.finfo(dtype).eps * condition * np.linalg.norm(value) if wide.size else 0
    return Near(value.astype(dtype), tolerance, not condition < 1e10)


def projected(a, b):
    wide, size = matrix(a)
    if not 1 <= b.ndim <= 2 or len(a) != len(b) or 0 in a.shape:
        raise ValueError("nothing to fit")
    dtype = floating(a, b)
    right = b.astype("f8")
    shape = a.shape[:1] + b.shape[1:]
    if not (np.isfinite(wide).all() and np.isfinite(right).all() and moderate(a) and moderate(b)):
        return Near(np.zeros(shape, dtype), unsure=True)
    u, s, _ = np.linalg.svd(wide, full_matrices=False)
    cut = EPS * max(a.shape) * s[0]
    kept = s > cut
    # Close to the cut, whether a value counts as 0 is a matter of rounding.
    unsure = bool(np.any((s > cut / 1e3) & (s < max(cut * 1e3, s[0] * 1e-10)) & (s > 0)))
    value = u[:, kept] @ (u[:, kept].T @ right)
    condition = s[0] / s[kept].min() if kept.any() else 1
    tolerance = 64 * max(a.shape) * np.finfo(dtype).eps * condition * (np.linalg.norm(right) + 1e-300)
    return Near(value.astype(dtype), tolerance, unsure)


def determinant(a):
    dtype = floating(a)
    wide = a.astype("f8")
    if not (np.isfinite(wide).all() and moderate(a)):
        return Near(np.zeros((), dtype), unsure=True)
    value = np.linalg.det(wide)
    # The product of the rows' lengths is the most it can be.
    with np.errstate(all="ignore"):
        most = np.exp(np.sum(np.log(np.linalg.norm(wide, axis=1) + 1e-300))) if wide.size else 1
    unsure = not most < float(np.finfo(dtype).max) / 4
    return Near(np.asarray(value).astype(dtype), 64 * max(len(wide), 1) ** 2 * EPS * most + ulp(value, dtype), unsure)


def bincount(x, length, weights=None):
    """Numbers outside are not counted."""
    if x.dtype.kind == "f":
        raise TypeError("no integers")
    flat = x.ravel()
    inside = (flat >= 0) & (flat < length) if x.dtype.kind != "b" else flat < length
    at = flat[inside].astype(int)
    if weights is None:
        return np.bincount(at, minlength=length).astype("i8")
    if length == 0:
        return np.zeros(0)
    return counted([np.where(inside, flat.astype("f8"), nan)], [np.arange(length + 1) - 0.5], weights.ravel())


def binned_mean(x, edges, values):
    there = np.where(np.isnan(values.astype("f8")), nan, x.astype("f8"))
    sums = counted([there], [edges], np.where(np.isnan(values.astype("f8")), 0, values.astype("f8")))
    counts = counted([there], [edges], None)
    divide = np.maximum(counts, 1)
    value = np.where(counts > 0, sums.value / divide, nan)
    return Near(value, sums.tolerance / divide + ulp(value, "f8"), sums.unsure)


def mode(x, axis, skip):
    """The most frequent number, of several the least."""
    lines = np.moveaxis(x, axis, -1)
    if lines.shape[-1] == 0:
        raise ValueError("nothing is most frequent")
    out = np.zeros(lines.shape[:-1], x.dtype)
    for at in np.ndindex(out.shape):
        line = lines[at]
        numbers = line[~np.isnan(line)] if x.dtype.kind == "f" else line
        if len(numbers) == 0 or (len(numbers) < len(line) and not skip):
            out[at] = nan
            continue
        values, counts = np.unique(numbers, return_counts=True)
        out[at] = values[np.argmax(counts)]
    return Near(out)


def convolved(x, axis, weights, mode, fill=None):
    np.moveaxis(x, axis, 0)
    if len(weights) == 0:
        raise ValueError("no weights")
    dtype, more = floating(x), len(weights) - 1
    wide = padded(x.astype(dtype).astype(WIDE), axis, (more + 1) // 2, more // 2, mode, fill)
    lines = np.moveaxis(wide, axis, -1)
    n = x.shape[axis]
    value, size = np.zeros(lines.shape[:-1] + (n,), WIDE), np.zeros(lines.shape[:-1] + (n,), WIDE)
    for j, weight in enumerate(weights):
        part = lines[..., more - j : more - j + n] * WIDE(weight)
        value += part
        size += np.abs(np.where(np.isfinite(part), part, 0))
    value, size = np.moveaxis(value, -1, axis), np.moveaxis(size, -1, axis)
    return Near(value.astype(dtype), len(weights) * EPS * size + ulp(value, dtype), size > float(np.finfo(dtype).max))


def quantile_approx(x, at, skip):
    """Within 1/128 of the lower of the two elements."""
    if any(not 0 <= q <= 1 for q in at):
        raise ValueError("not a quantile")
    flat = x.astype("f8").ravel()
    numbers = np.sort(flat[~np.isnan(flat)])
    if len(numbers) == 0 or (len(numbers) < len(flat) and not skip):
        return np.full(len(at), nan)
    value = numbers[[int(np.floor(q * (len(numbers) - 1))) for q in at]]
    finite = np.where(np.isfinite(value), np.abs(value), 0).astype(WIDE)
    return Near(value, finite / 128 + np.finfo("f8").tiny)


def ulp(value, dtype):
    with np.errstate(all="ignore"):
        return np.spacing(np.abs(np.asarray(value).astype(dtype))).astype(WIDE)


def labelled(like, value):
    """The same labels on other elements."""
    if isinstance(value, Near):
        return Near(value.value, value.tolerance, value.unsure, like)
    return like.copy(data=value)


def xwhere(a, condition, other=None):
    """Labels are joined as in arithmetic; xarray does so without `other` only, and else wants them equal.

    Integers and bools become float64 to hold NaN, where xarray takes float32 or objects for some.
    """
    condition = condition.astype(bool)
    if other is None:
        return (a if a.dtype.kind == "f" else a.astype("f8")).where(condition)
    if not isinstance(other, xr.DataArray):
        np.array(other, np.result_type(a.dtype, other))  # OverflowError if it does not fit
    if isinstance(other, xr.DataArray):
        a, condition, other = xr.align(a, condition, other, join="inner")
    else:
        a, condition = xr.align(a, condition, join="inner")
    return a.where(condition, other)


def xreduced(a, dims, skip, name, ddof=0):
    like = a.isnull().any(dims)
    axes = [a.get_axis_num(dim) for dim in dims]
    value = reduced(a.values, axes, skip, False, name, ddof)
    return labelled(like, value if isinstance(value, Near) else np.asarray(value))


def xconcat(a, b, dim):
    """A coordinate of only the second says nothing about the first, so it goes away, unlike in xarray."""
    joined = xr.concat([a, b], dim, join="exact", coords="minimal", compat="override")
    return joined.drop_vars([name for name in joined.coords if name not in a.coords])


def xgrouped(a, key, skip, name):
    dim, _, part = key.partition(".")
    # xarray cannot group arrays without elements: those of one element have the same labels.
    single = a.pad({d: (0, 1) for d in a.dims if a.sizes[d] == 0 and d != dim}) if 0 in a.shape else a
    like = single.isnull().groupby(key).sum()
    like = like.isel({d: slice(0, a.sizes[d]) for d in a.dims if d != dim})
    # xarray leaves groups of one element each as they stand.
    like = like.sortby(part or dim)
    axis = a.get_axis_num(dim)
    codes = a[key].values
    near = []
    for group in np.unique(codes):
        members = np.flatnonzero(codes == group)
        value = reduced(np.take(a.values, members, axis), [axis], skip, False, name)
        near.append(value)
    return labelled(like, together(near, axis))


def xgrouped_several(a, keys, skip, name):
    """One combination of labels after the other; xarray puts groups last, or where the grouped dimension was, as it likes."""
    if len(set(keys)) < len(keys):
        raise ValueError("a key twice")
    of = [key.partition(".")[0] for key in keys]
    names = [key.partition(".")[2] or dim for key, dim in zip(keys, of)]
    gone = list(dict.fromkeys(of))
    kept = [dim for dim in a.dims if dim not in gone]
    if 0 in [a.sizes[dim] for dim in gone] or set(names) & set(kept):
        raise ValueError("no groups")
    x = a.transpose(*kept, *gone).values
    labels, codes = zip(*(np.unique(a[key].values, return_inverse=True) for key in keys))
    near = []
    for group in np.ndindex(*map(len, labels)):
        inside = np.ones([a.sizes[dim] for dim in gone], bool)
        for dim, code, at in zip(of, codes, group):
            inside &= np.moveaxis((code == at).reshape([-1] + [1] * (len(gone) - 1)), 0, gone.index(dim))
        if not inside.any():
            near.append(None)
        elif name == "median":
            value = quantile(x[..., inside], [0.5], [len(kept)], skip)
            near.append(Near(value.value[0], value.tolerance[0], value.unsure[0]))
        else:
            value = reduced(x[..., inside], [len(kept)], skip, False, name)
            near.append(value if isinstance(value, Near) else Near(value))
    some = next(value for value in near if value is not None)
    dtype = some.value.dtype
    if None in near and dtype.kind != "f":
        dtype = np.dtype("f8")
    near = [Near(np.full(some.value.shape, nan)) if value is None else value for value in near]
    joined = together(near, len(kept), dtype)
    shape = x.shape[:len(kept)] + tuple(map(len, labels))
    coords = {name: coord for name, coord in a.coords.items() if not set(coord.dims) & set(gone)}
    coords.update({name: (name, values) for name, values in zip(names, labels)})
    like = xr.DataArray(np.zeros(shape), dims=kept + names, coords=coords)
    order = kept + names
    if len(gone) == 1:
        order = [one for dim in a.dims for one in (names if dim == gone[0] else [dim])]
    parts = [np.broadcast_to(part, joined.value.shape).reshape(shape) for part in (joined.value, joined.tolerance, joined.unsure)]
    moved = [np.moveaxis(part, range(len(order)), [order.index(dim) for dim in kept + names]) for part in parts]
    return Near(*moved, like.transpose(*order))


def xfloat(a):
    """Integers and bools become float64 to hold NaN, where xarray takes float32 or objects for some."""
    return a if a.dtype.kind == "f" else a.astype("f8")


def unlabelled(a, dim):
    """The labels of the other dimensions, on one element of this one."""
    return a.isel({dim: 0}, drop=True) if a.sizes[dim] else a.isnull().any(dim)


def xquantile(a, at, dims):
    near = quantile(a.values, at, [a.get_axis_num(dim) for dim in dims], True)
    like = a.isnull().any(dims).expand_dims(quantile=at)
    return Near(near.value, near.tolerance, near.unsure, like)


def xcoarsened(a, dim, window, boundary, name):
    like = a.isnull().coarsen({dim: window}, boundary=boundary).sum()
    value = coarsened(a.values, a.get_axis_num(dim), window, True, name)
    return labelled(like, value if isinstance(value, Near) else np.asarray(value))


def interpolated(a, dim, to):
    """On a straight line between neighbours, exact at labels, NaN outside of them."""
    dtype, axis = floating(a.values), a.get_axis_num(dim)
    labels = a[dim].values.astype(float)
    order = np.argsort(labels, kind="stable")
    parts = []
    for x in to:
        above = int(np.searchsorted(labels[order], x))
        if above < len(order) and labels[order[above]] == x:
            parts.append(Near(np.take(a.values, order[above], axis).astype(dtype)))
        elif 0 < above < len(order):
            low, high = (np.take(a.values, order[i], axis).astype(dtype).astype(WIDE) for i in (above - 1, above))
            weight = (x - labels[order[above - 1]]) / (labels[order[above]] - labels[order[above - 1]])
            value = low + (high - low) * weight
            size = np.abs(np.where(np.isfinite(low), low, 0)) + np.abs(np.where(np.isfinite(high), high, 0))
            unsure = np.isinf(low) | np.isinf(high) | (size > float(np.finfo(dtype).max))
            parts.append(Near(value.astype(dtype), 4 * np.finfo(dtype).eps * size + ulp(value, dtype), unsure))
        else:
            parts.append(Near(np.full(np.delete(a.shape, axis), nan, dtype)))
    like = a.isel({dim: np.zeros(len(to), int)}).assign_coords({dim: np.array(to, float)})
    like = like.drop_vars([n for n, c in like.coords.items() if n != dim and dim in c.dims and c.dtype.kind not in "fiu"])
    return labelled(like, together(parts, axis, dtype))


def filled(a, dim, step):
    """The last number before (after) each NaN."""
    if a.dtype.kind != "f":
        a.get_axis_num(dim)
        return a
    lines = np.moveaxis(a.values.copy(), a.get_axis_num(dim), 0)[::step]
    for at in range(1, len(lines)):
        lines[at] = np.where(np.isnan(lines[at]), lines[at - 1], lines[at])
    return a.copy(data=np.moveaxis(lines[::step], 0, a.get_axis_num(dim)))


def gaps_filled(a, dim):
    axis, x = a.get_axis_num(dim), a[dim].values.astype(float)
    lines = np.moveaxis(a.values.astype(WIDE), axis, -1).copy()
    tolerance, unsure = np.zeros(lines.shape, WIDE), np.zeros(lines.shape, bool)
    for at in np.ndindex(lines.shape[:-1]):
        line = lines[at]
        there = np.flatnonzero(~np.isnan(line))
        for low, high in zip(there, there[1:]):
            for i in range(low + 1, high):
                line[i] = line[low] + (line[high] - line[low]) * WIDE((x[i] - x[low]) / (x[high] - x[low]))
                # Labels that do not ascend lead beyond the ends.
                reach = 1 + abs(x[i] - x[low]) / abs(x[high] - x[low])
                size = (abs(line[low]) + abs(line[high])) * reach
                tolerance[at][i] = 8 * EPS * size if np.isfinite(size) else 0
                unsure[at][i] = not size < LARGEST
    value, tolerance, unsure = (np.moveaxis(v, -1, axis) for v in (lines, tolerance, unsure))
    return labelled(a, Near(value.astype(a.dtype), tolerance + ulp(value, a.dtype) * (tolerance > 0), unsure))


def xreindexed(a, dim, to):
    """xarray's integers become float32 for some."""
    complete = set(to) <= set(a[dim].values.tolist())
    return (a if complete else xfloat(a)).reindex({dim: np.array(to, float)})


def periods(a, dim, frequency):
    """Labels of periods, and which labels lie in each."""
    import pandas as pd

    places = pd.Series(np.arange(a.sizes[dim]), index=pd.DatetimeIndex(a[dim].values))
    groups = places.resample(frequency)
    return [(label, group.values) for label, group in groups]


def resampled(a, dim, frequency, name):
    found, axis = periods(a, dim, frequency), a.get_axis_num(dim)
    empty = any(len(members) == 0 for _, members in found)
    near = []
    for _, members in found:
        if len(members) == 0:
            near.append(Near(np.full(np.delete(a.shape, axis), nan)))
            continue
        value = reduced(np.take(a.values, members, axis), [axis], True, False, name)
        near.append(value if isinstance(value, Near) else Near(value))
    dtype = np.result_type(*[v.value.dtype for v, (_, m) in zip(near, found) if len(m)])
    if empty and dtype.kind != "f":
        dtype = np.dtype("f8")
    first = a.isel({dim: np.zeros(len(found), int)})
    like = first.assign_coords({dim: np.array([label for label, _ in found], "datetime64[us]")})
    like = like.drop_vars([n for n, c in like.coords.items() if n != dim and dim in c.dims])
    return labelled(like, together(near, axis, dtype))


def upsampled(a, dim, frequency, name):
    to = np.array([label for label, _ in periods(a, dim, frequency)], "datetime64[us]")
    method = {"asfreq": None, "ffill": "pad", "bfill": "backfill", "nearest": "nearest"}[name]
    return a.reindex({dim: to}, method=method)


def polyfitted(a, dim, degree):
    axis, x = a.get_axis_num(dim), a[dim].values.astype(float)
    if len(x) <= degree:
        raise ValueError("too few labels")
    dtype = floating(a.values)
    y = np.moveaxis(a.values.astype(dtype).astype("f8"), axis, 0)
    lines = y.reshape(len(x), -1) if y.size else np.zeros((len(x), int(np.prod(y.shape[1:]))))
    clean = np.where(np.isfinite(lines), lines, 0)
    value = np.polyfit(x, clean, degree) if clean.size else np.zeros((degree + 1, 0))
    columns = np.vander(x, degree + 1)
    lengths = np.linalg.norm(columns, axis=0)
    condition = np.linalg.cond(columns / np.where(lengths > 0, lengths, 1))
    size = np.linalg.norm(clean / 2.0**400, axis=0) * 2.0**400
    tolerance = 64 * len(x) * EPS * condition * size / np.where(lengths > 0, lengths, 1)[:, None]
    unsure = np.broadcast_to(np.isinf(lines).any(0) | (size > 1e100) | (condition > 1e10), value.shape)
    value = np.where(np.isnan(lines).any(0), nan, value)
    shape = (degree + 1,) + y.shape[1:]
    like = a.isnull().any(dim).expand_dims(degree=np.arange(degree, -1, -1))
    value, tolerance, unsure = (np.broadcast_to(v, value.shape).reshape(shape) for v in (value, tolerance, unsure))
    unsure = unsure | (np.abs(value) > float(np.finfo(dtype).max) / 4)
    return Near(value.astype(dtype), tolerance + ulp(value, dtype), unsure, like)


def xranked(a, dim, pct):
    """xarray's own needs another library."""
    import pandas as pd

    axis, values = a.get_axis_num(dim), a.values.astype("f8")
    ranks = lambda line: pd.Series(line).rank(method="average", pct=pct).values
    return a.copy(data=np.apply_along_axis(ranks, axis, values) if values.size else values)


def lines_of(a, dim):
    """Labels, and elements in long double with this dimension first."""
    return a[dim].values.astype(float), np.moveaxis(a.values.astype("f8").astype(WIDE), a.get_axis_num(dim), 0)


def along(h, y):
    """Numbers along the first axis."""
    return np.asarray(h, WIDE).reshape([-1] + [1] * (y.ndim - 1))


def xdifferentiate(a, dim):
    x, y = lines_of(a, dim)
    if len(x) < 2:
        raise ValueError("one label has no derivative")
    h = np.diff(x)
    first, last = (y[1] - y[0]) / WIDE(h[0]), (y[-1] - y[-2]) / WIDE(h[-1])
    sizes = [(abs(y[1]) + abs(y[0])) / abs(h[0]), (abs(y[-1]) + abs(y[-2])) / abs(h[-1])]
    s, d = along(h[:-1], y), along(h[1:], y)
    if (h == h[0]).all():
        terms = [y[2:] / (2 * s), -y[:-2] / (2 * s)]
    else:
        terms = [-d / (s * (s + d)) * y[:-2], (d - s) / (s * d) * y[1:-1], s / (d * (s + d)) * y[2:]]
    value = np.concatenate([first[None], sum(terms), last[None]])
    size = np.concatenate([sizes[0][None], sum(map(abs, terms)), sizes[1][None]])
    # Two labels that are equal have no slope between them.
    unsure = (size > LARGEST / 1e6) | (h == 0).any() | np.isinf(np.abs(y).sum(0))
    parts = [np.moveaxis(part, 0, a.get_axis_num(dim)) for part in (value.astype("f8"), 8 * EPS * size, unsure)]
    return labelled(a, Near(parts[0], parts[1] + ulp(parts[0], "f8"), parts[2]))


def xintegrate(a, dim):
    x, y = lines_of(a, dim)
    half = np.diff(x) / 2
    terms = along(np.append(half, 0) + np.append(0, half), y) * y if len(x) else y
    size, value = np.abs(terms).sum(0), terms.sum(0)
    like = a.isnull().any(dim)
    return labelled(like, Near(value.astype("f8"), (len(x) + 4) * EPS * size + ulp(value, "f8"), size > LARGEST / 1e6))


def xcumulative_integrate(a, dim):
    x, y = lines_of(a, dim)
    half = along(np.diff(x) / 2, y)
    # Sums that cancel are as uncertain as their parts are large.
    value = np.concatenate([np.zeros_like(y[:1]), ((y[1:] + y[:-1]) * half).cumsum(0)])
    size = np.concatenate([np.zeros_like(y[:1]), ((abs(y[1:]) + abs(y[:-1])) * abs(half)).cumsum(0)])
    parts = [np.moveaxis(part, 0, a.get_axis_num(dim)) for part in (value.astype("f8"), 2 * (len(x) + 4) * EPS * size, size > LARGEST / 1e6)]
    return labelled(a, Near(parts[0], parts[1] + ulp(parts[0], "f8"), parts[2]))


def xcov(a, b, dim):
    a, b = a.astype("f8"), b.astype("f8")
    like = xr.cov(a, b, dim)
    a, b = xr.align(a, b, join="inner")
    there = a.notnull() & b.notnull()
    if there.sizes[dim] == 0:
        return Near(np.full(like.shape, nan), like=like)
    wide = [side.astype(WIDE).where(there) for side in (a, b)]
    n = there.sum(dim)
    value = (wide[0] - wide[0].mean(dim)) * (wide[1] - wide[1].mean(dim))
    value = value.sum(dim) / (n - 1).where(n > 1)
    largest = abs(wide[0]).max(dim) * abs(wide[1]).max(dim)
    tolerance = (64 * (n + 1) * EPS * largest).fillna(0)
    # One element alone is 0 over 0, and infinity has no mean.
    unsure = ~(largest < 1e150) & (n > 0) | (abs(wide[0]).max(dim) > 1e100) | (abs(wide[1]).max(dim) > 1e100)
    parts = [part.transpose(*like.dims).values for part in (value.astype("f8"), tolerance, unsure)]
    return Near(*parts, like)


def label_of(a, dim, name):
    if a.sizes[dim] == 0:
        raise ValueError("nothing is least")
    axis, labels = a.get_axis_num(dim), a[dim].values
    like = a.isnull().any(dim)
    if a.dtype.kind != "f":
        return labelled(like, labels[getattr(np, name.replace("idx", "arg"))(a.values, axis)])
    gone = np.isnan(a.values).all(axis)
    safe = np.where(np.expand_dims(gone, axis), 0, a.values)
    value = labels[nan_arg(safe, axis, name.replace("idx", "arg"))].astype(np.result_type(labels.dtype, "f4") if labels.dtype.kind == "f" else "f8")
    return labelled(like, np.where(gone, nan, value))


def xweighted(a, weights, dims, name):
    """To n units of the sum of the products' magnitudes."""
    weighted = a.weighted(weights)
    like = getattr(weighted, name)(dims)
    a, weights = xr.align(a, weights, join="inner")
    wide, factors = xr.broadcast(a.astype(WIDE), weights.astype(WIDE))
    there = wide.notnull()
    products = (wide * factors).where(there, 0)
    size = np.abs(products.where(np.isfinite(products), 0)).sum(dims)
    count = max(int(there.sum(dims).max(initial=0)) if there.size else 0, 1)
    value = products.sum(dims, skipna=False)
    wraps = inf
    if a.dtype.kind != "f":
        # As all sums and means of integers; xarray's are of the product's dtype, or float32.
        exact = np.sum(np.zeros(1, np.result_type(a.dtype, weights.dtype))).dtype
        if name == "sum" and exact.kind != "f":
            a, weights = xr.broadcast(a.astype(exact), weights.astype(exact))
            total = (a * weights).sum(dims).reindex_like(like).transpose(*like.dims).values
            return Near(total, like=like)
        like = like.astype("f8")
        # Products and their sums wrap where they do not fit.
        wraps = 2.0**63
    else:
        # xarray's mean of float32 is float64 for weights of bool, as those are added up as int64.
        like = like.astype(np.result_type(a.dtype, weights.dtype))
    eps = 2.0**-24 if like.dtype == "f4" else EPS
    tolerance = 2 * count * eps * size
    if name == "mean":
        total = factors.where(there, 0).sum(dims)
        value = (value / total).where(total != 0)
        tolerance = tolerance / np.abs(total).where(total != 0, 1) + 8 * eps * np.abs(value)
    value, tolerance, size = (part.reindex_like(like).transpose(*like.dims).values for part in (value, tolerance, size))
    largest = min(float(np.finfo(like.dtype).max), wraps)
    return Near(value.astype(like.dtype), tolerance + ulp(value, like.dtype), size > largest, like)


def compare(found, expected, ulps):
    """None if they agree, else how they differ."""
    near = expected if isinstance(expected, Near) else Near(expected)
    value = near.value
    if found.dtype != value.dtype:
        return f"dtype {found.dtype} instead of {value.dtype}"
    if found.shape != value.shape:
        return f"shape {found.shape} instead of {value.shape}"
    if found.dtype.kind == "f":
        same = (found == value) | (np.isnan(found) & np.isnan(value))
        wide = value.astype(WIDE)
        tolerance = near.tolerance + (ulps * ulp(value, value.dtype) if ulps else 0)
        same |= np.abs(found.astype(WIDE) - wide) <= tolerance
        # The last finite number and infinity are neighbours.
        if ulps or np.any(near.tolerance):
            largest = np.finfo(found.dtype).max
            same |= (np.abs(found) >= largest * (1 - 1e-6)) & np.isinf(value) & (np.sign(found) == np.sign(value))
            same |= (np.abs(value) >= largest * (1 - 1e-6)) & np.isinf(found) & (np.sign(found) == np.sign(value))
        elif ulps == 0 and not isinstance(expected, Near):
            same &= (np.signbit(found) == np.signbit(value)) | (value != 0) | np.isnan(value)
    else:
        same = found == value
    same |= near.unsure
    if np.all(same):
        return None
    at = tuple(int(i) for i in np.argwhere(~same)[0]) if same.ndim else ()
    return f"element {list(at)} is {found[at]!r} instead of {value[at]!r}, {int((~same).sum())} of {same.size} differ"


class Program:
    def __init__(self, data):
        self.data = data

    def load(self, value):
        if value is None:
            return None
        dtype = np.dtype(value["dtype"])
        count = int(np.prod(value["shape"], dtype=int))
        array = np.frombuffer(self.data, dtype, count, value["offset"]).reshape(value["shape"])
        if "dims" not in value:
            return array
        coords = {name: (coord["dims"], self.labels(coord)) for name, coord in value["coords"].items()}
        return xr.DataArray(array, dims=value["dims"], coords=coords)

    def labels(self, coord):
        shape = coord["shape"]
        if "times" in coord:
            return np.array(coord["times"], "datetime64[us]").reshape(shape)
        if "text" in coord:
            return np.array(coord["text"], object).reshape(shape)
        return self.load(coord["numbers"])

    def step(self, step, operands):
        """None, or why this step is wrong."""
        names = {f"v{at}": operand for at, operand in zip(step["operands"], operands)}
        refused = step.get("error")
        try:
            expected = eval(compiled(step["python"]), globals(), names)
        except (ValueError, TypeError, IndexError, KeyError, OverflowError, xr.AlignmentError) as error:
            if refused or any(part in str(error) for part, _ in REFUSED_BY_OTHERS):
                return None
            return f"should be refused: {type(error).__name__}: {error}"
        if refused:
            if any(part in refused for part, _ in REFUSED):
                return None
            return f"is refused ({refused}), but has an answer"
        found = self.load(step["value"])
        like = expected.like if isinstance(expected, Near) else expected
        if isinstance(found, xr.DataArray):
            different = labels_differ(found, like)
            if different:
                return different
            found = found.values
            if not isinstance(expected, Near):
                expected = like.values
        elif not isinstance(expected, Near):
            expected = np.asarray(expected)
        return compare(np.asarray(found), expected, step["ulps"])

    def check(self, steps):
        values = []
        for number, step in enumerate(steps):
            values.append(step.get("value"))
            if "python" not in step or step.get("skipped"):
                continue
            operands = [self.load(values[at]) for at in step["operands"]]
            message = self.step(step, operands)
            if message:
                return {"step": number, "message": message}
        return None


def labels_differ(found, expected):
    if found.dims != expected.dims:
        return f"dims {found.dims} instead of {expected.dims}"
    if set(found.coords) != set(expected.coords):
        return f"coords {sorted(found.coords)} instead of {sorted(expected.coords)}"
    for name, coord in expected.coords.items():
        ours = found.coords[name]
        if ours.dims != coord.dims or ours.shape != coord.shape:
            return f"coord {name} {ours.dims} {ours.shape} instead of {coord.dims} {coord.shape}"
        a, b = ours.values, coord.values
        equal = a == b if a.dtype.kind not in "f" or b.dtype.kind not in "f" else (a == b) | (np.isnan(a) & np.isnan(b))
        if not np.all(equal):
            return f"coord {name} {a} instead of {b}"
    return None


CODES = {}


def compiled(code):
    # Most of the time would go into compiling otherwise.
    if code not in CODES:
        CODES[code] = compile(code, code, "eval")
    return CODES[code]


def main():
    for line in sys.stdin:
        path = line.strip()
        with open(path) as described, open(path + ".data", "rb") as data:
            programs, data = json.load(described), data.read()
        answer = [Program(data).check(program) for program in programs]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
