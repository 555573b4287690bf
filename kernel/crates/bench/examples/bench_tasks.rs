//! `bench_tasks [--n 100000] [--procs 2] [--threads 1]`: trivial tasks, as `w1_taskfarm.py`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// How many tasks.
    #[arg(long, default_value_t = 100_000)]
    n: u64,
    #[command(flatten)]
    shape: nuna_bench::Shape,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    nuna_bench::tasks(&arguments.shape, arguments.n)
}
