//! `bench_tasks [--n 100000] [--batch 1] [--procs 2] [--threads 1]`: trivial tasks, as `w1_taskfarm.py`.

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// How many tasks.
    #[arg(long, default_value_t = 100_000)]
    n: u64,
    /// Tasks that travel together; so many that workers stay busy, if not said.
    #[arg(long)]
    batch: Option<u64>,
    #[command(flatten)]
    shape: nuna_bench::Shape,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    nuna_bench::tasks(&arguments.shape, arguments.n, arguments.batch)
}
