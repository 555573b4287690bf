//! Owns the processes of a cluster: which program they run, how they are told what to do, and that they end. Each holds
//! the reading end of a pipe whose other end is here; the operating system closes it however this process ends.

use std::{
    env, fs,
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

use crate::error::ClusterError;

/// How long a process may take to end once its pipe is closed.
const END_PATIENCE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(5);

/// A process of a cluster.
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
    program: PathBuf,
    role: String,
    options: PathBuf,
}

/// The program `nuna`: `NUNA_BIN`, else beside this process's program or its shared library, else on `PATH`.
pub(crate) fn program() -> Result<PathBuf, ClusterError> {
    let mut looked = Vec::new();
    if let Some(named) = env::var_os("NUNA_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        if path.is_file() {
            return Ok(path);
        }
        looked.push(format!("NUNA_BIN names {}, which is no file", path.display()));
    }
    let own = env::current_exe().ok();
    let beside = own.iter().filter_map(|exe| exe.parent()).flat_map(|folder| {
        // A test's program is one folder below its package's programs; an installed evaluator may be in `lib`.
        let above = folder.parent().unwrap_or(folder);
        [folder.to_owned(), above.to_owned(), above.join("bin")]
    });
    let runtime = env::var_os("NUNA_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.into_iter().flat_map(|folder| [folder.clone(), folder.join("bin")]);
    let path =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    for folder in beside.chain(runtime).chain(path) {
        let candidate = folder.join("nuna");
        if candidate.is_file() {
            return Ok(candidate);
        }
        looked.push(folder.display().to_string());
    }
    looked.truncate(8);
    Err(ClusterError::NoProgram { looked: format!("looked in {}", looked.join(", ")) })
}

impl Process {
    /// Starts `program ROLE --options FILE`; its output goes to a log beside the options.
    pub(crate) fn start(
        program: &Path,
        role: &str,
        name: &str,
        options: &Json,
        folder: &Path,
    ) -> Result<Self, ClusterError> {
        let file = folder.join(format!("{name}.json"));
        let log = folder.join(format!("{name}.log"));
        nuna_wire::credentials::write_private(&file, options.to_string().as_bytes())?;
        let child = spawn(program, role, &file, &log)?;
        Ok(Self { child, log, program: program.to_owned(), role: role.to_owned(), options: file })
    }

    /// Starts it again, after it has ended.
    pub(crate) fn restart(&mut self) -> Result<(), ClusterError> {
        self.child = spawn(&self.program, &self.role, &self.options, &self.log)?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let read = || {
            let mut file = fs::File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(4096)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            std::io::Result::Ok(bytes)
        };
        let text = read().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Closes its pipe: it will end.
    pub(crate) fn cut(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has ended; kills it if that takes long.
    pub(crate) fn join(&mut self) {
        let until = Instant::now() + END_PATIENCE;
        while self.ended().is_none() {
            if Instant::now() >= until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn spawn(program: &Path, role: &str, options: &Path, log: &Path) -> Result<Child, ClusterError> {
    let open = || {
        let output = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        std::io::Result::Ok((output.try_clone()?, output))
    };
    let (output, errors) = open().map_err(|source| ClusterError::File { path: log.to_owned(), source })?;
    Command::new(program)
        .arg(role)
        .arg("--options")
        .arg(options)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        // Ctrl-C in a terminal is for the notebook, not for its cluster.
        .process_group(0)
        .spawn()
        .map_err(|source| ClusterError::Start { program: program.to_owned(), source })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.cut();
        self.join();
    }
}
