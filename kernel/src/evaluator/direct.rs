//! Owns the direct evaluator: a cell's way from text to outcome, and what is known between cells.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, atomic::{AtomicI32, Ordering}},
};

use tokio::sync::{Notify, mpsc};

use anyhow::{Context, Result};

use super::{
    compile::{Diagnostic, Request, compile},
    glue::{self, Glue, Known, Purpose},
    process::{Order, Outcome, Printed, Process},
    render::render,
    runtime::Runtime,
    split::{self, Cell},
};

/// What became of a cell.
#[derive(Debug, Default)]
pub struct Evaluation {
    pub shown: Option<Vec<(String, String)>>,
    pub error: Option<Failure>,
}

/// As an `error` message wants it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub name: String,
    pub value: String,
    pub traceback: Vec<String>,
}

impl Failure {
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self { name: name.to_owned(), traceback: vec![format!("\u{1b}[1;31m{name}\u{1b}[0m: {value}")], value }
    }
}

/// Evaluates cells one after the other.
pub struct Direct {
    runtime: Runtime,
    folder: tempfile::TempDir,
    process: Option<Process>,
    known: Known,
    cells: Vec<(String, PathBuf)>,
    compiled: u32,
    optimise: Option<u8>,
    timing: bool,
    /// Process id of the evaluator for whoever interrupts, 0 while there is none.
    pub pid: Arc<AtomicI32>,
    /// Wakes a compilation that is to be given up.
    pub cancel: Arc<Notify>,
    kernel_id: String,
}

/// The most times a cell is compiled anew because it moved a variable.
const MOVES_MAX: usize = 32;

const HELP: &str = "\
:vars            variables and their types
:type NAME       type of one variable
:opt [0-3]       optimise every cell this much; without a number, only cells with closures or functions
:timing          show after each cell how long compiling and running took
:clear           forget all variables, items and `use` lines
:help            this text
A line `//! opt = 3` at the top of a cell sets the level for that cell.";

