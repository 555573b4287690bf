//! Owns a cell's way from its parts to a library that can be run: what the compiler is asked, and what is done about
//! its answers.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, Result};

use super::{
    cache::Inputs,
    compile::{Compiled, Diagnostic, Request, compile},
    direct::Direct,
    failure::{Failure, compile_failure},
    glue::{self, Glue, Origin, Purpose, Writing},
    keep::{Local, Skips, Verdict, own_errors},
    known::{Dropped, Plan},
    naming::may_have_statics,
    positions::{Place, Source},
    repair::{ROUNDS_MAX, Repairs},
    split::Cell,
    types,
};

/// The most times a cell is compiled anew because of a variable that it cannot keep.
const SKIPS_MAX: usize = 16;

/// A cell on its way.
pub(super) struct Job<'a> {
    pub(super) cell: &'a Cell,
    pub(super) source: Arc<Source>,
    pub(super) name: String,
    pub(super) symbol: String,
    pub(super) file: PathBuf,
    pub(super) library: PathBuf,
    /// Optimisation level.
    pub(super) level: u8,
    /// Run once more, it is another crate.
    pub(super) is_apart: bool,
}

/// The type of a variable that a statement makes.
pub(super) struct Made {
    pub(super) statement: usize,
    pub(super) name: String,
    /// None if it cannot be written and a later statement of the cell takes the name over.
    pub(super) ty: Option<String>,
}

/// What a probe found out: types that later cells can write, and variables that live in their own cell only.
#[derive(Default)]
pub(super) struct Types {
    pub(super) made: Vec<Made>,
    pub(super) locals: BTreeMap<String, Local>,
}

/// A crate that was written and compiled, or not.
pub(super) struct Attempt {
    pub(super) plan: Plan,
    pub(super) glue: Glue,
    pub(super) compiled: Compiled,
}

/// What became of a cell that was to be compiled.
pub(super) enum Built {
    Ready(Box<Ready>),
    Failed(Failure),
    /// The person interrupted.
    Stopped,
}

/// A cell that can be run.
pub(super) struct Ready {
    pub(super) attempt: Attempt,
    pub(super) types: Types,
    pub(super) skips: Skips,
    pub(super) repairs: Repairs,
}

