//! `bench_csv FOLDER`: groups of CSV files, as `w8_csv.py`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// `d4` of `gen_data.py`: CSV files of disk usage.
    folder: std::path::PathBuf,
    #[command(flatten)]
    shape: nuna_bench::Shape,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    nuna_bench::csv(&arguments.shape, &arguments.folder)
}
