//! Owns the processes of a cluster: which program they run, how they are told what to do, and that they end. Each holds
//! the reading end of a pipe whose other end is here, or in the kernel; the operating system closes it however that ends.

use std::{
    env, fs,
    io::{Read, Seek, SeekFrom},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value as Json;

use crate::{
    error::ClusterError,
    lifeline::{self, Lifeline},
};

/// How long a process may take to end once its pipe is closed.
const END_PATIENCE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(5);

/// A process of a cluster.
pub(crate) struct Process {
    handle: Handle,
    /// Whether it ends with the kernel and not with this process.
    kept: bool,
    pub(crate) log: PathBuf,
    program: PathBuf,
    role: String,
    options: PathBuf,
}

enum Handle {
    Started(Child),
    /// An earlier process has started it.
    Found(u32),
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
    /// Starts `program ROLE --options FILE`; its output goes to a log beside the options. It ends with the writer of
    /// `lifeline`, or else with this process.
    pub(crate) fn start(
        program: &Path,
        role: &str,
        name: &str,
        options: &Json,
        folder: &Path,
        lifeline: Option<&Lifeline>,
    ) -> Result<Self, ClusterError> {
        let file = folder.join(format!("{name}.json"));
        let log = folder.join(format!("{name}.log"));
        nuna_wire::credentials::write_private(&file, options.to_string().as_bytes())?;
        let child = spawn(program, role, &file, &log, Input::of(lifeline))?;
        Ok(Self {
            handle: Handle::Started(child),
            kept: lifeline.is_some(),
            log,
            program: program.to_owned(),
            role: role.to_owned(),
            options: file,
        })
    }

    /// Starts `program ROLE --options FILE` so that it can go on when this process ends: see [`Process::leave`].
    pub(crate) fn start_apart(
        program: &Path,
        role: &str,
        options: &Json,
        folder: &Path,
    ) -> Result<Self, ClusterError> {
        let (file, log) = (folder.join(format!("{role}.json")), folder.join(format!("{role}.log")));
        nuna_wire::credentials::write_private(&file, options.to_string().as_bytes())?;
        let child = spawn(program, role, &file, &log, Input::None)?;
        Ok(Self {
            handle: Handle::Started(child),
            kept: true,
            log,
            program: program.to_owned(),
            role: role.to_owned(),
            options: file,
        })
    }

    /// Leaves it to itself: it is not ended when this goes.
    pub(crate) fn leave(self) {
        // A process that has ended must not stay a zombie for as long as this one runs.
        let mut process = std::mem::ManuallyDrop::new(self);
        let reaper = std::thread::Builder::new().name("nuna-reaper".into());
        let _ = reaper.spawn(move || {
            if let Handle::Started(child) = &mut process.handle {
                let _ = child.wait();
            }
        });
    }

    /// One that an earlier process of this kernel has started with these options.
    pub(crate) fn found(program: &Path, role: &str, options: &Path, pid: u32) -> Self {
        Self {
            handle: Handle::Found(pid),
            kept: true,
            log: options.with_extension("log"),
            program: program.to_owned(),
            role: role.to_owned(),
            options: options.to_owned(),
        }
    }

    /// Starts it again, after it has ended.
    pub(crate) fn restart(&mut self) -> Result<(), ClusterError> {
        let lifeline = if self.kept { lifeline::kernel() } else { None };
        let child = spawn(&self.program, &self.role, &self.options, &self.log, Input::of(lifeline))?;
        self.handle = Handle::Started(child);
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.handle {
            Handle::Started(child) => child.id(),
            Handle::Found(pid) => *pid,
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match &mut self.handle {
            Handle::Started(child) => child.try_wait().ok().flatten().map(|status| status.to_string()),
            Handle::Found(pid) => (!runs_with(*pid, &self.options)).then(|| "it is gone".to_owned()),
        }
    }

    /// Whether it ended by itself and nothing was wrong, as far as can be told.
    pub(crate) fn left(&mut self) -> bool {
        match &mut self.handle {
            Handle::Started(child) => child.try_wait().ok().flatten().is_some_and(|status| status.success()),
            Handle::Found(_) => false,
        }
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

    /// Makes it end: closes its pipe if that is here. Kept workers end with their scheduler.
    pub(crate) fn cut(&mut self) {
        if let Handle::Started(child) = &mut self.handle {
            drop(child.stdin.take());
        }
        if self.kept && self.role == "scheduler" {
            self.signal(Signal::SIGTERM);
        }
    }

    fn signal(&mut self, signal: Signal) {
        // Asked first, so that its number is not another process's by now.
        if self.ended().is_none()
            && let Ok(pid) = i32::try_from(self.pid())
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Waits until it has ended; kills it if that takes long.
    pub(crate) fn join(&mut self) {
        let until = Instant::now() + END_PATIENCE;
        while self.ended().is_none() {
            if Instant::now() >= until {
                self.signal(Signal::SIGKILL);
                if let Handle::Started(child) = &mut self.handle {
                    let _ = child.wait();
                }
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Whether process `pid` is the one that was given these options. Numbers come round again; a file is one process's.
fn runs_with(pid: u32, options: &Path) -> bool {
    // A process that has ended and waits for its parent has no arguments any more.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| {
        arguments.split(|&byte| byte == 0).any(|argument| argument == options.as_os_str().as_bytes())
    })
}

/// Whose end a process waits for at its standard input.
enum Input<'a> {
    Kernel(&'a Lifeline),
    This,
    None,
}

impl<'a> Input<'a> {
    fn of(lifeline: Option<&'a Lifeline>) -> Self {
        lifeline.map_or(Self::This, Self::Kernel)
    }
}

fn spawn(
    program: &Path,
    role: &str,
    options: &Path,
    log: &Path,
    input: Input<'_>,
) -> Result<Child, ClusterError> {
    let open = || {
        let output = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        std::io::Result::Ok((output.try_clone()?, output))
    };
    let (output, errors) = open().map_err(|source| ClusterError::File { path: log.to_owned(), source })?;
    let input = match input {
        Input::Kernel(lifeline) => {
            let end = lifeline.end();
            end.map_err(|source| ClusterError::Start { program: program.to_owned(), source })?.into()
        }
        Input::This => Stdio::piped(),
        Input::None => Stdio::null(),
    };
    Command::new(program)
        .arg(role)
        .arg("--options")
        .arg(options)
        .stdin(input)
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
