//! Owns the direct evaluator: a cell's way from text to outcome, and what is known between cells.

use std::{
    borrow::Cow,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::language::{Service, Snapshot};

use super::{
    Evaluator,
    build::{Attempt, Built, Job, Made, Ready},
    cache::Cache,
    commands::{self, Surroundings},
    compile::{CELLS, Diagnostic},
    crates::Crates,
    dep::Deps,
    failure::{self, End},
    folder::Folder,
    item::Kind,
    keep::{Gone, Skips},
    known::Known,
    lifeline::Lifeline,
    linker::Linker,
    naming::Names,
    places::Places,
    positions::{Place, Source},
    print::Print,
    process::{Answer, Kept, Order, Outcome, Printed, Process, Trouble},
    render::render,
    repair::Repairs,
    runtime::Runtime,
    split::Cell,
    times,
};

pub use super::{Evaluation, Running, failure::Failure};

/// How long a new process may look for clusters; it gives up on single ones much earlier.
const PICK_UP_PATIENCE: Duration = Duration::from_secs(15);
/// How a cell is run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    /// Optimisation level, where the cell says one.
    pub(super) level: Option<u8>,
    /// Says afterwards how long it took.
    pub(super) is_timed: bool,
}

/// Evaluates cells one after the other.
pub struct Direct {
    pub(super) runtime: Runtime,
    // Ends before its folder goes.
    pub(super) process: Option<Process>,
    pub(super) folder: Folder,
    _lifeline: Option<Lifeline>,
    pub(super) linker: Option<Linker>,
    pub(super) known: Known,
    /// Crates that later cells may import from, with their libraries.
    pub(super) cells: Vec<(String, PathBuf)>,
    pub(super) names: Names,
    pub(super) cache: Option<Arc<Cache>>,
    pub(super) crates: Arc<Crates>,
    pub(super) optimise: Option<u8>,
    pub(super) timing: bool,
    pub running: Arc<Running>,
    pub places: Arc<Places>,
    /// What the compiler said of the last cell that it refused.
    pub(super) errors: Mutex<Vec<Diagnostic>>,
    /// What later processes have to find as the first one left it.
    pub(super) surroundings: Surroundings,
    /// Crates that were added.
    pub(super) deps: Deps,
    /// Warnings that were shown already.
    warned: HashSet<(String, String)>,
    kernel_id: String,
    /// Also answers `:doc` and `:type`.
    pub(super) service: Arc<Service>,
}

impl Direct {
    /// `kernel_id` is Jupyter's; clusters started from a cell carry it.
    ///
    /// # Errors
    /// If the evaluator cannot be started.
    pub fn new(runtime: Runtime, kernel_id: String) -> Result<Self> {
        let folder = Folder::new(&std::path::absolute(std::env::temp_dir())?)?;
        let cache = runtime.build().ok().and_then(|build| Cache::find(&build)).map(Arc::new);
        let mut direct = Self {
            _lifeline: Lifeline::new(folder.path())
                .inspect_err(|error| tracing::warn!(%error, "clusters will not survive a crash of a cell"))
                .ok(),
            linker: Linker::find(&runtime.rustc, folder.path()),
            process: None,
            known: Known::default(),
            cells: Vec::new(),
            names: Names::default(),
            crates: Arc::new(Crates::new(folder.path(), &runtime, cache.as_deref())),
            cache,
            optimise: None,
            timing: false,
            running: Arc::default(),
            places: Arc::new(Places::new(Path::new(CELLS))),
            folder,
            runtime,
            errors: Mutex::default(),
            surroundings: Surroundings::default(),
            deps: Deps::default(),
            warned: HashSet::new(),
            kernel_id,
            service: Arc::default(),
        };
        direct.ensure_process()?;
        Ok(direct)
    }

    pub(super) fn ensure_process(&mut self) -> Result<&mut Process> {
        if self.process.is_none() {
            let process = Process::start(
                &self.runtime.evaluator,
                &self.kernel_id,
                self.folder.path(),
                &self.surroundings,
                &self.running,
            )?;
            self.process = Some(process);
        }
        self.process.as_mut().context("the evaluator was just started")
    }

