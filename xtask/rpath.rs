//! Build script of every crate that makes programs: where they find the shared standard library.
//!
//! `-Crpath` names it relative to `deps/`, where the linker writes. cargo then links each program into the folder
//! above, from which the same relative path leads elsewhere, and a program started with an empty environment, as
//! batch jobs and sudo do, ends before `main`. The toolchain's own folder is named here once more, absolutely.
#![allow(clippy::print_stdout, reason = "a build script speaks to cargo on standard output")]

use std::process::Command;

pub(crate) fn main() {
    let rustc = std::env::var_os("RUSTC").expect("cargo names the compiler");
    let target = std::env::var("TARGET").expect("cargo names the target");
    let output = Command::new(rustc).args(["--print", "sysroot"]).output().expect("the compiler runs");
    let sysroot = String::from_utf8(output.stdout).expect("the toolchain's path is UTF-8");
    let libraries = format!("{}/lib/rustlib/{target}/lib", sysroot.trim_end());
    // A target folder that is kept while the toolchain moves is linked anew.
    println!("cargo::rerun-if-changed={libraries}");
    println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{libraries}");
}
