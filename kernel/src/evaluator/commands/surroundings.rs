//! Owns commands about where cells run: environment, folder, and a shell there. The process that runs cells carries
//! them out; what they changed is kept here for the next one, should that process end.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Result;

use super::{refused, shown};
use crate::evaluator::{
    Evaluation,
    direct::Direct,
    failure::{self, End, Failure},
    print::Print,
    process::{Answer, Order, Outcome, Printed},
};

/// What `:env` and `:cd` changed.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `None` where a variable was removed.
    environment: BTreeMap<String, Option<String>>,
    folder: Option<PathBuf>,
}

/// Words in names of variables whose values are not for a notebook, which is kept and shared.
const SECRET: &[&str] = &["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "COOKIE"];

impl Surroundings {
    /// Has a new process begin with them.
    pub fn apply(&self, command: &mut tokio::process::Command) {
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        // A folder that is gone by now must not keep the process from starting.
        if let Some(folder) = self.folder.as_ref().filter(|folder| folder.is_dir()) {
            command.current_dir(folder);
        }
    }
}

impl Direct {
    pub(super) async fn env(&mut self, words: &str, print: &Print) -> Result<Evaluation> {
        let change = if let Some(name) = words.strip_prefix("-u ") {
            Some((name.trim().to_owned(), None))
        } else {
            let unquoted = |value: &str| {
                let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
                inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
            };
            words.split_once('=').map(|(name, value)| (name.trim().to_owned(), Some(unquoted(value.trim()))))
        };
        if let Some((name, _)) = &change
            && (name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace))
        {
            return Ok(refused(format!("{name:?} is no name of a variable; write :env NAME=VALUE")));
        }
        if let Some((_, Some(value))) = &change
            && value.contains('\0')
        {
            return Ok(refused("the value of a variable cannot hold a zero byte"));
        }
        let order = Order::Environment { change: change.clone() };
        let answer = match self.order(&order, print).await? {
            Ok(answer) => answer,
            Err(ended) => return Ok(ended),
        };
        if let Some((name, value)) = change {
            self.surroundings.environment.insert(name, value);
            return Ok(Evaluation::default());
        }
        let hidden = |name: &str| SECRET.iter().any(|word| name.to_uppercase().contains(word));
        let line = |(name, value): &(String, String)| {
            let value = if hidden(name) { "***" } else { value };
            format!("{name}={value}")
        };
        Ok(match words {
            "" => shown(answer.environment.iter().map(line).collect::<Vec<_>>().join("\n")),
            name => match answer.environment.iter().find(|(own, _)| own == name) {
                Some((_, value)) => shown(value),
                None => {
                    refused(format!("there is no environment variable {name}; :env {name}=VALUE sets it"))
                }
            },
        })
    }

    pub(super) async fn cd(&mut self, folder: &str, print: &Print) -> Result<Evaluation> {
        self.directory(Some(folder.to_owned()), print).await
    }

    pub(super) async fn pwd(&mut self, print: &Print) -> Result<Evaluation> {
        self.directory(None, print).await
    }

    async fn directory(&mut self, to: Option<String>, print: &Print) -> Result<Evaluation> {
        let is_change = to.is_some();
        Ok(match self.order(&Order::Folder { to }, print).await? {
            Err(ended) => ended,
            Ok(Answer { said: Some(folder), .. }) => {
                if is_change {
                    self.surroundings.folder = Some(PathBuf::from(&folder));
                }
                shown(folder)
            }
            Ok(Answer { error, .. }) => {
                refused(error.map_or_else(|| "the folder is unknown".to_owned(), |trouble| trouble.message))
            }
        })
    }

    /// Runs a line in a shell. One that fails says so and stops nothing, as in other notebooks.
    pub(super) async fn shell(&mut self, command: &str, print: &Print) -> Result<Evaluation> {
        if command.is_empty() {
            return Ok(refused("! takes a command, as in !ls -l"));
        }
        let status = match self.shell_status("sh", command, print).await? {
            Ok(status) => status,
            Err(ended) => return Ok(ended),
        };
        if let Some(how) = status {
            let mut line = format!("{how}\n");
            if let Some(folder) = command.strip_prefix("cd ").filter(|_| how.ends_with(" 0")) {
                line =
                    format!("a shell of its own changed its folder; `:cd {folder}` changes that of cells\n");
            }
            let _ = print.send(Printed::Stderr(line)).await;
        } else if let Some(folder) = command.strip_prefix("cd ") {
            let line = format!(
                "note: only a shell of its own changed its folder; `:cd {folder}` changes that of cells\n"
            );
            let _ = print.send(Printed::Stderr(line)).await;
        }
        Ok(Evaluation::default())
    }

    /// Runs a script of several lines, which has to succeed.
    pub(super) async fn script(&mut self, shell: &str, text: &str, print: &Print) -> Result<Evaluation> {
        Ok(match self.shell_status(shell, text, print).await? {
            Err(ended) => ended,
            Ok(None) => Evaluation::default(),
            Ok(Some(how)) => Failure::new("ShellError", format!("{shell} ended with {how}")).into(),
        })
    }

    /// How the shell failed, if it did.
    async fn shell_status(
        &mut self,
        shell: &str,
        command: &str,
        print: &Print,
    ) -> Result<Result<Option<String>, Evaluation>> {
        let order = Order::Shell { shell: shell.to_owned(), command: command.to_owned() };
        Ok(self.order(&order, print).await?.and_then(|answer| match (answer.interrupted, answer.error) {
            (true, _) => Err(Failure::interrupted("the shell command was interrupted").into()),
            (false, Some(trouble)) => Err(refused(trouble.message)),
            (false, None) => Ok(answer.said),
        }))
    }

    /// Has the process that runs cells carry something out; the inner error says that it ended.
    pub(super) async fn order(&mut self, order: &Order, print: &Print) -> Result<Result<Answer, Evaluation>> {
        use std::sync::{Arc, atomic::Ordering};
        let running = Arc::clone(&self.running);
        let variables: Vec<String> = self.known.variables.keys().cloned().collect();
        let process = self.ensure_process()?;
        running.pid.store(process.id().unwrap_or(0), Ordering::SeqCst);
        let outcome = process.run(order, print).await;
        running.pid.store(0, Ordering::SeqCst);
        Ok(match outcome {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Died(how) => {
                self.known.variables.clear();
                let kept = self.replace_process().await?;
                let end =
                    if running.killed.load(Ordering::SeqCst) { End::Interrupted } else { End::Other(how) };
                Err(failure::ended(&end, &variables, &kept).into())
            }
        })
    }
}
