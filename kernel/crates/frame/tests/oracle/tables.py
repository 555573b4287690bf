"""Writes CSV files into a folder, in the spellings that pandas knows, and what pandas makes of them as expected.json."""
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

out = Path(sys.argv[1])
rng = np.random.default_rng(20260101)
n = 5000
frame = pd.DataFrame(
    {
        "user": rng.choice(["ann", "bob", "cy", "dörte", 'e "x", y', "NA"], n),
        "size": rng.integers(-(10**12), 10**12, n),
        "load": np.round(rng.normal(0, 1e3, n), 6),
        "tiny": rng.normal(0, 1, n) * 10.0 ** rng.integers(-300, 300, n),
        "ok": rng.random(n) < 0.3,
        "at": pd.Timestamp("1999-12-30") + pd.to_timedelta(rng.integers(0, 10**8, n), unit="s"),
    }
)
frame.loc[rng.random(n) < 0.1, "load"] = np.nan
frame["count"] = pd.array(np.where(rng.random(n) < 0.2, None, rng.integers(1, 9, n)), dtype="Int64")
frame[: n // 2].to_csv(out / "a.csv", index=False, na_rep="NA")
frame[n // 2 :].to_csv(out / "b.csv", index=False, na_rep="NA", quoting=2, lineterminator="\r\n")

teams = pd.DataFrame({"user": ["ann", "cy", "zoe", "cy"], "team": ["x", "y", "z", "w"]})
teams.to_csv(out / "teams.csv", index=False)


def plain(table):
    def cell(value):
        if value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
            return None
        if isinstance(value, (np.generic,)):
            return value.item()
        return value if isinstance(value, (bool, int, float, str)) else str(value)

    return {name: [cell(value) for value in table[name].tolist()] for name in table.columns}


def grouped(keys, source=frame):
    groups = source.groupby(keys, dropna=False)
    table = groups.agg(
        rows=("size", "size"),
        size_sum=("size", "sum"),
        size_mean=("size", "mean"),
        load_count=("load", "count"),
        load_sum=("load", "sum"),
        load_mean=("load", "mean"),
        load_std=("load", "std"),
        load_var=("load", "var"),
        load_min=("load", "min"),
        load_max=("load", "max"),
        at_min=("at", "min"),
        user_max=("user", "max"),
        size_nunique=("size", "nunique"),
        ok_sum=("ok", "sum"),
        count_sum=("count", "sum"),
    )
    return table.reset_index()


some = frame[(frame["load"] > 0) & frame["user"].str.startswith(("a", "d")) | frame["size"].isin([3, 4])]
parts = frame.assign(
    year=frame["at"].dt.year,
    month=frame["at"].dt.month,
    hour=frame["at"].dt.hour,
    day=frame["at"].dt.date.astype(str),
    double=frame["size"] * 2,
    ratio=frame["load"] / frame["count"].astype("float64"),
    rest=frame["size"] % 7,
    letters=frame["user"].str.len(),
    begin=frame["user"].str.slice(1, 3),
)
expected = {
    "all": plain(frame),
    "by_user": plain(grouped(["user"])),
    "by_user_ok": plain(grouped(["user", "ok"])),
    "by_count": plain(grouped(["count"])),
    "some": plain(some),
    "some_by_user": plain(grouped(["user"], some)),
    "parts": plain(parts),
    "top": plain(frame.sort_values(["load", "size"], ascending=False, kind="stable").head(20)),
    "sorted": plain(frame.sort_values(["user", "at"], kind="stable")),
    "join": plain(frame.merge(teams, on="user", how="inner").sort_values(["size", "team"])),
    "left": plain(frame.merge(teams, on="user", how="left").sort_values(["size", "team"])),
}
(out / "expected.json").write_text(json.dumps(expected))
