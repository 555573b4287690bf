//! Owns `bench engine`: every workload of the engine by Nuna and by the peers in turn in one run, and a table of both, with
//! what was aimed at. Quote the ratios: the machine may have other things to do, but it has them for both.
//!
//! What fails or takes too long is a row that says so; the others go on.

use std::{
    fmt::Write,
    io::Read,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Options, absolute,
    limits::{Limits, moved},
    nuna, peers, program,
};
use crate::tools::Repository;

/// A program that has not answered by then is ended.
const PATIENCE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(50);
/// What is put into the line of a rechunk where `limits.py` ran.
const OVER_LIMITS: &str = "over_limits";

/// What is compared in a row.
struct Work {
    title: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Script and arguments.
    peer: Option<(&'static str, &'static [&'static str])>,
    per: Per,
    needs: Needs,
    /// What is aimed at, and whether it was reached.
    target: fn(&Value, Option<&Value>) -> Vec<Target>,
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
    /// The store of time series that the peers' `w6_spectra.py` reads, and no folder.
    Series,
}

impl Needs {
    /// Of what `gen_data.py` wrote.
    fn store(self) -> Option<&'static str> {
        match self {
            Needs::Nothing | Needs::Scratch => None,
            Needs::Store => Some("d1_v3_slab.zarr"),
            Needs::Series => Some("d3_v3.zarr"),
        }
    }
}

struct Target {
    text: String,
    /// `None` without a peer to compare with.
    reached: Option<bool>,
}

/// A figure that is to be at most so much.
fn at_most(what: &str, found: f64, limit: f64, unit: &str) -> Target {
    let reached = found.is_finite().then_some(found <= limit);
    Target { text: format!("{what} {found:.2}{unit} of at most {limit:.2}{unit}"), reached }
}

fn at_least(what: &str, found: f64, limit: f64, unit: &str) -> Target {
    let reached = found.is_finite().then_some(found >= limit);
    Target { text: format!("{what} {found:.2}{unit} of at least {limit:.2}{unit}"), reached }
}

fn per_second(limit: f64, line: &Value) -> Vec<Target> {
    let thousands = number(line, "n") / number(line, "seconds") / 1e3;
    vec![at_least("per second", thousands, limit, "k")]
}

/// The largest worker's peak, as the system counts it, and the limit it was given.
fn within_limit(line: &Value) -> Target {
    at_most("largest worker", number(line, "peak_worker_mb"), number(line, "limit_mb"), " MB")
}

fn none(_: &Value, _: Option<&Value>) -> Vec<Target> {
    Vec::new()
}

const WORKS: &[Work] = &[
    Work {
        title: "plan of 1,000,000 blocks accepted",
        program: "accept",
        arguments: &[],
        peer: None,
        per: Per::Run,
        needs: Needs::Nothing,
        target: |ours, _| {
            vec![
                at_most("accepted in", number(ours, "accept_ms"), 100.0, " ms"),
                at_most("a block costs", number(ours, "bytes_per_block"), 3.0, " B"),
            ]
        },
    },
    Work {
        title: "w1 100,000 tasks, each by itself (dask: 10,000)",
        program: "tasks",
        arguments: &["--n", "100000", "--batch", "1"],
        peer: Some(("w1_taskfarm.py", &["--engine", "dask", "--n", "10000"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: |ours, _| per_second(300.0, ours),
    },
    Work {
        title: "w1 1,000,000 tasks, each by itself (dask: 10,000, unqueued)",
        program: "tasks",
        arguments: &["--n", "1000000", "--batch", "1"],
        peer: Some(("w1_taskfarm.py", &["--engine", "dask", "--n", "10000", "--saturation", "inf"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: |ours, _| per_second(300.0, ours),
    },
    Work {
        title: "w1 1,000,000 tasks in ranges (dask: bag of 200,000)",
        program: "tasks",
        arguments: &["--n", "1000000"],
        peer: Some(("w1_taskfarm.py", &["--engine", "dask-bag", "--n", "200000"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: |ours, _| per_second(1000.0, ours),
    },
    Work {
        title: "w1b 500 chains of 100 (dask: of 20)",
        program: "engine",
        arguments: &["graph", "chains", "--n", "50000"],
        peer: Some(("w1b_graphs.py", &["--shape", "chains", "--n", "10000"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: none,
    },
    Work {
        title: "w1b tree over 25,000 (dask: 2,500)",
        program: "engine",
        arguments: &["graph", "tree", "--n", "50000"],
        peer: Some(("w1b_graphs.py", &["--shape", "tree", "--n", "5000"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: none,
    },
    Work {
        title: "w12 submit to result, 2,000 times (dask: 300)",
        program: "engine",
        arguments: &["latency"],
        peer: Some(("w12_latency.py", &["--engine", "dask", "--n", "300"])),
        per: Per::Run,
        needs: Needs::Nothing,
        target: |ours, _| vec![at_most("median", number(ours, "median_ms"), 0.5, " ms")],
    },
    Work {
        title: "w11 10,000 tasks, 8 workers (dask: 4,000)",
        program: "tasks",
        arguments: &["--n", "10000", "--batch", "1", "--procs", "8"],
        peer: Some(("w11_scaling.py", &["--n", "4000", "--procs", "8"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: none,
    },
    Work {
        title: "w11 10,000 tasks, 32 workers (dask: 2,000)",
        program: "tasks",
        arguments: &["--n", "10000", "--batch", "1", "--procs", "32"],
        peer: Some(("w11_scaling.py", &["--n", "2000", "--procs", "32", "--memory-limit", "500MB"])),
        per: Per::Task,
        needs: Needs::Nothing,
        target: none,
    },
    Work {
        title: "w9 20,000 simulations, 1 % fail once (dask: 4,000)",
        program: "engine",
        arguments: &["simulation"],
        peer: Some(("w9_simulation.py", &["--engine", "dask", "--n", "4000"])),
        per: Per::Task,
        needs: Needs::Scratch,
        target: |ours, _| vec![at_most("of pure compute", number(ours, "over_ideal"), 1.1, "×")],
    },
    Work {
        title: "w9 the same, process pool",
        program: "engine",
        arguments: &["simulation"],
        peer: Some(("w9_simulation.py", &["--engine", "pool"])),
        per: Per::Task,
        needs: Needs::Scratch,
        target: |ours, _| vec![at_most("of pure compute", number(ours, "over_ideal"), 1.1, "×")],
    },
    Work {
        title: "w10 40 × 100 MB, rechunked, workers of 2 GB",
        program: "engine",
        arguments: &["memory", "--k", "40", "--memory-limit", "2GB"],
        peer: Some(("w10_memory.py", &["--k", "40"])),
        per: Per::Run,
        needs: Needs::Nothing,
        target: |ours, _| vec![within_limit(ours)],
    },
    Work {
        title: "w10 40 × 100 MB, rechunked, workers of 300 MB (dask: 2 GB, P2P)",
        program: "engine",
        arguments: &["memory", "--k", "40", "--memory-limit", "300MB"],
        peer: Some(("w10_memory.py", &["--k", "40", "--engine", "dask-p2p"])),
        per: Per::Run,
        needs: Needs::Nothing,
        target: |ours, _| vec![within_limit(ours)],
    },
    Work {
        title: "w4 rechunk to disk, workers of 380 MB (dask P2P: 4 GB)",
        program: "engine",
        arguments: &["rechunk", "--memory-limit", "380MB", "--floor"],
        peer: Some(("w4_rechunk.py", &["--engine", "dask-p2p"])),
        per: Per::Run,
        needs: Needs::Store,
        target: |ours, theirs| {
            let ratio =
                |name: &str| theirs.map_or(f64::NAN, |theirs| number(theirs, name) / number(ours, name));
            vec![
                at_most("of decoding and encoding by limits.py", number(ours, OVER_LIMITS), 1.25, "×"),
                at_least("faster", ratio("seconds"), 3.0, "×"),
                at_least("less memory", ratio("peak_rss_mb"), 3.0, "×"),
                within_limit(ours),
            ]
        },
    },
    Work {
        title: "w4 with 4 GB per worker (dask: threads)",
        program: "engine",
        arguments: &["rechunk", "--floor"],
        peer: Some(("w4_rechunk.py", &["--engine", "dask-threads"])),
        per: Per::Run,
        needs: Needs::Store,
        target: |ours, _| {
            vec![
                at_most("of decoding and encoding by limits.py", number(ours, OVER_LIMITS), 1.25, "×"),
                within_limit(ours),
            ]
        },
    },
    Work {
        title: "w6 spectra of time series",
        program: "engine",
        arguments: &["spectra"],
        peer: Some(("w6_spectra.py", &["--engine", "dask-p2p"])),
        per: Per::Run,
        needs: Needs::Series,
        target: none,
    },
    Work {
        title: "w4 of a store ten times the workers' memory",
        program: "engine",
        arguments: &["rechunk", "--memory-limit", "80MB"],
        peer: None,
        per: Per::Run,
        needs: Needs::Store,
        target: |ours, _| {
            vec![
                at_least("store over memory", number(ours, "store_over_memory"), 10.0, "×"),
                within_limit(ours),
            ]
        },
    },
];

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let scratch = repository.path("build/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let data = options.data.as_deref().map(absolute).transpose()?;
    let peers = peers(options)?;
    let started = Instant::now();
    let wanted = |work: &&Work| options.only.as_deref().is_none_or(|only| work.title.contains(only));
    let works: Vec<&Work> = WORKS.iter().filter(wanted).collect();
    if works.is_empty() {
        let titles: Vec<&str> = WORKS.iter().map(|work| work.title).collect();
        bail!("no entry has {:?} in its title; there are:\n{}", options.only, titles.join("\n"));
    }
    let mut rows = Vec::new();
    let mut failures = 0;
    let limits = match (&peers, &data) {
        (Some(peers), Some(data)) if works.iter().any(|work| work.arguments.contains(&"--floor")) => {
            Limits::measured(repository, peers, data, &scratch)
        }
        _ => None,
    };
    for work in works {
        let store = work.needs.store().map(|name| data.as_ref().map(|data| data.join(name)));
        if let Some(store) = &store
            && !store.as_ref().is_some_and(|store| store.is_dir())
        {
            let name = work.needs.store().unwrap_or_default();
            println!(
                "== {}: left out; it needs {name} in --data, the folder that gen_data.py wrote",
                work.title
            );
            continue;
        }
        let mut ours = repository.command(program(repository, work.program));
        ours.env("NUNA_BIN", nuna(repository)).args(work.arguments);
        if matches!(work.needs, Needs::Scratch | Needs::Store) {
            ours.arg("--scratch").arg(&scratch);
        }
        if let Some(Some(store)) = store {
            ours.arg(store);
        }
        let theirs = match (&peers, work.peer) {
            (Some((folder, python)), Some((script, arguments))) => {
                let mut command = repository.command(python);
                command.current_dir(&scratch).arg(folder.join(script)).args(arguments);
                command.arg("--scratch").arg(scratch.join("peers"));
                if let Some(data) = &data {
                    command.arg("--data").arg(data);
                }
                Some((format!("{} {}", script, arguments.join(" ")), command))
            }
            _ => None,
        };
        let mut tried = |title: &str, command: &mut Command| {
            measure(title, command).inspect_err(|error| {
                failures += 1;
                println!("-- {error:#}");
            })
        };
        let mut ours = tried(work.title, &mut ours);
        if let (Ok(ours), Some(limits)) = (&mut ours, &limits)
            && let Some(over) = over_limits(ours, limits)
        {
            ours[OVER_LIMITS] = over.into();
        }
        let theirs = theirs.map(|(title, mut command)| tried(&title, &mut command));
        rows.push(row(work, ours.as_ref().ok(), theirs.as_ref().map(|theirs| theirs.as_ref().ok())));
        println!("{}", table(&rows[rows.len() - 1..]));
    }
    println!("{}", table(&rows));
    println!(
        "{} entries in {:.0} s; {failures} programs failed",
        rows.len(),
        started.elapsed().as_secs_f64()
    );
    if failures > 0 {
        bail!("{failures} programs failed; each said above why, and how to repeat it");
    }
    Ok(())
}

/// Seconds of a rechunk in units of what decoding slabs and encoding tiles take by `limits.py`, on as many threads.
fn over_limits(ours: &Value, limits: &Limits) -> Option<f64> {
    let (megabytes, threads) = moved(ours);
    let decoding = limits.seconds("zstd_decode_v3_slab", megabytes)?;
    let encoding = limits.seconds("zstd3_encode_w4_tile_mb_s", megabytes)?;
    Some(number(ours, "seconds") * threads / (decoding + encoding)).filter(|over| over.is_finite())
}

/// Runs it and reads the line of JSON that it prints last.
pub(super) fn measure(title: &str, command: &mut Command) -> Result<Value> {
    println!("== {title}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Its own group, so that what it has started ends with it if it must be ended.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{title}: cannot start {command:?}"))?;
    let mut output = child.stdout.take().context("its output is piped")?;
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = output.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= until {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            child.wait()?;
            bail!("{title} took more than {} s and was ended; to repeat it: {command:?}", PATIENCE.as_secs());
        }
        std::thread::sleep(POLL);
    };
    let text = reading.join().unwrap_or_default();
    if !status.success() {
        bail!("{title} failed ({status}); to repeat it: {command:?}\n{text}");
    }
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("{title} printed no line of JSON: {text}"))?;
    println!("{line}");
    serde_json::from_str(line).with_context(|| format!("{title} printed {line}"))
}

pub(super) fn number(line: &Value, name: &str) -> f64 {
    line.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// `theirs` is `None` without a peer, and holds nothing if the peer failed.
fn row(work: &Work, ours: Option<&Value>, theirs: Option<Option<&Value>>) -> Vec<String> {
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
    let both = ours.zip(theirs.flatten());
    let ratio = |what: &dyn Fn(&Value) -> f64| {
        let ratio = both.map(|(ours, theirs)| what(theirs) / what(ours)).filter(|ratio| ratio.is_finite());
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}×"))
    };
    let megabytes = |line: &Value| match number(line, "peak_rss_mb") {
        bytes if bytes.is_finite() => format!("{bytes:.0} MB"),
        _ => "-".to_owned(),
    };
    let of = |line: Option<&Value>, show: &dyn Fn(&Value) -> String| {
        line.map_or_else(|| "failed".to_owned(), show)
    };
    let peer = |show: &dyn Fn(&Value) -> String| theirs.map_or_else(|| "-".to_owned(), |line| of(line, show));
    let targets = ours.map(|ours| (work.target)(ours, theirs.flatten())).unwrap_or_default();
    let said = |target: &Target| match target.reached {
        Some(true) => format!("reached: {}", target.text),
        Some(false) => format!("**missed**: {}", target.text),
        None => format!("unknown: {}", target.text),
    };
    vec![
        work.title.to_owned(),
        of(ours, &speed),
        peer(&speed),
        ratio(&unit),
        ratio(&cpu),
        of(ours, &megabytes),
        peer(&megabytes),
        targets.iter().map(said).collect::<Vec<_>>().join("; "),
        ours.map(besides).unwrap_or_default(),
    ]
}

/// What the other columns do not say.
fn besides(ours: &Value) -> String {
    let megabytes = |name: &str| number(ours, name);
    if ours.get("first_result_s").is_some() {
        format!("first result after {:.0} ms", 1e3 * number(ours, "first_result_s"))
    } else if ours.get("over_ideal").is_some() {
        format!("{:.2} s of pure compute", number(ours, "ideal_s"))
    } else if ours.get("p95_ms").is_some() {
        let (p95, floor) = (number(ours, "p95_ms"), number(ours, "loopback_round_trip_ms"));
        format!("p95 {p95:.2} ms; loopback {floor:.3} ms")
    } else if ours.get("block_bound_mb").is_some() {
        format!("bound of a block, said beforehand: {:.0} MB", megabytes("block_bound_mb"))
    } else if ours.get("floor_s").is_some() {
        let (floor, cpu, used) =
            (number(ours, "floor_s"), number(ours, "floor_cpu_s"), number(ours, "cpu_s"));
        format!(
            "our own codec alone, on memory: {floor:.1} s ({:.2}×), {cpu:.1} s of CPU; Nuna {used:.1} s of CPU ({:.2}×)",
            number(ours, "over_floor"),
            used / cpu
        )
    } else {
        String::new()
    }
}

fn table(rows: &[Vec<String>]) -> String {
    const HEADS: [&str; 9] =
        ["work", "Nuna", "peer", "faster", "less CPU", "peak, Nuna", "peak, peer", "target", "and"];
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
