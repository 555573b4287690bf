//! Owns the file of what was typed in earlier sessions, as `jupyter console` asks for it. Only input is kept, in the user's
//! state folder, readable by nobody else. `NUNA_HISTORY=0` keeps none.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::mpsc,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// The file is cut to its half when it has more.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Longer cells are data rather than something to type again.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    pub session: u32,
    pub number: u32,
    pub input: String,
}

/// What was typed before, and who keeps what is typed now.
pub struct Opened {
    /// Of this kernel, from 1.
    pub session: u32,
    pub earlier: Vec<Typed>,
    /// None if nothing is kept.
    pub keep: Option<Keep>,
}

/// Writes to the file without keeping a cell waiting.
#[derive(Clone)]
pub struct Keep(mpsc::Sender<Typed>);

impl Keep {
    pub fn add(&self, typed: Typed) {
        if typed.input.len() <= INPUT_BYTES_MAX {
            // The thread has said why it ended.
            let _ = self.0.send(typed);
        }
    }
}

/// Where the history is, unless the user wants none.
pub fn path() -> Option<PathBuf> {
    let wanted = std::env::var_os("NUNA_HISTORY").is_none_or(|value| value != "0");
    wanted.then(|| nuna::parts::wire::cluster_file::state_directory().join("history.jsonl"))
}

/// Reads the history and begins a session. A file that cannot be used means a history of this session alone.
pub fn open(path: Option<PathBuf>) -> Opened {
    let nothing = || Opened { session: 1, earlier: Vec::new(), keep: None };
    let Some(path) = path else { return nothing() };
    let begun = begin(&path).and_then(|(session, earlier)| {
        let (sender, typed) = mpsc::channel::<Typed>();
        std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            for typed in typed {
                if let Err(error) = add(&path, &typed) {
                    tracing::warn!(%error, path = %path.display(), "history is no longer kept");
                    return;
                }
            }
        })?;
        Ok(Opened { session, earlier, keep: Some(Keep(sender)) })
    });
    begun.unwrap_or_else(|error| {
        tracing::warn!(%error, "the history of earlier sessions cannot be used; NUNA_HISTORY=0 keeps none");
        nothing()
    })
}

fn begin(path: &Path) -> std::io::Result<(u32, Vec<Typed>)> {
    if let Some(folder) = path.parent() {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = locked(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(FILE_BYTES_MAX / 2)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A line that was cut, or that something else wrote, is no history.
    let mut earlier: Vec<Typed> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let session = earlier.iter().map(|typed| typed.session).max().unwrap_or(0).saturating_add(1);
    if length > FILE_BYTES_MAX {
        // In its place, since other kernels find it by its name and wait for the lock.
        let kept: Vec<u8> = earlier.iter().flat_map(line).collect();
        file.set_len(0)?;
        file.write_all(&kept)?;
    }
    // Takes the number, before another kernel does.
    file.write_all(&line(&Typed { session, number: 0, input: String::new() }))?;
    earlier.retain(|typed| typed.number > 0);
    Ok((session, earlier))
}

fn add(path: &Path, typed: &Typed) -> std::io::Result<()> {
    locked(path)?.write_all(&line(typed))
}

fn line(typed: &Typed) -> Vec<u8> {
    let mut line = serde_json::to_vec(typed).expect("a line is plain data");
    line.push(b'\n');
    line
}

/// Opens the file for appending; unlocked when it is closed.
fn locked(path: &Path) -> std::io::Result<Flock<File>> {
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    let own = nix::unistd::geteuid().as_raw();
    let status = file.metadata()?;
    if !status.is_file() || status.uid() != own {
        return Err(std::io::Error::other(format!("{} is not a file of this user", path.display())));
    }
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn typed(session: u32, number: u32, input: &str) -> Typed {
        Typed { session, number, input: input.to_owned() }
    }

    #[test]
    fn sessions_are_counted_and_read_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/history.jsonl");
        assert_eq!(begin(&path).unwrap(), (1, vec![]));
        add(&path, &typed(1, 1, "let a = 1;\n")).unwrap();
        assert_eq!(begin(&path).unwrap(), (2, vec![typed(1, 1, "let a = 1;\n")]));
        assert_eq!(begin(&path).unwrap().0, 3, "a session without cells has a number too");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn damage_costs_the_damaged_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut text = b"{\"session\": 4, \"nu\n\xff\xfe\n".to_vec();
        text.extend(line(&typed(7, 2, "kept")));
        fs::write(&path, text).unwrap();
        assert_eq!(begin(&path).unwrap(), (8, vec![typed(7, 2, "kept")]));
    }

    #[test]
    fn a_long_file_loses_its_older_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let input = "x".repeat(50_000);
        let lines: Vec<u8> = (1..=100).flat_map(|number| line(&typed(1, number, &input))).collect();
        fs::write(&path, lines).unwrap();
        let (_, earlier) = begin(&path).unwrap();
        assert!(earlier.len() < 50 && earlier.last().unwrap().number == 100);
        assert!(fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (real, path) = (folder.path().join("real"), folder.path().join("history.jsonl"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(begin(&path).is_err() && open(Some(path)).keep.is_none());
    }
}
