//! The configuration file: TOML, unknown keys refused, every value checked before anything listens.
//!
//! One file per concern. Each section has a `check` that reports all that is wrong with key and remedy, so that
//! an administrator mends a file in one go.

mod batch;
mod directory;
mod hub;
mod inherit;
mod launcher;
mod limits;
mod listen;
mod options;
mod profiles;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use batch::{BatchSettings, RunAsSettings, RunAsWord, System};
pub use directory::{DirectorySettings, ServerUrl, is_dn};
pub use hub::HubSettings;
pub use launcher::{LauncherSettings, is_one_line, is_variable};
pub use limits::LimitSettings;
pub use listen::{NodesSettings, PREFIX, SocketSettings};
pub use options::{Offer, OptionSettings};
pub use profiles::{ProfileSettings, is_profile_key, parse_walltime, walltime_text};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub socket: SocketSettings,
    pub nodes: NodesSettings,
    pub hub: HubSettings,
    pub state: StateSettings,
    pub directory: DirectorySettings,
    #[serde(default)]
    pub batch: BatchSettings,
    #[serde(default)]
    pub launcher: LauncherSettings,
    #[serde(default)]
    pub limits: LimitSettings,
    #[serde(default)]
    pub templates: TemplateSettings,
    #[serde(default)]
    pub profiles: BTreeMap<String, ProfileSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSettings {
    /// Holds the journal. Readable by the service's account alone.
    pub folder: PathBuf,
}

/// Templates of a site's own, in place of the built-in ones.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateSettings {
    /// The job script.
    pub job: Option<PathBuf>,
    /// The form on which people choose a profile.
    pub form: Option<PathBuf>,
}

/// What is wrong with one key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub key: String,
    pub wrong: String,
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.key, self.wrong, self.remedy)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn add(&mut self, key: impl Into<String>, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Fault { key: key.into(), wrong: wrong.into(), remedy: remedy.into() });
    }

    /// Positive, finite, and not absurd.
    fn seconds(&mut self, key: &str, seconds: f64, max: f64) {
        if !(seconds > 0.0 && seconds <= max) {
            self.add(key, format!("{seconds} is not between 0 and {max}"), "give a number of seconds");
        }
    }

    fn absolute(&mut self, key: &str, path: &Path) {
        if !path.is_absolute() {
            self.add(
                key,
                format!("{} is not an absolute path", path.display()),
                "the service's working directory is not yours: write the path from /",
            );
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid TOML, or has a key nobody knows:\n{source}{}", path.display(), nearest(source.message()))]
    Syntax { path: PathBuf, source: toml::de::Error },
    #[error("{} has {} fault{}:\n{}", path.display(), faults.len(), if faults.len() == 1 { "" } else { "s" }, lines(faults))]
    Faults { path: PathBuf, faults: Vec<Fault> },
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

/// A hint about an unknown key or word, from serde's words: the nearest of those it expected.
fn nearest(message: &str) -> String {
    // "unknown field `a`, expected one of `b`, `c`"; between the marks are the words.
    let mut words = message.split('`').skip(1).step_by(2);
    let Some(unknown) = words.next().filter(|_| message.starts_with("unknown ")) else {
        return String::new();
    };
    nearest_of(unknown, words).map(|word| format!("did you mean `{word}`?\n")).unwrap_or_default()
}

/// The word that `unknown` was perhaps meant to be.
fn nearest_of<'a>(unknown: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = unknown.chars().count().div_ceil(2).min(5);
    let found = words
        .map(|word| (strsim::osa_distance(unknown, word), word))
        .filter(|(distance, word)| *distance < far || word.starts_with(unknown))
        .min();
    found.map(|(_, word)| word)
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source };
        // First as it is written: a key that nobody knows is told with its line.
        let mut config: Self = toml::from_str(&text).map_err(syntax)?;
        let mut faults = Faults::default();
        let whole: toml::Table = toml::from_str(&text).map_err(syntax)?;
        if let Some(profiles) = whole.get("profiles").and_then(toml::Value::as_table) {
            config.profiles = inherit::resolve(profiles, &mut faults);
        }
        let mut faults = faults.0;
        faults.extend(config.check());
        if faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Faults { path: path.to_owned(), faults })
        }
    }

    pub fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        self.socket.check(&mut faults);
        self.nodes.check(&mut faults);
        self.hub.check(&mut faults);
        faults.absolute("state.folder", &self.state.folder);
        self.directory.check(&mut faults);
        self.batch.check(&mut faults);
        self.launcher.check(&mut faults);
        self.limits.check(&mut faults);
        for (key, path) in [("templates.job", &self.templates.job), ("templates.form", &self.templates.form)]
        {
            if let Some(path) = path {
                faults.absolute(key, path);
            }
        }
        if self.profiles.values().all(|profile| profile.is_abstract) {
            faults.add(
                "profiles",
                "there is no profile that people can choose",
                "write at least one table such as [profiles.small]",
            );
        }
        for (key, profile) in &self.profiles {
            profile.check(key, &mut faults);
            if self.batch.system != System::Pbs && !profile.is_abstract {
                profile.check_for(self.batch.system, key, &mut faults);
            }
        }
        faults.0
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

/// A secret in a file of its own, without its last line end. Others must not be able to read it.
pub fn read_secret(key: &str, path: &Path) -> Result<crate::secret::Secret, Fault> {
    use std::os::unix::fs::MetadataExt;

    let fault = |wrong: String, remedy: &str| Fault { key: key.to_owned(), wrong, remedy: remedy.to_owned() };
    let metadata = std::fs::metadata(path).map_err(|error| {
        fault(
            format!("{} cannot be read: {error}", path.display()),
            "write the secret to this file, mode 0600",
        )
    })?;
    if metadata.mode() & 0o007 != 0 {
        let wrong = format!("{} is open to everybody (mode {:o})", path.display(), metadata.mode() & 0o7777);
        return Err(fault(wrong, "chmod 0600, and replace the secret if others may have read it"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        fault(format!("{} cannot be read: {error}", path.display()), "let the service's account read it")
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains('\n') {
        let wrong = format!("{} does not hold one line", path.display());
        return Err(fault(wrong, "write the secret as its only line"));
    }
    Ok(crate::secret::Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(toml: &str) -> String {
        nearest(toml::from_str::<Config>(toml).unwrap_err().message())
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_one() {
        for (toml, expected) in [
            ("[directry]", "directory"),
            ("[directory]\nservers = []\nuser_bsae = 'x'", "user_base"),
            ("[directory]\nservers = []\nlookup_pasword_file = 'x'", "lookup_password_file"),
            ("[directory]\nservers = []\nnested_group = 2", "nested_groups"),
            ("[limits]\nwrong_passwords = 2", "wrong_passwords_per_minute"),
            ("[batch]\nqdle = 'x'", "qdel"),
            ("[profiles.a]\nprolouge = []", "prologue"),
            ("[profiles.a.options]\nb = { kind = 'nummber' }", "number"),
        ] {
            assert_eq!(hint(toml), format!("did you mean `{expected}`?\n"), "{toml}");
        }
        assert_eq!(hint("[directory]\nservers = []\nzzzzzz = 2"), "");
        assert_eq!(hint("[directory]\nservers = 2"), "");
    }
}
