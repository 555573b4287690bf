//! Owns the evaluation of cells: reading them (`split`, `item`, `uses`, `loops`), what earlier ones left behind (`known`),
//! writing the crate around them (`glue`), what that is called (`naming`), compiling it (`compile`, or `cache` if it was), and the process that runs it (`process`). `direct`
//! joins them; what people read is made in `failure`, `render` and `places`. The channels know the trait [`Evaluator`].
//! `evcxr` is another one.

mod body;
pub(crate) mod build;
pub mod cache;
mod captures;
pub mod commands;
pub mod compile;
pub mod crates;
pub mod dep;
pub mod direct;
pub mod evcxr;
pub mod failure;
pub mod folder;
pub mod glue;
pub mod item;
pub mod keep;
pub mod known;
pub mod lifeline;
pub mod linker;
pub mod loops;
pub mod naming;
pub mod nesting;
mod output;
pub mod places;
pub mod positions;
pub mod print;
pub mod process;
pub mod render;
pub mod repair;
pub mod runtime;
pub mod split;
pub mod streams;
mod times;
pub mod types;
pub mod uses;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicI32, AtomicU32},
    },
};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::language::{Service, Snapshot};

use self::{
    failure::Failure,
    places::Places,
    print::{Output, Parent, Print},
    process::Orders,
};

/// The evaluators there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// `rustc`, called by the kernel.
    #[default]
    Direct,
    /// evcxr, as the reference.
    Evcxr,
}

impl std::str::FromStr for Kind {
    type Err = UnknownEvaluator;

    fn from_str(name: &str) -> Result<Self, UnknownEvaluator> {
        match name {
            "direct" => Ok(Self::Direct),
            "evcxr" => Ok(Self::Evcxr),
            _ => Err(UnknownEvaluator(name.to_owned())),
        }
    }
}

/// A name that no evaluator has.
#[derive(Debug, thiserror::Error)]
#[error("there is no evaluator {0:?}; the evaluators are direct, evcxr")]
pub struct UnknownEvaluator(String);

/// Whatever runs cells one after the other and remembers what they defined.
#[async_trait::async_trait]
pub trait Evaluator: Send {
    /// Evaluates cell `text`, which people know as In \[`number`\]. What it prints goes to `print` while it runs.
    ///
    /// # Errors
    /// If the machine fails it (no compiler, no space); a mistake in the cell is in [`Evaluation::error`].
    async fn evaluate(&mut self, text: &str, number: u32, print: &Print) -> anyhow::Result<Evaluation>;

    /// Names for completion: variables and items with what they are.
    fn names(&self) -> Vec<(String, String)>;

    /// What the language service answers from until the next cell.
    fn snapshot(&self) -> Snapshot {
        Snapshot { names: self.names(), ..Snapshot::default() }
    }

    /// The language service, for an evaluator that answers cells from it too. Asked for once.
    fn service(&self) -> Arc<Service> {
        Arc::default()
    }

    /// By which a running cell is interrupted; the same for the evaluator's whole life.
    fn running(&self) -> Arc<Running>;

    /// Where in the cells what is printed was written; the same for the evaluator's whole life.
    fn places(&self) -> Arc<Places>;

    /// Where compiled cells are kept; whoever ends this program without dropping this value removes it.
    fn folder(&self) -> PathBuf;

    /// Completion and inspection, if this evaluator brings its own.
    fn language(&self) -> Option<Arc<dyn Language>> {
        None
    }
}

/// Completion and inspection by an evaluator that knows the language itself. Positions are bytes of the code.
#[async_trait::async_trait]
pub trait Language: Send + Sync {
    /// What could stand at byte `at`; `None` if it is busy with a cell.
    async fn complete(&self, code: &str, at: usize) -> Option<Matches>;

    /// About the word that ends at byte `at`: media type and data. `None` if nothing is known, or it is busy.
    async fn inspect(&self, code: &str, at: usize) -> Option<Vec<(String, String)>>;
}

/// Texts that could stand in the place of bytes `start..end`.
#[derive(Debug)]
pub struct Matches {
    pub matches: Vec<String>,
    pub start: usize,
    pub end: usize,
}

/// What became of a cell.
#[derive(Debug, Default)]
pub struct Evaluation {
    pub shown: Option<Vec<(String, String)>>,
    pub error: Option<Failure>,
}

impl From<Failure> for Evaluation {
    fn from(failure: Failure) -> Self {
        Self { error: Some(failure), shown: None }
    }
}

/// What whoever interrupts needs to reach of a running cell.
#[derive(Default)]
pub struct Running {
    /// Process id of the evaluator, 0 while it runs nothing.
    pub pid: AtomicI32,
    /// The person wants the cell to stop before it runs.
    pub stop: AtomicBool,
    /// The person wanted it so much that its process was ended.
    pub killed: AtomicBool,
    /// Wakes a compilation that is to be given up.
    pub cancel: Notify,
    /// Process group that compiles crates of `:dep`; 0 while none does.
    pub build: AtomicI32,
    /// Process id of the evaluator as long as it lives, also between cells.
    pub process: AtomicI32,
    /// How many processes there have been.
    pub processes: AtomicU32,
    /// Takes what cells print and ask, also between cells. Set once, before the first cell.
    pub outlet: OnceLock<mpsc::Sender<Output>>,
    /// For messages to comms of the cells, also while one runs.
    pub orders: Mutex<Option<Orders>>,
    /// Who waits for a comm's handler, by the message it handles.
    pub delivered: Mutex<HashMap<Parent, oneshot::Sender<()>>>,
}
