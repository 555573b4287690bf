//! Owns the direct evaluator: a cell's way from text to outcome, and what is known between cells.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
};

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc};

use super::{
    commands::{self, directives, magic},
    compile::{Compiled, Diagnostic, Request, compile},
    failure::{self, compile_failure},
    folder::Folder,
    glue::{self, Glue, Origin, Place, Purpose, Source, Writing},
    item::Kind,
    known::{Known, Plan},
    places::Places,
    process::{Answer, Order, Outcome, Printed, Process},
    render::{point, render},
    repair::{ROUNDS_MAX, Repairs},
    runtime::Runtime,
    split::{self, Cell},
    types,
};

pub use super::failure::Failure;

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
    /// Wakes a compilation that is to be given up.
    pub cancel: Notify,
}

/// Evaluates cells one after the other.
pub struct Direct {
    runtime: Runtime,
    // Ends before its folder goes.
    pub(super) process: Option<Process>,
    folder: Folder,
    pub(super) known: Known,
    /// Crates that later cells may import from, with their libraries.
    pub(super) cells: Vec<(String, PathBuf)>,
    compiled: u32,
    pub(super) optimise: Option<u8>,
    pub(super) timing: bool,
    pub running: Arc<Running>,
    pub places: Arc<Places>,
    /// Warnings that were shown already.
    warned: HashSet<(String, String)>,
    kernel_id: String,
}

/// The most times a cell is compiled anew because it moved a variable.
const MOVES_MAX: usize = 32;

/// A cell on its way.
struct Job<'a> {
    cell: &'a Cell,
    source: Arc<Source>,
    name: String,
    symbol: String,
    file: PathBuf,
    library: PathBuf,
}

/// A crate that was written and compiled, or not.
struct Attempt {
    plan: Plan,
    glue: Glue,
    compiled: Compiled,
}

impl Direct {
    /// `kernel_id` is Jupyter's; clusters started from a cell carry it.
    ///
    /// # Errors
    /// If the evaluator cannot be started.
    pub fn new(runtime: Runtime, kernel_id: String) -> Result<Self> {
        let folder = Folder::new(&std::env::temp_dir())?;
        let mut direct = Self {
            runtime,
            process: None,
            known: Known::default(),
            cells: Vec::new(),
            compiled: 0,
            optimise: None,
            timing: false,
            running: Arc::default(),
            places: Arc::new(Places::new(folder.path())),
            folder,
            warned: HashSet::new(),
            kernel_id,
        };
        direct.ensure_process()?;
        Ok(direct)
    }

    pub(super) fn ensure_process(&mut self) -> Result<&mut Process> {
        if self.process.is_none() {
            let process = Process::start(&self.runtime.evaluator, &self.kernel_id, self.folder.path())?;
            self.process = Some(process);
        }
        self.process.as_mut().context("the evaluator was just started")
    }

    /// Where compiled cells are kept; whoever ends this program without dropping this value removes it.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Compiles unless the person interrupts.
    async fn compile(&self, request: &Request<'_>) -> Result<Option<Compiled>> {
        let cancelled = self.running.cancel.notified();
        if self.running.stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        tokio::select! {
            compiled = compile(&self.runtime, request) => compiled.map(Some),
            () = cancelled => Ok(None),
        }
    }

    /// Names for completion: variables and items with what they are.
    pub fn names(&self) -> Vec<(String, String)> {
        let variables = self
            .known
            .variables
            .iter()
            .map(|(name, ty)| (name.clone(), commands::described(ty, &self.known)));
        let items = self.known.items().map(|name| (name.to_owned(), "item".to_owned()));
        variables.chain(items).collect()
    }

    /// Evaluates one cell.
    ///
    /// # Errors
    /// If the machine fails it (no compiler, no space); a mistake in the cell is in [`Evaluation::error`].
    pub async fn evaluate(
        &mut self,
        text: &str,
        number: u32,
        print: &mpsc::Sender<Printed>,
    ) -> Result<Evaluation> {
        if let Some(command) = text.trim().strip_prefix(':') {
            return self.command(command.trim()).await;
        }
        if let Some(advice) = magic(text.trim(), &self.known) {
            return Ok(Failure::new("Command", advice).into());
        }
        let (text, wished) = directives(text);
        let source = Arc::new(Source { number, text });
        let cell = match split::split(&source.text) {
            Ok(cell) => cell,
            Err(error) => {
                return Ok(
                    Failure::syntax(&error, &Place { source, line: error.line, column: error.column }).into()
                );
            }
        };
        if cell.is_empty() {
            return Ok(Evaluation::default());
        }
        self.run(source, &cell, wished, print).await
    }

