//! Owns `bench engine`: every workload of the engine by Nuna and by the peers in one run, and a table of both. Quote the
//! ratios: the machine may have other things to do, but it has them for both.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Options, absolute, nuna, peers, program};
use crate::tools::Repository;

/// What is compared in a row.
struct Work {
    title: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Script and arguments.
    peer: (&'static str, &'static [&'static str]),
    per: Per,
    needs: Needs,
}

/// What one unit of work is; peers do fewer units where all would take minutes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Per {
    Task,
    Run,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Nuna is given a folder for what it writes; peers always are.
    Scratch,
    /// The store of time slabs too.
    Store,
}

const WORKS: &[Work] = &[
    Work {
        title: "w1 100,000 tasks, each by itself",
        program: "tasks",
        arguments: &["--n", "100000", "--batch", "1"],
        peer: ("w1_taskfarm.py", &["--engine", "dask", "--n", "10000"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w1 1,000,000 tasks, each by itself",
        program: "tasks",
        arguments: &["--n", "1000000", "--batch", "1"],
        peer: ("w1_taskfarm.py", &["--engine", "dask", "--n", "10000", "--saturation", "inf"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w1 1,000,000 tasks in ranges (dask: bag)",
        program: "tasks",
        arguments: &["--n", "1000000"],
        peer: ("w1_taskfarm.py", &["--engine", "dask-bag", "--n", "1000000"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w1b 500 chains of 100 (dask: of 20)",
        program: "engine",
        arguments: &["graph", "chains", "--n", "50000"],
        peer: ("w1b_graphs.py", &["--shape", "chains", "--n", "10000"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w1b tree over 25,000 (dask: 5,000)",
        program: "engine",
        arguments: &["graph", "tree", "--n", "50000"],
        peer: ("w1b_graphs.py", &["--shape", "tree", "--n", "10000"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w12 submit to result",
        program: "engine",
        arguments: &["latency"],
        peer: ("w12_latency.py", &["--engine", "dask", "--n", "500"]),
        per: Per::Run,
        needs: Needs::Nothing,
    },
    Work {
        title: "w11 10,000 tasks, 8 workers",
        program: "tasks",
        arguments: &["--n", "10000", "--batch", "1", "--procs", "8"],
        peer: ("w11_scaling.py", &["--n", "5000", "--procs", "8"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w11 10,000 tasks, 32 workers",
        program: "tasks",
        arguments: &["--n", "10000", "--batch", "1", "--procs", "32"],
        peer: ("w11_scaling.py", &["--n", "2000", "--procs", "32", "--memory-limit", "500MB"]),
        per: Per::Task,
        needs: Needs::Nothing,
    },
    Work {
        title: "w9 simulation, 1 % fail once",
        program: "engine",
        arguments: &["simulation"],
        peer: ("w9_simulation.py", &["--engine", "dask", "--n", "4000"]),
        per: Per::Task,
        needs: Needs::Scratch,
    },
    Work {
        title: "w9 the same, process pool",
        program: "engine",
        arguments: &["simulation"],
        peer: ("w9_simulation.py", &["--engine", "pool"]),
        per: Per::Task,
        needs: Needs::Scratch,
    },
    Work {
        title: "w10 40 × 100 MB, rechunked, 2 GB",
        program: "engine",
        arguments: &["memory", "--k", "40", "--memory-limit", "2GB"],
        peer: ("w10_memory.py", &["--k", "40"]),
        per: Per::Run,
        needs: Needs::Nothing,
    },
    Work {
        title: "w4 rechunk to disk",
        program: "engine",
        arguments: &["rechunk"],
        peer: ("w4_rechunk.py", &["--engine", "dask-p2p"]),
        per: Per::Run,
        needs: Needs::Store,
    },
    Work {
        title: "w4 with 280 MB per worker (dask: 4 GB, threads)",
        program: "engine",
        arguments: &["rechunk", "--memory-limit", "280MB"],
        peer: ("w4_rechunk.py", &["--engine", "dask-threads"]),
        per: Per::Run,
        needs: Needs::Store,
    },
];

/// Rates of the codec that `w4` needs, on one core, as the peers' `limits.py` measures them.
const CODEC_RATES: &str = r"
import glob, sys, time
from numcodecs import Zstd
import numpy as np, zarr
def best(f):
    t = []
    for _ in range(5):
        s = time.perf_counter(); f(); t.append(time.perf_counter() - s)
    return min(t)
z = Zstd(3)
slabs = [open(f, 'rb').read() for f in sorted(glob.glob(sys.argv[1] + '/d1_v3_slab.zarr/theta/c/*/*/*'))[:24]]
raw = sum(len(memoryview(z.decode(b)).cast('B')) for b in slabs)
tile = np.ascontiguousarray(zarr.open_array(sys.argv[1] + '/d1_v3_box.zarr/theta', mode='r')[:, :36, :36])
print(raw / best(lambda: [z.decode(b) for b in slabs]), tile.nbytes / best(lambda: z.encode(tile)))
";

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let scratch = repository.path("build/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let data = options.data.as_deref().map(absolute).transpose()?;
    let peers = peers(options)?;
    let mut rows = Vec::new();
    for work in WORKS {
        if work.needs == Needs::Store && data.is_none() {
            println!("== {}: needs --data, the folder that the peers' gen_data.py wrote", work.title);
            continue;
        }
        let mut ours = repository.command(program(repository, work.program));
        ours.env("NUNA_BIN", nuna(repository)).args(work.arguments);
        if work.needs != Needs::Nothing {
            ours.arg("--scratch").arg(&scratch);
        }
        if let (Needs::Store, Some(data)) = (work.needs, &data) {
            ours.arg(data.join("d1_v3_slab.zarr"));
        }
        let ours = measure(work.title, &mut ours)?;
        let theirs = match &peers {
            None => None,
            Some((folder, python)) => {
                let (script, arguments) = work.peer;
                let mut command = repository.command(python);
                command.current_dir(&scratch).arg(folder.join(script)).args(arguments);
                command.arg("--scratch").arg(scratch.join("peers"));
                if let Some(data) = &data {
                    command.arg("--data").arg(data);
                }
                Some(measure(&format!("{} {}", script, arguments.join(" ")), &mut command)?)
            }
        };
        rows.push(row(work, &ours, theirs.as_ref()));
        if let (Needs::Store, Some(data), Some((_, python))) = (work.needs, &data, &peers) {
            println!("{}", floor(repository, python, data, &ours)?);
        }
    }
    println!("{}", table(&rows));
    Ok(())
}

/// Runs it and reads the line of JSON that it prints last.
fn measure(title: &str, command: &mut Command) -> Result<Value> {
    println!("== {title}");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{title}: cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{title} failed ({}); to repeat it: {command:?}\n{text}", output.status);
    }
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("{title} printed no line of JSON: {text}"))?;
    println!("{line}");
    serde_json::from_str(line).with_context(|| format!("{title} printed {line}"))
}

fn number(line: &Value, name: &str) -> f64 {
    line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn row(work: &Work, ours: &Value, theirs: Option<&Value>) -> Vec<String> {
    let unit = |line: &Value| match work.per {
        Per::Task => number(line, "seconds") / number(line, "n"),
        Per::Run => number(line, "seconds"),
    };
    let cpu = |line: &Value| match work.per {
        Per::Task => number(line, "cpu_s") / number(line, "n"),
        Per::Run => number(line, "cpu_s"),
    };
    let speed = |line: &Value| match work.per {
        Per::Task => format!("{:.0}/s", 1.0 / unit(line)),
        Per::Run if unit(line) < 0.1 => format!("{:.2} ms", 1e3 * unit(line)),
        Per::Run => format!("{:.1} s", unit(line)),
    };
    let ratio = |what: &dyn Fn(&Value) -> f64| {
        let ratio = theirs.map(|theirs| what(theirs) / what(ours)).filter(|ratio| ratio.is_finite());
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}×"))
    };
    let megabytes = |line: &Value| format!("{:.0} MB", number(line, "peak_rss_mb"));
    vec![
        work.title.to_owned(),
        speed(ours),
        theirs.map_or_else(|| "-".to_owned(), speed),
        ratio(&unit),
        ratio(&cpu),
        megabytes(ours),
        theirs.map_or_else(|| "-".to_owned(), megabytes),
        besides(ours),
    ]
}

/// What the ratios do not say.
fn besides(ours: &Value) -> String {
    if ours.get("first_result_s").is_some() {
        format!("first result after {:.0} ms", 1e3 * number(ours, "first_result_s"))
    } else if ours.get("over_ideal").is_some() {
        format!("{:.2}× of pure compute", number(ours, "over_ideal"))
    } else if ours.get("p95_ms").is_some() {
        let (p95, floor) = (number(ours, "p95_ms"), number(ours, "loopback_round_trip_ms"));
        format!("p95 {p95:.2} ms; loopback {floor:.3} ms")
    } else if ours.get("block_bound_mb").is_some() {
        let (largest, bound) = (number(ours, "peak_process_mb"), number(ours, "block_bound_mb"));
        format!("largest process {largest:.0} MB, bound of a block {bound:.0} MB")
    } else {
        String::new()
    }
}

/// What decoding and encoding alone take on the cores that the workers have.
fn floor(repository: &Repository, python: &Path, data: &Path, ours: &Value) -> Result<String> {
    let output = repository.command(python).arg("-c").arg(CODEC_RATES).arg(data).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rates: Vec<f64> = text.split_whitespace().filter_map(|rate| rate.parse().ok()).collect();
    let [decode, encode] = rates[..] else {
        bail!("cannot measure the codec: {}", String::from_utf8_lossy(&output.stderr));
    };
    let cpu = number(ours, "bytes") * (1.0 / decode + 1.0 / encode);
    let workers = number(ours, "procs") * number(ours, "threads");
    Ok(format!(
        "w4's floor: decoding at {:.0} MB/s and encoding at {:.0} MB/s take {cpu:.1} s of CPU, {:.1} s on {workers} cores; Nuna took {:.1} s of CPU ({:.2}×) and {:.1} s ({:.2}×)",
        decode / 1e6,
        encode / 1e6,
        cpu / workers,
        number(ours, "cpu_s"),
        number(ours, "cpu_s") / cpu,
        number(ours, "seconds"),
        number(ours, "seconds") / (cpu / workers),
    ))
}

fn table(rows: &[Vec<String>]) -> String {
    const HEADS: [&str; 8] =
        ["work", "Nuna", "peer", "faster", "less CPU", "peak, Nuna", "peak, peer", "and"];
    let mut text = String::from("\n");
    let heads: Vec<String> = HEADS.iter().map(|&head| head.to_owned()).collect();
    let rule = vec!["---".to_owned(); HEADS.len()];
    for row in [&heads, &rule].into_iter().chain(rows) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// Folder of the peers' scripts and their Python, if both are given.
pub(super) type Peers = Option<(PathBuf, PathBuf)>;
