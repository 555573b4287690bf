//! Owns where the Python is that says what is right.

use std::path::{Path, PathBuf};

/// The interpreter of the virtual environment that `NUNA_VENV` names, or of the one that `cargo xtask setup` makes.
///
/// # Panics
/// If there is none.
pub fn python() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let venv = std::env::var_os("NUNA_VENV").map_or_else(|| repository.join("build/venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(python.exists(), "{} is missing; run `cargo xtask setup`", python.display());
    python
}