impl Direct {
    /// `kernel_id` is Jupyter's; clusters started from a cell carry it.
    ///
    /// # Errors
    /// If the evaluator cannot be started.
    pub fn new(runtime: Runtime, kernel_id: String) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nuna-cells-").tempdir().context("making a folder for cells")?;
        let mut direct = Self {
            runtime,
            folder,
            process: None,
            known: Known::default(),
            cells: Vec::new(),
            compiled: 0,
            optimise: None,
            timing: false,
            pid: Arc::default(),
            cancel: Arc::default(),
            kernel_id,
        };
        direct.ensure_process()?;
        Ok(direct)
    }

    fn ensure_process(&mut self) -> Result<&mut Process> {
        if self.process.is_none() {
            let process = Process::start(&self.runtime.evaluator, &self.kernel_id)?;
            self.process = Some(process);
        }
        self.process.as_mut().context("the evaluator was just started")
    }

    /// Where compiled cells are kept; whoever ends this program removes it.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Compiles unless the person interrupts.
    async fn compile(&self, request: &Request<'_>) -> Result<Vec<Diagnostic>> {
        tokio::select! {
            compiled = compile(&self.runtime, request) => compiled,
            () = self.cancel.notified() => anyhow::bail!("interrupted while the cell was compiled; nothing of it has run"),
        }
    }

    /// Names for completion: variables and items with what they are.
    pub fn names(&self) -> Vec<(String, String)> {
        let variables = self.known.variables.iter().map(|(name, ty)| (name.clone(), ty.clone()));
        let items = self.known.items.keys().map(|name| (name.clone(), "item".to_owned()));
        variables.chain(items).collect()
    }

    /// Evaluates one cell.
    ///
    /// # Errors
    /// If the machine fails it (no compiler, no space); a mistake in the cell is in [`Evaluation::error`].
    pub async fn evaluate(&mut self, text: &str, number: u32, print: &mpsc::Sender<Printed>) -> Result<Evaluation> {
        if let Some(command) = text.trim().strip_prefix(':') {
            return self.command(command.trim()).await;
        }
        if let Some(advice) = magic(text.trim(), &self.known) {
            return Ok(Evaluation { error: Some(Failure::new("Command", advice)), ..Evaluation::default() });
        }
        let (text, wished) = directives(text);
        let cell = match split::split(&text) {
            Ok(cell) => cell,
            Err(error) => {
                let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
                let mut failure = Failure::new("SyntaxError", error.message.clone());
                failure.traceback.push(format!(" --> In [{number}]:{}:{}", error.line, error.column));
                failure.traceback.push(format!("{:>4} | {line}", error.line));
                failure.traceback.push(format!("     | {}^", " ".repeat(error.column.saturating_sub(1))));
                return Ok(Evaluation { error: Some(failure), ..Evaluation::default() });
            }
        };
        if cell.items.is_empty() && cell.statements.is_empty() && cell.last.is_none() && cell.uses.is_empty() && cell.macros.is_empty() {
            return Ok(Evaluation::default());
        }
        self.run(&text, &cell, wished, number, print).await
    }

    async fn run(&mut self, text: &str, cell: &Cell, wished: Option<u8>, number: u32, print: &mpsc::Sender<Printed>) -> Result<Evaluation> {
        let started = std::time::Instant::now();
        self.compiled += 1;
        let name = format!("cell_{}", self.compiled);
        let symbol = format!("nuna_{name}_{}", std::process::id());
        let source = self.folder.path().join(format!("{name}.rs"));
        let library = self.folder.path().join(format!("lib{name}.so"));
        let failed = |failure| Ok(Evaluation { error: Some(failure), ..Evaluation::default() });

        let types = match self.types(text, cell, number, &name, &symbol, &source).await? {
            Ok(types) => types,
            Err(failure) => return failed(failure),
        };
        let level = wished.or(self.optimise).unwrap_or(if cell.has_closures { 2 } else { 0 });
        let mut moved: Vec<String> = Vec::new();
        let mut written;
        loop {
            written = glue::write(text, cell, &self.known, &symbol, &moved, Purpose::Run);
            std::fs::write(&source, &written.text)?;
            let request = Request { source: &source, name: &name, optimise: Some(level), output: &library, cells: &self.cells };
            let diagnostics = self.compile(&request).await?;
            if diagnostics.is_empty() {
                break;
            }
            let newly: Vec<String> = diagnostics.iter().filter_map(|d| moved_variable(d, &written)).collect();
            if newly.is_empty() || moved.len() > MOVES_MAX {
                return failed(compile_failure(&diagnostics, &written, text, number));
            }
            moved.extend(newly);
        }
        let compiled = started.elapsed();

        let before: BTreeSet<String> = self.known.variables.keys().cloned().collect();
        let pid = Arc::clone(&self.pid);
        let process = self.ensure_process()?;
        pid.store(process.id().unwrap_or(0), Ordering::SeqCst);
        let order = Order::Run { library: library.display().to_string(), symbol, cell: number };
        let outcome = process.run(&order, print).await;
        pid.store(0, Ordering::SeqCst);
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Died(how) => {
                self.process = None;
                self.known.variables.clear();
                self.ensure_process()?;
                let lost: Vec<&str> = before.iter().map(String::as_str).collect();
                let lost = if lost.is_empty() { "no variable was lost".to_owned() } else { format!("lost variables: {}", lost.join(", ")) };
                return failed(Failure::new(
                    "EvaluatorEnded",
                    format!("the process that runs cells ended ({how}); {lost}. Functions and types of earlier cells are kept, a new process has been started"),
                ));
            }
        };
        let succeeded = answer.panic.is_none() && answer.error.is_none();
        // A cell that failed has stored none of its new variables.
        let types = if succeeded { types } else { Vec::new() };
        self.remember(cell, &name, library, types, &answer.names);
        if self.timing {
            let total = started.elapsed();
            let line = Printed::Stderr(format!(
                "compiled in {:.0} ms, ran in {:.0} ms\n",
                compiled.as_secs_f64() * 1e3,
                (total - compiled).as_secs_f64() * 1e3
            ));
            let _ = print.send(line).await;
        }
        if let Some(panic) = answer.panic {
            let mut failure = Failure::new("Panic", panic.message);
            if let Some((file, line, column)) = panic.location {
                let own = (PathBuf::from(&file) == source).then(|| written.position(line as usize, column as usize)).flatten();
                failure.traceback.push(match own {
                    Some((line, column)) => {
                        let code = text.lines().nth(line - 1).unwrap_or_default();
                        format!(" --> In [{number}]:{line}:{column}\n{line:>4} | {code}\n     | {}^", " ".repeat(column - 1))
                    }
                    None => format!(" --> {file}:{line}:{column}"),
                });
            }
            return failed(failure);
        }
        if let Some(error) = answer.error {
            return failed(Failure::new("Error", error));
        }
        Ok(Evaluation { shown: answer.shown, error: None })
    }

    /// Types of the cell's new variables, from the compiler where the cell does not write them.
    async fn types(
        &mut self,
        text: &str,
        cell: &Cell,
        number: u32,
        name: &str,
        symbol: &str,
        source: &std::path::Path,
    ) -> Result<Result<Vec<(String, String)>, Failure>> {
        // A written type that names a cell's own item may mean another item later, so the compiler spells it out.
        let own: Vec<&String> = cell.items.iter().filter_map(|item| item.name.as_ref()).chain(self.known.items.keys()).collect();
        let lasting = |ty: &String| !ty.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| own.iter().any(|name| *name == word));
        let written: Option<Vec<_>> =
            cell.bound.iter().map(|(name, ty)| Some((name.clone(), ty.clone().filter(lasting)?))).collect();
        if let Some(written) = written {
            return Ok(Ok(written));
        }
        let probe = glue::write(text, cell, &self.known, symbol, &[], Purpose::Probe);
        std::fs::write(source, &probe.text)?;
        let output = self.folder.path().join(format!("lib{name}.rmeta"));
        let request = Request { source, name, optimise: None, output: &output, cells: &self.cells };
        let diagnostics = self.compile(&request).await?;
        let mut types = Vec::new();
        let mut others = Vec::new();
        for diagnostic in diagnostics {
            let variable = diagnostic.primary().and_then(|span| probe.probes.get(&span.line_start));
            match (variable, revealed(&diagnostic)) {
                (Some(variable), Some(ty)) => {
                    if !types.iter().any(|(held, _)| held == variable) {
                        types.push((variable.clone(), ty));
                    }
                }
                _ if diagnostic.spans.is_empty() => {}
                _ => others.push(diagnostic),
            }
        }
        if !others.is_empty() {
            return Ok(Err(compile_failure(&others, &probe, text, number)));
        }
        for (variable, ty) in &types {
            if ["{closure", "impl ", "{async", "{fn item", "fn item"].iter().any(|word| ty.contains(word)) {
                return Ok(Err(Failure::new(
                    "UnnameableType",
                    format!(
                        "variable `{variable}` has a type that cannot be written ({ty}), so it cannot be kept for later cells; \
                         write a function, box it (`let {variable}: Box<dyn Fn(f64) -> f64> = Box::new(…)`), or wrap the cell in `{{ … }}`"
                    ),
                )));
            }
        }
        Ok(Ok(types))
    }

    fn remember(&mut self, cell: &Cell, name: &str, library: PathBuf, types: Vec<(String, String)>, alive: &[String]) {
        for (variable, ty) in types {
            self.known.variables.insert(variable, ty);
        }
        self.known.variables.retain(|variable, _| alive.contains(variable));
        for item in cell.items.iter().filter_map(|item| item.name.clone()) {
            self.known.items.insert(item, name.to_owned());
        }
        if !cell.items.is_empty() {
            self.cells.push((name.to_owned(), library));
        }
        for line in &cell.uses {
            if !self.known.uses.contains(line) {
                self.known.uses.push(line.clone());
            }
        }
        self.known.macros.extend(cell.macros.iter().cloned());
    }

    async fn command(&mut self, command: &str) -> Result<Evaluation> {
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let shown = |text: String| Ok(Evaluation { shown: Some(vec![("text/plain".to_owned(), text)]), error: None });
        match word {
            "help" => shown(HELP.to_owned()),
            "vars" => shown(
                self.known.variables.iter().map(|(name, ty)| format!("{name}: {ty}")).collect::<Vec<_>>().join("\n"),
            ),
            "type" => match self.known.variables.get(rest.trim()) {
                Some(ty) => shown(ty.clone()),
                None => Ok(Evaluation { error: Some(Failure::new("Command", format!("there is no variable `{}`; `:vars` lists them", rest.trim()))), shown: None }),
            },
            "opt" => {
                self.optimise = match rest.trim() {
                    "" => None,
                    level => match level.parse::<u8>() {
                        Ok(level @ 0..=3) => Some(level),
                        _ => return Ok(Evaluation { error: Some(Failure::new("Command", format!(":opt takes 0, 1, 2 or 3, not {level:?}"))), shown: None }),
                    },
                };
                shown(self.optimise.map_or("optimising cells with closures or functions".to_owned(), |l| format!("optimising every cell at level {l}")))
            }
            "timing" => {
                self.timing = !self.timing;
                shown(format!("timing is {}", if self.timing { "on" } else { "off" }))
            }
            "clear" => {
                let names: Vec<String> = self.known.variables.keys().cloned().collect();
                self.known = Known::default();
                self.cells.clear();
                let process = self.ensure_process()?;
                if let Outcome::Died(how) = process.run(&Order::Forget { names }, &mpsc::channel(1).0).await {
                    self.process = None;
                    anyhow::bail!("the process that runs cells ended ({how}) while it dropped the variables");
                }
                shown("forgot all variables, items and `use` lines".to_owned())
            }
            "dep" => Ok(Evaluation {
                error: Some(Failure::new("Command", "crates of your own (:dep) cannot be added to this kernel yet; `nuna`, `serde` and the standard library are there")),
                shown: None,
            }),
            _ => Ok(Evaluation { error: Some(Failure::new("Command", format!("there is no command `:{word}`; `:help` lists them"))), shown: None }),
        }
    }
}

