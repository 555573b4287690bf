//! Owns that programs which tests start end with them, also when a test panics: `std::process::Child` leaves them running.
//! Also a web server that answers what a test says ([`WebServer`]), a bucket in memory ([`Bucket`]), damaged files
//! ([`check_damaged`]), systemd as a service sees it ([`Systemd`]), and the Python of the tests ([`python`]). For tests only; what a test starts and how it waits is its own.

mod bucket;
mod damage;
mod python;
mod systemd;
mod web;

pub use bucket::Bucket;
pub use damage::{Noise, check_damaged, seeds};
pub use python::python;
pub use systemd::{Systemd, inheritable};
pub use web::{WebReply, WebRequest, WebServer};

use std::{
    ops::{Deref, DerefMut},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long processes that were killed may take to be gone: a busy machine is slow to notice.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A program that a test has started. When this is dropped it is killed and waited for, and so is whatever it has started
/// in its folder.
#[derive(Debug)]
pub struct Guarded {
    /// There until the program has been waited for.
    child: Option<Child>,
    folder: Option<PathBuf>,
}

impl Guarded {
    /// Starts the program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child: Some(child), folder: None }
    }

    /// Its end is the end of every process with `folder` in its arguments or as its working directory too. Such a folder is
    /// one test's own.
    #[must_use]
    pub fn with_all_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Waits until it ends by itself, and gives what it printed to its pipes.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn output(mut self) -> Output {
        let child = self.child.take().expect("there until it has been waited for");
        child.wait_with_output().expect("a child can be waited for")
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.child.as_ref().expect("there until it has been waited for")
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        self.child.as_mut().expect("there until it has been waited for")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            kill_all_in(folder);
        }
    }
}

/// A command for `program` that the kernel kills when the thread that starts it ends, also if that is because the test was
/// killed. To be started on the test's own thread.
pub fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Kills every process with `folder` in its arguments or as its working directory, and waits until none is left: one
/// that is started again by another is killed again.
pub fn kill_all_in(folder: &Path) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = all_in(folder);
        if found.is_empty() || Instant::now() > until {
            return;
        }
        for pid in found {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(POLL);
    }
}

/// Processes with `folder` in their arguments or as their working directory, but for this one. One that has ended has
/// neither.
pub fn all_in(folder: &Path) -> Vec<i32> {
    let name = folder.as_os_str().as_bytes();
    // Every argument holds an empty one.
    assert!(folder.is_absolute() && folder.components().count() > 2, "{} is no test's own", folder.display());
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| u32::try_from(pid) != Ok(std::process::id()))
        .filter(|pid| {
            let process = Path::new("/proc").join(pid.to_string());
            let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
            arguments.windows(name.len()).any(|part| part == name)
                || std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// A program with another below it, one in the folder and one that names it.
    fn family(folder: &Path) -> Guarded {
        let script = "sleep 1000 & cd /; : > \"$0/file\"; tail -f \"$0/file\" & wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(folder).current_dir(folder).stdout(Stdio::null());
        let family = Guarded::start(&mut command).with_all_in(folder);
        let until = Instant::now() + PATIENCE;
        while all_in(folder).len() < 3 {
            assert!(Instant::now() < until, "{:?}", all_in(folder));
            std::thread::sleep(POLL);
        }
        family
    }

    #[test]
    fn a_panic_ends_the_program_and_all_in_its_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().canonicalize().expect("it is there");
        let panicked = std::panic::catch_unwind(|| {
            let family = family(&path);
            assert_eq!(family.id(), 0, "as a test that finds something wrong");
        });
        assert!(panicked.is_err());
        assert_eq!(all_in(&path), [0; 0]);
    }

    #[test]
    fn a_tied_program_ends_with_its_thread_though_nobody_ends_it() {
        let start = || tied("/bin/sleep").arg("1000").spawn().expect("it starts");
        let mut child = std::thread::spawn(move || {
            let child = start();
            // Not before it is tied.
            let name = || std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap_or_default();
            while name() != "sleep\n" {
                std::thread::sleep(POLL);
            }
            child
        })
        .join()
        .expect("it does not panic");
        let status = child.wait().expect("it can be waited for");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGKILL as i32));
    }

    #[test]
    fn one_that_ends_by_itself_gives_what_it_printed() {
        let output = Guarded::start(Command::new("echo").arg("done").stdout(Stdio::piped())).output();
        assert_eq!(output.stdout, b"done\n");
    }
}
