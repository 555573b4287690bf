//! Owns what the editor asks while a person types: what may come next (`complete`), and what something is (`inspect`).
//! Requests are answered beside the cells, also while one runs, from what was known after the last cell (`Snapshot`), an
//! index of libraries (`make`, `index`, `libraries`), the cell's own words (`cursor`, `scope`, `own`, `names`), and for
//! types the compiler (`probe`). Never waits for a cell (docs/decisions/completion.md).

pub mod complete;
pub mod cursor;
pub mod files;
pub mod html;
pub mod index;
pub mod inspect;
pub mod libraries;
pub mod lines;
pub mod make;
pub mod markdown;
pub mod members;
pub mod names;
pub mod own;
pub mod page;
pub mod probe;
pub mod scope;
pub mod unify;

use std::{
    collections::VecDeque,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::sync::watch;

use self::{index::Index, libraries::Libraries, lines::Line, own::Own};
use crate::evaluator::{known::Known, runtime::Runtime};

/// An answer that takes the compiler longer comes too late.
const PROBE_MAX: Duration = Duration::from_secs(2);
/// A folder on a file system that is slower is not completed.
const FILES_MAX: Duration = Duration::from_millis(1500);
/// A cell of more bytes is data, of which nothing is said.
const TEXT_MAX: usize = 1 << 20;
/// Answers of the compiler that are kept.
const ASKED_MAX: usize = 32;

/// What an evaluator knows after a cell.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Variables and items with what they are, for an evaluator that knows no more.
    pub names: Vec<(String, String)>,
    pub known: Known,
    /// Crates of earlier cells, with their libraries.
    pub cells: Vec<(String, PathBuf)>,
    /// Where compiled cells are; none means that the compiler cannot be asked.
    pub folder: Option<PathBuf>,
}

/// The language service of a kernel.
pub struct Service {
    snapshot: Mutex<(u64, Arc<Snapshot>)>,
    runtime: OnceLock<Option<Runtime>>,
    libraries: Mutex<Option<Arc<Libraries>>>,
    /// What earlier cells define, as of a snapshot.
    own: Mutex<(u64, Arc<Own>)>,
    making: AtomicBool,
    /// Number of the newest question to the compiler; older ones give up.
    newest: watch::Sender<u64>,
    asked: Mutex<VecDeque<(u64, String, Option<String>)>>,
    files: AtomicU64,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            snapshot: Mutex::default(),
            runtime: OnceLock::new(),
            libraries: Mutex::default(),
            own: Mutex::default(),
            making: AtomicBool::new(false),
            newest: watch::Sender::new(0),
            asked: Mutex::default(),
            files: AtomicU64::new(0),
        }
    }
}

/// What one request is answered from.
pub struct Request {
    pub text: String,
    /// Byte of the cursor.
    pub cursor: usize,
    pub snapshot: Arc<Snapshot>,
    pub libraries: Arc<Libraries>,
    /// What earlier cells define.
    pub own: Arc<Own>,
    /// Type of the expression in front of the dot, if there is one and it is known.
    pub receiver: Option<String>,
}

impl Service {
    /// Takes over what is known after a cell.
    pub fn learn(&self, snapshot: Snapshot) {
        let mut held = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        *held = (held.0 + 1, Arc::new(snapshot));
    }

