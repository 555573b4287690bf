//! Owns cluster files: how a running cluster is found by name. The file holds the dashboard's token, so it is
//! readable by its owner only.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::credentials::{CredentialsError, private_directory, write_private};

/// How long another machine may take to say whether a scheduler listens there.
const REACH: Duration = Duration::from_millis(800);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    pub name: String,
    pub scheduler: SocketAddr,
    /// Such as `http://127.0.0.1:8787`.
    pub dashboard: String,
    /// Lets whoever knows it see the dashboard.
    pub token: String,
    /// The scheduler's.
    pub pid: u32,
    /// The machine that it runs on: homes are shared among machines, process ids are not. Empty stands for this one.
    #[serde(default)]
    pub host: String,
    /// RFC 3339.
    pub started: String,
    /// The kernel that started it, or nothing.
    pub origin: String,
    /// Folder with the credentials of its client.
    pub certificates: PathBuf,
    /// The pipe with whose writer it ends, if that is not the program that started it: a kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifeline: Option<PathBuf>,
    /// The process on the same machine that starts the scheduler again if it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<u32>,
}

impl std::fmt::Debug for ClusterFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterFile")
            .field("name", &self.name)
            .field("scheduler", &self.scheduler)
            .field("token", &"***")
            .finish_non_exhaustive()
    }
}

/// `$NUNA_STATE_DIR`, else `$XDG_STATE_HOME/nuna`, else `~/.local/state/nuna`.
pub fn state_directory() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("NUNA_STATE_DIR")
        .or_else(|| variable("XDG_STATE_HOME").map(|path| path.join("nuna")))
        .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| "/".into()).join(".local/state/nuna"))
}

/// Where the cluster files are.
pub fn clusters_directory() -> PathBuf {
    state_directory().join("clusters")
}

/// What this machine calls itself.
pub fn this_host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Whether a process with this id exists.
pub fn process_exists(pid: u32) -> bool {
    // A zombie has ended, whatever its parent is waiting for.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !matches!(stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes().first()), Some(Some(b'Z' | b'X')))
    })
}

impl ClusterFile {
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<PathBuf, CredentialsError> {
        private_directory(directory)?;
        let path = directory.join(format!("{}.json", self.name));
        let text = serde_json::to_vec_pretty(self).expect("strings and numbers always become JSON");
        write_private(&path, &text)?;
        Ok(path)
    }

    /// # Errors
    /// If the file is missing or does not describe a cluster.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(path)?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Every cluster that runs, by name. Files whose scheduler is gone are removed on the way.
    pub fn list(directory: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        let mut clusters: Vec<Self> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json"))
            .filter_map(|entry| {
                let file = Self::read(&entry.path()).ok()?;
                match file.runs() {
                    Some(true) => return Some(file),
                    Some(false) => file.remove(directory),
                    // Perhaps it is only busy, or this machine cannot reach it: not ours to clear away.
                    None => {}
                }
                None
            })
            .collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        clusters
    }

    /// Whether its scheduler is there, or whoever starts it again; none if that cannot be found out from here.
    pub fn runs(&self) -> Option<bool> {
        if self.host.is_empty() || self.host == this_host() {
            return Some(process_exists(self.pid) || self.supervisor.is_some_and(process_exists));
        }
        match TcpStream::connect_timeout(&self.scheduler, REACH) {
            Ok(_) => Some(true),
            // The machine is there and nobody listens.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Unless it is just being started again.
                if self.supervisor.is_some() { None } else { Some(false) }
            }
            Err(_) => None,
        }
    }

    /// Removes the file and the credentials. Removing what is gone succeeds.
    pub fn remove(&self, directory: &Path) {
        let _ = fs::remove_file(directory.join(format!("{}.json", self.name)));
        if self.certificates.starts_with(directory) {
            let _ = fs::remove_dir_all(&self.certificates);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, pid: u32, directory: &Path) -> ClusterFile {
        ClusterFile {
            name: name.into(),
            scheduler: "127.0.0.1:1".parse().unwrap(),
            dashboard: String::new(),
            token: "secret".into(),
            pid,
            host: String::new(),
            started: String::new(),
            origin: String::new(),
            certificates: directory.join(name),
            lifeline: None,
            supervisor: None,
        }
    }

    #[test]
    fn clusters_of_dead_schedulers_are_cleaned_away() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("clusters");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        file("gone", child.id(), &folder).write(&folder).unwrap();
        child.wait().unwrap();
        file("alive", std::process::id(), &folder).write(&folder).unwrap();
        fs::create_dir(folder.join("gone")).unwrap();
        let names: Vec<_> = ClusterFile::list(&folder).into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["alive"]);
        assert!(!folder.join("gone.json").exists() && !folder.join("gone").exists());
    }

    #[test]
    fn clusters_of_other_machines_are_judged_by_whether_they_answer() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("clusters");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let elsewhere = |name: &str, address| ClusterFile {
            host: "elsewhere".into(),
            scheduler: address,
            ..file(name, u32::MAX, &folder)
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        elsewhere("answers", listener.local_addr().unwrap()).write(&folder).unwrap();
        elsewhere("refuses", free).write(&folder).unwrap();
        let names: Vec<_> = ClusterFile::list(&folder).into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["answers"]);
        assert!(!folder.join("refuses.json").exists());
    }

    #[test]
    fn tokens_are_not_printed() {
        assert!(!format!("{:?}", file("a", 1, Path::new("/"))).contains("secret"));
    }
}
