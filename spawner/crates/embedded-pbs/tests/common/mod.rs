//! A batch server of its own for each test, and its commands under their real names.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Batch {
    pub process: Child,
    pub folder: tempfile::TempDir,
}

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// As the machine on which the samples were recorded.
pub const RECORDED: &str = "
server = 'pbshead'
queue_delay_seconds = 0
kill_delay_seconds = 2
[[nodes]]
name = 'node1'
ncpus = 2
mem = '24684092kb'
[[queues]]
name = 'workq'
[[queues]]
name = 'short'
max_mem = '2gb'
max_ncpus = 2
max_walltime = '01:00:00'
default_walltime = '00:30:00'
max_run_per_user = 1
[[queues]]
name = 'long'
started = false
[[queues]]
name = 'closed'
enabled = false
[[queues]]
name = 'vip'
acl_users = ['bob']
";

impl Batch {
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "home"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["qsub", "qstat", "qdel", "qselect", "qhold", "qrls", "pbsnodes"] {
            let link = folder.path().join("bin").join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nuna-pbs"), link).unwrap();
        }
        std::fs::write(folder.path().join("pbs.toml"), config).unwrap();
        let process = Self::spawn(folder.path());
        let mut batch = Self { process, folder };
        batch.wait_until_ready();
        batch
    }

    fn spawn(folder: &Path) -> Child {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_nuna-pbs"))
            .args(["server", "--die-with-parent", "--state"])
            .arg(folder.join("state"))
            .arg("--config")
            .arg(folder.join("pbs.toml"))
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub fn restart(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
        self.process = Self::spawn(self.folder.path());
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        loop {
            if self.run("alice", "qstat -B", "").code == 0 {
                return;
            }
            assert!(self.process.try_wait().unwrap().is_none(), "the server ended: {}", self.log());
            assert!(started.elapsed() < PATIENCE, "the server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs a shell line as `user` from the home folder.
    pub fn run(&self, user: &str, line: &str, stdin: &str) -> Outcome {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().join("bin").display());
        let mut process = Command::new("/bin/sh")
            .args(["-c", line])
            .current_dir(self.home())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home())
            .env("PWD", self.home())
            .env("SHELL", "/bin/bash")
            .env("NUNA_PBS_DIR", self.state())
            .env("NUNA_PBS_USER", user)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses early does not read its input.
        let _ = process.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = process.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Submits `script`; gives the job's number.
    pub fn submit(&self, options: &str, script: &str) -> u64 {
        let outcome = self.run("alice", &format!("qsub {options}"), script);
        assert_eq!(outcome.code, 0, "{options}: {outcome:?}");
        outcome.stdout.trim().split('.').next().unwrap().parse().unwrap()
    }

    pub fn attribute(&self, job: u64, name: &str) -> Option<String> {
        let text = self.run("alice", &format!("qstat -x -f {job}"), "").stdout.replace("\n\t", "");
        let prefix = format!("    {name} = ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    pub fn wait_for(&self, job: u64, name: &str, holds: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            if let Some(value) = self.attribute(job, name).filter(|value| holds(value)) {
                return value;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{name} of job {job} is still {:?}\n{}",
                self.attribute(job, name),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn wait_for_state(&self, job: u64, letter: &str) {
        self.wait_for(job, "job_state", |state| state == letter);
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until no process whose command line holds `mark` is left.
pub fn wait_until_gone(mark: &str) {
    let started = Instant::now();
    while let Some(line) = find_process(mark) {
        assert!(started.elapsed() < PATIENCE, "still there: {line}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn find_process(mark: &str) -> Option<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let line = std::fs::read_to_string(path.join("cmdline")).ok()?.replace('\0', " ");
            let stat = std::fs::read_to_string(path.join("stat")).ok()?;
            (line.contains(mark) && !stat.contains(") Z ")).then_some(line)
        })
        .next()
}