    fn snapshot(&self) -> (u64, Arc<Snapshot>) {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What may stand at character `cursor` of `text`.
    pub async fn complete(self: &Arc<Self>, text: String, cursor: usize) -> complete::Completion {
        if text.len() > TEXT_MAX {
            return complete::Completion::default();
        }
        let cursor = cursor::byte_of(&text, cursor);
        let (text, cursor) = match lines::line(&text, cursor) {
            Line::Rust { text, cursor } => (text, cursor),
            Line::Command { word } => return complete::commands(&text, word),
            Line::Environment { word } => return complete::environment(&text, word),
            Line::File { written } => return files(&text, written).await,
        };
        let place = cursor::place(&text, cursor);
        if let cursor::Place::Text { content } = &place
            && !complete::is_in_format(&text[content.clone()])
        {
            return files(&text, content.clone()).await;
        }
        let request = self.request(text, cursor, &place).await;
        blocking(move || complete::complete(&request, place)).await.unwrap_or_default()
    }

    /// What stands at character `cursor` of `text`; with its whole documentation or source if `detailed`.
    pub async fn inspect(
        self: &Arc<Self>,
        text: String,
        cursor: usize,
        detailed: bool,
    ) -> Option<inspect::Inspection> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let cursor = cursor::byte_of(&text, cursor);
        let Line::Rust { text, cursor } = lines::line(&text, cursor) else { return None };
        // The end of the word tells what is in front of it.
        let word = cursor::word_at(&text, cursor);
        let place = cursor::place(&text, word.end);
        let mut request = self.request(text, word.end, &place).await;
        // A variable that the cell makes has its type from the compiler too.
        if let cursor::Place::Name { word, .. } = &place
            && scope::locals(&request.text, word.start)
                .iter()
                .any(|local| local.name == request.text[word.clone()])
        {
            request.receiver = self.ask(&request.text, word, word.end, &request.snapshot).await;
        }
        let (found, mut request) = blocking(move || {
            let found = inspect::inspect(&request, &place, detailed);
            (found, request)
        })
        .await?;
        if found.is_some() {
            return found;
        }
        // Nothing there: within the brackets of a call, the function is meant.
        let open = cursor::open(&request.text, cursor)?;
        let place = cursor::place(&request.text, open.name.end);
        request.receiver = self.receiver(&request.text, open.name.end, &place, &request.snapshot).await;
        request.cursor = open.name.end;
        blocking(move || inspect::inspect(&request, &place, detailed)).await.flatten()
    }

    /// What `:doc` and `:type` ask: the documentation of what `expression` names, as text.
    pub async fn documentation(self: &Arc<Self>, expression: &str) -> Option<inspect::Inspection> {
        let characters = expression.chars().count();
        self.inspect(expression.to_owned(), characters, true).await
    }

    /// The type of an expression.
    pub async fn type_of(&self, expression: &str) -> Option<String> {
        let (_, snapshot) = self.snapshot();
        let ty = self
            .ask(&format!("{expression}."), &(0..expression.len()), expression.len() + 1, &snapshot)
            .await?;
        Some(crate::evaluator::types::shown(&ty))
    }

    async fn request(self: &Arc<Self>, text: String, cursor: usize, place: &cursor::Place) -> Request {
        let (generation, snapshot) = self.snapshot();
        let receiver = self.receiver(&text, cursor, place, &snapshot).await;
        let (service, held) = (Arc::clone(self), Arc::clone(&snapshot));
        let found = blocking(move || (service.libraries(), service.own(generation, &held))).await;
        let (libraries, own) = found.unwrap_or_default();
        Request { text, cursor, snapshot, libraries, own, receiver }
    }

    /// What the cells of a snapshot define; read once.
    fn own(&self, generation: u64, snapshot: &Snapshot) -> Arc<Own> {
        let mut held = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != generation {
            let mut own = Own::default();
            for definition in &snapshot.known.definitions {
                own.read(definition.text());
            }
            for held in snapshot.known.macros.values() {
                own.read(&held.source.text[held.range.clone()]);
            }
            *held = (generation, Arc::new(own));
        }
        Arc::clone(&held.1)
    }

    async fn receiver(
        &self,
        text: &str,
        cursor: usize,
        place: &cursor::Place,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let cursor::Place::Member { receiver, .. } = place else { return None };
        let written = &text[receiver.clone()];
        // A variable of an earlier cell, which this cell does not make anew.
        if let Some(ty) = snapshot.known.variables.get(written)
            && !scope::locals(text, cursor).iter().any(|local| local.name == written)
        {
            return Some(ty.clone());
        }
        self.ask(text, receiver, cursor, snapshot).await
    }

    /// Asks the compiler, unless a newer question comes.
    async fn ask(
        &self,
        text: &str,
        receiver: &Range<usize>,
        rest: usize,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let folder = snapshot.folder.as_ref()?;
        let runtime = self.runtime()?;
        let (owned, range) = (text.to_owned(), receiver.clone());
        let (question, cell) = blocking(move || probe::question(&owned, &range, rest)).await??;
        let generation = self.snapshot().0;
        let held = |(at, own, _): &&(u64, String, Option<String>)| *at == generation && *own == question;
        if let Some((.., answer)) =
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().find(held)
        {
            return answer.clone();
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let mut newest = self.newest.subscribe();
        self.newest.send_modify(|newest| *newest = number.max(*newest));
        let probe = probe::Probe { runtime, known: &snapshot.known, cells: &snapshot.cells, folder, number };
        let answer = tokio::select! {
            answer = tokio::time::timeout(PROBE_MAX, probe.ask(question.clone(), &cell)) => answer,
            _ = newest.wait_for(|newest| *newest > number) => return None,
        };
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(%error, "asking the compiler for a type");
                return None;
            }
            Err(_) => return None,
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push_back((generation, question, answer.clone()));
        if asked.len() > ASKED_MAX {
            asked.pop_front();
        }
        answer
    }

