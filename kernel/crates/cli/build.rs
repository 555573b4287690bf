//! Records which compiler builds the runtime: cells must be compiled by the very same one.

use std::process::Command;

#[path = "../../../xtask/rpath.rs"]
mod rpath;

fn main() {
    rpath::main();
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output =
        Command::new(&rustc).arg("-vV").output().unwrap_or_else(|error| panic!("{rustc} -vV: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim().to_owned()
    };
    println!("cargo::rustc-env=NUNA_RUSTC_RELEASE={}", line("release:"));
    println!("cargo::rustc-env=NUNA_RUSTC_COMMIT={}", line("commit-hash:"));
    println!("cargo::rerun-if-changed=build.rs");
}
