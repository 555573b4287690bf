//! Owns crates that people add with `:dep`: from what was written (`request`) to cargo's choice of versions (`workspace`,
//! `cargo`), crates that are the runtime's own (`shared`, `wrapper`), one shared library for what is new (`library`), and
//! their names in the cells that follow. See docs/decisions/dep.md.

mod cargo;
mod library;
mod progress;
mod request;
mod shared;
mod trouble;
mod workspace;
pub mod wrapper;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use self::{
    cargo::{Cargo, Count},
    library::{Made, Making, Step},
    progress::Progress,
    request::Wanted,
    shared::Shared,
    workspace::{Graph, Pin},
    wrapper::{Orders, mark},
};
use super::{
    Evaluation, direct::Direct, failure::Failure, folder::Folder, known::Crates, naming, print::Print,
    runtime::Runtime, types,
};

/// Choosing one pin can make others possible; that settles in a few rounds.
const ROUNDS_MAX: usize = 4;
/// What other builds of the runtime left behind goes after so long without use.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Crates of `nuna` that people name as `nuna::NAME`.
const RE_EXPORTS: &[&str] = &["ndarray", "serde"];

/// The crates of one session.
#[derive(Default)]
pub(super) struct Deps {
    place: Option<Place>,
    wanted: BTreeMap<String, Wanted>,
    step: Step,
    /// Crates that a later step replaced, under new names, for variables made with them.
    before: BTreeMap<String, PathBuf>,
    pub(super) is_offline: bool,
}

/// Where crates are compiled, for all kernels of this person that have the same runtime.
struct Place {
    root: PathBuf,
    /// Hash of the runtime.
    id: String,
    triple: String,
    shared: Vec<Shared>,
    /// This session's package.
    session: Folder,
}

impl Place {
    fn new(runtime: &Runtime) -> Result<Self> {
        let contents = shared::contents(runtime)?;
        let mut hash = Sha256::new();
        hash.update(&contents);
        hash.update(runtime.dependencies.as_os_str().as_encoded_bytes());
        let id = hex::encode(hash.finalize())[..16].to_owned();
        let triple = contents
            .lines()
            .find_map(|line| line.strip_prefix("triple "))
            .context("the runtime names no target")?;
        let above = cache()?.join("nuna/deps");
        private(&above)?;
        remove_unused(&above, &id);
        let root = above.join(&id);
        for folder in ["sets", "sessions"] {
            private(&root.join(folder))?;
        }
        // The time of this file is that of the last use.
        fs::write(root.join("used"), "")
            .with_context(|| format!("writing {}", root.join("used").display()))?;
        Ok(Self {
            triple: triple.to_owned(),
            shared: shared::crates(runtime, &contents),
            session: Folder::new(&root.join("sessions"))?,
            root,
            id,
        })
    }

    fn sets(&self) -> PathBuf {
        self.root.join("sets")
    }

    fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Where the step is kept that adds `wanted` to `before`; `None` if what it means may change.
    fn kept(&self, before: &Step, wanted: &BTreeMap<String, Wanted>) -> Option<PathBuf> {
        let mut hash = Sha256::new();
        hash.update(before.library.as_ref().map_or("", |(name, _)| name));
        hash.update(&before.lock);
        for wanted in wanted.values() {
            if wanted.may_change() {
                return None;
            }
            hash.update(wanted.entry());
            hash.update("\n");
        }
        Some(self.sets().join(format!("{}.json", &hex::encode(hash.finalize())[..32])))
    }
}

/// Which crates the runtime library holds, as text for where it is packed: with it, crates of `:dep` can be the runtime's
/// own where cargo's notes are not.
///
/// # Errors
/// If the runtime library cannot be read.
pub fn runtime_crates(runtime: &Runtime) -> Result<String> {
    shared::list(runtime)
}

fn cache() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("crates are kept in $XDG_CACHE_HOME or $HOME/.cache, and neither variable is set")
}

/// Makes a folder that only its owner can use, or checks that it is one.
fn private(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    let about = fs::metadata(folder)?;
    if about.uid() != nix::unistd::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        bail!(
            "{} can be written by others, so crates in it are not trusted; set XDG_CACHE_HOME to a folder of your own",
            folder.display()
        );
    }
    Ok(())
}

