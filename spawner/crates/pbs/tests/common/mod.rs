//! Commands that answer what was recorded, and the embedded batch system under its commands' names.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nuna_pbs::{Commands, RunAs, UserName};

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// Shell scripts in place of PBS's commands.
pub struct Scripted {
    pub folder: tempfile::TempDir,
}

impl Scripted {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn script(&self, name: &str, body: &str) -> &Self {
        // By another process: a file that is open for writing anywhere cannot be executed, and what tests beside this one
        // start would have this process's open files for a moment.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0.fresh\" && chmod 755 \"$0.fresh\" && mv \"$0.fresh\" \"$0\"";
        let status =
            std::process::Command::new("/bin/sh").args(["-c", write]).arg(self.path(name)).arg(body).status();
        assert!(status.unwrap().success(), "cannot write {name}");
        self
    }

    /// `name` answers as the sample says.
    pub fn answer(&self, name: &str, sample: &Sample) -> &Self {
        let [stdout, stderr] = [("out", &sample.stdout), ("err", &sample.stderr)].map(|(kind, text)| {
            let path = self.path(&format!("{name}.{kind}"));
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        });
        self.script(name, &format!("cat '{stdout}'\ncat '{stderr}' >&2\nexit {}", sample.code))
    }

    pub fn commands(&self) -> Commands {
        Commands {
            qsub: self.path("qsub"),
            qstat: self.path("qstat"),
            qdel: self.path("qdel"),
            ..Commands::default()
        }
    }
}

/// What a real command printed.
pub struct Sample {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn sample(name: &str) -> Sample {
    let path = format!("{}/tests/samples/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let Some((_, rest)) = text.split_once("\n--- exit ") else {
        // Recorded in a hurry, while the job was exiting: a line about it, then standard output.
        let (_, stdout) = text.split_once('\n').unwrap();
        return Sample { code: 0, stdout: stdout.to_owned(), stderr: String::new() };
    };
    let (code, rest) = rest.split_once("\n--- stdout\n").unwrap();
    let (stdout, stderr) = rest.split_once("--- stderr\n").unwrap_or((rest, ""));
    Sample { code: code.parse().unwrap(), stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

/// A program of this workspace: in `NUNA_BIN_DIR`, else where this test's own profile puts programs.
pub fn program(name: &str, package: &str) -> PathBuf {
    let folder = std::env::var_os("NUNA_BIN_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    });
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p {package}` first", path.display());
    path
}

/// A running embedded batch system.
pub struct Embedded {
    process: Child,
    pub folder: tempfile::TempDir,
}

impl Embedded {
    pub async fn start() -> Self {
        let program = program("nuna-pbs", "nuna-embedded-pbs");
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "home"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["qsub", "qstat", "qdel", "qhold", "qrls"] {
            std::os::unix::fs::symlink(&program, folder.path().join("bin").join(name)).unwrap();
        }
        let config = "server = 'head'\nqueue_delay_seconds = 0\nkill_delay_seconds = 2\n\
            [[nodes]]\nname = 'node1'\nncpus = 2\nmem = '4gb'\n\
            [[queues]]\nname = 'workq'\nmax_walltime = '01:00:00'\n\
            [[queues]]\nname = 'closed'\nenabled = false\n\
            [[queues]]\nname = 'stopped'\nstarted = false\n\
            [[queues]]\nname = 'vip'\nacl_users = ['bob']\n";
        std::fs::write(folder.path().join("pbs.toml"), config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(&program)
            .args(["server", "--die-with-parent", "--state"])
            .arg(folder.path().join("state"))
            .arg("--config")
            .arg(folder.path().join("pbs.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let batch = Self { process, folder };
        let commands = batch.commands();
        let started = Instant::now();
        while commands.server().await.is_err() {
            assert!(started.elapsed() < PATIENCE, "the embedded batch system did not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        batch
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn commands(&self) -> Commands {
        let bin = self.path("bin");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Commands {
            qsub: bin.join("qsub"),
            qstat: bin.join("qstat"),
            qdel: bin.join("qdel"),
            environment: [("NUNA_PBS_DIR", self.path("state")), ("HOME", self.path("home"))]
                .map(|(name, path)| (name.to_owned(), text(&path)))
                .into(),
            run_as: RunAs::Label,
            timeout: PATIENCE,
            ..Commands::default()
        }
    }

    /// Ends the server as a power cut would.
    pub fn cut_power(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Its jobs end with it, so it gets the time to end them.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}
