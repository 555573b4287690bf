//! Owns the inner loop: what a commit must pass, without browsers and without a network.

use anyhow::Result;

use crate::{suite, tidy, tools, tools::Repository};

pub(crate) fn run(repository: &Repository) -> Result<()> {
    tools::run("format", repository.cargo().args(["fmt", "--all", "--check"]))?;
    let apart = ["fmt", "--manifest-path", "kernel/crates/evcxr-evaluator/Cargo.toml", "--check"];
    tools::run("format of the evcxr evaluator", repository.cargo().args(apart))?;
    tidy::run(repository)?;
    tools::run(
        "lints",
        repository.cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    if tools::version_of("cargo-deny").is_some() {
        tools::run(
            "licences and advisories",
            repository.cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]),
        )?;
    } else {
        println!("== licences and advisories: cargo-deny is not installed, passed over");
    }
    suite::rust_units(repository)
}
