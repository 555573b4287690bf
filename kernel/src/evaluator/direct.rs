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
    failure::{self, End, compile_failure},
    folder::Folder,
    glue::{self, Glue, Origin, Purpose, Writing},
    item::Kind,
    keep::{Gone, Local, Skips, Verdict},
    known::{Known, Plan},
    places::Places,
    positions::{Place, Source},
    process::{Answer, Order, Outcome, Printed, Process, Trouble},
    render::render,
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
    /// The person wanted it so much that its process was ended.
    pub killed: AtomicBool,
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

/// The most times a cell is compiled anew because of a variable that it cannot keep.
const SKIPS_MAX: usize = 16;

/// A cell on its way.
struct Job<'a> {
    cell: &'a Cell,
    source: Arc<Source>,
    name: String,
    symbol: String,
    file: PathBuf,
    library: PathBuf,
}

/// The type of a variable that a statement makes.
struct Made {
    statement: usize,
    name: String,
    /// None if it cannot be written and a later statement of the cell takes the name over.
    ty: Option<String>,
}

/// What a probe found out: types that later cells can write, and variables that live in their own cell only.
#[derive(Default)]
struct Types {
    made: Vec<Made>,
    locals: std::collections::BTreeMap<String, Local>,
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
                return Ok(Failure::syntax(
                    &error,
                    &Place { source, line: error.line, column: error.column },
                )
                .into());
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
        let fresh_skips = || Skips { locals: types.locals.clone(), ..Skips::default() };
        let mut skips = fresh_skips();
        // One statement alone has nothing before it to keep; a `return` must end them all.
        let in_steps = cell.statements.len() > 1 && !cell.has_return;
        let mut purpose = if in_steps { Purpose::Steps } else { Purpose::Block };
        let mut attempt = None;
        for _ in 0..SKIPS_MAX {
            let Some(tried) = self.attempt(&job, purpose, level, &skips, &mut repairs).await? else {
                return stopped();
            };
            let errors = &tried.compiled.errors;
            if errors.is_empty() {
                attempt = Some(tried);
                break;
            }
            match (skips.learn(errors, &tried.glue, cell), purpose) {
                (Verdict::Again, _) => {}
                (Verdict::Borrows(name), _) => {
                    let made = cell.bound().filter(|(_, made)| made.name == name).last();
                    let at = made.map_or(0, |(at, _)| cell.statements[at].range.start);
                    return Ok(Failure::borrowing(&name).at(&Place::of(&job.source, at)).into());
                }
                (Verdict::Wrong, Purpose::Steps) => (purpose, skips) = (Purpose::Block, fresh_skips()),
                (Verdict::Wrong, _) => {
                    return Ok(compile_failure(errors, &tried.glue, cell, &self.known, &repairs.notes).into());
                }
            }
        }
        let Some(attempt) = attempt else {
            return Ok(Failure::new(
                "CompileError",
                "too many variables of this cell borrow from each other; split it",
            )
            .into());
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
                let end = if running.killed.load(Ordering::SeqCst) {
                    End::Interrupted
                } else if overflowed {
                    End::Overflow
                } else {
                    End::Other(how)
                };
                let lost = std::mem::take(&mut self.known.variables).into_keys();
                self.known.gone.extend(lost.map(|name| (name, Gone::Lost(job.source.number))));
                self.ensure_process()?;
                return Ok(failure::ended(&end, &variables).into());
            }
        };
        if answer.ran {
            self.learn(&job, &attempt, &repairs, &skips, types.made, &answer);
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
        Ok(self.evaluation(&job, answer))
    }

    fn evaluation(&self, job: &Job<'_>, answer: Answer) -> Evaluation {
        if answer.interrupted {
            return Failure::interrupted("the cell was interrupted").into();
        }
        let (name, trouble) = match (answer.panic, answer.error) {
            (Some(panic), _) => ("Panic", panic),
            (None, Some(error)) => ("Error", error),
            (None, None) => return Evaluation { shown: answer.shown, error: None },
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

    /// Writes and compiles the cell's crate, leaving out what earlier cells had and the cell breaks. `None` if the
    /// person interrupts.
    async fn attempt(
        &self,
        job: &Job<'_>,
        purpose: Purpose,
        level: u8,
        skips: &Skips,
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
                skips,
                purpose,
            };
            let glue = glue::write(&writing);
            std::fs::write(&job.file, &glue.text)
                .with_context(|| format!("writing {}", job.file.display()))?;
            let (optimise, output) = match purpose {
                Purpose::Probe => (None, self.folder.path().join(format!("lib{}.rmeta", job.name))),
                Purpose::Steps | Purpose::Block => (Some(level), job.library.clone()),
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
    async fn types(&self, job: &Job<'_>, repairs: &mut Repairs) -> Result<Option<Result<Types, Failure>>> {
        let cell = job.cell;
        let taken = |word: &str| {
            let imports =
                cell.imports.iter().chain(&self.known.uses).filter_map(|import| import.name.as_deref());
            let items =
                cell.items.iter().flat_map(|item| &item.names).map(String::as_str).chain(self.known.items());
            imports.chain(items).any(|name| name == word)
        };
        let written = cell.bound().map(|(statement, made)| {
            let ty = made.ty.clone().filter(|ty| types::is_plain(ty, taken))?;
            Some(Made { statement, name: made.name.clone(), ty: Some(ty) })
        });
        if let Some(made) = written.collect() {
            return Ok(Some(Ok(Types { made, ..Types::default() })));
        }
        let tried = self.attempt(job, Purpose::Probe, 0, &Skips::default(), repairs).await?;
        let Some(Attempt { plan, glue, compiled }) = tried else { return Ok(None) };
        let mut types = Types::default();
        let mut others = Vec::new();
        let own = |word: &str| {
            let fresh = plan.fresh.iter().flat_map(|&index| &cell.items[index].names);
            let again = plan.again.keys().flat_map(|&index| &self.known.definitions[index].part.names);
            fresh.chain(again).any(|name| name == word)
        };
        for diagnostic in compiled.errors {
            let origin = diagnostic.primary().and_then(|span| glue.origin(span.line_start));
            let (Some(Origin::Probe { statement, name }), Some(ty)) = (origin, revealed(&diagnostic)) else {
                if !diagnostic.spans.is_empty() {
                    others.push(diagnostic);
                }
                continue;
            };
            let (statement, name) = (*statement, name.clone());
            let ty = match types::absolute(&ty, &job.name, own) {
                Some(ty) => Some(ty),
                None if cell.bound().any(|(later, made)| later > statement && made.name == name) => None,
                None if types::has_gap(&ty) => {
                    let place = Place::of(&job.source, cell.statements[statement].range.start);
                    return Ok(Some(Err(Failure::open_type(&name, &ty).at(&place))));
                }
                // One that nothing in the cell uses was meant for later cells.
                None if !cell.uses_behind(statement, &name) => {
                    return Ok(Some(Err(Failure::unnameable(&name, &ty))));
                }
                None => {
                    types.locals.insert(name, Local::Unnameable(ty));
                    continue;
                }
            };
            types.made.push(Made { statement, name, ty });
        }
        types.made.sort_by_key(|made| made.statement);
        if !others.is_empty() {
            return Ok(Some(Err(compile_failure(&others, &glue, cell, &self.known, &repairs.notes))));
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
                Some(ty) => drop(self.known.variables.insert(name, ty)),
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

/// The type in ``the trait bound `T: nuna::cell::Reveal` is not satisfied``, written so that a later cell can use it.
fn revealed(diagnostic: &Diagnostic) -> Option<String> {
    let (before, _) = diagnostic.message.rsplit_once(": nuna::cell::Reveal`")?;
    let ty = before.split_once('`')?.1;
    Some(ty.replace("{float}", "f64").replace("{integer}", "i32"))
}
