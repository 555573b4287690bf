//! Owns the shared library of one `:dep` step: it holds the crates that are new with it, so that their statics exist once
//! for all cells, and links the runtime and the step before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::wrapper::mark;
use crate::evaluator::{
    linker::{Linker, through_cc},
    runtime::Runtime,
};

/// Linking takes seconds.
const PATIENCE: Duration = Duration::from_secs(600);

/// What cargo has made of the wanted crates.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Made {
    /// Libraries of all crates that cells may need, by file: what tells each from others of its name.
    pub(super) crates: BTreeMap<PathBuf, String>,
    /// Macros are not linked, but found by name.
    pub(super) macros: BTreeSet<PathBuf>,
    /// Where native libraries lie, as `-L` has it.
    pub(super) native: BTreeSet<String>,
}

/// One step, as it is kept for later kernels.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Crate and library of this step; that of an earlier step where nothing had to be linked.
    pub(crate) library: Option<(String, PathBuf)>,
    /// What code calls the wanted crates, and their files.
    pub(crate) externs: BTreeMap<String, PathBuf>,
    /// Every file that cells may need.
    pub(crate) files: BTreeSet<PathBuf>,
    /// What is in the libraries so far.
    pub(crate) contained: BTreeSet<String>,
    /// Name and version of the wanted packages.
    pub(crate) versions: Vec<(String, String)>,
    pub(crate) lock: String,
}

impl Step {
    /// Whether everything is where it was.
    pub(super) fn is_whole(&self) -> bool {
        let library = self.library.iter().map(|(_, path)| path);
        self.externs.values().chain(&self.files).chain(library).all(|file| file.is_file())
    }
}

/// What tells a crate from others: of a registry, the hash that cargo has put into its file's name.
pub(super) fn identity(file: &Path, is_fixed: bool) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_fixed {
        return Ok(name);
    }
    let about = fs::metadata(file).with_context(|| format!("looking at {}", file.display()))?;
    Ok(format!("{name}:{}:{}.{}", about.len(), about.mtime(), about.mtime_nsec()))
}

/// Keeps a file that cargo will overwrite when its sources change; earlier cells still need it then.
pub(super) fn keep(file: &Path, identity: &str, sets: &Path) -> Result<PathBuf> {
    let folder = sets.join(format!("own-{}", &hex::encode(Sha256::digest(identity))[..16]));
    let to = folder.join(file.file_name().unwrap_or_default());
    if !to.is_file() {
        let draft = folder.join(format!(".draft-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        fs::copy(file, &draft)
            .with_context(|| format!("copying {} to {}", file.display(), folder.display()))?;
        fs::rename(&draft, &to)?;
    }
    Ok(to)
}

/// A name that only this content has: steps of several kernels may meet in one worker.
fn name_of(before: &Step, new: &BTreeSet<String>, runtime: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(runtime);
    hash.update(before.library.as_ref().map_or("", |(name, _)| name));
    for identity in new {
        hash.update(identity);
        hash.update("\n");
    }
    format!("nuna_deps_{}", &hex::encode(hash.finalize())[..16])
}

/// Everything that a library is made from.
pub(super) struct Making<'a> {
    pub(super) runtime: &'a Runtime,
    /// Hash of the runtime.
    pub(super) id: &'a str,
    pub(super) linker: Option<&'a Linker>,
    pub(super) before: &'a Step,
    pub(super) made: &'a Made,
    /// Holds finished libraries, each in a folder of its own.
    pub(super) sets: &'a Path,
    /// Names every file of the steps before.
    pub(super) cells: &'a Path,
    /// Where cargo puts what it makes.
    pub(super) target: &'a Path,
}

/// A library, and what is in it.
pub(super) struct Library {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) contained: BTreeSet<String>,
}

