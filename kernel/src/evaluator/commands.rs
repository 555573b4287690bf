//! Owns what is typed into a cell and is not Rust: `:` commands, `//!` directives, and advice for what people of other
//! kernels type.

use anyhow::Result;

use super::{
    direct::{Direct, Evaluation},
    failure::{Failure, outdated},
    known::Known,
    print::Print,
    process::{Order, Outcome},
    types,
};

const HELP: &str = "\
:vars            variables and their types
:type NAME       type of one variable
:opt [0-3]       optimise every cell this much; without a number, only cells with closures or functions
:timing          show after each cell how long compiling and running took
:clear           forget all variables, items and `use` lines
:help            this text
A line `//! opt = 3` at the top of a cell sets the level for that cell.";

fn refused(text: impl Into<String>) -> Evaluation {
    Evaluation { error: Some(Failure::new("Command", text)), shown: None }
}

fn shown(text: impl Into<String>) -> Evaluation {
    Evaluation { shown: Some(vec![("text/plain".to_owned(), text.into())]), error: None }
}

impl Direct {
    pub(super) async fn command(&mut self, command: &str) -> Result<Evaluation> {
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        Ok(match word {
            "help" => shown(HELP),
            "vars" => shown(
                self.known
                    .variables
                    .iter()
                    .map(|(name, ty)| format!("{name}: {}", described(ty, &self.known)))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            "type" => match self.known.variables.get(rest.trim()) {
                Some(ty) => shown(described(ty, &self.known)),
                None => refused(format!("there is no variable `{}`; `:vars` lists them", rest.trim())),
            },
            "opt" => match rest.trim() {
                "" => {
                    self.optimise = None;
                    shown("optimising cells with closures or functions")
                }
                level => match level.parse::<u8>() {
                    Ok(level @ 0..=3) => {
                        self.optimise = Some(level);
                        shown(format!("optimising every cell at level {level}"))
                    }
                    _ => refused(format!(":opt takes 0, 1, 2 or 3, not {level:?}")),
                },
            },
            "timing" => {
                self.timing = !self.timing;
                shown(format!("timing is {}", if self.timing { "on" } else { "off" }))
            }
            "clear" => {
                let names: Vec<String> = self.known.variables.keys().cloned().collect();
                self.known = Known::default();
                self.cells.clear();
                let process = self.ensure_process()?;
                if let Outcome::Died(how) = process.run(&Order::Forget { names }, &Print::nowhere()).await {
                    self.replace_process().await?;
                    anyhow::bail!("the process that runs cells ended ({how}) while it dropped the variables");
                }
                shown("forgot all variables, items and `use` lines")
            }
            "dep" => refused(
                "crates of your own (:dep) cannot be added to this kernel yet; `nuna`, `serde` and the standard library are there",
            ),
            _ => refused(format!("there is no command `:{word}`; `:help` lists them")),
        })
    }
}

/// A type as people read it; one of an earlier definition says so.
pub(super) fn described(ty: &str, known: &Known) -> String {
    match outdated(ty, known) {
        Some(name) => format!("{} (of an earlier `{name}`)", types::shown(ty)),
        None => types::shown(ty),
    }
}

/// `//! opt = 3` lines at the top, taken out without moving the others.
pub(super) fn directives(text: &str) -> (String, Option<u8>) {
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
pub(super) fn magic(text: &str, known: &Known) -> Option<String> {
    if text.starts_with("%%time") || text.starts_with("%time") {
        return Some(
            "this kernel has no magics; `:timing` shows after each cell how long it took".to_owned(),
        );
    }
    if let Some(command) = text.strip_prefix('!')
        && command.starts_with(char::is_alphabetic)
        && text.lines().count() == 1
        && !known
            .variables
            .keys()
            .map(String::as_str)
            .chain(known.items())
            .any(|name| command.starts_with(name))
    {
        return Some(format!(
            "this kernel runs no shell commands; in Rust: std::process::Command::new({:?})",
            command.split_whitespace().next().unwrap_or_default()
        ));
    }
    text.starts_with('%').then(|| "this kernel has no magics; `:help` lists its commands".to_owned())
}
