//! The file that names the commands, and the rule that only root can have written it and them.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;
use serde::Deserialize;

const FILE_BYTES_MAX: u64 = 64 << 10;
/// Below this, accounts belong to the system; a site may raise the bound, never lower it.
const UID_MIN: u32 = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Absolute paths: of PBS's commands, of Slurm's, or of both where a site moves from one to the other. What is
    /// not named cannot be called.
    pub qsub: Option<PathBuf>,
    pub qdel: Option<PathBuf>,
    pub sbatch: Option<PathBuf>,
    pub scancel: Option<PathBuf>,
    /// Accounts below are refused.
    #[serde(default = "uid_min")]
    pub uid_min: u32,
    /// A command that takes longer is ended.
    #[serde(default = "limit_seconds")]
    pub limit_seconds: u32,
    /// If not empty, the user must be in one of these Unix groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Added to the commands' environment, such as `PBS_CONF_FILE`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

fn uid_min() -> u32 {
    UID_MIN
}

fn limit_seconds() -> u32 {
    60
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {reason}")]
    Unreadable { path: String, reason: std::io::Error },
    #[error("{path} is not a valid configuration: {reason}")]
    Invalid { path: String, reason: String },
    #[error("the configuration names no {word}, so nobody may call it")]
    NotNamed { word: &'static str },
    #[error("{path} must be {wanted}: others could change what runs as the user")]
    NotTrusted { path: String, wanted: &'static str },
}

impl Config {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let unreadable = |reason| ConfigError::Unreadable { path: name.clone(), reason };
        if let Some(folder) = path.parent() {
            check_folders(folder)?;
        }
        let file =
            std::fs::OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path).map_err(unreadable)?;
        // Of the open file, so that it cannot be exchanged in between.
        check_file(path, &file.metadata().map_err(unreadable)?)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Invalid { path: name.clone(), reason: error.to_string() })?;
        config.check().map_err(|reason| ConfigError::Invalid { path: name, reason })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (key, path) in self.commands() {
            if let Some(path) = path
                && !path.is_absolute()
            {
                return Err(format!("{key} = {path:?} must be an absolute path"));
            }
        }
        for [submit, delete] in [["qsub", "qdel"], ["sbatch", "scancel"]] {
            if self.command(submit).is_some() != self.command(delete).is_some() {
                return Err(format!("{submit} and {delete} belong together: name both or neither"));
            }
        }
        if self.commands().iter().all(|(_, path)| path.is_none()) {
            return Err(
                "it names no commands: qsub and qdel of PBS, or sbatch and scancel of Slurm".to_owned()
            );
        }
        if self.uid_min < UID_MIN {
            return Err(format!("uid_min = {} is below {UID_MIN}, where system accounts are", self.uid_min));
        }
        if !(1..=3600).contains(&self.limit_seconds) {
            return Err(format!("limit_seconds = {} is outside 1..3600", self.limit_seconds));
        }
        let is_variable = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some((name, _)) =
            self.environment.iter().find(|(name, value)| !is_variable(name) || value.contains('\0'))
        {
            return Err(format!("environment: {name:?} is not a variable"));
        }
        Ok(())
    }

    fn commands(&self) -> [(&'static str, Option<&PathBuf>); 4] {
        [
            ("qsub", self.qsub.as_ref()),
            ("qdel", self.qdel.as_ref()),
            ("sbatch", self.sbatch.as_ref()),
            ("scancel", self.scancel.as_ref()),
        ]
    }

    fn command(&self, word: &str) -> Option<&PathBuf> {
        self.commands().into_iter().find(|(key, _)| *key == word)?.1
    }

    /// The program that this word stands for.
    pub fn program(&self, word: &'static str) -> Result<PathBuf, ConfigError> {
        let path = self.command(word).ok_or(ConfigError::NotNamed { word })?;
        self.trusted_program(path)
    }

    /// `path` with its links followed, if only root can change what is there.
    fn trusted_program(&self, path: &Path) -> Result<PathBuf, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable { path: path.display().to_string(), reason };
        // The link itself must be root's as well as what it points to.
        if let Some(folder) = path.parent() {
            check_folders(folder)?;
        }
        let program = path.canonicalize().map_err(unreadable)?;
        if let Some(folder) = program.parent() {
            check_folders(folder)?;
        }
        let metadata = std::fs::metadata(&program).map_err(unreadable)?;
        check_file(&program, &metadata)?;
        if metadata.mode() & 0o111 == 0 {
            return Err(ConfigError::NotTrusted { path: program.display().to_string(), wanted: "a program" });
        }
        Ok(program)
    }
}

fn check_file(path: &Path, metadata: &std::fs::Metadata) -> Result<(), ConfigError> {
    if metadata.is_file() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(ConfigError::NotTrusted {
        path: path.display().to_string(),
        wanted: "a file of root that only root can write",
    })
}

/// Who may write any folder above a file may put another in its place.
fn check_folders(folder: &Path) -> Result<(), ConfigError> {
    let unreadable = |reason| ConfigError::Unreadable { path: folder.display().to_string(), reason };
    let real = folder.canonicalize().map_err(unreadable)?;
    for part in real.ancestors() {
        let metadata = std::fs::metadata(part).map_err(unreadable)?;
        // In a sticky folder like /tmp others cannot replace what is root's.
        let is_closed = metadata.mode() & 0o022 == 0 || metadata.mode() & 0o1000 != 0;
        if metadata.uid() != 0 || !is_closed {
            return Err(ConfigError::NotTrusted {
                path: part.display().to_string(),
                wanted: "a folder of root that only root can write",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn two_paths_are_enough_and_mistakes_are_named() {
        let config = parse("qsub = '/opt/pbs/bin/qsub'\nqdel = '/opt/pbs/bin/qdel'").unwrap();
        assert_eq!((config.uid_min, config.limit_seconds), (1000, 60));
        let base = "qsub = '/a'\nqdel = '/b'\n";
        for (more, words) in [
            ("uid_min = 0", "uid_min"),
            ("limit_seconds = 0", "limit_seconds"),
            ("shell = true", "shell"),
            ("[environment]\n'A B' = 'x'", "A B"),
        ] {
            let error = parse(&format!("{base}{more}")).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(parse("qsub = 'qsub'\nqdel = '/b'").unwrap_err().contains("absolute"));
        assert!(parse("sbatch = '/usr/bin/sbatch'").unwrap_err().contains("belong together"));
        assert!(parse("uid_min = 2000").unwrap_err().contains("names no commands"));
        let slurm = parse("sbatch = '/a'\nscancel = '/b'").unwrap();
        assert!(matches!(slurm.program("qsub"), Err(ConfigError::NotNamed { word: "qsub" })));
    }
}
