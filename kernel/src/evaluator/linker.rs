//! Owns how cells are linked: by the linker that comes with the compiler, called without a C compiler in between. That
//! saves two processes for each cell, and nodes need neither gcc nor libc's development files. Where something is
//! missing for it, `rustc` links as it always does, through `cc`.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// A linker with the names of the system's libraries.
#[derive(Clone, Debug)]
pub struct Linker {
    program: PathBuf,
    /// Holds `libc.so` and whatever else the standard library asks for by name.
    names: PathBuf,
    /// Where the system's own libraries lie, for what a cell links itself.
    system: PathBuf,
}

/// What `libc.so.6` holds itself since glibc 2.34; programs still ask for it.
const PARTS_OF_LIBC: &[&str] = &["util", "rt", "pthread", "dl"];

impl Linker {
    /// The linker of `rustc`; `folder` will hold names of libraries. `None` if there is not all it needs.
    pub fn find(rustc: &Path, folder: &Path) -> Option<Self> {
        let sysroot = rustc.parent()?.parent()?;
        let targets = fs::read_dir(sysroot.join("lib/rustlib")).ok()?.flatten();
        let program = targets.map(|target| target.path().join("bin/rust-lld")).find(|path| path.is_file())?;
        // The libraries that this very process runs with are those that the evaluator, a sibling, has.
        let libc = mapped("libc.so.")?;
        let gcc = mapped("libgcc_s.so.")?;
        let system = libc.parent()?.to_owned();
        let math = system.join(libc.file_name()?.to_str()?.replace("libc", "libm"));
        let names = folder.join("link");
        match name_libraries(&names, &[("c", &libc), ("m", &math), ("gcc_s", &gcc)], &system) {
            Ok(()) => Some(Self { program, names, system }),
            Err(error) => {
                tracing::debug!(%error, "cells are linked through cc");
                None
            }
        }
    }

    /// What to tell the compiler, for a library that is to be called `soname`.
    pub fn arguments(&self, soname: &str) -> Vec<OsString> {
        let path = |prefix: &str, path: &Path| {
            let mut argument = OsString::from(prefix);
            argument.push(path);
            argument
        };
        vec![
            path("-Clinker=", &self.program),
            "-Clinker-flavor=ld.lld".into(),
            path("-Lnative=", &self.names),
            path("-Lnative=", &self.system),
            format!("-Clink-arg=-soname={soname}").into(),
            // A new evaluator finds the cells that this one imports from.
            "-Clink-arg=-rpath=$ORIGIN".into(),
        ]
    }
}

/// The same for the linker that `rustc` chooses.
pub fn through_cc(soname: &str) -> Vec<OsString> {
    vec![format!("-Clink-arg=-Wl,-soname,{soname}").into(), "-Clink-arg=-Wl,-rpath,$ORIGIN".into()]
}

fn name_libraries(names: &Path, libraries: &[(&str, &Path)], system: &Path) -> io::Result<()> {
    fs::create_dir_all(names)?;
    let file = |name: &str| names.join(format!("lib{name}.so"));
    for (name, library) in libraries {
        if !library.is_file() {
            return Err(io::Error::other(format!("there is no {}", library.display())));
        }
        symlink(library, file(name))?;
    }
    for name in PARTS_OF_LIBC {
        fs::write(file(name), "/* in libc.so.6 */\n")?;
    }
    // The runtime library brings it; cells ask for it by its name only.
    let cpp = system.join("libstdc++.so.6");
    if cpp.is_file() { symlink(cpp, file("stdc++")) } else { fs::write(file("stdc++"), "/* nothing */\n") }
}

/// The file that this process has mapped whose name begins so.
fn mapped(begins: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begins)))
        .map(Path::to_owned)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_that_the_standard_library_asks_for_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let libc = mapped("libc.so.").unwrap();
        let system = libc.parent().unwrap();
        let names = folder.path().join("link");
        name_libraries(&names, &[("c", &libc)], system).unwrap();
        assert_eq!(fs::canonicalize(names.join("libc.so")).unwrap(), fs::canonicalize(&libc).unwrap());
        assert!(names.join("libpthread.so").is_file() && names.join("libstdc++.so").is_file());
    }

    #[test]
    fn a_library_that_is_missing_leaves_linking_to_cc() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            name_libraries(folder.path(), &[("c", Path::new("/nonexistent/libc.so.6"))], Path::new("/"))
                .is_err()
        );
    }
}
