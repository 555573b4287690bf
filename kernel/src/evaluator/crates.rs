//! Owns which files of the runtime's dependencies a compiler is shown. A cell uses `nuna`, and with it come the metadata
//! of some 240 crates; the folder they lie in holds a few thousand files where cargo built them, and for each crate two
//! that serve. Looking through these takes a sixth of a trivial cell. So the compiler is asked once what it opened, and
//! from then on sees a folder of links to that alone. Whoever finds something missing there uses the whole folder.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    cache::{Cache, Entry, Inputs, Key},
    runtime::Runtime,
};

/// Asking takes as long as a trivial cell.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of links, in the session's.
pub const LINKS: &str = "crates";

/// The folder of links, once it is known what belongs there.
#[derive(Debug)]
pub struct Crates {
    /// The session's folder.
    folder: PathBuf,
    links: OnceLock<PathBuf>,
    asked: AtomicBool,
}

impl Crates {
    /// `folder` is the session's. What was found out before is in `cache`.
    pub fn new(folder: &Path, runtime: &Runtime, cache: Option<&Cache>) -> Self {
        let crates =
            Self { folder: folder.to_owned(), links: OnceLock::new(), asked: AtomicBool::new(false) };
        if let Some(entry) = cache.and_then(|cache| cache.get(&key())) {
            let names = String::from_utf8_lossy(&entry.messages);
            crates.asked.store(crates.link(runtime, names.lines()).is_ok(), Ordering::Relaxed);
        }
        crates
    }

    /// Holds all that a cell needs but for `nuna` itself and earlier cells. `None` while that is not known.
    pub fn links(&self) -> Option<&Path> {
        self.links.get().map(PathBuf::as_path)
    }

    /// Finds out what belongs there, in the background and once.
    pub fn ask(self: &Arc<Self>, runtime: &Runtime, cache: Option<&Arc<Cache>>) {
        if self.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        let (crates, runtime, cache) = (Arc::clone(self), runtime.clone(), cache.cloned());
        tokio::spawn(async move {
            match crates.find_out(&runtime).await {
                Ok(names) => {
                    if let Some(cache) = cache {
                        let messages = names.join("\n").into_bytes();
                        cache.put(&key(), &Entry { succeeded: true, messages, library: Vec::new() });
                    }
                }
                Err(error) => tracing::debug!("cells are compiled with all crates in sight: {error:#}"),
            }
        });
    }

    async fn find_out(&self, runtime: &Runtime) -> Result<Vec<String>> {
        let file = |name: &str| self.folder.join(name);
        let (source, list) = (file("crates.rs"), file("crates.d"));
        let emit = format!("--emit=metadata={},dep-info={}", file("crates.rmeta").display(), list.display());
        ensure!(emit.matches(',').count() == 1, "a folder has a comma in its name");
        fs::write(&source, "extern crate nuna;\n")
            .with_context(|| format!("writing {}", source.display()))?;
        let mut command = tokio::process::Command::new(&runtime.rustc);
        command
            .arg(&source)
            .args(["--edition=2024", "--crate-type=lib", "-Cprefer-dynamic", "-Zbinary-dep-depinfo"])
            .arg(emit)
            .arg(format!("--extern=nuna={}", runtime.library.display()))
            .arg(format!("-Ldependency={}", runtime.dependencies.display()))
            .current_dir(&self.folder)
            // The flag makes the list complete; nothing that is compiled so is used.
            .env("RUSTC_BOOTSTRAP", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let status = tokio::time::timeout(PATIENCE, command.status()).await??;
        ensure!(status.success(), "{} does not say what it reads", runtime.rustc.display());
        let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
        let names = chosen(&text, |name| runtime.dependencies.join(name).is_file());
        self.link(runtime, names.iter().map(String::as_str))?;
        Ok(names)
    }

    fn link<'n>(&self, runtime: &Runtime, names: impl Iterator<Item = &'n str>) -> io::Result<()> {
        let (links, unfinished) = (self.folder.join(LINKS), self.folder.join("crates.unfinished"));
        fs::create_dir(&unfinished)?;
        let mut count = 0;
        for name in names {
            // A list that was tampered with names nothing elsewhere.
            if name.contains('/') {
                return Err(io::Error::other("not the name of a file"));
            }
            symlink(runtime.dependencies.join(name), unfinished.join(name))?;
            count += 1;
        }
        if count > 0 {
            fs::rename(&unfinished, &links)?;
            let _ = self.links.set(links);
        }
        Ok(())
    }
}

fn key() -> Key {
    let mut inputs = Inputs::default();
    inputs.add(b"crates that the runtime is made of");
    inputs.key()
}

/// Of the files in a compiler's list those in the folder, one for each crate: metadata alone are read fastest.
fn chosen(list: &str, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found: BTreeMap<String, &str> = BTreeMap::new();
    for file in list.lines().filter_map(|line| line.strip_suffix(':')) {
        let path = Path::new(file);
        let (Some(name), Some(stem), Some(kind)) = (path.file_name(), path.file_stem(), path.extension())
        else {
            continue;
        };
        let (stem, kind) = (stem.to_string_lossy().into_owned(), kind.to_str().unwrap_or_default());
        if !is_there(&name.to_string_lossy()) || !["rmeta", "rlib", "so"].contains(&kind) {
            continue;
        }
        let kept = found.entry(stem).or_insert(kind);
        if kind == "rmeta" {
            *kept = kind;
        }
    }
    found.into_iter().map(|(stem, kind)| format!("{stem}.{kind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_of_each_crate_is_chosen() {
        let list = "/s/crates.d: /d/liba-1.rlib /d/liba-1.rmeta\n\n/s/crates.rs:\n/d/liba-1.rlib:\n/d/liba-1.rmeta:\n\
                    /d/libb-2.rlib:\n/d/libmacros-3.so:\n/rust/lib/libstd-4.so:\n";
        let there = |name: &str| !name.starts_with("libstd") && name != "crates.rs";
        assert_eq!(chosen(list, there), ["liba-1.rmeta", "libb-2.rlib", "libmacros-3.so"]);
    }
}
