//! `bench_engine graph|latency|simulation|memory|rechunk|spectra|loss …`: what the engine does, as the peers' scripts w1b, w12, w9,
//! w10, w4 and w6. Trivial tasks (w1, w11) are `bench_tasks`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use nuna_bench::{GraphOf, LossOf, Shape, Victim};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Tasks that depend on one another.
    Graph {
        of: GraphOf,
        #[arg(long, default_value_t = 50_000)]
        n: u64,
        #[command(flatten)]
        shape: Shape,
    },
    /// One tiny task after another.
    Latency {
        #[arg(long, default_value_t = 2000)]
        n: u64,
        #[command(flatten)]
        shape: Shape,
    },
    /// A parametrised simulation in which one task of a hundred fails once.
    Simulation {
        #[arg(long, default_value_t = 20_000)]
        n: u64,
        /// For its table and its flags.
        #[arg(long)]
        scratch: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Sums of random arrays, each rechunked, on workers with little memory.
    Memory {
        #[arg(long, default_value_t = 200)]
        k: u64,
        #[arg(long, default_value_t = 3536)]
        side: u64,
        #[command(flatten)]
        shape: Shape,
    },
    /// Time slabs of a Zarr store to tiles of all times.
    Rechunk {
        /// A store that `gen_data.py` wrote, such as `data/full/d1_v3_slab.zarr`.
        store: PathBuf,
        #[arg(long, default_value_t = 36)]
        tile: i64,
        /// Measure first what decoding and encoding alone take.
        #[arg(long)]
        floor: bool,
        /// Where the new store goes, for as long as it is looked at.
        #[arg(long)]
        scratch: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Spectra of time series.
    Spectra {
        /// `d3_v3.zarr` of `gen_data.py`.
        store: PathBuf,
        #[arg(long, default_value_t = 64)]
        tile: u64,
        #[command(flatten)]
        shape: Shape,
    },
    /// Monthly climatology and the size of the anomalies, as `w7_climatology.py`.
    Climatology {
        /// A store of `gen_data.py`, such as `d1_v3_box.zarr`.
        store: PathBuf,
        #[command(flatten)]
        shape: Shape,
    },
    /// One of the others again and again, each time with a process killed at a moment that a seed decides.
    Loss {
        of: LossOf,
        #[arg(long, value_enum, default_value_t = Victim::Worker)]
        victim: Victim,
        /// What the rechunk or the spectra read.
        #[arg(long)]
        store: Option<PathBuf>,
        /// Of the simulation.
        #[arg(long, default_value_t = 20_000)]
        n: u64,
        #[arg(long, default_value_t = 0)]
        first_seed: u64,
        #[arg(long, default_value_t = 50)]
        seeds: u64,
        #[arg(long)]
        scratch: Option<PathBuf>,
        #[command(flatten)]
        shape: Shape,
    },
}

fn main() -> anyhow::Result<()> {
    let scratch = |given: Option<PathBuf>| given.unwrap_or_else(std::env::temp_dir);
    match Arguments::parse().work {
        Work::Graph { of, n, shape } => nuna_bench::graph(&shape, of, n),
        Work::Latency { n, shape } => nuna_bench::latency(&shape, n),
        Work::Simulation { n, scratch: folder, shape } => nuna_bench::simulation(&shape, n, &scratch(folder)),
        Work::Memory { k, side, shape } => nuna_bench::memory(&shape, k, side),
        Work::Rechunk { store, tile, floor, scratch: folder, shape } => {
            nuna_bench::rechunk(&shape, &store, tile, &scratch(folder), floor)
        }
        Work::Spectra { store, tile, shape } => nuna_bench::spectra(&shape, &store, tile),
        Work::Climatology { store, shape } => nuna_bench::climatology(&shape, &store),
        Work::Loss { of, victim, store, n, first_seed, seeds, scratch: folder, shape } => {
            let seeds = first_seed..first_seed + seeds;
            nuna_bench::loss(&shape, of, victim, store.as_deref(), n, seeds, &scratch(folder))
        }
    }
}
