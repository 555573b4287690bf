"""How long a person waits, in this kernel and its peers: a table for people, then one line of JSON.

Every cell that is timed is one that the kernel has not seen, with a cache that begins empty; the same cell a second time
is a line of its own. A step that does not come to its end within its limit is "not delivered", and the next goes on with
a new kernel. Run by `cargo xtask bench kernel`.
"""

import argparse
import json
import os
import pathlib
import platform
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

ROUNDS = 20
LINES = 20_000
LONG_LINE = 50_000_000

CLOSURES = """let options = nuna::MapBlocks {{ name: "both".into(), dtype: nuna::DType::F64, chunks: None }};
let c{i} = a.map_blocks(options.clone(), |block| {{
    let input = block.inputs.first().ok_or("no input")?;
    Ok(nuna::Chunk::from_slice(input.shape(), &input.to_vec::<f64>().iter().map(|v| v + {i}.0).collect::<Vec<_>>()))
}})?;
let d{i} = c{i}.map_blocks(options, |block| {{
    let input = block.inputs.first().ok_or("no input")?;
    Ok(nuna::Chunk::from_slice(input.shape(), &input.to_vec::<f64>().iter().map(|v| v * {i}.5).collect::<Vec<_>>()))
}})?;"""

# The same thirty cells for both Rust kernels: nothing but the standard library.
RUST_NOTEBOOK = [
    "use std::collections::{BTreeMap, HashMap};",
    "#[derive(Clone, Debug)]\npub struct Station { name: String, lat: f64, values: Vec<f64> }",
    "impl Station {\n    pub fn mean(&self) -> f64 { self.values.iter().sum::<f64>() / self.values.len() as f64 }\n}",
    "pub fn series(seed: u64, n: usize) -> Vec<f64> {\n    let mut state = seed;\n    (0..n).map(|_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1); (state >> 40) as f64 / 1e6 }).collect()\n}",
    "let names = vec![\"Sylt\".to_string(), \"Cuxhaven\".to_string(), \"Kiel\".to_string()];",
    "let stations: Vec<Station> = names.iter().enumerate().map(|(i, n)| Station { name: n.clone(), lat: 54.0 + i as f64, values: series(i as u64, 1000) }).collect();",
    "stations.len()",
    "for s in &stations { println!(\"{}: {:.3}\", s.name, s.mean()); }",
    "let means: Vec<f64> = stations.iter().map(|s| s.mean()).collect();",
    "means.iter().cloned().fold(f64::MIN, f64::max)",
    "let mut by_name: BTreeMap<String, f64> = BTreeMap::new();",
    "for s in &stations { by_name.insert(s.name.clone(), s.mean()); }",
    "by_name.keys().cloned().collect::<Vec<_>>()",
    "pub trait Scale { fn scaled(&self, factor: f64) -> Vec<f64>; }",
    "impl Scale for Station { fn scaled(&self, factor: f64) -> Vec<f64> { self.values.iter().map(|v| v * factor).collect() } }",
    "let scaled = stations[0].scaled(2.0);",
    "scaled[..3].to_vec()",
    "let total: f64 = scaled.iter().sum();",
    "total > 0.0",
    "pub fn histogram(values: &[f64], bins: usize) -> Vec<usize> {\n    let top = values.iter().cloned().fold(f64::MIN, f64::max);\n    let mut out = vec![0; bins];\n    for v in values { out[((v / top) * (bins - 1) as f64) as usize] += 1; }\n    out\n}",
    "let counts = histogram(&scaled, 10);",
    "counts.iter().sum::<usize>()",
    "let mut words: HashMap<&'static str, usize> = HashMap::new();",
    "for w in \"the sea the wind the rain\".split(' ') { *words.entry(w).or_insert(0) += 1; }",
    "words[\"the\"]",
    "let matrix: Vec<Vec<f64>> = (0..20).map(|i| (0..20).map(|j| (i * j) as f64).collect()).collect();",
    "let trace: f64 = (0..20).map(|i| matrix[i][i]).sum();",
    "format!(\"{trace:.1}\")",
    "let label = match trace as i64 { 0 => \"none\".to_string(), n if n > 1000 => format!(\"{n} is much\"), n => n.to_string() };",
    "println!(\"{label}\");",
]
PYTHON_NOTEBOOK = [
    "import collections, math",
    "class Station:\n    def __init__(self, name, lat, values):\n        self.name, self.lat, self.values = name, lat, values",
    "Station.mean = lambda self: sum(self.values) / len(self.values)",
    "def series(seed, n):\n    state, out = seed, []\n    for _ in range(n):\n        state = (state * 6364136223846793005 + 1) % 2**64\n        out.append((state >> 40) / 1e6)\n    return out",
    "names = ['Sylt', 'Cuxhaven', 'Kiel']",
    "stations = [Station(n, 54.0 + i, series(i, 1000)) for i, n in enumerate(names)]",
    "len(stations)",
    "for s in stations: print(f'{s.name}: {s.mean():.3f}')",
    "means = [s.mean() for s in stations]",
    "max(means)",
    "by_name = {}",
    "for s in stations: by_name[s.name] = s.mean()",
    "sorted(by_name)",
    "class Scale: pass",
    "Station.scaled = lambda self, factor: [v * factor for v in self.values]",
    "scaled = stations[0].scaled(2.0)",
    "scaled[:3]",
    "total = sum(scaled)",
    "total > 0",
    "def histogram(values, bins):\n    top, out = max(values), [0] * bins\n    for v in values: out[int(v / top * (bins - 1))] += 1\n    return out",
    "counts = histogram(scaled, 10)",
    "sum(counts)",
    "words = collections.Counter()",
    "for w in 'the sea the wind the rain'.split(): words[w] += 1",
    "words['the']",
    "matrix = [[float(i * j) for j in range(20)] for i in range(20)]",
    "trace = sum(matrix[i][i] for i in range(20))",
    "f'{trace:.1f}'",
    "label = 'none' if not trace else str(trace)",
    "print(label)",
]
assert len(RUST_NOTEBOOK) == len(PYTHON_NOTEBOOK) == 30

