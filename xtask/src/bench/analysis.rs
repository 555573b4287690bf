//! Owns `bench analysis`: what scientists compute from their files, by Nuna and by every engine of the peers in turn in one
//! run on the same data, with results compared, and a table. Quote the ratios: the machine may have other things to do, but it
//! has them for all.

use std::{fmt::Write as _, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Options, absolute,
    engine::{measure, number},
    limits::{Limits, moved},
    nuna, peers, program,
};
use crate::tools::Repository;

/// What is compared in a row.
struct Work {
    title: &'static str,
    /// Our program, and what it is told before the place of the data.
    program: (&'static str, &'static [&'static str]),
    /// Of what `gen_data.py` wrote.
    data: &'static str,
    script: &'static str,
    arguments: &'static [&'static str],
    /// The peers' engines, dask.distributed first.
    engines: &'static [&'static str],
    /// So many times faster than dask.distributed, and than the fastest peer.
    aim: (f64, f64),
    /// What the peers' `limits.py` calls the rate at which one thread decodes this data.
    rate: Option<&'static str>,
}

const WORKS: &[Work] = &[
    Work {
        title: "w2 time mean of Zarr v3, slabs",
        program: ("mean", &[]),
        data: "d1_v3_slab.zarr",
        script: "w2_zarr_mean.py",
        arguments: &["--store", "v3_slab"],
        engines: &["dask", "dask-threads"],
        aim: AIM,
        rate: Some("zstd_decode_v3_slab"),
    },
    Work {
        title: "w2 time mean of Zarr v3, boxes",
        program: ("mean", &[]),
        data: "d1_v3_box.zarr",
        script: "w2_zarr_mean.py",
        arguments: &["--store", "v3_box"],
        engines: &["dask", "dask-threads"],
        aim: AIM,
        rate: Some("zstd_decode_v3_box"),
    },
    Work {
        title: "w2 time mean of Zarr v2, slabs",
        program: ("mean", &[]),
        data: "d1_v2_slab.zarr",
        script: "w2_zarr_mean.py",
        arguments: &["--store", "v2_slab"],
        engines: &["dask", "dask-threads"],
        aim: AIM,
        rate: Some("blosc_zstd_shuffle_decode_v2_slab"),
    },
    Work {
        title: "w2 time mean of Zarr v2, boxes",
        program: ("mean", &[]),
        data: "d1_v2_box.zarr",
        script: "w2_zarr_mean.py",
        arguments: &["--store", "v2_box"],
        engines: &["dask", "dask-threads"],
        aim: AIM,
        rate: Some("blosc_zstd_shuffle_decode_v2_box"),
    },
    Work {
        title: "w3 time mean of NetCDF files",
        program: ("mean", &[]),
        data: "d1_nc",
        script: "w3_netcdf_mean.py",
        arguments: &[],
        engines: &["dask", "dask-threads", "numpy"],
        aim: AIM,
        rate: Some("netcdf4_deflate_shuffle_decode_mb_s"),
    },
    Work {
        title: "w5 NDVI of Cloud Optimized GeoTIFFs",
        program: ("analysis", &["ndvi", "--floor"]),
        data: "d2",
        script: "w5_ndvi.py",
        arguments: &[],
        engines: &["dask", "dask-threads", "threads"],
        aim: AIM,
        rate: Some("cog_decode_mb_s"),
    },
    Work {
        title: "w6 spectra of time series",
        program: ("engine", &["spectra"]),
        data: "d3_v3.zarr",
        script: "w6_spectra.py",
        arguments: &[],
        engines: &["dask-p2p", "dask-threads"],
        aim: AIM,
        rate: None,
    },
    Work {
        title: "w7 climatology and anomalies",
        program: ("engine", &["climatology"]),
        data: "d1_v3_box.zarr",
        script: "w7_climatology.py",
        arguments: &[],
        engines: &["dask", "dask-threads", "numpy"],
        aim: AIM,
        rate: None,
    },
    Work {
        title: "w8 groups of CSV files",
        program: ("csv", &[]),
        data: "d4",
        script: "w8_csv.py",
        arguments: &[],
        engines: &["dask", "dask-threads", "polars", "polars-streaming", "duckdb"],
        aim: (1.0, 1.0),
        rate: None,
    },
];

/// Faster than dask.distributed, and than the fastest peer,
const AIM: (f64, f64) = (4.0, 2.0);
/// or, instead of the latter, within this of what decoding alone takes, by the peers' `limits.py`.
const OVER_FLOOR: f64 = 1.25;
/// Peers add in single precision.
const TOLERANCE: f64 = 2e-5;

/// Reads every file below a folder, so that the system has them in memory.
fn read_whole(folder: &Path) -> std::io::Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::sink())?;
            }
        }
    }
    Ok(())
}

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let Some(data) = &options.data else {
        bail!("the analysis needs data: run the peers' gen_data.py and pass its folder with --data");
    };
    let data = absolute(data)?;
    let scratch = repository.path("build/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
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
    let limits = match &peers {
        Some(peers) if works.iter().any(|work| work.rate.is_some()) => {
            Limits::measured(repository, peers, &data, &scratch)
        }
        _ => None,
    };
    for work in works {
        let input = data.join(work.data);
        if !input.is_dir() {
            println!("== {}: left out; there is no {}", work.title, input.display());
            continue;
        }
        let mut tried = |title: &str, command: &mut Command| {
            let line = measure(title, command);
            line.inspect_err(|error| {
                failures += 1;
                println!("-- {error:#}");
            })
            .ok()
        };
        // Whoever comes first must not be the one that waits for the disk.
        read_whole(&input).with_context(|| format!("reading {}", input.display()))?;
        let (name, arguments) = work.program;
        let mut ours = repository.command(program(repository, name));
        ours.env("NUNA_BIN", nuna(repository)).args(arguments).arg(&input);
        let ours = tried(work.title, &mut ours);
        let mut theirs = Vec::new();
        for engine in work.engines {
            let Some((folder, python)) = &peers else { continue };
            let mut command = repository.command(python);
            command.current_dir(&scratch).arg(folder.join(work.script)).args(work.arguments);
            command.args(["--engine", engine, "--data"]).arg(&data);
            command.arg("--scratch").arg(scratch.join("peers"));
            theirs.push((*engine, tried(&format!("{} {engine}", work.script), &mut command)));
        }
        let floor = ours.as_ref().and_then(|ours| floor(work, ours, limits.as_ref()?));
        rows.push(row(work, ours.as_ref(), &theirs, floor));
        println!("{}", table(&rows[rows.len() - 1..]));
    }
    println!("{}", table(&rows));
    let seconds = started.elapsed().as_secs_f64();
    println!("{} entries in {seconds:.0} s; {failures} programs failed", rows.len());
    if failures > 0 {
        bail!("{failures} programs failed; each said above why, and how to repeat it");
    }
    Ok(())
}

