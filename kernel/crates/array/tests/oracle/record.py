"""Records what NumPy makes of random expression programs, for ../oracle.rs.

    python record.py > numpy.json

A program is a list of steps in single-assignment form; operands are numbers of earlier steps. Every program is
built from its seed alone, so a failing one can be found again by its number.
"""
import json
import warnings

import numpy as np

warnings.simplefilter("ignore")
PROGRAMS = 400
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.true_divide, "floordiv": np.floor_divide,
    "rem": np.remainder, "minimum": np.minimum, "maximum": np.maximum, "eq": np.equal, "ne": np.not_equal,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor,
}
UNARY = {
    "neg": np.negative, "abs": np.absolute, "sign": np.sign, "square": np.square, "sqrt": np.sqrt, "exp": np.exp,
    "sin": np.sin, "ln": np.log, "floor": np.floor, "ceil": np.ceil, "round": np.rint, "isnan": np.isnan, "not": np.invert,
}
REDUCE = ["sum", "prod", "mean", "min", "max", "std", "var", "any", "all", "count"]


def encode(value):
    """Exact: floats as the bits of float64."""
    if value.dtype.kind == "f":
        bits = np.ascontiguousarray(value, dtype="f8").view("u8").ravel().tolist()
        return [f"{b:x}" for b in bits]
    return [str(int(v)) for v in value.ravel().tolist()]


def random_array(rng):
    ndim = int(rng.integers(0, 4))
    shape = [int(n) for n in rng.choice([1, 2, 3, 5, 7], ndim)]
    if rng.random() < 0.04 and ndim:
        shape[int(rng.integers(ndim))] = 0
    dtype = str(rng.choice(DTYPES))
    size = int(np.prod(shape))
    if dtype == "bool":
        value = rng.random(size) < 0.5
    elif dtype.startswith("float"):
        value = np.round(rng.normal(size=size) * 8, 2).astype(dtype)
        value[rng.random(size) < 0.15] = np.nan
    else:
        low = 0 if dtype.startswith("u") else -100
        value = rng.integers(low, 100, size).astype(dtype)
    return np.asarray(value, dtype=dtype).reshape(shape)


def reduce(name, value, axes, skip):
    axes = tuple(axes)
    skips = skip and value.dtype.kind == "f"
    if name == "count":
        return np.asarray((~np.isnan(value)).sum(axis=axes) if value.dtype.kind == "f" else np.ones(value.shape, "i8").sum(axis=axes)).astype("i8")
    if name in ("any", "all"):
        return np.asarray(getattr(np, name)(value, axis=axes))
    # The accumulator is float64 for float32 too; NumPy is asked for the same and rounded at the end.
    keywords = {}
    if value.dtype == "float32" and name in ("sum", "prod", "mean", "std", "var"):
        keywords["dtype"] = "f8"
    function = getattr(np, ("nan" if skips else "") + name)
    out = np.asarray(function(value, axis=axes, **keywords))
    if value.dtype == "float32":
        out = out.astype("f4")
    return out


