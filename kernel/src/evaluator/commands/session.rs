//! Owns commands about what the session holds and how its cells are compiled.

use anyhow::{Context, Result};

use super::{refused, shown};
use crate::evaluator::{
    Evaluation, Evaluator as _,
    compile::Diagnostic,
    direct::Direct,
    failure::outdated,
    known::Known,
    print::Print,
    process::{Order, Outcome},
    types,
};

/// A type as people read it; one of an earlier definition says so.
pub(crate) fn described(ty: &str, known: &Known) -> String {
    match outdated(ty, known) {
        Some(name) => format!("{} (of an earlier `{name}`)", types::shown(ty)),
        None => types::shown(ty),
    }
}

impl Direct {
    pub(super) fn vars(&self) -> Evaluation {
        let lines =
            self.known.variables.iter().map(|(name, ty)| format!("{name}: {}", described(ty, &self.known)));
        shown(lines.collect::<Vec<_>>().join("\n"))
    }

    pub(super) fn who(&self) -> Evaluation {
        shown(self.known.variables.keys().cloned().collect::<Vec<_>>().join("  "))
    }

    pub(super) async fn type_of(&self, expression: &str) -> Evaluation {
        if expression.is_empty() {
            return refused(
                "the type of what? `:type values.iter().sum::<f64>()`; `:vars` lists the variables",
            );
        }
        if let Some(ty) = self.known.variables.get(expression) {
            return shown(described(ty, &self.known));
        }
        self.service.learn(self.snapshot());
        match self.service.type_of(expression).await {
            Some(ty) => shown(ty),
            None => refused(format!(
                "the compiler knows no type of `{expression}`; run it as a cell to see why. `:vars` lists the variables"
            )),
        }
    }

    /// Documentation of whatever has a name.
    pub(super) async fn doc(&self, name: &str) -> Evaluation {
        if name.is_empty() {
            return refused("documentation of what? `:doc Vec::push`");
        }
        self.service.learn(self.snapshot());
        match self.service.documentation(name).await {
            Some(found) => Evaluation {
                shown: Some(vec![
                    ("text/plain".to_owned(), found.plain),
                    ("text/markdown".to_owned(), found.markdown),
                ]),
                error: None,
            },
            None => refused(format!(
                "there is no documentation of `{name}`: no item, method, variable or keyword of that name is known here"
            )),
        }
    }

    /// What a name is: a variable's type, or an item's own text.
    pub(super) async fn about(&self, name: &str) -> Evaluation {
        if let Some(ty) = self.known.variables.get(name) {
            return shown(format!("{name}: {}", described(ty, &self.known)));
        }
        if let Some(index) = self.known.item(name) {
            let definition = &self.known.definitions[index];
            return shown(format!("{}\n\ndefined in In [{}]", definition.text(), definition.source.number));
        }
        if let Some(held) = self.known.macros.get(name) {
            return shown(format!(
                "{}\n\ndefined in In [{}]",
                &held.source.text[held.range.clone()],
                held.source.number
            ));
        }
        if let Some(import) = self.known.uses.iter().find(|import| import.name.as_deref() == Some(name)) {
            return shown(import.line.clone());
        }
        if self.service.documentation(name).await.is_some() {
            return self.doc(name).await;
        }
        refused(format!(
            "no cell has defined `{name}`; `:vars` lists the variables, and the Tab key what there is"
        ))
    }

    pub(super) fn opt(&mut self, level: &str) -> Evaluation {
        match level {
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
        }
    }

    pub(super) fn toggle_timing(&mut self) -> Evaluation {
        self.timing = !self.timing;
        shown(format!("timing is {}", if self.timing { "on" } else { "off" }))
    }

    pub(super) async fn clear(&mut self) -> Result<Evaluation> {
        let names: Vec<String> = self.known.variables.keys().cloned().collect();
        self.known = Known::default();
        self.cells.clear();
        self.offer_crates();
        let process = self.ensure_process()?;
        if let Outcome::Died(how) = process.run(&Order::Forget { names }, &Print::nowhere()).await {
            self.replace_process().await?;
            anyhow::bail!("the process that runs cells ended ({how}) while it dropped the variables");
        }
        Ok(shown("forgot all variables, items and `use` lines"))
    }

    /// What the compiler's book of errors says.
    pub(super) async fn explain(&self, code: &str) -> Result<Evaluation> {
        let last =
            self.last_errors().iter().map(|error| error.code().to_owned()).find(|code| !code.is_empty());
        let code = match (code, last) {
            ("", None) => {
                return Ok(refused(
                    "no cell has failed to compile with an error that has a code; write it out, as in :explain E0382",
                ));
            }
            ("", Some(last)) => last,
            (code, _) => code.trim_matches(['[', ']']).to_uppercase(),
        };
        if !code.chars().all(char::is_alphanumeric) {
            return Ok(refused(format!(":explain takes a code such as E0382, not {code:?}")));
        }
        let text = self.ask_compiler(&["--explain", &code]).await?;
        Ok(match text {
            Some(text) => Evaluation {
                shown: Some(vec![
                    ("text/markdown".to_owned(), text.replace("```compile_fail", "```rust,compile_fail")),
                    ("text/plain".to_owned(), text),
                ]),
                error: None,
            },
            None => refused(format!("the compiler has no explanation of {code}")),
        })
    }

    pub(super) fn last_error_json(&self) -> Evaluation {
        match serde_json::to_string_pretty(&self.last_errors()) {
            Ok(text) => shown(text),
            Err(error) => refused(format!("the errors cannot be written as data: {error}")),
        }
    }

    pub(super) fn offline(&mut self, word: &str) -> Evaluation {
        self.deps.is_offline = match word {
            "" => !self.deps.is_offline,
            "1" | "true" | "on" => true,
            "0" | "false" | "off" => false,
            other => return refused(format!(":offline takes 0 or 1, not {other:?}")),
        };
        shown(if self.deps.is_offline {
            "crates come from this machine only"
        } else {
            "crates may come from the network"
        })
    }

    fn last_errors(&self) -> Vec<Diagnostic> {
        self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(super) async fn version(&self) -> Result<Evaluation> {
        let compiler = self.ask_compiler(&["--version"]).await?.unwrap_or_default();
        Ok(shown(format!("nuna {}\n{}", env!("CARGO_PKG_VERSION"), compiler.trim())))
    }

    /// What the compiler prints; `None` if it does not know.
    async fn ask_compiler(&self, arguments: &[&str]) -> Result<Option<String>> {
        let rustc = &self.runtime.rustc;
        let mut command = tokio::process::Command::new(rustc);
        command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(std::time::Duration::from_secs(20), command.output());
        let output = output.await.with_context(|| format!("{} did not answer in 20 s", rustc.display()))?;
        let output = output.with_context(|| format!("starting {}", rustc.display()))?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}
