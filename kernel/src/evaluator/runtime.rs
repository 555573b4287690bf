//! Owns where the runtime library, its metadata, the evaluator and the compiler are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::cache::{Inputs, Key};

/// A place that cells can be compiled against: `cargo`'s own target folder, or what `nuna kernel install` laid out.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub library: PathBuf,
    pub dependencies: PathBuf,
    pub evaluator: PathBuf,
    pub rustc: PathBuf,
}

impl Runtime {
    /// From `NUNA_RUNTIME_DIR`, else from where this program lies.
    ///
    /// # Errors
    /// If a part is missing; names it and says how to get it.
    pub fn find() -> Result<Self> {
        Self::at(&Self::folder()?)
    }

    /// Where to look for it all.
    ///
    /// # Errors
    /// If the system does not say where this program lies.
    pub fn folder() -> Result<PathBuf> {
        if let Some(folder) = std::env::var_os("NUNA_RUNTIME_DIR") {
            return std::path::absolute(folder).context("reading NUNA_RUNTIME_DIR");
        }
        let program = std::env::current_exe().context("finding this program's own folder")?.canonicalize()?;
        Ok(program.parent().context("a program lies in a folder")?.to_path_buf())
    }

    /// Names this very library and this very compiler: what one compiled, only they take.
    ///
    /// # Errors
    /// If one of them cannot be found.
    pub fn build(&self) -> Result<Key> {
        let mut inputs = Inputs::default();
        for path in [&self.library, &on_path(&self.rustc).unwrap_or_else(|| self.rustc.clone())] {
            inputs.add_file(path).with_context(|| format!("looking at {}", path.display()))?;
        }
        Ok(inputs.key())
    }

    /// # Errors
    /// As [`Runtime::find`].
    pub fn at(folder: &Path) -> Result<Self> {
        let candidates =
            [(folder.to_path_buf(), folder.join("deps")), (folder.join("lib"), folder.join("lib/deps"))];
        let Some((base, dependencies)) =
            candidates.iter().find(|(base, _)| base.join("libnuna.so").is_file())
        else {
            bail!(
                "no libnuna.so in {} nor in its lib/; run `nuna kernel install` or `cargo build`",
                folder.display()
            );
        };
        let programs = [folder.join("nuna-evaluator"), folder.join("bin/nuna-evaluator")];
        let Some(evaluator) = programs.iter().find(|path| path.is_file()) else {
            bail!("no nuna-evaluator in {}; run `nuna kernel install` or `cargo build`", folder.display());
        };
        let rustc = std::env::var_os("NUNA_RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
        let rustc = beyond_shim(rustc);
        Ok(Self {
            library: base.join("libnuna.so"),
            dependencies: dependencies.clone(),
            evaluator: evaluator.clone(),
            rustc,
        })
    }
}

/// The compiler itself: rustup's shim in front of it costs some 45 ms each time.
fn beyond_shim(rustc: PathBuf) -> PathBuf {
    // Asking the compiler takes time too, which a kernel's start has little of.
    if let Some(found) = on_path(&rustc)
        && is_real(&found)
    {
        return found;
    }
    let output = std::process::Command::new(&rustc)
        .args(["--print", "sysroot"])
        .stdin(std::process::Stdio::null())
        .output();
    let real = output.ok().filter(|output| output.status.success()).and_then(|output| {
        let sysroot = String::from_utf8(output.stdout).ok()?;
        Some(Path::new(sysroot.trim()).join("bin/rustc"))
    });
    real.filter(|path| path.is_file()).unwrap_or(rustc)
}

/// Where a program is that was named by a path or by its name alone.
pub(crate) fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return std::path::absolute(program).ok();
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A compiler has its standard library beside it, a shim has not.
fn is_real(rustc: &Path) -> bool {
    rustc.parent().and_then(Path::parent).is_some_and(|sysroot| sysroot.join("lib/rustlib").is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_told_from_a_compiler() {
        let folder = tempfile::tempdir().unwrap();
        let rustc = folder.path().join("bin/rustc");
        assert!(!is_real(&rustc));
        std::fs::create_dir_all(folder.path().join("lib/rustlib")).unwrap();
        assert!(is_real(&rustc));
        assert_eq!(beyond_shim(rustc.clone()), rustc);
    }
}