    /// Starts a process in the place of one that ended; gives the clusters that it found again.
    pub(super) async fn replace_process(&mut self) -> Result<Vec<Kept>> {
        self.process = None;
        let process = self.ensure_process()?;
        let nowhere = Print::nowhere();
        let asked = process.run(&Order::PickUp, &nowhere);
        match tokio::time::timeout(PICK_UP_PATIENCE, asked).await {
            Ok(Outcome::Answered(answer)) => Ok(answer.kept),
            Ok(Outcome::Died(_)) | Err(_) => {
                self.process = None;
                self.ensure_process()?;
                Ok(Vec::new())
            }
        }
    }

    pub(super) async fn run(
        &mut self,
        source: Arc<Source>,
        cell: &Cell,
        how: How,
        print: &Print,
    ) -> Result<Evaluation> {
        let started = std::time::Instant::now();
        let job = self.job(source, cell, how.level);
        let stopped = || {
            Ok(Failure::interrupted("interrupted while the cell was compiled; nothing of it has run").into())
        };

        let Ready { attempt, types, skips, repairs } = match self.build(&job).await? {
            Built::Ready(ready) => *ready,
            Built::Failed(failure) => {
                for (_, made) in
                    cell.bound().filter(|(_, made)| !self.known.variables.contains_key(&made.name))
                {
                    self.known.gone.entry(made.name.clone()).or_insert(Gone::NotMade(job.source.number));
                }
                return Ok(failure.into());
            }
            Built::Stopped => return stopped(),
        };
        let compiled = started.elapsed();
        self.places.add(&format!("{}.rs", job.name), Arc::clone(&attempt.glue.positions));
        self.say(&attempt, &repairs, print).await;

        let variables: Vec<String> = self.known.variables.keys().cloned().collect();
        let order = Order::Run {
            library: self.names.to_load(&job.name, &job.library)?.display().to_string(),
            symbol: job.symbol.clone(),
            cell: job.source.number,
        };
        let running = Arc::clone(&self.running);
        let process = self.ensure_process()?;
        running.pid.store(process.id().unwrap_or(0), Ordering::SeqCst);
        let cpu = times::Cpu::of(process.id());
        let outcome =
            if running.stop.load(Ordering::SeqCst) { None } else { Some(process.run(&order, print).await) };
        running.pid.store(0, Ordering::SeqCst);
        let answer = match outcome {
            None => return stopped(),
            Some(Outcome::Answered(answer)) => answer,
            Some(Outcome::Died(how)) => {
                let overflowed = self.process.take().is_some_and(|process| process.overflowed());
                let end = if running.killed.load(Ordering::SeqCst) {
                    End::Interrupted
                } else if overflowed {
                    End::Overflow
                } else {
                    End::Other(how)
                };
                let lost = std::mem::take(&mut self.known.variables);
                let kept = self.replace_process().await?;
                let clusters: Vec<String> = kept.iter().map(|kept| kept.name.clone()).collect();
                let number = job.source.number;
                self.known.gone.extend(lost.into_iter().map(|(name, ty)| {
                    let is_cluster =
                        !clusters.is_empty() && ty.starts_with("nuna") && ty.ends_with("::Cluster");
                    let cluster = || Gone::LostCluster(number, clusters.clone());
                    (name, if is_cluster { cluster() } else { Gone::Lost(number) })
                }));
                return Ok(failure::ended(&end, &variables, &kept).into());
            }
        };
        if answer.ran {
            if job.is_apart {
                self.names.take(&job.name);
            }
            self.learn(&job, &attempt, &repairs, &skips, types.made, &answer);
        }
        let spent = times::Spent {
            compiling: compiled,
            replayed: attempt.compiled.replayed,
            running: started.elapsed() - compiled,
            cpu: cpu.ended(),
        };
        if how.is_timed {
            let _ = print.send(Printed::Stdout(spent.summary())).await;
        } else if self.timing {
            let _ = print.send(Printed::Stderr(spent.line())).await;
        }
        if !attempt.compiled.replayed {
            self.crates.ask(&self.runtime, self.cache.as_ref());
        }
        Ok(self.evaluation(&job, answer))
    }