    async fn run(
        &mut self,
        source: Arc<Source>,
        cell: &Cell,
        wished: Option<u8>,
        print: &mpsc::Sender<Printed>,
    ) -> Result<Evaluation> {
        let started = std::time::Instant::now();
        self.compiled += 1;
        let name = format!("cell_{}", self.compiled);
        let job = Job {
            cell,
            symbol: format!("nuna_{name}_{}", std::process::id()),
            file: self.folder.path().join(format!("{name}.rs")),
            library: self.folder.path().join(format!("lib{name}.so")),
            source,
            name,
        };
        let stopped = || {
            Ok(Failure::interrupted("interrupted while the cell was compiled; nothing of it has run").into())
        };

        let mut repairs = Repairs::default();
        let types = match self.types(&job, &mut repairs).await? {
            Some(Ok(types)) => types,
            Some(Err(failure)) => return Ok(failure.into()),
            None => return stopped(),
        };
        let level = wished.or(self.optimise).unwrap_or(if cell.has_closures { 2 } else { 0 });
        let mut moved: Vec<Origin> = Vec::new();
        let attempt = loop {
            let Some(attempt) = self.attempt(&job, Purpose::Run, level, &moved, &mut repairs).await? else {
                return stopped();
            };
            if attempt.compiled.errors.is_empty() {
                break attempt;
            }
            let newly: Vec<Origin> =
                attempt.compiled.errors.iter().filter_map(|d| moved_variable(d, &attempt.glue)).collect();
            if newly.is_empty() || moved.len() > MOVES_MAX {
                return Ok(compile_failure(
                    &attempt.compiled.errors,
                    &attempt.glue,
                    cell,
                    &self.known,
                    &repairs.notes,
                )
                .into());
            }
            moved.extend(newly);
        };
        let compiled = started.elapsed();
        self.places.add(&format!("{}.rs", job.name), Arc::clone(&attempt.glue.positions));
        self.say(&attempt, &repairs, print).await;

        let variables: Vec<String> = self.known.variables.keys().cloned().collect();
        let order = Order::Run {
            library: job.library.display().to_string(),
            symbol: job.symbol.clone(),
            cell: job.source.number,
        };
        let running = Arc::clone(&self.running);
        let process = self.ensure_process()?;
        running.pid.store(process.id().unwrap_or(0), Ordering::SeqCst);
        let outcome =
            if running.stop.load(Ordering::SeqCst) { None } else { Some(process.run(&order, print).await) };
        running.pid.store(0, Ordering::SeqCst);
        let answer = match outcome {
            None => return stopped(),
            Some(Outcome::Answered(answer)) => answer,
            Some(Outcome::Died(how)) => {
                let overflowed = self.process.take().is_some_and(|process| process.overflowed());
                self.known.variables.clear();
                self.ensure_process()?;
                return Ok(failure::ended(&how, &variables, overflowed).into());
            }
        };
        if answer.ran {
            self.learn(&job, &attempt, &repairs, types, &answer);
        }
        if self.timing {
            let total = started.elapsed();
            let line = format!(
                "compiled in {:.0} ms, ran in {:.0} ms\n",
                compiled.as_secs_f64() * 1e3,
                (total - compiled).as_secs_f64() * 1e3
            );
            let _ = print.send(Printed::Stderr(line)).await;
        }
        Ok(self.evaluation(answer))
    }

    fn evaluation(&self, answer: Answer) -> Evaluation {
        if answer.interrupted {
            return Failure::interrupted("the cell was interrupted").into();
        }
        if let Some(panic) = answer.panic {
            let mut failure = Failure::new("Panic", panic.message);
            if let Some((file, line, column)) = panic.location {
                failure.traceback.push(match self.places.place(&file, line as usize, column as usize) {
                    Some(place) => point(&place),
                    None => format!(" --> {file}:{line}:{column}"),
                });
            }
            return failure.into();
        }
        if let Some(error) = answer.error {
            return Failure::new("Error", error).into();
        }
        Evaluation { shown: answer.shown, error: None }
    }

    /// Writes and compiles the cell's crate, leaving out what earlier cells had and the cell breaks. `None` if the
    /// person interrupts.
    async fn attempt(
        &self,
        job: &Job<'_>,
        purpose: Purpose,
        level: u8,
        moved: &[Origin],
        repairs: &mut Repairs,
    ) -> Result<Option<Attempt>> {
        for round in 0.. {
            let plan = self.known.plan(job.cell, &job.source.text, &repairs.dropped);
            let writing = Writing {
                source: &job.source,
                cell: job.cell,
                known: &self.known,
                plan: &plan,
                dropped: &repairs.dropped,
                symbol: &job.symbol,
                moved,
                purpose,
            };
            let glue = glue::write(&writing);
            std::fs::write(&job.file, &glue.text)
                .with_context(|| format!("writing {}", job.file.display()))?;
            let (optimise, output) = match purpose {
                Purpose::Probe => (None, self.folder.path().join(format!("lib{}.rmeta", job.name))),
                Purpose::Run => (Some(level), job.library.clone()),
            };
            let request =
                Request { source: &job.file, name: &job.name, optimise, output: &output, cells: &self.cells };
            let Some(compiled) = self.compile(&request).await? else { return Ok(None) };
            if purpose == Purpose::Probe {
                // Later compilations must not find it beside the library.
                let _ = std::fs::remove_file(&output);
            }
            if round >= ROUNDS_MAX || !repairs.learn(&compiled.errors, &glue, &self.known) {
                return Ok(Some(Attempt { plan, glue, compiled }));
            }
        }
        unreachable!("the loop ends after ROUNDS_MAX")
    }

