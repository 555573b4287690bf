//! `bench_analysis ndvi …`: what scientists compute from their files, as the peers' script w5.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use nuna_bench::Shape;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Vegetation index of a cube of dates, clouds masked.
    Ndvi {
        /// `d2` of `gen_data.py`: images of red, nir and scl, a file for each date.
        images: PathBuf,
        /// Measure first what decoding alone takes.
        #[arg(long)]
        floor: bool,
        #[command(flatten)]
        shape: Shape,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().work {
        Work::Ndvi { images, floor, shape } => nuna_bench::ndvi(&shape, &images, floor),
    }
}