type Theirs = [(&'static str, Option<Value>)];

/// Seconds that decoding alone takes by `limits.py`, on as many threads as ours had.
fn floor(work: &Work, ours: &Value, limits: &Limits) -> Option<f64> {
    let (megabytes, threads) = moved(ours);
    Some(limits.seconds(work.rate?, megabytes)? / threads).filter(|seconds| seconds.is_finite())
}

fn row(work: &Work, ours: Option<&Value>, theirs: &Theirs, floor: Option<f64>) -> Vec<String> {
    let seconds = |line: &Value| number(line, "seconds");
    let show = |line: Option<&Value>| {
        line.map_or("failed".to_owned(), |line| {
            format!("{:.2} s, {:.0} MB", seconds(line), number(line, "peak_rss_mb"))
        })
    };
    let each: Vec<String> =
        theirs.iter().map(|(engine, line)| format!("{engine}: {}", show(line.as_ref()))).collect();
    let lines = || theirs.iter().filter_map(|(engine, line)| Some((*engine, line.as_ref()?)));
    let mut said = Vec::new();
    let mut target = |reached: bool, text: String| {
        said.push(format!("{}: {text}", if reached { "reached" } else { "**missed**" }));
    };
    if let Some(ours) = ours {
        let dask = work.engines.first().and_then(|first| lines().find(|(engine, _)| engine == first));
        if let Some((_, dask)) = dask {
            let faster = seconds(dask) / seconds(ours);
            target(faster >= work.aim.0, format!("{faster:.1}× of {}× dask.distributed", work.aim.0));
        }
        let fastest = lines().map(|(_, line)| seconds(line)).fold(f64::INFINITY, f64::min) / seconds(ours);
        let over = floor.map_or(f64::NAN, |floor| seconds(ours) / floor);
        let of_floor = floor.map_or(String::new(), |floor| format!(", {over:.2}× the floor of {floor:.2} s"));
        let own = number(ours, "over_floor");
        let of_own = if own.is_finite() {
            format!(", {own:.2}× the {:.2} s of our own decoders", number(ours, "floor_s"))
        } else {
            String::new()
        };
        if fastest.is_finite() {
            target(
                fastest >= work.aim.1 || over <= OVER_FLOOR,
                format!("{fastest:.1}× of {}× the fastest{of_floor}{of_own}", work.aim.1),
            );
        }
        let least = lines().map(|(_, line)| number(line, "peak_rss_mb")).fold(f64::INFINITY, f64::min);
        if least.is_finite() {
            let memory = number(ours, "peak_rss_mb");
            target(memory <= least, format!("{memory:.0} MB of at most {least:.0} MB"));
        }
        for (engine, line) in lines() {
            if let Err(difference) = same("result", &ours["result"], &line["result"]) {
                target(false, format!("equal to {engine}: {difference}"));
            }
        }
    }
    vec![work.title.to_owned(), show(ours), each.join("; "), said.join("; ")]
}

/// Whether what both say is equal, but for rounding.
fn same(at: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, ours) in ours {
                if let Some(theirs) = theirs.get(key).filter(|_| key != "dtype") {
                    same(&format!("{at}.{key}"), ours, theirs)?;
                }
            }
            Ok(())
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            if (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()) {
                Ok(())
            } else {
                Err(format!("{at} is {a}, {b} there"))
            }
        }
        (ours, theirs) if ours == theirs => Ok(()),
        (ours, theirs) => Err(format!("{at} is {ours}, {theirs} there")),
    }
}

fn table(rows: &[Vec<String>]) -> String {
    const HEADS: [&str; 4] = ["work", "Nuna", "peers", "targets"];
    let mut text = String::from("\n");
    let heads: Vec<String> = HEADS.iter().map(|&head| head.to_owned()).collect();
    let rule = vec!["---".to_owned(); HEADS.len()];
    for row in [&heads, &rule].into_iter().chain(rows) {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::same;

    #[test]
    fn results_are_equal_but_for_rounding() {
        let ours = json!({ "sum": 1.0, "dtype": "f4", "at": { "0": null }, "shape": [2, 3] });
        assert!(
            same(
                "result",
                &ours,
                &json!({ "sum": 1.000001, "dtype": "f8", "at": { "0": null }, "shape": [2, 3] })
            )
            .is_ok()
        );
        let error = same("result", &ours, &json!({ "sum": 1.001 })).unwrap_err();
        assert_eq!(error, "result.sum is 1, 1.001 there");
        assert!(same("result", &ours, &json!({ "at": { "0": 0.0 } })).is_err());
        assert!(same("result", &ours, &json!({ "shape": [3, 2] })).is_err());
    }
}
