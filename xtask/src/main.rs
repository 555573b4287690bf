//! Owns the one command for everything: `cargo xtask up|setup|evcxr|test|check|e2e|bench|tidy`.
//! What a step does is in the module of its name; this file only reads the command line.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool talks on standard output")]

mod bench;
mod check;
mod demo;
mod evcxr;
mod setup;
mod suite;
mod supervise;
mod tidy;
mod tools;
mod up;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, starts, tests and measures Nuna from a checkout")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up all and start proxy, hub, spawner, embedded PBS and directory on loopback; Ctrl-C stops them.
    Up(up::Options),
    /// Build the programs, the Python environment and the JupyterLab extension, and stop there.
    Setup,
    /// Build the evcxr evaluator, which takes minutes, and install its kernel beside the other.
    Evcxr,
    /// Run every test: Rust, Python, TypeScript, end to end.
    Test,
    /// Format, lints, structure and the fast tests: the inner loop.
    Check,
    /// The end-to-end tests alone, in a real browser.
    E2e,
    /// Measure Nuna, beside the peers where their scripts and packages are at hand.
    Bench(bench::Options),
    /// Check the house's rules that no compiler knows: edges between crates, file headers, names.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let repository = tools::Repository::find()?;
    match Arguments::parse().task {
        Task::Up(options) => up::run(&repository, &options),
        Task::Setup => setup::run(&repository, setup::Extent::Tests),
        Task::Evcxr => evcxr::run(&repository),
        Task::Test => suite::run(&repository),
        Task::Check => check::run(&repository),
        Task::E2e => suite::end_to_end(&repository),
        Task::Bench(options) => bench::run(&repository, &options),
        Task::Tidy => tidy::run(&repository),
    }
}
