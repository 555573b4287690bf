//! `nuna-submit USER qsub|qdel|sbatch|scancel [ARGUMENT…]`: the program behind one line of `sudoers`. All of it is in the library.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "--help and --version answer on standard output")]

use std::path::Path;
use std::process::ExitCode;

use nuna_submit::{CONFIG_PATH, EXIT_REFUSED, USAGE};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|first| first.to_str()) {
        Some("--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some("--version") => {
            println!("nuna-submit {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) | None => {}
    }
    // Comes back only if it did not become the command.
    let error = nuna_submit::run(Path::new(CONFIG_PATH), &arguments);
    eprintln!("nuna-submit: {error}");
    ExitCode::from(EXIT_REFUSED)
}