impl Direct {
    /// What a cell is on its way. Its name follows from its crate as it would be if it had nothing to repair, because
    /// what is repaired follows from that in turn.
    pub(super) fn job<'a>(&self, source: Arc<Source>, cell: &'a Cell, wished: Option<u8>) -> Job<'a> {
        let level = wished.or(self.optimise).unwrap_or(if cell.has_closures { 2 } else { 0 });
        let (dropped, skips) = (Dropped::default(), Skips::default());
        let plan = self.known.plan(cell, &source.text, &dropped);
        let glue = glue::write(&Writing {
            source: &source,
            cell,
            known: &self.known,
            plan: &plan,
            dropped: &dropped,
            symbol: "entry",
            skips: &skips,
            purpose: Purpose::Block,
        });
        let mut inputs = Inputs::default();
        inputs.add(glue.text.as_bytes());
        inputs.add(&[level]);
        let name = self.names.name(&inputs);
        let has_items = !plan.fresh.is_empty() || !plan.again.is_empty();
        Job {
            cell,
            symbol: format!("nuna_{name}"),
            file: self.folder.path().join(format!("{name}.rs")),
            library: self.folder.path().join(format!("lib{name}.so")),
            level,
            is_apart: has_items || may_have_statics(&glue.text),
            source,
            name,
        }
    }

    /// Compiles unless the person interrupts.
    async fn compile(&self, request: &Request<'_>) -> Result<Option<Compiled>> {
        let cancelled = self.running.cancel.notified();
        if self.running.stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
        tokio::select! {
            compiled = compile(&self.runtime, self.cache.as_ref(), request) => compiled.map(Some),
            () = cancelled => Ok(None),
        }
    }

    /// Compiles a cell. The types of its variables are asked for while it is compiled in the hope that none of them
    /// matters for that, as is mostly so.
    pub(super) async fn build(&self, job: &Job<'_>) -> Result<Built> {
        let cell = job.cell;
        // One statement alone has nothing before it to keep; a `return` must end them all.
        let in_steps = cell.statements.len() > 1 && !cell.has_return;
        let mut purpose = if in_steps { Purpose::Steps } else { Purpose::Block };
        let (mut repairs, mut guessed, no_skips) = (Repairs::default(), Repairs::default(), Skips::default());
        let (types, early) =
            tokio::join!(self.types(job, &mut repairs), self.attempt(job, purpose, &no_skips, &mut guessed));
        let types = match types? {
            Some(Ok(types)) => types,
            Some(Err(failure)) => return Ok(Built::Failed(failure)),
            None => return Ok(Built::Stopped),
        };
        let Some(early) = early? else { return Ok(Built::Stopped) };
        // With nothing to ask about types, nothing was repaired on their account.
        let asked_nothing = repairs.dropped == Default::default() && repairs.notes.is_empty();
        let mut next = None;
        if types.locals.is_empty() && (asked_nothing || repairs.dropped == guessed.dropped) {
            (next, repairs) = (Some(early), guessed);
        }
        let fresh_skips = || Skips { locals: types.locals.clone(), ..Skips::default() };
        let mut skips = fresh_skips();
        for _ in 0..SKIPS_MAX {
            let tried = match next.take() {
                Some(early) => early,
                None => match self.attempt(job, purpose, &skips, &mut repairs).await? {
                    Some(tried) => tried,
                    None => return Ok(Built::Stopped),
                },
            };
            let errors = &tried.compiled.errors;
            if errors.is_empty() {
                return Ok(Built::Ready(Box::new(Ready { attempt: tried, types, skips, repairs })));
            }
            match (skips.learn(errors, &tried.glue, cell), purpose) {
                (Verdict::Again, _) => {}
                (Verdict::Borrows(name), _) => {
                    let made = cell.bound().filter(|(_, made)| made.name == name).last();
                    let at = made.map_or(0, |(at, _)| cell.statements[at].range.start);
                    return Ok(Built::Failed(Failure::borrowing(&name).at(&Place::of(&job.source, at))));
                }
                (Verdict::Wrong, Purpose::Steps) => (purpose, skips) = (Purpose::Block, fresh_skips()),
                (Verdict::Wrong, _) => {
                    let own = own_errors(errors, &tried.glue, cell);
                    let failure = compile_failure(&own, &tried.glue, cell, &self.known, &repairs.notes);
                    self.remember(own);
                    return Ok(Built::Failed(failure));
                }
            }
        }
        let text = "too many variables of this cell borrow from each other; split it";
        Ok(Built::Failed(Failure::new("CompileError", text)))
    }

    /// Writes and compiles the cell's crate, leaving out what earlier cells had and the cell breaks. `None` if the
    /// person interrupts.
    async fn attempt(
        &self,
        job: &Job<'_>,
        purpose: Purpose,
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
            // Both may be under way at a time.
            let (optimise, file, output) = match purpose {
                Purpose::Probe => {
                    (None, job.file.with_extension("probe"), job.library.with_extension("rmeta"))
                }
                Purpose::Steps | Purpose::Block => (Some(job.level), job.file.clone(), job.library.clone()),
            };
            std::fs::write(&file, &glue.text).with_context(|| format!("writing {}", file.display()))?;
            let request = Request {
                source: &file,
                text: &glue.text,
                name: &job.name,
                optimise,
                output: &output,
                cells: &self.cells,
                linker: self.linker.as_ref(),
                crates: self.crates.links(),
            };
            let Some(compiled) = self.compile(&request).await? else { return Ok(None) };
            if purpose == Purpose::Probe {
                // Later compilations must not find it beside the library.
                let _ = std::fs::remove_file(&output);
                let _ = std::fs::remove_file(&file);
            }
            if round >= ROUNDS_MAX || !repairs.learn(&compiled.errors, &glue, &self.known) {
                return Ok(Some(Attempt { plan, glue, compiled }));
            }
        }
        unreachable!("the loop ends after ROUNDS_MAX")
    }

    /// Keeps what the compiler said, for `:explain` and `:last_error_json`.
    fn remember(&self, errors: Vec<Diagnostic>) {
        *self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = errors;
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
        let tried = self.attempt(job, Purpose::Probe, &Skips::default(), repairs).await?;
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
            let failure = compile_failure(&others, &glue, cell, &self.known, &repairs.notes);
            self.remember(others);
            return Ok(Some(Err(failure)));
        }
        Ok(Some(Ok(types)))
    }
}

/// The type in ``the trait bound `T: nuna::cell::Reveal` is not satisfied``, written so that a later cell can use it.
pub(crate) fn revealed(diagnostic: &Diagnostic) -> Option<String> {
    let (before, _) = diagnostic.message.rsplit_once(": nuna::cell::Reveal`")?;
    let ty = before.split_once('`')?.1;
    Some(ty.replace("{float}", "f64").replace("{integer}", "i32"))
}
