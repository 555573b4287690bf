//! Owns how a cluster's builder is told where workers put what does not fit into memory.

use std::path::{Path, PathBuf};

use nuna_runtime::worker::SpillFolder;

use crate::{
    error::ClusterError,
    memory::{IntoByteCount, parse_bytes},
};

/// Folders for clusters whose builder names none: `/local/me=200GB:/scratch/me`.
const VARIABLE: &str = "NUNA_SPILL";

/// The builder's functions that name folders; `$default` says where values go if nobody names any.
macro_rules! spill_functions {
    ($default:literal) => {
        /// A folder for what does not fit into memory, on a disk of each node's own if there is one. May be called again: the next
        /// is used while one is full or fails. `$TMPDIR` and the like are looked up by each worker. Files there have no name, are
        /// their owner's only, and go with the worker. If none is named: those of `NUNA_SPILL` (`/local/me=200GB:/scratch/me`),
        #[doc = concat!("else ", $default, ".")]
        #[must_use]
        pub fn spill(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
            self.spill.add(folder.into());
            self
        }

        /// As [`spill`](Self::spill), and each worker puts so much there at most, such as `"200GB"`.
        #[must_use]
        pub fn spill_within(
            mut self,
            folder: impl Into<std::path::PathBuf>,
            limit: impl crate::memory::IntoByteCount,
        ) -> Self {
            self.spill.add_limited(folder.into(), limit);
            self
        }
    };
}
pub(crate) use spill_functions;

/// Folders in the order in which they are used.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    named: Vec<SpillFolder>,
    /// The first thing that was wrong.
    fault: Option<ClusterError>,
}

impl Folders {
    pub(crate) fn add(&mut self, path: PathBuf) {
        self.push(path, Ok(None));
    }

    pub(crate) fn add_limited(&mut self, path: PathBuf, limit: impl IntoByteCount) {
        self.push(path, limit.into_byte_count().map(Some));
    }

    fn push(&mut self, path: PathBuf, limit: Result<Option<u64>, ClusterError>) {
        let folder = limit.and_then(|limit_bytes| folder(path, limit_bytes));
        match folder {
            Ok(folder) => self.named.push(folder),
            Err(error) => self.fault = self.fault.take().or(Some(error)),
        }
    }

    /// Those named, else those of the environment, else `fallback`.
    ///
    /// # Errors
    /// If one of them cannot be used: an amount that is none, or a path that every process would understand in its own way.
    pub(crate) fn choose(self, fallback: &Path) -> Result<Vec<SpillFolder>, ClusterError> {
        let variable = std::env::var(VARIABLE).unwrap_or_default();
        self.choose_with(&variable, fallback)
    }

    fn choose_with(self, variable: &str, fallback: &Path) -> Result<Vec<SpillFolder>, ClusterError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.named.is_empty() {
            return Ok(self.named);
        }
        let parts = variable.split(':').filter(|part| !part.is_empty());
        let folders = parts.map(|part| match part.split_once('=') {
            Some((path, limit)) => folder(path.into(), Some(parse_bytes(limit)?)),
            None => folder(part.into(), None),
        });
        let folders = folders.collect::<Result<Vec<_>, _>>()?;
        if folders.is_empty() { Ok(vec![folder(fallback.to_owned(), None)?]) } else { Ok(folders) }
    }
}

fn folder(path: PathBuf, limit_bytes: Option<u64>) -> Result<SpillFolder, ClusterError> {
    // `$TMPDIR` is one too, once the worker has looked it up.
    if path.is_absolute() || path.to_str().is_some_and(|path| path.starts_with('$')) {
        Ok(SpillFolder { path, limit_bytes })
    } else {
        Err(ClusterError::BadSpillFolder { path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(folders: Folders, variable: &str) -> Vec<(String, Option<u64>)> {
        let chosen = folders.choose_with(variable, Path::new("/default")).unwrap();
        chosen.into_iter().map(|folder| (folder.path.display().to_string(), folder.limit_bytes)).collect()
    }

    #[test]
    fn folders_are_those_of_the_builder_else_of_the_environment_else_the_default() {
        let variable = "/local/me=2GB:$WORK/me";
        assert_eq!(chosen(Folders::default(), ""), [("/default".to_owned(), None)]);
        let of_variable = [("/local/me".to_owned(), Some(2_000_000_000)), ("$WORK/me".to_owned(), None)];
        assert_eq!(chosen(Folders::default(), variable), of_variable);
        let mut folders = Folders::default();
        folders.add_limited("$TMPDIR".into(), "1GB");
        folders.add("/shared".into());
        let of_builder = [("$TMPDIR".to_owned(), Some(1_000_000_000)), ("/shared".to_owned(), None)];
        assert_eq!(chosen(folders, variable), of_builder);
    }

    #[test]
    fn amounts_that_are_none_and_relative_paths_are_refused() {
        let mut folders = Folders::default();
        folders.add_limited("/local".into(), "4 horses");
        folders.add("/fine".into());
        assert!(matches!(folders.choose_with("", Path::new("/")), Err(ClusterError::BadMemory { .. })));
        let refused = Folders::default().choose_with("spill:/fine", Path::new("/")).unwrap_err().to_string();
        assert!(refused.contains("`spill`"), "{refused}");
        assert!(Folders::default().choose_with("/a=", Path::new("/")).is_err());
    }
}
