//! `bench_mean STORE [--op time_mean|global]`: reductions of a Zarr store, as `w2_zarr_mean.py`; of a folder of NetCDF
//! files, as `w3_netcdf_mean.py`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// A store that `gen_data.py` wrote, such as `data/full/d1_v3_slab.zarr`, or the folder `data/full/d1_nc`.
    store: std::path::PathBuf,
    /// Mean over time, or mean and standard deviation over everything.
    #[arg(long, default_value = "time_mean")]
    op: nuna_bench::MeanOf,
    #[command(flatten)]
    shape: nuna_bench::Shape,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    nuna_bench::mean(&arguments.shape, &arguments.store, arguments.op)
}