def step(rng, values):
    kind = rng.choice(["binary", "scalar", "unary", "reduce", "where", "cast", "slice", "transpose", "take", "concat", "rechunk", "expand", "fillna"],
                      p=[.22, .1, .1, .16, .06, .06, .1, .06, .04, .03, .03, .02, .02])
    a = int(rng.integers(len(values)))
    x = values[a]
    if kind == "binary":
        b = int(rng.integers(len(values)))
        op = str(rng.choice(list(BINARY)))
        return {"op": "binary", "name": op, "a": a, "b": b}, BINARY[op](x, values[b])
    if kind == "scalar":
        op = str(rng.choice(["add", "sub", "mul", "div", "rem", "lt", "ge", "maximum"]))
        if rng.random() < 0.5:
            number = int(rng.integers(1, 50))
            return {"op": "scalar", "name": op, "a": a, "int": number}, BINARY[op](x, number)
        number = float(np.round(rng.normal() * 4, 1)) or 1.5
        return {"op": "scalar", "name": op, "a": a, "float": number}, BINARY[op](x, number)
    if kind == "unary":
        op = str(rng.choice(list(UNARY)))
        floaty = op in ("sqrt", "exp", "sin", "ln") or (op in ("floor", "ceil", "round") and x.dtype.kind != "f")
        # Small integers go to float16 and float32 in NumPy; Nuna computes them in float64.
        operand = x.astype("f8") if floaty and x.dtype != "float32" else x
        out = UNARY[op](operand)
        if op in ("floor", "ceil", "round"):
            # `rint` of integers gives floats; Nuna's rounding keeps integers, as `floor` does.
            out = out.astype(x.dtype)
        return {"op": "unary", "name": op, "a": a}, out
    if kind == "reduce":
        name = str(rng.choice(REDUCE))
        axes = [i for i in range(x.ndim) if rng.random() < 0.6]
        skip = bool(rng.random() < 0.6)
        if name in ("min", "max") and any(x.shape[i] == 0 for i in axes):
            raise ValueError("nothing to take the least of")
        return {"op": "reduce", "name": name, "a": a, "axes": axes, "skip": skip}, reduce(name, x, axes, skip)
    if kind == "where":
        b, c = int(rng.integers(len(values))), int(rng.integers(len(values)))
        if values[c].dtype != bool:
            raise ValueError("no condition")
        return {"op": "where", "a": a, "b": b, "c": c}, np.where(values[c], x, values[b])
    if kind == "cast":
        to = str(rng.choice(DTYPES))
        if x.dtype.kind == "f":
            # Out of range and NaN are undefined in C; only what has an answer is asked.
            if to not in ("float32", "float64", "bool"):
                to = "float64"
        return {"op": "cast", "a": a, "dtype": to}, x.astype(to)
    if kind == "slice":
        if x.ndim == 0:
            raise ValueError("no axis")
        parts, index = [], []
        for n in x.shape:
            choice = rng.random()
            if choice < 0.2:
                parts.append(None)
                index.append(slice(None))
            elif choice < 0.35 and n:
                at = int(rng.integers(-n, n))
                parts.append(at)
                index.append(at)
            else:
                ends = [None if rng.random() < 0.3 else int(rng.integers(-n - 1, n + 2)) for _ in range(2)]
                every = int(rng.choice([-3, -2, -1, 1, 1, 1, 2, 3]))
                parts.append([ends[0], ends[1], every])
                index.append(slice(ends[0], ends[1], every))
        return {"op": "slice", "a": a, "index": parts}, np.asarray(x[tuple(index)])
    if kind == "transpose":
        order = [int(i) for i in rng.permutation(x.ndim)]
        return {"op": "transpose", "a": a, "order": order}, x.transpose(order)
    if kind == "take":
        if x.ndim == 0:
            raise ValueError("no axis")
        axis = int(rng.integers(x.ndim))
        if x.shape[axis] == 0:
            raise ValueError("nothing to take")
        indices = [int(i) for i in rng.integers(-x.shape[axis], x.shape[axis], int(rng.integers(1, 6)))]
        return {"op": "take", "a": a, "axis": axis, "indices": indices}, np.take(x, indices, axis)
    if kind == "concat":
        if x.ndim == 0:
            raise ValueError("no axis")
        b = int(rng.integers(len(values)))
        axis = int(rng.integers(x.ndim))
        return {"op": "concat", "a": a, "b": b, "axis": axis}, np.concatenate([x, values[b]], axis)
    if kind == "rechunk":
        if x.ndim == 0:
            raise ValueError("no axis")
        return {"op": "rechunk", "a": a, "chunks": [int(n) for n in rng.integers(1, 5, x.ndim)]}, x
    if kind == "expand":
        axis = int(rng.integers(x.ndim + 1))
        if x.ndim > 4:
            raise ValueError("enough axes")
        return {"op": "expand", "a": a, "axis": axis}, np.expand_dims(x, axis)
    if kind == "fillna":
        if x.dtype.kind != "f":
            raise ValueError("no NaN")
        return {"op": "fillna", "a": a, "float": 0.5}, np.where(np.isnan(x), np.asarray(0.5, x.dtype), x)
    raise AssertionError(kind)


def program(seed):
    rng = np.random.default_rng(seed)
    steps, values = [], []
    for _ in range(int(rng.integers(1, 4))):
        value = random_array(rng)
        chunks = [int(n) for n in rng.integers(1, 6, value.ndim)]
        steps.append({"op": "array", "dtype": str(value.dtype), "shape": list(value.shape), "values": encode(value), "chunks": chunks})
        values.append(value)
    wanted = len(steps) + int(rng.integers(2, 8))
    for _ in range(200):
        if len(steps) == wanted:
            break
        try:
            described, value = step(rng, values)
        except (ValueError, TypeError, IndexError):
            continue
        value = np.asarray(value)
        if str(value.dtype) not in DTYPES or value.size > 5000:
            continue
        # Huge values make the last bits a matter of the order of summation, and integers overflow into casts.
        if value.dtype.kind == "f" and value.size and np.nanmax(np.abs(np.where(np.isinf(value), 0, value)), initial=0) > 1e12:
            continue
        steps.append(described)
        values.append(value)
    out = values[-1]
    return {"seed": seed, "steps": steps, "dtype": str(out.dtype), "shape": list(out.shape), "values": encode(out)}


def main():
    print("[")
    for seed in range(PROGRAMS):
        print(json.dumps(program(seed)) + ("," if seed + 1 < PROGRAMS else ""))
    print("]")


if __name__ == "__main__":
    main()
