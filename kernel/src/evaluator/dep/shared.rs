//! Owns which crates the runtime library holds: name, version, features and file of each. A crate of `:dep` that is one
//! of them is not compiled again; everybody has the runtime's own, so its types are those that `nuna` shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::evaluator::runtime::Runtime;

/// A crate that is compiled into the runtime library, or a macro that it shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) package: String,
    pub(crate) version: String,
    /// As code calls it.
    pub(crate) name: String,
    pub(crate) features: BTreeSet<String>,
    pub(crate) file: PathBuf,
}

/// What the compiler says that the runtime library is made of: for its hash, and for its crates.
pub(crate) fn contents(runtime: &Runtime) -> Result<String> {
    let output = Command::new(&runtime.rustc)
        .arg("-Zls=root")
        .arg(&runtime.library)
        .env("RUSTC_BOOTSTRAP", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", runtime.rustc.display()))?;
    if !output.status.success() {
        bail!(
            "{} cannot be read: {}",
            runtime.library.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Beside the crates' metadata of a runtime that was packed: the answer of [`crates`] where it was built, with the names of
/// files alone.
const LIST: &str = "crates.json";

/// The crates of [`contents`] that came from a registry and whose features are known: where the runtime was built from
/// cargo's own notes, elsewhere from the list that was packed with it.
pub(crate) fn crates(runtime: &Runtime, contents: &str) -> Vec<Shared> {
    let units = units(contents);
    let packed = fs::read(runtime.dependencies.join(LIST)).ok();
    if let Some(packed) = packed.and_then(|text| serde_json::from_slice::<Vec<Shared>>(&text).ok()) {
        let known = |shared: &Shared| {
            units.iter().any(|(name, hash)| {
                shared.file.file_stem().is_some_and(|stem| *stem == *format!("lib{name}-{hash}"))
            })
        };
        let placed = packed.into_iter().filter(known).filter_map(|shared| {
            let file = file_of(&runtime.dependencies, shared.file.file_stem()?.to_str()?)?;
            Some(Shared { file, ..shared })
        });
        return placed.collect();
    }
    let mut packages: BTreeMap<String, PathBuf> = BTreeMap::new();
    let notes = runtime.dependencies.with_file_name(".fingerprint");
    for entry in fs::read_dir(&notes).into_iter().flatten().flatten() {
        if let Some((_, hash)) = entry.file_name().to_string_lossy().rsplit_once('-') {
            packages.insert(hash.to_owned(), entry.path());
        }
    }
    let found = units.into_iter().filter_map(|(name, hash)| {
        let folder = packages.get(&hash)?;
        let package = folder.file_name()?.to_str()?.strip_suffix(&format!("-{hash}"))?.to_owned();
        let note = fs::read_to_string(folder.join(format!("lib-{name}.json"))).ok()?;
        let sources = fs::read_to_string(runtime.dependencies.join(format!("{name}-{hash}.d"))).ok()?;
        let version = version(&sources, &package)?;
        let file = file_of(&runtime.dependencies, &format!("lib{name}-{hash}"))?;
        Some(Shared { package, version, name, features: features(&note)?, file })
    });
    found.collect()
}

/// The list for a runtime that is packed.
///
/// # Errors
/// If the runtime library cannot be read.
pub(crate) fn list(runtime: &Runtime) -> Result<String> {
    let mut all = crates(runtime, &contents(runtime)?);
    for shared in &mut all {
        shared.file = shared.file.file_name().map(PathBuf::from).unwrap_or_default();
    }
    Ok(serde_json::to_string(&all)?)
}

/// A crate's file: a macro, or a library with its code, or its metadata alone, since the code is in the runtime library.
fn file_of(dependencies: &Path, stem: &str) -> Option<PathBuf> {
    let files = ["rlib", "so", "rmeta"].map(|kind| dependencies.join(format!("{stem}.{kind}")));
    files.into_iter().find(|file| file.is_file())
}

/// Name and hash of each crate below the library, but for those of the standard library, which have no notes.
fn units(contents: &str) -> Vec<(String, String)> {
    let lines = contents.lines().skip_while(|line| !line.starts_with("=External Dependencies=")).skip(1);
    let words =
        lines.take_while(|line| !line.starts_with('=')).filter_map(|line| line.split_whitespace().nth(1));
    words
        .filter_map(|word| word.rsplit_once('-'))
        .map(|(name, hash)| (name.to_owned(), hash.to_owned()))
        .collect()
}

fn features(note: &str) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Note {
        features: String,
    }
    let note: Note = serde_json::from_str(note).ok()?;
    serde_json::from_str(&note.features).ok()
}

/// From the folder of its sources, which registries call `NAME-VERSION`; `None` for a crate of our own.
fn version(sources: &str, package: &str) -> Option<String> {
    let first = sources.split_whitespace().find(|word| word.ends_with(".rs"))?;
    let folders = Path::new(first).components().filter_map(|part| part.as_os_str().to_str());
    let prefix = format!("{package}-");
    let version = folders
        .filter_map(|folder| folder.strip_prefix(&prefix))
        .find(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_list_is_read() {
        let contents = "Crate info:\nname nuna\n=External Dependencies=\n1 std-d12 hash 34d kind Unconditional\n31 serde_derive-b0f hash 84 kind MacrosOnly\n\n=Other=\n1 x-1 y\n";
        assert_eq!(units(contents)[1], ("serde_derive".to_owned(), "b0f".to_owned()));
        assert_eq!(units(contents).len(), 2);
    }

    #[test]
    fn features_and_versions_come_from_cargos_notes() {
        let note = r#"{"rustc":7,"features":"[\"default\", \"std\"]","deps":[]}"#;
        assert_eq!(features(note).unwrap(), BTreeSet::from(["default".to_owned(), "std".to_owned()]));
        let sources = "/t/deps/serde-0f.d: /home/x/registry/src/index-1949/serde-1.0.229/src/lib.rs /b.rs\n";
        assert_eq!(version(sources, "serde").as_deref(), Some("1.0.229"));
        assert_eq!(version("/t/x.d: kernel/crates/plan/src/lib.rs\n", "nuna-plan"), None);
    }
}
