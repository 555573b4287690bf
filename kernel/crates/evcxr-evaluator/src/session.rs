//! Owns evcxr: asks it to run, complete and inspect, and says in the kernel's words what came of it. The only module
//! that names evcxr's types.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, anyhow};
use evcxr::{CommandContext, CompilationError, Error, EvalContextOutputs, Theme};

use crate::{
    output::{Panics, forward, mend_end, settle},
    protocol::{Evaluated, Said, Trouble},
    stop::Stop,
};

pub(crate) struct Session {
    context: CommandContext,
    outputs: EvalContextOutputs,
    stop: Arc<Stop>,
    /// What loading the person's configuration said, told with the first cell.
    greeting: Option<String>,
}

impl Session {
    pub(crate) fn start(stop: Arc<Stop>) -> Result<Self> {
        let (mut context, outputs) = CommandContext::new().map_err(|error| anyhow!("{error}"))?;
        stop.watch(context.process_handle());
        // As evcxr's own kernel does: dependencies and a prelude that the person wants in every notebook.
        let greeting = match context.execute(":load_config --quiet") {
            Ok(_) => None,
            Err(error) => Some(format!("evcxr's configuration was not loaded: {error}\n")),
        };
        Ok(Self { context, outputs, stop, greeting })
    }

    pub(crate) fn evaluate(&mut self, code: &str, number: u32, say: &(dyn Fn(Said) + Sync)) -> Evaluated {
        if let Some(text) = self.greeting.take() {
            say(Said::Stderr(text));
        }
        let Self { context, outputs, stop, .. } = self;
        let mut panics = Panics::default();
        let has_ended = AtomicBool::new(false);
        stop.begin();
        let process = context.process_handle();
        let id = || process.lock().unwrap_or_else(PoisonError::into_inner).id();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                let next = |patience| outputs.stdout.recv_timeout(patience).ok();
                forward(next, &has_ended, |text| {
                    let text = mend_end(text, id());
                    if !text.is_empty() {
                        say(Said::Stdout(text));
                    }
                });
            });
            scope.spawn(|| {
                let next = |patience| outputs.stderr.recv_timeout(patience).ok();
                forward(next, &has_ended, |text| {
                    let text = panics.read(&text);
                    if !text.is_empty() {
                        say(Said::Stderr(text));
                    }
                });
            });
            let result = catch_unwind(AssertUnwindSafe(|| context.execute(code)));
            settle(id(), || outputs.stderr.is_empty());
            has_ended.store(true, Ordering::SeqCst);
            result
        });
        let interrupted = stop.end();
        let mut evaluated = Evaluated { interrupted, ..Evaluated::default() };
        match result {
            // evcxr says nothing of a panic but what the cell printed.
            Ok(Ok(shown)) if shown.is_empty() && panics.message.is_some() => {
                let message = panics.message.unwrap_or_default();
                evaluated.trouble = Some(trouble("Panic", message.trim_end()));
            }
            Ok(Ok(shown)) => {
                // Caught by the cell itself.
                if !panics.report.is_empty() {
                    say(Said::Stderr(panics.report));
                }
                if let Some(duration) = shown.timing {
                    say(Said::Stderr(format!("took {:.0} ms\n", duration.as_secs_f64() * 1e3)));
                }
                evaluated.shown = shown.content_by_mime_type.into_iter().collect();
            }
            Ok(Err(Error::CompilationErrors(errors))) => {
                evaluated.trouble = Some(mistakes(&errors, code, number));
            }
            Ok(Err(Error::SubprocessTerminated(how))) => evaluated.ended = Some(how),
            Ok(Err(error)) => evaluated.trouble = Some(trouble("Error", &error.to_string())),
            Err(payload) => {
                let why = payload.downcast_ref::<&str>().copied().map(str::to_owned);
                let why = why.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
                evaluated.trouble = Some(trouble("KernelError", &format!("evcxr itself panicked: {why}")));
            }
        }
        evaluated.names = self.names();
        evaluated
    }

    fn names(&self) -> Vec<(String, String)> {
        let variables = self.context.variables_and_types().map(|(name, ty)| (name.to_owned(), ty.to_owned()));
        let items = self.context.defined_item_names().map(|name| (name.to_owned(), "item".to_owned()));
        variables.chain(items).collect()
    }

    pub(crate) fn complete(&mut self, code: &str, at: usize) -> Said {
        let nothing = || Said::Completed { matches: Vec::new(), start: at, end: at };
        if !code.is_char_boundary(at) {
            return nothing();
        }
        let found = catch_unwind(AssertUnwindSafe(|| self.context.completions(code, at)));
        match found {
            Ok(Ok(found)) => Said::Completed {
                matches: found.completions.into_iter().map(|completion| completion.code).collect(),
                start: found.start_offset,
                end: found.end_offset,
            },
            Ok(Err(_)) | Err(_) => nothing(),
        }
    }

    /// Text and HTML about the word that ends at byte `at`.
    pub(crate) fn inspect(&mut self, code: &str, at: usize) -> Option<(String, String)> {
        if !code.is_char_boundary(at) {
            return None;
        }
        let found = catch_unwind(AssertUnwindSafe(|| self.context.hover_at(code, at)));
        found.ok()?.ok().filter(|(text, _)| text != "No documentation found")
    }
}

fn trouble(name: &str, value: &str) -> Trouble {
    let traceback = format!("\u{1b}[1;31m{name}\u{1b}[0m: {value}").lines().map(str::to_owned).collect();
    Trouble { name: name.to_owned(), value: value.to_owned(), traceback }
}

/// What the compiler said of a cell, beside the cell's own lines.
fn mistakes(errors: &[CompilationError], code: &str, number: u32) -> Trouble {
    let first = errors.first().map_or_else(|| "the compiler refused the cell".to_owned(), |e| e.message());
    let mut out = Trouble { traceback: Vec::new(), ..trouble("CompileError", &first) };
    for error in errors {
        let file = format!("In [{number}]");
        let report = if error.is_from_user_code() {
            error.build_report(file.clone(), code.to_owned(), Theme::Light)
        } else {
            None
        };
        let mut written = Vec::new();
        let is_written =
            report.is_some_and(|report| report.write(ariadne::sources([(file, code)]), &mut written).is_ok());
        if is_written {
            let text = String::from_utf8_lossy(&written);
            out.traceback.extend(text.lines().map(|line| without_colours(line).trim_end().to_owned()));
            continue;
        }
        out.traceback.push(format!("\u{1b}[1;31merror\u{1b}[0m: {}", error.message()));
        for message in error.spanned_messages() {
            out.traceback.extend(message.lines.iter().cloned());
            match &message.span {
                Some(span) => {
                    let marks = span.end_column.saturating_sub(span.start_column).max(1);
                    let place = " ".repeat(span.start_column.saturating_sub(1));
                    out.traceback.push(format!("{place}{} {}", "^".repeat(marks), message.label));
                }
                None => out.traceback.push(message.label.clone()),
            }
        }
        out.traceback.extend(error.help().into_iter().map(|help| format!("help: {help}")));
    }
    out
}

/// The report colours each character by itself, which is ten times its text and hard to read on a dark page.
fn without_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let code = &rest[at + 2..];
        rest = code.find('m').map_or("", |end| &code[end + 1..]);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(without_colours("\u{1b}[38;5;54mn\u{1b}[0mo \u{1b}["), "no ");
    }
}