    /// Types of the cell's new variables, from the compiler where the cell does not write plain ones. `None` if the
    /// person interrupts.
    async fn types(
        &self,
        job: &Job<'_>,
        repairs: &mut Repairs,
    ) -> Result<Option<Result<Vec<(String, String)>, Failure>>> {
        let cell = job.cell;
        let taken = |word: &str| {
            let imports =
                cell.imports.iter().chain(&self.known.uses).filter_map(|import| import.name.as_deref());
            let items =
                cell.items.iter().flat_map(|item| &item.names).map(String::as_str).chain(self.known.items());
            imports.chain(items).any(|name| name == word)
        };
        let written: Option<Vec<_>> = cell
            .bound
            .iter()
            .map(|(name, ty)| Some((name.clone(), ty.clone().filter(|ty| types::is_plain(ty, taken))?)))
            .collect();
        if let Some(written) = written {
            return Ok(Some(Ok(written)));
        }
        let Some(Attempt { plan, glue, compiled }) =
            self.attempt(job, Purpose::Probe, 0, &[], repairs).await?
        else {
            return Ok(None);
        };
        let mut types: Vec<(String, String)> = Vec::new();
        let mut others = Vec::new();
        for diagnostic in compiled.errors {
            let origin = diagnostic.primary().and_then(|span| glue.origin(span.line_start));
            match (origin, revealed(&diagnostic)) {
                (Some(Origin::Probe(variable)), Some(ty)) => {
                    if !types.iter().any(|(held, _)| held == variable) {
                        types.push((variable.clone(), ty));
                    }
                }
                _ if diagnostic.spans.is_empty() => {}
                _ => others.push(diagnostic),
            }
        }
        if !others.is_empty() {
            return Ok(Some(Err(compile_failure(&others, &glue, cell, &self.known, &repairs.notes))));
        }
        let own = |word: &str| {
            let fresh = plan.fresh.iter().flat_map(|&index| &cell.items[index].names);
            let again = plan.again.keys().flat_map(|&index| &self.known.definitions[index].part.names);
            fresh.chain(again).any(|name| name == word)
        };
        for (variable, ty) in &mut types {
            match types::absolute(ty, &job.name, own) {
                Some(absolute) => *ty = absolute,
                None => return Ok(Some(Err(Failure::unnameable(variable, ty)))),
            }
        }
        Ok(Some(Ok(types)))
    }

    /// Notes about earlier cells, and warnings about this one's own lines, each once.
    async fn say(&mut self, attempt: &Attempt, repairs: &Repairs, print: &mpsc::Sender<Printed>) {
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
        types: Vec<(String, String)>,
        answer: &Answer,
    ) {
        self.known.learn(job.cell, &attempt.plan, &repairs.dropped, &job.source, &job.name);
        // A cell that failed has stored none of its new variables.
        if answer.succeeded() {
            self.known.variables.extend(types);
        }
        self.known.variables.retain(|variable, _| answer.names.contains(variable));
        if !attempt.plan.fresh.is_empty() || !attempt.plan.again.is_empty() {
            self.cells.push((job.name.clone(), job.library.clone()));
        }
    }
}

/// The type in ``the trait bound `T: nuna::cell::Reveal` is not satisfied``, written so that a later cell can use it.
fn revealed(diagnostic: &Diagnostic) -> Option<String> {
    let (before, _) = diagnostic.message.rsplit_once(": nuna::cell::Reveal`")?;
    let ty = before.split_once('`')?.1;
    Some(ty.replace("{float}", "f64").replace("{integer}", "i32"))
}

/// The variable that the glue could not store because the cell moved it.
fn moved_variable(diagnostic: &Diagnostic, glue: &Glue) -> Option<Origin> {
    if !["E0382", "E0381", "E0505"].contains(&diagnostic.code()) {
        return None;
    }
    let origin = glue.origin(diagnostic.primary()?.line_start)?;
    matches!(origin, Origin::Store(_) | Origin::Return(_)).then(|| origin.clone())
}
