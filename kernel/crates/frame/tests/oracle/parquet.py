"""Writes Parquet files in many ways, and what is in them as expected.json; or checks files that were written elsewhere."""
import decimal
import json
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

out = Path(sys.argv[1])
N = 3000


def shown(value):
    """As a table shows it; what is missing is null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else {"nan": "NaN", "inf": "inf", "-inf": "-inf"}[str(value)]
    if isinstance(value, decimal.Decimal):
        return int(value) if value.as_tuple().exponent == 0 and abs(value) < 10**18 else float(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime):
        value = value.astimezone(timezone.utc) if value.tzinfo else value
        text = value.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        return text.removesuffix(".000000")
    return str(value)


def column(array):
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        # Python has no nanoseconds: what is finer than a microsecond is cut off.
        array = pa.array([None if v is None else v // 1000 for v in array.cast(pa.int64()).to_pylist()], pa.timestamp("us"))
    return [shown(value) for value in array.to_pylist()]


def check():
    """Files that were written by the program, compared with the same table made here."""
    table = pq.ParquetDataset(out / "written").read()
    expected = json.loads((out / "source.json").read_text())
    assert table.num_rows == len(next(iter(expected.values()))), table.num_rows
    kinds = {"i": pa.int64(), "f": pa.float64(), "b": pa.bool_(), "t": pa.string(), "d": pa.date32(),
             "w": pa.timestamp("us", tz="UTC")}
    for name, values in expected.items():
        assert table.schema.field(name).type == kinds[name[0]], table.schema
        found = ["" if v is None else v for v in column(table[name].combine_chunks())]
        found = [str(v).lower() if isinstance(v, bool) else v for v in found]
        for row, (a, b) in enumerate(zip(found, values, strict=True)):
            same = float(a) == float(b) if isinstance(a, float) else str(a) == b
            assert same, (name, row, a, b)
    for path in sorted((out / "written").iterdir()):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            for index, name in enumerate(rows.column_names):
                about = file.metadata.row_group(group).column(index).statistics
                values = [v for v in rows[name].to_pylist() if v is not None and v == v]
                assert about.null_count == rows[name].null_count, name
                if about.has_min_max:
                    assert (about.min, about.max) == (min(values), max(values)), (name, about)


if sys.argv[2:] == ["check"]:
    check()
    sys.exit()

rng = np.random.default_rng(20260201)
missing = rng.random(N) < 0.15
missing[700:1500] = True
base = datetime(1999, 12, 31, 23, 59, 58)


def some(values, kind):
    return pa.array([None if gone else value for value, gone in zip(values, missing)], kind)


ints = rng.integers(-(2**62), 2**62, N).tolist()
small = rng.integers(-100, 100, N).tolist()
floats = (rng.normal(0, 1, N) * 10.0 ** rng.integers(-300, 300, N)).tolist()
floats[3], floats[4], floats[5] = float("nan"), float("inf"), float("-inf")
words = rng.choice(["", "a", "ünï", "x" * 300, "word"], N).tolist()
unique = [f"https://example.org/{'p' * (i % 50)}/{i}" for i in range(N)]
times = [base + timedelta(microseconds=int(us)) for us in rng.integers(-(10**15), 10**15, N)]
columns = {
    "int8": some(small, pa.int8()),
    "int16": some(small, pa.int16()),
    "int32": some([v * 10**7 for v in small], pa.int32()),
    "int64": some(ints, pa.int64()),
    "uint8": some([abs(v) for v in small], pa.uint8()),
    "uint32": some([2**32 - 1 - abs(v) for v in small], pa.uint32()),
    "uint64": some([abs(v) for v in ints], pa.uint64()),
    "sorted": pa.array(range(N), pa.int64()),
    "float16": pa.array(np.where(missing, np.nan, rng.normal(0, 1, N)).astype("f2")),
    "float32": some(np.array(floats[:5] + rng.normal(0, 1, N - 5).tolist(), "f4").tolist(), pa.float32()),
    "float64": some(floats, pa.float64()),
    "bool": some([v > 0 for v in small], pa.bool_()),
    "words": some(words, pa.string()),
    "unique": some(unique, pa.large_string()),
    "bytes": some([text.encode() for text in unique], pa.binary()),
    "category": some(words, pa.string()).dictionary_encode(),
    "date": some([(base + timedelta(days=v * 300)).date() for v in small], pa.date32()),
    "ms": some([t.replace(microsecond=t.microsecond // 1000 * 1000) for t in times], pa.timestamp("ms")),
    "us": some(times, pa.timestamp("us")),
    "zone": some([t.replace(tzinfo=timezone.utc) for t in times], pa.timestamp("us", tz="Europe/Berlin")),
    "ns": some([int(v) for v in rng.integers(-(10**18), 10**18, N)], pa.int64()).cast(pa.timestamp("ns")),
    "dec9": some([decimal.Decimal(v).scaleb(-2) for v in small], pa.decimal128(9, 2)),
    "dec18": some([decimal.Decimal(v % 10**18) for v in ints], pa.decimal128(18, 0)),
    "dec38": some([decimal.Decimal(v) * 10**12 + decimal.Decimal(v % 1000).scaleb(-3) for v in ints], pa.decimal128(38, 3)),
    "null": pa.nulls(N),
}
table = pa.table(columns)
required = pa.schema([pa.field(f.name, f.type, nullable=f.name not in ("sorted", "float16")) for f in table.schema])
table = table.cast(required)
expected = {name: column(table[name].combine_chunks()) for name in table.column_names}
(out / "expected.json").write_text(json.dumps(expected))
plain = {"use_dictionary": False, "data_page_size": 3000, "row_group_size": 1100}
delta = {
    **{name: "DELTA_BINARY_PACKED" for name in ("int8", "int32", "int64", "uint64", "sorted", "us", "date")},
    "words": "DELTA_LENGTH_BYTE_ARRAY",
    "unique": "DELTA_BYTE_ARRAY",
    "bytes": "DELTA_BYTE_ARRAY",
    "dec38": "DELTA_BYTE_ARRAY",
    "bool": "RLE",
}
split = {name: "BYTE_STREAM_SPLIT" for name in ("float16", "float32", "float64", "int32", "int64", "dec38")}
ways = {
    "default": {},
    "plain": {**plain, "compression": "none"},
    "plain2": {**plain, "data_page_version": "2.0", "compression": "snappy"},
    "dictionary2": {"data_page_version": "2.0", "compression": "zstd", "data_page_size": 1000, "row_group_size": 999},
    "gzip": {"compression": "gzip", "dictionary_pagesize_limit": 5000, "data_page_size": 2000},
    "lz4": {"compression": "lz4", "write_page_checksum": True},
    "delta": {**plain, "column_encoding": delta, "compression": "snappy"},
    "delta2": {**plain, "column_encoding": delta, "data_page_version": "2.0", "write_page_checksum": True},
    "split": {**plain, "column_encoding": split, "compression": "zstd"},
    "int96": {"use_deprecated_int96_timestamps": True},
    "old": {"version": "1.0", "compression": "gzip", "store_decimal_as_integer": True},
}
for name, options in ways.items():
    if name == "old":
        # Its files know no nanoseconds.
        table = table.set_column(table.schema.get_field_index("ns"), "ns", pa.array([None if v is None else v // 1000 for v in table["ns"].cast("int64").to_pylist()], pa.timestamp("us")))
    pq.write_table(table, out / f"{name}.parquet", **options)
# Files of one folder, and what is refused.
folder = out / "parts"
folder.mkdir()
order = ["key", "value", "day"]
for part in range(4):
    day = pa.array([date(2024, 1, part + 1)] * 1000, pa.date32())
    value = pa.array([float(v) if v % 10 else None for v in range(part * 1000, part * 1000 + 1000)])
    rows = pa.table({"key": [f"k{v % 7}" for v in range(1000)], "value": value, "day": day})
    pq.write_table(rows.select(order), folder / f"{part}.parquet", row_group_size=100)
    order = order[1:] + order[:1]
nested = pa.table({"plain": [1], "list": [[1, 2]], "struct": [{"a": 1, "b": [2]}], "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
                   "time": pa.array([1], pa.time64("us")), "last": [2.5]})
pq.write_table(nested, out / "nested.parquet")
pq.write_table(pa.table({"key": ["a"], "value": [1], "day": ["x"]}), out / "other.parquet")
pq.write_table(pa.table({"big": pa.array([2**64 - 1], pa.uint64())}), out / "big.parquet")
pq.write_table(pa.table({"raw": pa.array([b"\xff\xfe"])}), out / "raw.parquet")
pq.write_table(pa.table({"a": [1]}), out / "brotli.parquet", compression="brotli")
