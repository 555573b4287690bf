//! Owns the evcxr evaluator: the reference beside the direct one. evcxr itself is in `nuna-evcxr`, a program of its own
//! (`kernel/crates/evcxr-evaluator`), since it brings most of rust-analyzer; here is the conversation with it (`link`),
//! and what its answers mean for the notebook.

mod link;
mod protocol;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::sync::Mutex;

use self::{
    link::{Answered, Link},
    protocol::{Evaluated, Said, Wish},
};
use super::{
    Evaluation, Evaluator, Language, Matches, Running,
    failure::{self, End, Failure},
    folder::Folder,
    places::Places,
    print::Print,
};

/// The program's name, beside `nuna-kernel`.
const PROGRAM: &str = "nuna-evcxr";
/// Completion and inspection that take longer are not worth waiting for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Evaluates cells with evcxr.
pub struct Evcxr {
    talk: Arc<Talk>,
    folder: Folder,
    running: Arc<Running>,
    places: Arc<Places>,
    names: Vec<(String, String)>,
}

/// The program, started when it is first needed; whoever holds the lock has its attention.
struct Talk {
    program: PathBuf,
    kernel_id: String,
    folder: PathBuf,
    link: Arc<Mutex<Option<Link>>>,
}

impl Evcxr {
    /// `runtime_folder` is where the programs lie, as [`super::runtime::Runtime::at`] takes it.
    ///
    /// # Errors
    /// If the program is not there or cannot be started.
    pub fn new(runtime_folder: &Path, kernel_id: String) -> Result<Self> {
        let program = find(runtime_folder)?;
        let folder = Folder::new(&std::env::temp_dir())?;
        let path = folder.path().to_owned();
        let link = Link::start(&program, &kernel_id, &path)?;
        Ok(Self {
            places: Arc::new(Places::new(&path)),
            talk: Arc::new(Talk { program, kernel_id, folder: path, link: Arc::new(Mutex::new(Some(link))) }),
            folder,
            running: Arc::default(),
            names: Vec::new(),
        })
    }

    /// What became of a cell, in the words that the direct evaluator uses too.
    fn evaluation(&mut self, evaluated: Evaluated) -> Evaluation {
        let Evaluated { shown, trouble, interrupted, ended, names } = evaluated;
        let kept: BTreeSet<&String> = names.iter().map(|(name, _)| name).collect();
        let lost: Vec<String> =
            self.names.iter().map(|(name, _)| name).filter(|name| !kept.contains(name)).cloned().collect();
        self.names = names;
        match (ended, trouble) {
            (Some(_), _) if interrupted => failure::ended(&End::InterruptedAtOnce, &lost, &[]).into(),
            (Some(how), _) => {
                let end = if how.contains("overflowed its stack") { End::Overflow } else { End::Other(how) };
                failure::ended(&end, &lost, &[]).into()
            }
            (None, Some(_)) if interrupted => {
                Failure::interrupted("interrupted while the cell was compiled; nothing of it has run").into()
            }
            (None, Some(trouble)) => {
                Failure { name: trouble.name, value: trouble.value, traceback: trouble.traceback }.into()
            }
            (None, None) => {
                let shown: Vec<(String, String)> = shown.into_iter().collect();
                Evaluation { shown: Some(shown).filter(|shown| !shown.is_empty()), error: None }
            }
        }
    }
}

#[async_trait::async_trait]
impl Evaluator for Evcxr {
    async fn evaluate(&mut self, text: &str, number: u32, print: &Print) -> Result<Evaluation> {
        let talk = Arc::clone(&self.talk);
        let mut held = talk.link.lock().await;
        let link = match &mut *held {
            Some(link) => link,
            none => none.insert(Link::start(&talk.program, &talk.kernel_id, &talk.folder)?),
        };
        self.running.pid.store(link.id().unwrap_or(0), Ordering::SeqCst);
        let wish = Wish::Evaluate { code: text.to_owned(), number };
        let answer = link.ask(&wish, Some(print)).await;
        self.running.pid.store(0, Ordering::SeqCst);
        match answer {
            Answered::Said(Said::Evaluated(evaluated)) => Ok(self.evaluation(evaluated)),
            Answered::Said(other) => bail!("{PROGRAM} answered a cell with {other:?}"),
            Answered::Died(how) => {
                *held = None;
                let lost: Vec<String> =
                    std::mem::take(&mut self.names).into_iter().map(|(name, _)| name).collect();
                if self.running.killed.load(Ordering::SeqCst) {
                    return Ok(Failure::evcxr_killed(&lost).into());
                }
                bail!(
                    "{PROGRAM} ended ({how}); a new one starts with the next cell, without what earlier cells defined"
                )
            }
        }
    }

    fn names(&self) -> Vec<(String, String)> {
        self.names.clone()
    }

    fn running(&self) -> Arc<Running> {
        Arc::clone(&self.running)
    }

    fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places)
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn language(&self) -> Option<Arc<dyn Language>> {
        Some(Arc::clone(&self.talk) as Arc<dyn Language>)
    }
}

impl Talk {
    /// `None` while a cell runs, or if the answer takes too long.
    async fn ask(&self, wish: Wish) -> Option<Said> {
        let mut held = Arc::clone(&self.link).try_lock_owned().ok()?;
        // What has been asked is answered some time; a cell that comes in between waits for that.
        let asked = tokio::spawn(async move {
            match held.as_mut()?.ask(&wish, None).await {
                Answered::Said(said) => Some(said),
                Answered::Died(_) => {
                    *held = None;
                    None
                }
            }
        });
        tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?
    }
}

#[async_trait::async_trait]
impl Language for Talk {
    async fn complete(&self, code: &str, at: usize) -> Option<Matches> {
        match self.ask(Wish::Complete { code: code.to_owned(), at }).await? {
            Said::Completed { matches, start, end } => Some(Matches { matches, start, end }),
            _ => None,
        }
    }

    async fn inspect(&self, code: &str, at: usize) -> Option<Vec<(String, String)>> {
        match self.ask(Wish::Inspect { code: code.to_owned(), at }).await? {
            Said::Inspected(Some((text, html))) => {
                Some(vec![("text/plain".to_owned(), text), ("text/html".to_owned(), html)])
            }
            _ => None,
        }
    }
}

/// Where the program lies.
///
/// # Errors
/// If it is not there; says how to get it.
pub fn find(runtime_folder: &Path) -> Result<PathBuf> {
    let places = [runtime_folder.join(PROGRAM), runtime_folder.join("bin").join(PROGRAM)];
    match places.into_iter().find(|path| path.is_file()) {
        Some(program) => Ok(program),
        None => bail!(
            "no {PROGRAM} in {}; it is built on request, since it takes minutes: `cargo xtask evcxr`",
            runtime_folder.display()
        ),
    }
}
