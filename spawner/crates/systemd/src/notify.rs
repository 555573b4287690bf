//! The datagrams of `sd_notify`, and the watchdog's heartbeat.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest status that is sent; `systemctl status` shows one line.
const STATUS_MAX: usize = 200;

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Who started the service and listens to it: systemd, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    line: Option<Arc<Line>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    ///
    /// # Errors
    /// If `NOTIFY_SOCKET` is set and is no address of a socket. A service of `Type=notify` that went on would be ended after its
    /// time to start.
    pub fn from_environment() -> io::Result<Self> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| is_ours).map(Duration::from_micros);
        Self::new(std::env::var_os("NOTIFY_SOCKET"), watchdog)
    }

    fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None if name.as_bytes().starts_with(b"/") => SocketAddr::from_pathname(&name),
            None => {
                let wrong = format!("NOTIFY_SOCKET={} is neither a path nor a name", name.display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
            }
        }?;
        let socket = UnixDatagram::unbound()?;
        // Never waits for a manager that does not read.
        socket.set_nonblocking(true)?;
        let watchdog = watchdog.filter(|time| !time.is_zero());
        Ok(Self { line: Some(Arc::new(Line { socket, address })), watchdog })
    }

    /// Everything listens.
    pub fn ready(&self, status: &str) {
        self.tell("READY=1", status);
    }

    /// From now on the service only ends what is under way.
    pub fn stopping(&self, status: &str) {
        self.tell("STOPPING=1", status);
    }

    /// Something is being read anew; [`Manager::ready`] says when that is done. For units of `Type=notify`.
    pub fn reloading(&self, status: &str) {
        self.tell("RELOADING=1", status);
    }

    /// A word that is not heard is lost: nothing that a service could do about it would help.
    fn tell(&self, words: &str, status: &str) {
        let Some(line) = &self.line else { return };
        let mut text = words.to_owned();
        if !status.is_empty() {
            let status = status.chars().filter(|letter| !letter.is_control()).take(STATUS_MAX);
            let _ = write!(text, "\nSTATUS={}", status.collect::<String>());
        }
        let _ = line.socket.send_to_addr(text.as_bytes(), &line.address);
    }

    /// For the one loop without which the service is of no use.
    pub fn heart(&self) -> Heart {
        // Half the time, as systemd advises.
        let every = self.watchdog.map(|time| time / 2);
        Heart { manager: self.clone(), every, last: None }
    }
}

/// Tells systemd's watchdog that a loop goes round. A loop that hangs says nothing, and the service is started anew.
#[derive(Debug, Default)]
pub struct Heart {
    manager: Manager,
    every: Option<Duration>,
    last: Option<Instant>,
}

impl Heart {
    /// The loop must come round at least this often; None if nobody watches.
    pub fn every(&self) -> Option<Duration> {
        self.every
    }

    /// To be called each time round; tells no more often than is wanted.
    pub fn beat(&mut self) {
        let Some(every) = self.every else { return };
        // A little early is in time.
        if self.last.is_none_or(|last| last.elapsed() >= every / 2) {
            self.last = Some(Instant::now());
            self.manager.tell("WATCHDOG=1", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_of_each_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::new(Some(path.into()), None).unwrap();
        manager.ready("serving\nREADY=0");
        assert_eq!(heard(&systemd), "READY=1\nSTATUS=servingREADY=0", "a status is one line");
        manager.reloading("");
        assert_eq!(heard(&systemd), "RELOADING=1");
        manager.stopping("ending");
        assert_eq!(heard(&systemd), "STOPPING=1\nSTATUS=ending");
        assert_eq!(manager.heart().every(), None, "nobody watches");
    }

    #[test]
    fn abstract_names_are_understood_and_hearts_beat_as_often_as_wanted() {
        let name = format!("nuna-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::new(Some(format!("@{name}").into()), Some(Duration::from_secs(1000))).unwrap();
        let mut heart = manager.heart();
        assert_eq!(heart.every(), Some(Duration::from_secs(500)));
        heart.beat();
        heart.beat();
        assert_eq!(heard(&systemd), "WATCHDOG=1");
        systemd.set_nonblocking(true).unwrap();
        assert!(systemd.recv(&mut [0; 64]).is_err(), "once is enough");
    }

    #[test]
    fn without_systemd_nothing_is_said_and_nonsense_is_refused() {
        let manager = Manager::new(None, Some(Duration::from_secs(1))).unwrap();
        manager.ready("x");
        manager.heart().beat();
        assert!(Manager::new(Some("relative".into()), None).is_err());
        // Gone meanwhile: not the service's affair.
        Manager::new(Some("/nonexistent/notify".into()), None).unwrap().ready("x");
    }
}