/// Trouble with one folder is no reason not to add a crate.
fn remove_unused(above: &Path, id: &str) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let used = fs::metadata(entry.path().join("used")).and_then(|about| about.modified());
        let unused = used.ok().and_then(|used| used.elapsed().ok()).is_some_and(|since| since > UNUSED_MAX);
        if unused && entry.file_name().to_string_lossy() != *id {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Why nothing was added.
enum Refused {
    Because(String),
    /// The person interrupted.
    Stopped,
}

type Tried<T> = Result<Result<T, Refused>>;

/// Unwraps the inner result of a [`Tried`].
macro_rules! tried {
    ($tried:expr) => {
        match $tried {
            Ok(value) => value,
            Err(refused) => return Ok(Err(refused)),
        }
    };
}

impl Direct {
    /// Adds crates, each line as `Cargo.toml` has it.
    pub(super) async fn add_crates(&mut self, lines: &[String], print: &Print) -> Result<Evaluation> {
        let mut wanted = self.deps.wanted.clone();
        let here = self.process.as_ref().and_then(|process| process.id());
        let here = here.and_then(|pid| fs::read_link(format!("/proc/{pid}/cwd")).ok());
        let here = here.or_else(|| std::env::current_dir().ok()).unwrap_or_else(|| PathBuf::from("/"));
        let mut asked = Vec::new();
        for line in lines {
            match request::read(line, &here) {
                Ok(one) => {
                    asked.push(one.name.clone());
                    wanted.insert(one.name.clone(), one);
                }
                Err(message) => return Ok(Failure::new("Command", message).into()),
            }
        }
        if wanted == self.deps.wanted && !asked.iter().any(|name| wanted[name].may_change()) {
            return Ok(Evaluation::default());
        }
        let mut progress = Progress::new(print);
        let step = match self.step(&wanted, &mut progress).await {
            Ok(Ok(step)) => step,
            Ok(Err(Refused::Because(message))) => {
                progress.finish("").await;
                return Ok(Failure::new("DependencyError", message).into());
            }
            Ok(Err(Refused::Stopped)) => {
                progress.finish("").await;
                return Ok(Failure::interrupted("interrupted while crates were added; none was").into());
            }
            Err(error) => {
                progress.finish("").await;
                return Err(error);
            }
        };
        let summary = self.take_crates(step, wanted, &asked, &progress)?;
        progress.finish(&summary).await;
        Ok(Evaluation::default())
    }

    /// What was added, as lines.
    pub(super) fn added_crates(&self) -> String {
        let lines = self.deps.wanted.values().map(|wanted| {
            let version = self.deps.step.versions.iter().find(|(name, _)| name == wanted.package());
            let version = version.map(|(_, version)| format!("   # {version}")).unwrap_or_default();
            format!("{}{version}", wanted.describe())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// From an earlier kernel, or from cargo.
    async fn step(&mut self, wanted: &BTreeMap<String, Wanted>, progress: &mut Progress<'_>) -> Tried<Step> {
        if self.deps.place.is_none() {
            self.deps.place = Some(Place::new(&self.runtime)?);
        }
        let place = self.deps.place.as_ref().context("the place was just made")?;
        let kept = place.kept(&self.deps.step, wanted);
        let found = kept.as_ref().and_then(|path| fs::read(path).ok());
        let found = found.and_then(|text| serde_json::from_slice::<Step>(&text).ok());
        if let Some(step) = found.filter(Step::is_whole) {
            return Ok(Ok(step));
        }
        let step = tried!(self.make_step(place, wanted, progress).await?);
        if let Some(path) = kept {
            // Whole or not at all, for kernels that read at this moment.
            let draft = path.with_extension(format!("{}.draft", std::process::id()));
            fs::write(&draft, serde_json::to_vec(&step)?)
                .with_context(|| format!("writing {}", draft.display()))?;
            fs::rename(&draft, &path)?;
        }
        Ok(Ok(step))
    }

    async fn make_step(
        &self,
        place: &Place,
        wanted: &BTreeMap<String, Wanted>,
        progress: &mut Progress<'_>,
    ) -> Tried<Step> {
        let Some(program) = Cargo::program(&self.runtime.rustc) else {
            return Ok(Err(Refused::Because(format!(
                "crates are added by cargo, and there is none beside {} nor on the PATH; install Rust with rustup, or ask your administrator",
                self.runtime.rustc.display()
            ))));
        };
        let folder = place.session.path();
        let orders = folder.join("orders.json");
        let all = Orders { shared: place.shared.clone(), dependencies: self.runtime.dependencies.clone() };
        fs::write(&orders, serde_json::to_vec(&all)?)
            .with_context(|| format!("writing {}", orders.display()))?;
        let source = folder.join("lib.rs");
        if !source.is_file() {
            // A newer one would be compiled again.
            fs::write(&source, "").with_context(|| format!("writing {}", source.display()))?;
        }
        let cargo = Cargo {
            program,
            rustc: &self.runtime.rustc,
            folder,
            orders: &orders,
            surroundings: &self.surroundings,
            running: &self.running,
        };
        let graph = tried!(self.resolve(&cargo, place, wanted, progress).await?);
        if let Some(package) = graph.without_library() {
            return Ok(Err(Refused::Because(format!(
                "`{}` {} is a program without a library, so no cell can use it; `!cargo install {}` installs it",
                package.name, package.version, package.name
            ))));
        }
        let built = tried!(build(&cargo, place, &graph, progress).await?);
        progress.say("linking").await;
        let making = Making {
            runtime: &self.runtime,
            id: &place.id,
            linker: self.linker.as_ref(),
            before: &self.deps.step,
            made: &built.made,
            sets: &place.sets(),
            cells: self.folder.path(),
            target: &place.target(),
        };
        let made = library::make(&making);
        let library = tokio::select! {
            library = made => match library {
                Ok(library) => library,
                Err(error) => return Ok(Err(Refused::Because(format!("{error:#}")))),
            },
            () = self.running.cancel.notified() => return Ok(Err(Refused::Stopped)),
        };
        let mut contained = self.deps.step.contained.clone();
        contained.extend(library.iter().flat_map(|library| library.contained.clone()));
        let mut step = Step {
            library: library
                .map(|library| (library.name, library.path))
                .or_else(|| self.deps.step.library.clone()),
            files: built.made.crates.keys().chain(&built.made.macros).cloned().collect(),
            contained,
            lock: fs::read_to_string(folder.join("Cargo.lock")).unwrap_or_default(),
            ..Step::default()
        };
        for (name, package) in graph.wanted() {
            let Some(file) = built.of_package.get(&package.id) else {
                bail!("cargo compiled {} {} but named no library of it", package.name, package.version);
            };
            step.externs.insert(name.to_owned(), file.clone());
            step.versions.push((package.name.clone(), package.version.clone()));
        }
        Ok(Ok(step))
    }

    /// Has cargo choose versions: those of the runtime where they fit, and from what is on this machine if that is enough.
    async fn resolve(
        &self,
        cargo: &Cargo<'_>,
        place: &Place,
        wanted: &BTreeMap<String, Wanted>,
        progress: &mut Progress<'_>,
    ) -> Tried<Graph> {
        let lock = cargo.folder.join("Cargo.lock");
        let write = |pins: &BTreeSet<Pin>| -> Result<()> {
            let manifest = cargo.folder.join("Cargo.toml");
            fs::write(&manifest, workspace::manifest(wanted, pins))
                .with_context(|| format!("writing {}", manifest.display()))
        };
        // What a failed attempt chose is forgotten.
        if self.deps.step.lock.is_empty() {
            drop(fs::remove_file(&lock))
        } else {
            fs::write(&lock, &self.deps.step.lock)?
        }
        let mut pins = BTreeSet::new();
        write(&pins)?;
        let mut graph = tried!(self.graph(cargo, place, progress).await?);
        for _ in 0..ROUNDS_MAX {
            let more: BTreeSet<Pin> = pins.union(&graph.pins(&place.shared)).cloned().collect();
            if more == pins {
                return Ok(Ok(graph));
            }
            write(&more)?;
            match self.graph(cargo, place, progress).await? {
                Ok(pinned) => (graph, pins) = (pinned, more),
                Err(Refused::Stopped) => return Ok(Err(Refused::Stopped)),
                Err(Refused::Because(why)) => {
                    tracing::debug!(%why, "crates of the runtime do not fit what was asked for");
                    write(&pins)?;
                    graph = tried!(self.graph(cargo, place, progress).await?);
                    return Ok(Ok(graph));
                }
            }
        }
        Ok(Ok(graph))
    }

    async fn graph(&self, cargo: &Cargo<'_>, place: &Place, progress: &mut Progress<'_>) -> Tried<Graph> {
        let is_offline = self.deps.is_offline || is_set("CARGO_NET_OFFLINE");
        let mut arguments =
            vec!["metadata", "--format-version=1", "--filter-platform", &place.triple, "--offline"];
        loop {
            let online = arguments.last() != Some(&"--offline");
            let Some(said) = cargo.run(&arguments, progress, &mut Count::default()).await? else {
                return Ok(Err(Refused::Stopped));
            };
            if said.success {
                let line = said
                    .lines
                    .iter()
                    .find(|line| line.starts_with('{'))
                    .context("cargo metadata printed nothing")?;
                return Ok(Ok(Graph::read(line).context("reading what cargo metadata printed")?));
            }
            if online || is_offline {
                return Ok(Err(Refused::Because(trouble::of_resolution(&said.errors, !online))));
            }
            arguments.pop();
        }
    }

    /// Makes the crates of `step` those of the cells that follow; says what was added.
    fn take_crates(
        &mut self,
        step: Step,
        wanted: BTreeMap<String, Wanted>,
        asked: &[String],
        progress: &Progress<'_>,
    ) -> Result<String> {
        let folder = self.folder.path().to_owned();
        let library = step.library.iter().map(|(_, path)| path);
        for file in step.files.iter().chain(library) {
            link_into(&folder, file)?;
        }
        let mut notes = String::new();
        let mut replaced = BTreeMap::new();
        for (name, file) in &self.deps.step.externs {
            if step.externs.get(name).is_some_and(|now| now != file) {
                let alias = format!("{name}_before_{}", self.deps.before.len() + 1);
                self.deps.before.insert(alias.clone(), file.clone());
                replaced.insert(name.clone(), alias);
            }
        }
        for (variable, ty) in &mut self.known.variables {
            let mut of = None;
            let after = types::map_paths(ty, |first, _| {
                let alias = replaced.get(first)?;
                of = Some(first.to_owned());
                Some(alias.clone())
            });
            if let (Some(after), Some(of)) = (after, of) {
                *ty = after;
                notes += &format!(
                    "\nnote: `{variable}` is of the `{of}` that was there before; make it again to use it with the new one"
                );
            }
        }
        for (package, version) in &step.versions {
            let Some(place) = &self.deps.place else { break };
            let file = step.externs.get(&package.replace('-', "_"));
            let own = place.shared.iter().find(|shared| shared.package == *package);
            if RE_EXPORTS.contains(&package.as_str())
                && let (Some(own), Some(file)) = (own, file)
                && !mark(file).is_file()
            {
                let why = if own.version == *version {
                    "with other features".to_owned()
                } else {
                    format!("of version {}", own.version)
                };
                notes += &format!(
                    "\nnote: `{package}` {version} is another crate than `nuna::{package}`, which was built {why}: their types do not mix"
                );
            }
        }
        let count = step.files.len();
        let packages = asked.iter().map(|name| {
            let package = wanted[name].package();
            let version =
                step.versions.iter().find(|(name, _)| name == package).map_or("", |(_, version)| version);
            format!("{package} {version}")
        });
        let mut summary = format!("added {}", packages.collect::<Vec<_>>().join(", "));
        let seconds = progress.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            let crates = if count == 1 { "1 crate".to_owned() } else { format!("{count} crates") };
            summary += &format!(" ({crates}, {seconds:.0} s)");
        }
        self.deps.wanted = wanted;
        self.deps.step = step;
        self.offer_crates();
        Ok(summary + &notes)
    }

    /// Has the cells that follow find the crate that `ty` names, if nobody asked for it but another crate brought it.
    pub(super) fn offer_crate_of(&mut self, ty: &str) {
        let mut brought = Vec::new();
        types::map_paths(ty, |first, _| {
            let is_known = self.cells.iter().any(|(name, _)| name == first);
            let file = self.deps.step.files.iter().find(|file| name_of(file) == Some(first));
            brought.extend(file.filter(|_| !is_known).map(|file| (first.to_owned(), file.clone())));
            None
        });
        self.known.crates.names.extend(brought.iter().map(|(name, _)| name.clone()));
        self.cells.extend(brought);
    }

    /// Names the crates to the cells that follow, also after these forgot everything.
    pub(super) fn offer_crates(&mut self) {
        self.cells.retain(|(name, _)| naming::is_cell(name));
        let step = &self.deps.step;
        let externs =
            step.externs.iter().chain(&self.deps.before).map(|(name, path)| (name.clone(), path.clone()));
        let externs: Vec<_> = externs.collect();
        let names = externs.iter().map(|(name, _)| name.clone()).collect();
        self.known.crates = Crates { names, library: step.library.as_ref().map(|(name, _)| name.clone()) };
        self.cells.extend(externs);
        self.cells.extend(step.library.clone());
        let types: Vec<String> = self.known.variables.values().cloned().collect();
        types.iter().for_each(|ty| self.offer_crate_of(ty));
    }
}

/// What code calls the crate of a file that cargo has named: `libNAME-HASH.rlib`.
fn name_of(file: &Path) -> Option<&str> {
    let stem = file.file_name()?.to_str()?.strip_prefix("lib")?.strip_suffix(".rlib")?;
    stem.split('-').next()
}

/// Names a file in the folder of cells, where the compiler and the loader look. The compiler takes any name that begins as
/// it should, so one that is there and means an earlier file stays.
fn link_into(folder: &Path, file: &Path) -> Result<()> {
    let (Some(stem), Some(kind)) = (file.file_stem(), file.extension()) else { return Ok(()) };
    let (stem, kind) = (stem.to_string_lossy(), kind.to_string_lossy());
    for turn in 0.. {
        let more = if turn == 0 { String::new() } else { format!("_{turn}") };
        let link = folder.join(format!("{stem}{more}.{kind}"));
        match symlink(file, &link) {
            Err(_) if fs::read_link(&link).is_ok_and(|there| there == file) => break,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            linked => return linked.with_context(|| format!("linking {}", link.display())),
        }
    }
    Ok(())
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// What a build gave.
struct BuiltCrates {
    made: Made,
    /// The library of each package.
    of_package: BTreeMap<String, PathBuf>,
}

/// A line of cargo's answer.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        package_id: String,
        target: Target,
        profile: Profile,
        filenames: Vec<PathBuf>,
    },
    BuildScriptExecuted {
        linked_paths: Vec<String>,
    },
    #[serde(rename = "compiler-message")]
    Diagnostic {
        message: Rendered,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    opt_level: String,
}

#[derive(Deserialize)]
struct Rendered {
    level: String,
    rendered: Option<String>,
}

async fn build(
    cargo: &Cargo<'_>,
    place: &Place,
    graph: &Graph,
    progress: &mut Progress<'_>,
) -> Tried<BuiltCrates> {
    let target = place.target();
    let target = target.to_str().context("the cache's path is text")?;
    let arguments = ["build", "--offline", "--message-format=json", "--target-dir", target];
    let mut count = Count::of(graph.len());
    let Some(said) = cargo.run(&arguments, progress, &mut count).await? else {
        return Ok(Err(Refused::Stopped));
    };
    let mut built = BuiltCrates { made: Made::default(), of_package: BTreeMap::new() };
    let mut rendered = Vec::new();
    for message in said.lines.iter().filter_map(|line| serde_json::from_str(line).ok()) {
        match message {
            Message::CompilerArtifact { package_id, target, profile, filenames } => {
                let Some(package) =
                    graph.package(&package_id).filter(|package| package.name != workspace::PACKAGE)
                else {
                    continue;
                };
                let is_macro = target.kind.iter().any(|kind| kind == "proc-macro");
                let file = filenames.into_iter().find(|file| {
                    let kind = file.extension().and_then(|kind| kind.to_str());
                    kind == Some(if is_macro { "so" } else { "rlib" })
                });
                let Some(file) = file else { continue };
                let identity = library::identity(&file, package.is_fixed())?;
                let file =
                    if package.is_fixed() { file } else { library::keep(&file, &identity, &place.sets())? };
                // Not optimised is what only build scripts and macros use.
                if is_macro {
                    built.made.macros.insert(file.clone());
                } else if profile.opt_level == "3" {
                    built.made.crates.insert(file.clone(), identity);
                } else {
                    continue;
                }
                built.of_package.insert(package_id, file);
            }
            Message::BuildScriptExecuted { linked_paths } => {
                // What is linked is in the crates' own notes; where it lies is not.
                built.made.native.extend(linked_paths);
            }
            Message::Diagnostic { message } if message.level == "error" => rendered.extend(message.rendered),
            Message::Diagnostic { .. } | Message::Other => {}
        }
    }
    if !said.success {
        return Ok(Err(Refused::Because(trouble::of_build(&said.errors, &rendered))));
    }
    Ok(Ok(built))
}