/// Makes the library of what is new; `None` if nothing is.
///
/// # Errors
/// If it cannot be linked; the linker's words are in the message.
pub(super) async fn make(making: &Making<'_>) -> Result<Option<Library>> {
    let Making { runtime, before, made, .. } = *making;
    let is_new = |(file, identity): &(&PathBuf, &String)| {
        !mark(file).is_file() && !before.contained.contains(*identity)
    };
    let new: Vec<(&PathBuf, &String)> = made.crates.iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let identities: BTreeSet<String> = new.iter().map(|(_, identity)| (*identity).clone()).collect();
    let name = name_of(before, &identities, making.id);
    let folder = making.sets.join(&name);
    let path = folder.join(format!("lib{name}.so"));
    let library = Library { name: name.clone(), path: path.clone(), contained: identities };
    if path.is_file() {
        return Ok(Some(library));
    }
    // Another kernel may make the same one at this moment.
    let draft = making.sets.join(format!(".{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&draft);
    fs::create_dir_all(&draft).with_context(|| format!("making {}", draft.display()))?;
    let mut command = Command::new(&runtime.rustc);
    let mut source = String::from("extern crate nuna as _;\n");
    command.arg(format!("--extern=nuna={}", runtime.library.display()));
    if let Some((name, path)) = &before.library {
        source += &format!("extern crate {name} as _;\n");
        command.arg(format!("--extern={name}={}", path.display()));
    }
    let mut folders = BTreeSet::from([runtime.dependencies.clone()]);
    for (number, (file, _)) in new.iter().enumerate() {
        // By number, since there may be several versions of a crate.
        source += &format!("extern crate c{number} as _;\n");
        command.arg(format!("--extern=c{number}={}", file.display()));
        folders.extend(file.parent().map(Path::to_owned));
    }
    folders.extend(made.macros.iter().filter_map(|file| file.parent().map(Path::to_owned)));
    folders.insert(making.cells.to_owned());
    for folder in &folders {
        command.arg(format!("-Ldependency={}", folder.display()));
    }
    let file = draft.join("lib.rs");
    fs::write(&file, source).with_context(|| format!("writing {}", file.display()))?;
    command
        .arg(&file)
        .args([
            "--edition=2024",
            "--crate-type=dylib",
            "-Cprefer-dynamic",
            "-Copt-level=2",
            "--cap-lints=allow",
        ])
        .arg(format!("--crate-name={name}"))
        .args(made.native.iter().flat_map(|path| ["-L", path]));
    let soname = format!("lib{name}.so");
    let output = draft.join(&soname);
    // What is found now must be found when it runs, too; what build scripts made is inside of the crates.
    let lasting =
        made.native.iter().map(|path| path.split_once('=').map_or(path.as_str(), |(_, folder)| folder));
    let lasting: Vec<&str> = lasting.filter(|folder| !Path::new(folder).starts_with(making.target)).collect();
    let with = |arguments: Vec<std::ffi::OsString>, rpath: &str| {
        let mut all = Command::new(command.as_std().get_program());
        all.args(command.as_std().get_args())
            .args(arguments)
            .arg("-o")
            .arg(&output)
            .env_remove("RUSTC_BOOTSTRAP");
        all.args(lasting.iter().map(|folder| format!("-Clink-arg={rpath}{folder}")));
        all
    };
    // Native libraries may need what only the system's own linker knows.
    let mut said = match making.linker {
        Some(linker) => run(with(linker.arguments(&soname), "-rpath=")).await?,
        None => Some(String::new()),
    };
    if said.is_some() {
        said = run(with(through_cc(&soname), "-Wl,-rpath,")).await?;
    }
    if let Some(said) = said {
        let _ = fs::remove_dir_all(&draft);
        anyhow::bail!("the crates were compiled but cannot be linked:\n{}", said.trim());
    }
    if fs::rename(&draft, &folder).is_err() {
        // There is one: of another kernel, or what is left of one.
        if path.is_file() {
            let _ = fs::remove_dir_all(&draft);
        } else {
            let _ = fs::remove_dir_all(&folder);
            fs::rename(&draft, &folder).with_context(|| format!("putting {} in place", folder.display()))?;
        }
    }
    Ok(Some(library))
}

/// What the compiler complains of, if it does.
async fn run(mut command: Command) -> Result<Option<String>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output =
        output.with_context(|| format!("linking the crates took longer than {} s", PATIENCE.as_secs()))??;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}
