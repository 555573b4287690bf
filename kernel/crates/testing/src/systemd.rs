//! Owns the part of systemd that a service under test sees: sockets that it is handed, and words that it sends.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// How long a service may take to say something: it is a program that starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The one who starts services and is told how they do.
#[derive(Debug)]
pub struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    /// Listens at `path`, which is not there yet.
    ///
    /// # Panics
    /// If it cannot.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let socket = UnixDatagram::bind(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        socket.set_nonblocking(true).expect("a datagram socket need not wait");
        Self { socket, path }
    }

    /// A command that starts `program` with these sockets, in an environment of its own, and a watchdog that wants to
    /// hear from it every `watchdog`.
    pub fn command(&self, program: &Path, sockets: &[(&str, &dyn AsRawFd)], watchdog: Duration) -> Command {
        let mut command = Command::new("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/as_systemd.py"));
        command.args(sockets.iter().map(|(name, socket)| format!("{name}={}", socket.as_raw_fd())));
        command.arg("--").arg(program);
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command
    }

    /// What was said and not yet heard, if anything.
    pub fn heard(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{}: {error}", self.path.display()),
        }
    }

    /// The next word that is not of the watchdog, waited for.
    ///
    /// # Panics
    /// If none comes.
    pub fn told(&self) -> String {
        self.next(|word| word != "WATCHDOG=1")
    }

    /// Waits for a beat of the watchdog.
    ///
    /// # Panics
    /// If none comes.
    pub fn beat(&self) {
        self.next(|word| word == "WATCHDOG=1");
    }

    fn next(&self, is_meant: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.heard() {
                Some(word) if is_meant(&word) => return word,
                Some(_) => {}
                None => {
                    assert!(Instant::now() < until, "the service said nothing");
                    std::thread::sleep(POLL);
                }
            }
        }
    }
}

/// Lets programs that are started get a socket.
///
/// # Panics
/// If the system refuses.
pub fn inheritable(socket: impl AsFd) {
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("a descriptor that is open has flags");
}