RUST = {
    "trivial": "{i} + 1",
    "let": "let n{i} = {i} + 1;",
    "lines": 'for i in 0..%d {{ println!("line {{i}}"); }}' % LINES,
    "long": 'println!("{{}}", "x".repeat(%d));' % LONG_LINE,
    "notebook": RUST_NOTEBOOK,
}
NUNA = {
    **RUST,
    "begin": "let a = nuna::Array::from_slice(&[4], &[1.0, 2.0, 3.0, 4.0])?;",
    "array": "let b{i} = (&a - 2.0) * {i}.5 + &a / 4.0;\nb{i}.shape().to_vec()",
    "closures": CLOSURES,
}
PYTHON = {
    "trivial": "{i} + 1",
    "let": "n{i} = {i} + 1",
    "begin": "import numpy; a = numpy.array([1.0, 2.0, 3.0, 4.0])",
    "array": "b{i} = (a - 2.0) * {i}.5 + a / 4.0\nb{i}.shape",
    "lines": "for i in range(%d): print('line', i)" % LINES,
    "long": "print('x' * %d)" % LONG_LINE,
    "notebook": PYTHON_NOTEBOOK,
}


class NotDelivered(Exception):
    """A kernel did not do, within the limit, what it was asked for."""


class Kernel:
    """One running kernel."""

    def __init__(self, argv, env, limit, is_ours):
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import KernelManager

        self.limit = limit
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name="bench", language="any", interrupt_mode="message")
        begun = time.perf_counter()
        # What the peers say there (that they use TCP, for one) is not for this table.
        self.manager.start_kernel(env={**os.environ, **env}, stderr=None if is_ours else subprocess.DEVNULL)
        self.client = self.manager.client()
        self.client.start_channels()
        try:
            # `wait_for_ready` would add a fifth of a second of its own.
            self.client.kernel_info(reply=True, timeout=limit)
            self.ready = time.perf_counter() - begun
            # Until the subscription is known at the other end, what is published goes nowhere.
            self.client.wait_for_ready(timeout=limit)
        except (queue.Empty, TimeoutError, RuntimeError) as error:
            self.stop()
            raise NotDelivered(f"no kernel_info_reply within {limit} s") from error

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def cell(self, code, expected_bytes=None, limit=None):
        """Seconds until reply and idle have come, and with them all that was printed."""
        printed = 0

        def hear(message):
            nonlocal printed
            if message["msg_type"] == "stream":
                printed += len(message["content"]["text"])

        begun = time.perf_counter()
        limit = limit or self.limit
        try:
            reply = self.client.execute_interactive(code, timeout=limit, output_hook=hear, allow_stdin=False)
        except (queue.Empty, TimeoutError) as error:
            raise NotDelivered(f"no end within {limit} s, {printed:,} characters came") from error
        taken = time.perf_counter() - begun
        if reply["content"]["status"] != "ok":
            raise NotDelivered(f"{reply['content'].get('ename')}: {reply['content'].get('evalue')}"[:200])
        if expected_bytes is not None and printed < expected_bytes:
            raise NotDelivered(f"{printed:,} of {expected_bytes:,} characters came")
        return taken

    def memory_mb(self) -> float:
        """Resident memory of the kernel and all that it started."""
        parents, sizes = {}, {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                sizes[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
                parents[int(folder.name)] = int(fields[1])
            except (OSError, IndexError):
                continue
        own, more = set(), {self.manager.provisioner.process.pid}
        while more:
            own |= more
            more = {pid for pid, parent in parents.items() if parent in own} - own
        return round(sum(sizes.get(pid, 0) for pid in own) / 1e6, 1)


class Bench:
    """All steps for one kernel; each result is a number, or text that says why there is none."""

    def __init__(self, name, argv, cells, rounds, limit):
        self.name, self.argv, self.cells, self.rounds, self.limit = name, argv, cells, rounds, limit
        self.results = {}
        self.kernel = None
        # Kept over the kernels of this run, so that the second run of the notebook is one after a restart.
        self.cache = tempfile.mkdtemp(prefix="nuna-bench-")

    def start(self) -> Kernel:
        return Kernel(self.argv, {"NUNA_CELL_CACHE": os.path.join(self.cache, "cells")}, self.limit, self.name == "nuna")

    def step(self, key, do):
        try:
            self.kernel = self.kernel or self.start()
            self.results[key] = do()
        except NotDelivered as why:
            self.results[key] = f"not delivered: {why}"
            if self.kernel is not None:
                self.kernel.stop()
            self.kernel = None
        print(f"   {self.name}: {key} = {self.results[key]}", file=sys.stderr, flush=True)

    def distinct(self, kind, first=100):
        """Median and 95th percentile over cells that are all different."""
        def do():
            if "begin" in self.cells and kind not in ("trivial", "let"):
                self.kernel.cell(self.cells["begin"])
            times = sorted(self.kernel.cell(self.cells[kind].format(i=first + i)) for i in range(self.rounds))
            return {"median_s": round(statistics.median(times), 4), "p95_s": round(times[min(len(times) - 1, round(0.95 * len(times)) - 1)], 4)}
        if kind in self.cells:
            self.step(f"{kind}_distinct", do)
        else:
            self.results[f"{kind}_distinct"] = "—"

    def repeated(self, kind):
        def do():
            code = self.cells[kind].format(i=7)
            self.kernel.cell(code)
            return round(statistics.median(self.kernel.cell(code) for _ in range(self.rounds)), 4)
        self.step(f"{kind}_again_median_s", do)

    def notebook(self):
        return round(sum(self.kernel.cell(code) for code in self.cells["notebook"]), 3)

    def restart(self):
        if self.kernel is not None:
            self.kernel.stop()
            self.kernel = None

    def run(self):
        ready, first = [], []
        for i in range(3):
            def do(i=i):
                ready.append(self.kernel.ready)
                first.append(self.kernel.cell(self.cells["trivial"].format(i=i)))
                return round(ready[-1], 3)
            self.restart()
            self.step("start_s", do)
        if ready:
            self.results["start_s"] = round(statistics.median(ready), 3)
        if first:
            self.results["first_cell_s"] = round(statistics.median(first), 3)
        for kind in ["trivial", "let", "array", "closures"]:
            self.distinct(kind)
        self.step("memory_mb", lambda: self.kernel.memory_mb())
        self.repeated("trivial")
        lines = sum(len(f"line {i}\n") for i in range(LINES))
        self.step("lines_20000_s", lambda: round(self.kernel.cell(self.cells["lines"].format(), lines), 3))
        self.step("line_50_mb_s", lambda: round(self.kernel.cell(self.cells["long"].format(), LONG_LINE + 1, 60), 3))
        self.restart()
        self.step("notebook_30_first_s", self.notebook)
        self.restart()
        self.step("notebook_30_after_restart_s", self.notebook)
        self.restart()
        shutil.rmtree(self.cache, ignore_errors=True)
        return self.results


ROWS = [
    ("start_s", "start to kernel_info_reply", "s"),
    ("first_cell_s", "first cell", "s"),
    ("trivial_distinct", "i + 1, all different", "s"),
    ("let_distinct", "let of a number, all different", "s"),
    ("array_distinct", "array expression, all different", "s"),
    ("closures_distinct", "two shipped closures, all different", "s"),
    ("trivial_again_median_s", "the same cell again", "s"),
    ("memory_mb", "memory of all its processes", "MB"),
    ("lines_20000_s", "20,000 printed lines", "s"),
    ("line_50_mb_s", "one line of 50 MB", "s"),
    ("notebook_30_first_s", "30-cell notebook, first run", "s"),
    ("notebook_30_after_restart_s", "30-cell notebook, after a restart", "s"),
]


def table(results: dict) -> str:
    def shown(value, unit):
        if isinstance(value, dict):
            return f"{value['median_s']:.3f} / {value['p95_s']:.3f} {unit}"
        if isinstance(value, (int, float)):
            return f"{value:.3f} {unit}" if unit == "s" else f"{value:.0f} {unit}"
        return "not delivered" if str(value).startswith("not delivered") else str(value)

    head = ["(median / 95th percentile of several)", *results]
    rows = [[title, *(shown(of.get(key, "—"), unit) for of in results.values())] for key, title, unit in ROWS]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head, *rows]]
    whys = [f"{name}, {key}: {value}" for name, of in results.items() for key, value in of.items() if isinstance(value, str) and value != "—"]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *whys])


