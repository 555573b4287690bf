"""Arrays with every codec that zarr-python writes through numcodecs, and their elements as zarr-python reads them.

Run by the Rust tests: make_codecs.py FOLDER. Writes FOLDER/{v2,v3}/NAME, and NAME.bin beside it: elements in C order,
little-endian, float16 as float32. What zarr-python itself cannot write is not there.
"""

import pathlib
import sys
import warnings

import numcodecs as nc
import numpy as np
import zarr
import zarr.codecs.numcodecs as zn

warnings.simplefilter("ignore")
folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(3)
shape, chunks = (7, 10, 12), (3, 5, 12)


def walk(dtype):
    return rng.integers(-3, 4, shape).cumsum().reshape(shape).astype(dtype)


steps = {kind: walk(kind) for kind in ["i1", "<i2", ">i2", "<i4", ">i4", "<i8", "u1", "<u2", "<u8"]}
real = rng.normal(280, 10, shape)
flags = rng.random(shape) < 0.3
big = rng.integers(-(2**62), 2**62, shape)
v2 = {
    "lz4": (real, [], nc.LZ4()),
    "lz4-fast": (steps["<i4"], [], nc.LZ4(acceleration=10)),
    "lz4-noise": (big, [], nc.LZ4()),
    "lz4-big-endian": (steps[">i2"], [], nc.LZ4()),
    "zlib": (real, [], nc.Zlib(3)),
    "gzip": (real, [], nc.GZip(3)),
    "zstd": (real, [], nc.Zstd(3)),
    "bz2": (real, [], nc.BZ2(3)),
    "lzma": (real, [], nc.LZMA()),
    "shuffle": (steps["<i4"], [nc.Shuffle(4)], nc.Zlib(3)),
    "shuffle-lz4": (steps["<i4"], [nc.Shuffle(4)], nc.LZ4()),
    "crc32": (real, [nc.CRC32()], None),
    "crc32-end": (real, [nc.CRC32(location="end")], nc.Zlib()),
    "crc32c": (real, [nc.CRC32C()], None),
    "crc32c-start": (real, [nc.CRC32C(location="start")], None),
    "adler32": (real, [nc.Adler32()], nc.Zlib()),
    "adler32-end": (real, [nc.Adler32(location="end")], None),
    "fletcher32": (real, [nc.Fletcher32()], None),
    "jenkins": (real, [nc.JenkinsLookup3()], None),
    "delta-real": (real, [nc.Delta("<f8")], nc.Zstd()),
    "delta-single": (real.astype("f4"), [nc.Delta("<f4")], nc.Zstd()),
    "delta-half": (np.round(real).astype("f2"), [nc.Delta("<f2")], None),
    "delta-narrow": (steps["<i4"], [nc.Delta("<i4", astype="<i2")], nc.LZ4()),
    "delta-narrow-big": (steps[">i4"], [nc.Delta(">i4", astype=">i2")], nc.Zlib()),
    "delta-wraps": (big, [nc.Delta("<i8")], None),
    "delta-shuffle": (steps["<i4"], [nc.Delta("<i4"), nc.Shuffle(4)], nc.LZ4()),
    "fixed": (real, [nc.FixedScaleOffset(offset=280.1, scale=1000.7, dtype="<f8", astype="<i4")], nc.Zlib()),
    "fixed-single": (real.astype("f4"), [nc.FixedScaleOffset(offset=280.1, scale=10.3, dtype="<f4", astype="<i2")], None),
    "fixed-own": (real.astype("f4"), [nc.FixedScaleOffset(offset=280.1, scale=10.3, dtype="<f4")], nc.LZ4()),
    "fixed-whole": (steps["<i8"] + 2**40, [nc.FixedScaleOffset(offset=2**40, scale=1, dtype="<i8", astype="<i2")], None),
    "fixed-delta": (
        real,
        [nc.FixedScaleOffset(offset=280, scale=10, dtype="<f8", astype="<i4"), nc.Delta("<i4", astype="<i2")],
        nc.Zstd(),
    ),
    "quantize": (real, [nc.Quantize(2, "<f8", astype="<f4")], nc.Zstd()),
    "quantize-half": (real.astype("f4"), [nc.Quantize(1, "<f4", astype="<f2")], None),
    "bitround": (real, [nc.BitRound(10)], nc.Zlib()),
    "bitround-lz4": (real, [nc.BitRound(10)], nc.LZ4()),
    "astype": (steps["<i8"], [nc.AsType("<i2", "<i8")], nc.LZ4()),
    "astype-float": (np.round(real), [nc.AsType("<i4", "<f8")], None),
    "astype-single": (real, [nc.AsType("<f4", "<f8")], None),
    "packbits": (flags, [nc.PackBits()], nc.Zlib()),
    "packbits-plain": (flags, [nc.PackBits()], None),
    "categorize": (np.where(flags, "a", "b").astype("U1"), [nc.Categorize(["a", "b"], "U1")], None),
    **{f"delta-{kind.strip('<>')}{'-big' * (kind[0] == '>')}": (value, [nc.Delta(kind)], nc.Zlib()) for kind, value in steps.items()},
    **{
        f"blosc-{name}-{shuffle}": (steps["<i4"], [], nc.Blosc(cname=name, clevel=4, shuffle=shuffle))
        for name in ["lz4", "lz4hc", "zstd", "zlib", "blosclz"]
        for shuffle in [0, 1, 2]
    },
}
v3 = {
    "lz4": (real, [], [zn.LZ4()]),
    "zlib": (real, [], [zn.Zlib(level=3)]),
    "gzip": (real, [], [zn.GZip(level=3)]),
    "zstd": (real, [], [zn.Zstd(level=3)]),
    "blosc": (steps["<i4"], [], [zn.Blosc(cname="lz4", clevel=4)]),
    "zlib-default": (real, [], [zn.Zlib()]),
    "gzip-default": (real, [], [zn.GZip()]),
    "zstd-default": (real, [], [zn.Zstd()]),
    "blosc-default": (real, [], [zn.Blosc()]),
    "bz2": (real, [], [zn.BZ2(level=3)]),
    "lzma": (real, [], [zn.LZMA()]),
    "shuffle": (steps["<i4"], [], [zn.Shuffle(elementsize=4), zn.LZ4()]),
    "crc32": (real, [], [zn.CRC32()]),
    "crc32c": (real, [], [zn.CRC32C()]),
    "adler32": (real, [], [zn.Zlib(level=1), zn.Adler32()]),
    "fletcher32": (real, [], [zn.Fletcher32()]),
    "jenkins": (real, [], [zn.JenkinsLookup3()]),
    "delta": (steps["<i4"], [zn.Delta(dtype="<i4")], [zn.LZ4()]),
    "delta-narrow": (steps["<i4"], [zn.Delta(dtype="<i4", astype="<i2")], []),
    "fixed": (real, [zn.FixedScaleOffset(offset=280.1, scale=1000.7, dtype="<f8", astype="<i4")], [zn.Zstd(level=1)]),
    "fixed-byte": (real, [zn.FixedScaleOffset(offset=280, scale=2, dtype="<f8", astype="|u1")], []),
    "quantize": (real, [zn.Quantize(digits=2, dtype="<f8")], [zn.Zlib(level=1)]),
    "bitround": (real, [zn.BitRound(keepbits=10)], [zn.LZ4()]),
    "astype": (steps["<i8"], [zn.AsType(encode_dtype="<i2", decode_dtype="<i8")], [zn.LZ4()]),
    "packbits": (flags, [zn.PackBits()], []),
    "two": (real, [zn.FixedScaleOffset(offset=280, scale=10, dtype="<f8", astype="<i4"), zn.Delta(dtype="<i4")], [zn.LZ4()]),
}
for name, (value, filters, compressor) in v2.items():
    for order in ["C", "F"]:
        label = name if order == "C" else f"{name}-order-F"
        if order == "F" and not name.startswith(("lz4", "delta-i4", "packbits", "zlib")):
            continue
        try:
            array = zarr.create_array(
                folder / "v2" / label, shape=shape, dtype=value.dtype, chunks=chunks, filters=filters or None,
                compressors=[compressor] if compressor else None, fill_value=None, order=order, zarr_format=2,
            )
            array[...] = value
        except Exception as error:  # noqa: BLE001
            print("not written by zarr-python:", "v2", label, repr(error)[:200])
            (folder / "v2" / label / ".zarray").unlink(missing_ok=True)
            continue
        back = array[...]
        back = back.astype("f4") if back.dtype == "f2" else back
        (folder / "v2" / f"{label}.bin").write_bytes(np.ascontiguousarray(back).astype(back.dtype.newbyteorder("<")).tobytes())
for name, (value, filters, compressors) in v3.items():
    for sharded in [False, True]:
        label = f"{name}-sharded" if sharded else name
        try:
            array = zarr.create_array(
                folder / "v3" / label, shape=shape, dtype=value.dtype, chunks=chunks, filters=filters or None,
                compressors=compressors or None, shards=(6, 10, 12) if sharded else None, zarr_format=3,
            )
            array[...] = value
        except Exception as error:  # noqa: BLE001
            print("not written by zarr-python:", "v3", label, repr(error)[:200])
            (folder / "v3" / label / "zarr.json").unlink(missing_ok=True)
            continue
        (folder / "v3" / f"{label}.bin").write_bytes(np.ascontiguousarray(array[...]).tobytes())
