//! Compiles programs the way the kernel compiles cells: by `rustc` against the shared library alone.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longer than any of these programs runs, on a machine that builds something else at the same time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a compiled cell, a program around it, and a state directory of its own.
pub(crate) struct Workshop {
    folder: TempDir,
}

pub(crate) fn runtime_library() -> PathBuf {
    nuna::parts::ship::build_id::runtime_path()
}

fn rustc() -> Command {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // Cells are stable Rust: the switch that opens unstable features must not leak into them.
    command.env_remove("RUSTC_BOOTSTRAP");
    command
}

fn standard_library() -> PathBuf {
    let output = rustc().args(["--print", "target-libdir"]).output().expect("rustc runs");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

impl Workshop {
    /// Compiles `programs/NAME.rs` as a cell, and a program that calls its `run` with the arguments.
    pub(crate) fn new(name: &str) -> Self {
        let workshop = Workshop { folder: TempDir::new().expect("a temporary folder") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{name}.rs"));
        let soname = format!("-Clink-arg=-Wl,-soname,lib{name}.so");
        workshop.compile(&source, &["--crate-type=dylib", "-Copt-level=2", &soname]);
        let program = workshop.path("program.rs");
        let call = format!(
            "fn main() {{ let arguments: Vec<String> = std::env::args().skip(1).collect(); \
             if let Err(error) = {name}::run(&arguments) {{ println!(\"error: {{error}}\"); std::process::exit(1) }} }}"
        );
        std::fs::write(&program, call).expect("the folder is writable");
        let cell = format!("{name}={}", workshop.path(&format!("lib{name}.so")).display());
        workshop.compile(&program, &["--crate-type=bin", "--extern", &cell]);
        workshop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, source: &Path, options: &[&str]) {
        let library = runtime_library();
        let folder = library.parent().expect("a library lies in a folder");
        let mut command = rustc();
        command.args(["--edition=2024", "-Cprefer-dynamic", "--out-dir"]).arg(self.folder.path());
        command.arg("--extern").arg(format!("nuna={}", library.display()));
        for dependencies in [folder.to_owned(), folder.join("deps"), self.folder.path().to_owned()] {
            command.arg("-L").arg(format!("dependency={}", dependencies.display()));
        }
        let output = command.args(options).arg(source).output().expect("rustc runs");
        assert!(
            output.status.success(),
            "{}:\n{}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The program, without a compiler on its path, and with a home of its own.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let library = runtime_library();
        let folders = [self.folder.path(), library.parent().expect("a folder"), &standard_library()];
        let mut command = Command::new(self.path("program"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "")
            .env("HOME", self.folder.path())
            .env("NUNA_STATE_DIR", self.path("state"))
            .env("NUNA_BIN", env!("CARGO_BIN_EXE_nuna"))
            .env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("no colons in paths"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end and gives what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = finish(self.program(arguments));
        let (printed, words) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{printed}\n{words}", output.status);
        printed
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for a program with a limit; one that hangs is ended and fails the test with what it had printed.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let pid = child.id();
    let (done, over) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if over.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("the program ends");
    drop(done);
    watch.join().expect("the watch ends");
    output
}

/// Polls until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
