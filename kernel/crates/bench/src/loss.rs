//! Owns what a loss may not change: w4, w6 or w9 again and again, each time with a process of the cluster killed at
//! a moment that a seed decides; the bits have to be those of the undisturbed run.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use nuna::{
    parts::wire::{ClusterFile, cluster_file::clusters_directory},
    prelude::*,
};
use serde_json::json;

use crate::{Shape, emit, rechunk, simulation, spectra};

/// What runs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LossOf {
    /// w4: a store of time slabs becomes one of tiles.
    Rechunk,
    /// w6: spectra of time series.
    Spectra,
    /// w9: a farm in which every hundredth task fails once.
    Simulation,
}

/// What is killed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Victim {
    Worker,
    Scheduler,
    Both,
}

/// Starts a cluster and runs it once undisturbed, then once for each seed. Prints a line for each run, and one for all.
///
/// # Errors
/// At the first run that fails or gives other bits, with its seed.
pub fn loss(
    shape: &Shape,
    of: LossOf,
    victim: Victim,
    store: Option<&Path>,
    tasks: u64,
    seeds: Range<u64>,
    scratch: &Path,
) -> anyhow::Result<()> {
    let folder = scratch.join(format!("loss-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (cluster, _) = shape.start()?;
    let store = || store.ok_or_else(|| anyhow::anyhow!("this needs --store"));
    let run = || -> anyhow::Result<u64> {
        let mut hasher = DefaultHasher::new();
        match of {
            LossOf::Rechunk => {
                let target = folder.join("tiles.zarr");
                rechunk::write_tiles(&open_zarr(store()?)?.var("theta")?, 36, &target)?;
                files(&target)?.hash(&mut hasher);
            }
            LossOf::Spectra => {
                let spectrum = spectra::spectrum(store()?, 64)?;
                spectrum.iter().for_each(|value| value.to_bits().hash(&mut hasher));
            }
            LossOf::Simulation => {
                let flags = folder.join("flags");
                fs::create_dir_all(&flags)?;
                let rows =
                    simulation::rows(&cluster, std::path::absolute(&flags)?.display().to_string(), tasks)?;
                for (i, a, b, area) in rows {
                    (i, a.to_bits(), b.to_bits(), area.to_bits()).hash(&mut hasher);
                }
                fs::remove_dir_all(&flags)?;
            }
        }
        Ok(hasher.finish())
    };
    let begin = Instant::now();
    let expected = run()?;
    let undisturbed = begin.elapsed();
    let mut slowest = Duration::ZERO;
    for seed in seeds.clone() {
        cluster.wait_for_workers(shape.procs, Duration::from_secs(60))?;
        let after = undisturbed.mul_f64(share(seed, 0));
        let pids = victims(&cluster, victim, seed)?;
        let begin = Instant::now();
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                // The moment is what is tried; nothing is waited for.
                std::thread::sleep(after);
                for &pid in &pids {
                    // One that has ended by itself meanwhile would be a fault that the run shows.
                    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
                }
            });
            run()
        });
        let seconds = begin.elapsed();
        slowest = slowest.max(seconds);
        let same = found.as_ref().is_ok_and(|found| *found == expected);
        emit(&json!({ "seed": seed, "killed": pids, "after_s": after.as_secs_f64(),
            "seconds": seconds.as_secs_f64(), "same_bits": same }));
        let found = found.map_err(|error| error.context(format!("seed {seed}")))?;
        anyhow::ensure!(found == expected, "seed {seed}: other bits than the undisturbed run");
    }
    cluster.shutdown();
    fs::remove_dir_all(&folder)?;
    emit(
        &json!({ "workload": format!("loss of {victim:?} during {of:?}"), "seeds": [seeds.start, seeds.end],
        "undisturbed_s": undisturbed.as_secs_f64(), "slowest_s": slowest.as_secs_f64(), "same_bits": true }),
    );
    Ok(())
}

fn victims(cluster: &Cluster, victim: Victim, seed: u64) -> anyhow::Result<Vec<u32>> {
    let info = cluster.info();
    let worker = info.workers[(share(seed, 1) * info.workers.len() as f64) as usize].pid;
    let scheduler = || -> anyhow::Result<u32> {
        let name = cluster.name();
        let found = ClusterFile::list(&clusters_directory()).into_iter().find(|file| file.name == name);
        Ok(found.ok_or_else(|| anyhow::anyhow!("the cluster {name} has no file"))?.pid)
    };
    Ok(match victim {
        Victim::Worker => vec![worker],
        Victim::Scheduler => vec![scheduler()?],
        Victim::Both => vec![scheduler()?, worker],
    })
}

/// Between 0 and 1, the same for the same seed (splitmix64).
fn share(seed: u64, turn: u64) -> f64 {
    let mut z = seed.wrapping_mul(2).wrapping_add(turn + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Every file below a folder, by its name there, with what it holds.
fn files(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(inner)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap_or(&entry.path()).to_owned();
                found.insert(name, fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}
