//! As systemd sees the proxy: handed sockets, so that a restart refuses nobody, and told how it does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{TOKEN, connect, echo, parse};
use nuna_testing::{Guarded, Systemd, inheritable};

/// Watched closely.
const WATCHDOG: Duration = Duration::from_millis(400);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    inheritable(&listener);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn command(systemd: &Systemd, sockets: &[(&str, &dyn AsRawFd)]) -> Command {
    let mut command = systemd.command(Path::new(env!("CARGO_BIN_EXE_nuna-proxy")), sockets, WATCHDOG);
    command.env("CONFIGPROXY_AUTH_TOKEN", TOKEN).stdin(Stdio::null());
    command
}

fn sends(address: SocketAddr, path: &str) -> std::net::TcpStream {
    let mut stream = connect(address);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: token {TOKEN}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn status(mut stream: std::net::TcpStream) -> u16 {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes).status
}

#[test]
fn a_restart_refuses_nobody_and_systemd_hears_of_each_state() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd::new(folder.path().join("notify"));
    let ((public, at), (api, api_at)) = (listener(), listener());
    let ports = [at.port().to_string(), api_at.port().to_string()];
    let target = format!("http://{}", echo());
    let start = || {
        let sockets: [(&str, &dyn AsRawFd); 2] = [("api", &api), ("public", &public)];
        let mut command = command(&systemd, &sockets);
        command.args([
            "--ip",
            "127.0.0.1",
            "--port",
            &ports[0],
            "--api-ip",
            "localhost",
            "--api-port",
            &ports[1],
        ]);
        Guarded::start(command.args(["--default-target", &target]).stdout(Stdio::null()))
    };
    // Asked before it is there, and answered once it is.
    let early = (sends(at, "/early"), sends(api_at, "/api/routes"));
    let mut proxy = start();
    let word = systemd.told();
    assert!(word.starts_with("READY=1\nSTATUS=proxying on 127.0.0.1:"), "{word}");
    assert_eq!((status(early.0), status(early.1)), (200, 200));
    for _ in 0..3 {
        systemd.beat();
    }
    assert!(Command::new("kill").args(["-TERM", &proxy.id().to_string()]).status().unwrap().success());
    assert_eq!(systemd.told(), "STOPPING=1\nSTATUS=requests under way may finish");
    assert!(proxy.wait().unwrap().success());
    // Between two lives nobody is there, and nobody is refused.
    let between = sends(at, "/between");
    let _next = start();
    assert!(systemd.told().starts_with("READY=1"));
    assert_eq!(status(between), 200);
}

#[test]
fn a_proxy_that_hangs_does_not_beat() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd::new(folder.path().join("notify"));
    let mut command = command(&systemd, &[]);
    let options = ["--ip", "127.0.0.1", "--port", "0", "--api-ip", "127.0.0.1", "--api-port", "0"];
    let proxy = Guarded::start(command.args(options).stdout(Stdio::null()));
    assert!(systemd.told().starts_with("READY=1"));
    systemd.beat();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &proxy.id().to_string()]).status().unwrap().success());
    };
    signal("-STOP");
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    };
    while !is_stopped() {
        std::thread::sleep(Duration::from_millis(5));
    }
    while systemd.heard().is_some() {}
    std::thread::sleep(2 * WATCHDOG);
    assert_eq!(systemd.heard(), None);
    signal("-CONT");
    systemd.beat();
}

#[test]
fn sockets_of_files_stay_when_the_proxy_ends() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd::new(folder.path().join("notify"));
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let theirs = UnixListener::bind(path("public.sock")).unwrap();
    inheritable(&theirs);
    let mut command = command(&systemd, &[("public", &theirs)]);
    let options = ["--socket", &path("public.sock"), "--api-socket", &path("api.sock")];
    let mut proxy = Guarded::start(command.args(options).stdout(Stdio::null()));
    systemd.told();
    assert!(Path::new(&path("api.sock")).exists());
    assert!(Command::new("kill").arg(proxy.id().to_string()).status().unwrap().success());
    assert!(proxy.wait().unwrap().success());
    assert!(Path::new(&path("public.sock")).exists(), "it is systemd's");
    assert!(!Path::new(&path("api.sock")).exists(), "it was the proxy's own");
}

#[test]
fn sockets_that_are_not_those_of_the_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd::new(folder.path().join("notify"));
    let (socket, at) = listener();
    let unix = UnixListener::bind(folder.path().join("x.sock")).unwrap();
    inheritable(&unix);
    let port = at.port().to_string();
    let other = ["--ip", "127.0.0.1", "--port", "1", "--api-ip", "127.0.0.1", "--api-port", "0"];
    let elsewhere = ["--ip", "127.0.0.2", "--port", &port, "--api-ip", "127.0.0.1", "--api-port", "0"];
    let same = ["--ip", "127.0.0.1", "--port", &port, "--api-ip", "127.0.0.1", "--api-port", "0"];
    type Sockets<'a> = &'a [(&'a str, &'a dyn AsRawFd)];
    let cases: [(Sockets<'_>, [&str; 8], &str); 6] = [
        (&[("public", &socket)], other, "make ListenStream= of its unit the same"),
        (&[("public", &socket)], elsewhere, "public listens on 127.0.0.2:"),
        (&[("public", &unix)], same, "x.sock"),
        (
            &[("nuna-proxy.socket", &socket)],
            same,
            "FileDescriptorName= of its unit to one of public, api, metrics",
        ),
        (&[("public", &socket), ("public", &socket)], same, "two sockets named \"public\""),
        (&[("public", &socket), ("metrics", &unix)], same, "add --metrics-port"),
    ];
    for (sockets, options, words) in cases {
        let mut command = command(&systemd, sockets);
        command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Output { status, stderr, .. } = Guarded::start(&mut command).output();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(1), "{words}: {stderr}");
        assert!(stderr.contains(words), "{words} in {stderr}");
    }
    assert_eq!(systemd.heard(), None, "none was ready");
}