    fn runtime(&self) -> Option<&Runtime> {
        let found = self.runtime.get_or_init(|| {
            Runtime::find().inspect_err(|error| tracing::warn!(%error, "completion knows no libraries")).ok()
        });
        found.as_ref()
    }

    /// The indexes, read at the first request. Those that are missing are made by a process of their own; until then
    /// requests are answered without them.
    fn libraries(self: &Arc<Self>) -> Arc<Libraries> {
        let mut held = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(libraries) = &*held {
            return Arc::clone(libraries);
        }
        let Some(runtime) = self.runtime() else { return Arc::default() };
        let mut indexes = Vec::new();
        let wanted = make::wanted(runtime);
        let count = wanted.len();
        for wanted in wanted {
            let found = folders(runtime).into_iter().find_map(|folder| {
                let path = folder.join(wanted.file);
                match Index::open(&path, &wanted.key) {
                    Ok(index) => Some(index),
                    Err(error) => {
                        tracing::debug!(%error, "an index that cannot be used");
                        None
                    }
                }
            });
            indexes.extend(found);
        }
        let complete = indexes.len() == count;
        let libraries = Arc::new(Libraries::new(indexes));
        if complete {
            *held = Some(Arc::clone(&libraries));
        } else if !self.making.swap(true, Ordering::SeqCst) {
            let service = Arc::clone(self);
            std::thread::spawn(move || service.make());
        }
        libraries
    }

    /// Has the missing indexes made in the person's own cache.
    fn make(&self) {
        let made = || -> Result<()> {
            let folder = cache().context("neither XDG_CACHE_HOME nor HOME is set")?;
            private_folder(&folder)?;
            let program = std::env::current_exe().context("finding this program")?;
            let output = std::process::Command::new(program)
                .arg("index")
                .arg(&folder)
                .stdin(std::process::Stdio::null())
                .output()
                .context("starting the maker of indexes")?;
            anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
            Ok(())
        };
        match made() {
            // Another build, or a full disk, is tried again by the next kernel.
            Err(error) => tracing::warn!(
                "completion knows the names of this notebook only, since no index of the libraries could be made: {error:#}"
            ),
            Ok(()) => tracing::info!("made the index of the libraries"),
        }
    }
}

/// Files whose names begin as what is written.
async fn files(text: &str, written: Range<usize>) -> complete::Completion {
    let typed = text[written.clone()].to_owned();
    let entries = tokio::task::spawn_blocking(move || files::entries(&typed));
    let (start, entries) = match tokio::time::timeout(FILES_MAX, entries).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => (0, Vec::new()),
    };
    complete::Completion::of_files(text, written.start + start..written.end, entries)
}

/// Work on a thread of its own, since reading types and files takes milliseconds.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let done = tokio::task::spawn_blocking(move || {
        let made = work();
        // What was parsed here is remembered for its positions, which nobody asks for any more.
        proc_macro2::extra::invalidate_current_thread_spans();
        made
    });
    done.await
        .inspect_err(|error| tracing::warn!(%error, "a question about the language was not answered"))
        .ok()
}

/// Where indexes may lie: beside the runtime, or in the person's cache.
fn folders(runtime: &Runtime) -> Vec<PathBuf> {
    let beside = runtime.library.parent().map(Path::to_path_buf);
    beside.into_iter().chain(cache().filter(|folder| private_folder(folder).is_ok())).collect()
}

fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("nuna"))
}

/// Makes a folder that only its owner can write, or makes sure that it is one.
fn private_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    let about = std::fs::symlink_metadata(folder)?;
    let own = about.is_dir() && about.uid() == nix::unistd::geteuid().as_raw() && about.mode() & 0o022 == 0;
    anyhow::ensure!(own, "{} is not a folder that only you can write", folder.display());
    Ok(())
}