/// `//! opt = 3` lines at the top, taken out without moving the others.
fn directives(text: &str) -> (String, Option<u8>) {
    let mut level = None;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.trim().strip_prefix("//!") {
            Some(directive) => {
                if let Some((key, value)) = directive.split_once('=')
                    && key.trim() == "opt"
                {
                    level = value.trim().parse().ok().filter(|level| *level <= 3);
                }
                out.extend(line.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            }
            None => out.push_str(line),
        }
    }
    (out, level)
}

/// Advice for what people of other kernels type.
fn magic(text: &str, known: &Known) -> Option<String> {
    if text.starts_with("%%time") || text.starts_with("%time") {
        return Some("this kernel has no magics; `:timing` shows after each cell how long it took".to_owned());
    }
    if let Some(command) = text.strip_prefix('!') && !command.starts_with('=') && text.lines().count() == 1 && command.starts_with(char::is_alphabetic)
        && !known.variables.keys().chain(known.items.keys()).any(|name| command.starts_with(name.as_str()))
    {
        return Some(format!("this kernel runs no shell commands; in Rust: std::process::Command::new({:?})", command.split_whitespace().next().unwrap_or_default()));
    }
    text.starts_with('%').then(|| "this kernel has no magics; `:help` lists its commands".to_owned())
}

