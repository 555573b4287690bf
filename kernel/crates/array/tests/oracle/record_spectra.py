"""Records what NumPy and SciPy make of lines of numbers and of complex numbers, for ../spectra.rs.

    python record_spectra.py > spectra.json

Inputs are not recorded: element i of an input is ((i * 7919 + seed * 31) % 1009) / 500 - 1, a complex number takes two.
"""
import json

import numpy as np
import scipy.signal

CASES = []


def numbers(shape, dtype, seed):
    count = int(np.prod(shape))
    complex_ = np.dtype(dtype).kind == "c"
    i = np.arange(count * (2 if complex_ else 1))
    values = ((i * 7919 + seed * 31) % 1009) / 500 - 1
    if complex_:
        return (values[0::2] + 1j * values[1::2]).astype(dtype).reshape(shape)
    return (values * (50 if np.dtype(dtype).kind == "i" else 1)).astype(dtype).reshape(shape)


def encode(value):
    """The bits of float32 or float64, two numbers for a complex one."""
    value = np.ascontiguousarray(value)
    single = value.dtype in (np.float32, np.complex64)
    if value.dtype.kind == "c":
        value = value.view("f4" if single else "f8")
    bits = value.astype("f4").view("u4") if single else value.astype("f8").view("u8")
    return [f"{b:x}" for b in bits.ravel().tolist()]


def case(op, result, shape=(), dtype="float64", **more):
    result = np.asarray(result)
    CASES.append({"op": op, "shape": list(shape), "dtype": str(np.dtype(dtype)), "seed": len(CASES), **more,
                  "result": {"shape": list(result.shape), "dtype": str(result.dtype), "values": encode(result)}})


def x(shape, dtype):
    return numbers(shape, dtype, len(CASES))


for shape, axis in [((1,), 0), ((2,), 0), ((17,), 0), ((30,), 0), ((4, 15), 1), ((6, 5), 0), ((3, 8, 4), 1)]:
    for norm, n in [("backward", None), ("ortho", shape[axis] + 3), ("forward", max(1, shape[axis] - 1))]:
        at = {"shape": shape, "axis": axis, "n": n, "norm": norm}
        for dtype in ["float32", "complex128"]:
            case("fft", np.fft.fft(x(shape, dtype), n, axis, norm), dtype=dtype, **at)
        for dtype in ["float64", "complex64"]:
            case("ifft", np.fft.ifft(x(shape, dtype), n, axis, norm), dtype=dtype, **at)
        case("rfft", np.fft.rfft(x(shape, "float64"), n, axis, norm), dtype="float64", **at)
        if n is not None:
            case("irfft", np.fft.irfft(x(shape, "complex128"), n, axis, norm), dtype="complex128", **at)
case("irfft", np.fft.irfft(x((3, 6), "complex64")), shape=(3, 6), dtype="complex64", axis=1, n=None, norm="backward")
for dtype in ["int16", "bool"]:
    case("rfft", np.fft.rfft(x((9,), dtype).astype("f8")), shape=(9,), dtype=dtype, axis=0, n=None, norm="backward")

shape = (4, 5, 6)
for axes in [[0, 1], [2], [2, 0], [0, 1, 2]]:
    for dtype in ["float32", "float64"]:
        case("fftn", np.fft.fftn(x(shape, dtype), axes=axes), shape=shape, dtype=dtype, axes=axes)
        case("rfftn", np.fft.rfftn(x(shape, dtype), axes=axes), shape=shape, dtype=dtype, axes=axes)
    case("ifftn", np.fft.ifftn(x(shape, "complex128"), axes=axes), shape=shape, dtype="complex128", axes=axes)
    case("irfftn", np.fft.irfftn(x(shape, "complex128"), axes=axes), shape=shape, dtype="complex128", axes=axes)
    case("fftshift", np.fft.fftshift(x(shape, "float64"), axes=axes), shape=shape, axes=axes)
    case("ifftshift", np.fft.ifftshift(x(shape, "float64"), axes=axes), shape=shape, axes=axes)
case("fft2", np.fft.fft2(x(shape, "complex64")), shape=shape, dtype="complex64")
for n in [1, 2, 7, 8]:
    case("fftfreq", np.fft.fftfreq(n, 0.1), n=n, spacing=0.1)
    case("rfftfreq", np.fft.rfftfreq(n, 3.0), n=n, spacing=3.0)

for name, parameter in [("boxcar", None), ("hann", None), ("hamming", None), ("blackman", None), ("bartlett", None),
                        ("kaiser", 8.6), ("kaiser", 0.0), ("kaiser", 200.0), ("tukey", 0.0), ("tukey", 0.3), ("tukey", 1.0)]:
    for n in [1, 2, 9, 10]:
        for periodic in [False, True]:
            given = name if parameter is None else (name, parameter)
            case("window", scipy.signal.get_window(given, n, fftbins=periodic), window=name, parameter=parameter, n=n,
                 periodic=periodic)

for shape, axis in [((11,), 0), ((4, 9), 1), ((6, 5, 3), 0)]:
    for dtype in ["float32", "float64"]:
        for trend in ["constant", "linear"]:
            case("detrend", scipy.signal.detrend(x(shape, dtype), axis, trend), shape=shape, dtype=dtype, axis=axis, trend=trend)

for shape, axis in [((64,), 0), ((3, 50), 1), ((75, 2), 0)]:
    for dtype in ["float32", "float64"]:
        for segment, overlap in [(None, 0), (16, 8), (15, 4)]:
            for trend in ["constant", "linear", None]:
                n = segment or shape[axis]
                result = scipy.signal.welch(x(shape, dtype), 4.0, "hann", n, overlap, axis=axis, detrend=trend or False)[1]
                case("psd", result, shape=shape, dtype=dtype, axis=axis, segment=segment, overlap=overlap, trend=trend,
                     spacing=0.25)

shape = (5, 4)
for dtype in ["complex64", "complex128"]:
    for name in ["negative", "abs", "square", "sqrt", "exp", "conj", "real", "imag", "angle"]:
        case("unary", getattr(np, name)(x(shape, dtype)), shape=shape, dtype=dtype, name=name)
    case("unary", np.abs(x(shape, dtype)) ** 2, shape=shape, dtype=dtype, name="abs2")
    for other in ["complex64", "complex128", "float32", "float64", "int16", "int64", "bool"]:
        for name in ["add", "subtract", "multiply", "divide", "equal", "not_equal"]:
            if name == "divide":
                a, b = numbers(shape, other, len(CASES) + 1), x(shape, dtype)
            else:
                a, b = x(shape, dtype), numbers(shape, other, len(CASES) + 1)
            case("binary", getattr(np, name)(a, b), shape=shape, dtype=dtype, name=name, other=other)
    for name in ["sum", "prod", "mean", "any", "all"]:
        for axes in [[0], [1], [0, 1]]:
            case("reduce", getattr(np, name)(x(shape, dtype), tuple(axes)), shape=shape, dtype=dtype, name=name, axes=axes)

print(json.dumps(CASES, separators=(",", ":")).replace('},{"op"', '},\n{"op"'))