    fn evaluation(&self, job: &Job<'_>, answer: Answer) -> Evaluation {
        if answer.interrupted {
            return Failure::interrupted("the cell was interrupted").into();
        }
        let (name, trouble) = match (answer.panic, answer.error) {
            (Some(panic), _) => ("Panic", panic),
            (None, Some(error)) => ("Error", error),
            (None, None) => return Evaluation { shown: self.with_places(answer.shown), error: None },
        };
        let Trouble { message, location } = trouble;
        let failure = Failure::new(name, self.places.translate(&message));
        let own = location.as_ref().and_then(|at| self.places.place(&at.file, at.line, at.column));
        if let Some(place) = own {
            return failure.at(&place).into();
        }
        // It happened in a library, which is not the person's to read: the statement that called it is.
        match job.cell.statements.get(answer.completed).filter(|_| answer.ran) {
            Some(statement) => failure.at(&Place::of(&job.source, statement.range.start)).into(),
            None => failure.into(),
        }
    }

    /// A result's text may tell where something happened, such as the error that a task returned.
    fn with_places(&self, shown: Option<Vec<(String, String)>>) -> Option<Vec<(String, String)>> {
        let mut shown = shown?;
        for (_, text) in shown.iter_mut().filter(|(media, _)| media == "text/plain") {
            if let Cow::Owned(translated) = self.places.translate(text) {
                *text = translated;
            }
        }
        Some(shown)
    }

    /// Notes about earlier cells, and warnings about this one's own lines, each once.
    async fn say(&mut self, attempt: &Attempt, repairs: &Repairs, print: &Print) {
        let mut text: String = repairs.notes.iter().map(|note| format!("note: {note}\n")).collect();
        for &index in attempt.plan.again.keys() {
            let part = &self.known.definitions[index].part;
            if part.kind == Kind::Static {
                text += &format!(
                    "note: static `{}` begins anew, because what it is made of was defined anew\n",
                    part.names.join("`, `")
                );
            }
        }
        for warning in &attempt.compiled.warnings {
            let Some(span) = warning.primary().map(|span| span.written()) else { continue };
            let Some(place) = attempt.glue.positions.place(span.line_start, span.column_start) else {
                continue;
            };
            let earlier = attempt.glue.origin(span.line_start).is_some();
            if !earlier && self.warned.insert((warning.message.clone(), place.text().to_owned())) {
                text += &render(warning, &attempt.glue.positions).join("\n");
                text += "\n\n";
            }
        }
        if !text.is_empty() {
            // The notebook's side may be gone; then nobody needs to know.
            let _ = print.send(Printed::Stderr(text)).await;
        }
    }

    fn learn(
        &mut self,
        job: &Job<'_>,
        attempt: &Attempt,
        repairs: &Repairs,
        skips: &Skips,
        made: Vec<Made>,
        answer: &Answer,
    ) {
        let number = job.source.number;
        self.known.learn(job.cell, &attempt.plan, &repairs.dropped, &job.source, &job.name);
        // Of a cell that failed, only the statements before that have made their variables.
        let of_completed = made.into_iter().filter(|made| made.statement < answer.completed);
        for Made { name, ty, .. } in of_completed {
            match ty {
                Some(ty) => {
                    self.offer_crate_of(&ty);
                    self.known.variables.insert(name, ty);
                }
                None => drop(self.known.variables.remove(&name)),
            }
        }
        for name in &attempt.glue.taken {
            self.known.gone.insert(name.clone(), Gone::Moved(number));
        }
        for (statement, made) in job.cell.bound() {
            let gone = match skips.locals.get(&made.name) {
                _ if statement >= answer.completed => Gone::NotMade(number),
                Some(local) => Gone::Local(number, local.clone()),
                None => Gone::Moved(number),
            };
            self.known.gone.insert(made.name.clone(), gone);
        }
        self.known.gone.retain(|variable, _| !answer.names.contains(variable));
        self.known.variables.retain(|variable, _| answer.names.contains(variable));
        if !attempt.plan.fresh.is_empty() || !attempt.plan.again.is_empty() {
            self.cells.push((job.name.clone(), job.library.clone()));
        }
    }
}

#[async_trait::async_trait]
impl Evaluator for Direct {
    async fn evaluate(&mut self, text: &str, number: u32, print: &Print) -> Result<Evaluation> {
        self.steps(text, number, print).await
    }

    fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            names: Vec::new(),
            known: self.known.clone(),
            cells: self.cells.clone(),
            folder: Some(self.folder.path().to_owned()),
        }
    }

    fn names(&self) -> Vec<(String, String)> {
        let variables = self
            .known
            .variables
            .iter()
            .map(|(name, ty)| (name.clone(), commands::described(ty, &self.known)));
        let items = self.known.items().map(|name| (name.to_owned(), "item".to_owned()));
        variables.chain(items).collect()
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
}
