//! `[launcher]`: the program that starts a user server inside the job, and where that server finds things.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Faults;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LauncherSettings {
    /// `nuna-singleuser` as compute nodes see it.
    pub program: PathBuf,
    /// Replaces the account's home folder, with `{user}`: for demos, where all users are one account.
    pub home: Option<String>,
    /// PATH of the user server; the node's own without it.
    pub path: Option<String>,
    /// Further options of the launcher, such as `--bind`.
    pub arguments: Vec<String>,
    /// Added to the user server's environment. Not for secrets.
    pub environment: BTreeMap<String, String>,
}

impl Default for LauncherSettings {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/opt/nuna/bin/nuna-singleuser"),
            home: None,
            path: None,
            arguments: Vec::new(),
            environment: BTreeMap::new(),
        }
    }
}

pub fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Nothing that could begin a new line of a script, or end a string.
pub fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

impl LauncherSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.absolute("launcher.program", &self.program);
        if let Some(home) = &self.home
            && (!home.starts_with('/') || !home.contains("{user}") || !is_one_line(home))
        {
            faults.add(
                "launcher.home",
                format!("{home:?} is not an absolute path with {{user}}"),
                "give each user a folder, or leave it out to use the account's home folder",
            );
        }
        if let Some(path) = &self.path
            && (path.split(':').any(|part| !part.starts_with('/')) || !is_one_line(path))
        {
            let wrong = format!("{path:?} has a part that is not an absolute path");
            faults.add("launcher.path", wrong, "a relative part would run programs from the user's folder");
        }
        for argument in &self.arguments {
            if !is_one_line(argument) {
                faults.add(
                    "launcher.arguments",
                    format!("{argument:?} has a control character"),
                    "remove it",
                );
            }
        }
        for (name, value) in &self.environment {
            let key = format!("launcher.environment.{name}");
            if !is_variable(name) {
                faults.add(key, "not a variable's name", "use letters, digits and _");
            } else if value.contains('\0') {
                faults.add(key, "the value holds a NUL byte", "remove it");
            }
        }
    }
}