/// The type in ``the trait bound `T: nuna::cell::Reveal` is not satisfied``, written so that a later cell can use it.
fn revealed(diagnostic: &Diagnostic) -> Option<String> {
    let (before, _) = diagnostic.message.rsplit_once(": nuna::cell::Reveal`")?;
    let ty = before.split_once('`')?.1;
    Some(ty.replace("{float}", "f64").replace("{integer}", "i32"))
}

/// The variable that the glue could not store because the cell moved it.
fn moved_variable(diagnostic: &Diagnostic, glue: &Glue) -> Option<String> {
    if !["E0382", "E0381", "E0505"].contains(&diagnostic.code()) {
        return None;
    }
    glue.stores.get(&diagnostic.primary()?.line_start).cloned()
}

fn compile_failure(diagnostics: &[Diagnostic], glue: &Glue, text: &str, number: u32) -> Failure {
    let own: Vec<&Diagnostic> = diagnostics.iter().filter(|d| !d.spans.is_empty()).collect();
    let first = own.first().map_or("the compiler refused the cell", |d| d.message.as_str());
    let mut failure = Failure::new("CompileError", first);
    failure.traceback.clear();
    for diagnostic in own {
        if let Some(variable) = diagnostic.primary().and_then(|span| glue.stores.get(&span.line_start)) {
            failure.traceback.push(format!(
                "variable `{}` cannot be kept for later cells: {}. A variable that borrows from another lives only inside one block `{{ … }}`.",
                variable.trim_start_matches("taken "),
                diagnostic.message
            ));
        }
        failure.traceback.extend(render(diagnostic, glue, text, number));
        failure.traceback.push(String::new());
    }
    failure
}