def find_evcxr(given):
    for path in [given, shutil.which("evcxr_jupyter")]:
        if path and os.access(path, os.X_OK):
            return str(path)
    return None


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kernels", default="nuna,ipykernel,evcxr", help="which, in this order")
    arguments.add_argument("--evcxr", default=os.environ.get("NUNA_BENCH_EVCXR"), help="evcxr_jupyter; else it is looked for on PATH")
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--limit", type=float, default=180, help="seconds that a step may take")
    given = arguments.parse_args()
    from conftest import programs
    os.environ["NUNA_RUNTIME_DIR"] = str(programs())
    os.environ["NUNA_BIN"] = str(programs() / "nuna")
    results = {}
    for name in given.kernels.split(","):
        if name == "nuna":
            argv, cells = [str(programs() / "nuna-kernel"), "{connection_file}"], NUNA
        elif name == "ipykernel":
            try:
                import ipykernel  # noqa: F401
            except ImportError:
                print(f"== ipykernel is missing in {sys.executable}: `pip install ipykernel`", file=sys.stderr)
                continue
            argv, cells = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], PYTHON
        elif name == "evcxr":
            program = find_evcxr(given.evcxr)
            if program is None:
                print("== evcxr_jupyter is missing: `cargo xtask bench kernel --peers` builds it, or name it with --evcxr", file=sys.stderr)
                continue
            argv, cells = [program, "--control_file", "{connection_file}"], RUST
        else:
            arguments.error(f"no kernel is called {name}; there are nuna, ipykernel and evcxr")
        results[name] = Bench(name, argv, cells, given.rounds, given.limit).run()
    print(table(results))
    print(json.dumps({"machine": platform.processor() or platform.machine(), "cpus": len(os.sched_getaffinity(0)), "load_1_min": os.getloadavg()[0], "rounds": given.rounds, "kernels": results}))


if __name__ == "__main__":
    main()
