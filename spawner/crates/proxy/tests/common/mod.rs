//! A running proxy, and a small upstream that says what it was asked.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use nuna_testing::{Guarded, tied};

pub const TOKEN: &str = "secret-token";

/// Nothing on loopback takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Proxy {
    pub process: Guarded,
    pub public: SocketAddr,
    pub api: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = tied(env!("CARGO_BIN_EXE_nuna-proxy"));
        if !arguments.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command
            .args(["--ip", "127.0.0.1", "--api-ip", "127.0.0.1", "--api-port", "0"])
            .args(arguments)
            .env("CONFIGPROXY_AUTH_TOKEN", TOKEN)
            .env_remove("NUNA_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut process = Guarded::start(&mut command);
        let log = process.stdout.take().unwrap();
        let (found, addresses) = mpsc::channel();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let lines = kept.clone();
        // Reads on, so that the proxy never blocks on its log.
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                for marker in ["Proxying ", "Proxy API at "] {
                    if let Some((_, rest)) = line.split_once(marker) {
                        let address = rest.split("://").nth(1).unwrap();
                        let end = address.find([' ', '/']).unwrap_or(address.len());
                        let _ = found.send(address[..end].to_owned());
                    }
                }
                lines.lock().unwrap().push(line);
            }
        });
        let next =
            || addresses.recv_timeout(PATIENCE).expect("the proxy said where it listens").parse().unwrap();
        Self { public: next(), api: next(), process, log: kept }
    }

    /// The first line of the log with these words, waited for.
    pub fn logged(&self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let lines = self.log.lock().unwrap().clone();
            if let Some(line) = lines.iter().find(|line| line.contains(words)) {
                return line.clone();
            }
            assert!(started.elapsed() < PATIENCE, "no {words:?} in {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    pub fn activity(&self, path: &str) -> String {
        let route = self.api("GET", &format!("/api/routes{path}"), "").json();
        route["last_activity"].as_str().unwrap().to_owned()
    }

    pub fn api(&self, method: &str, path: &str, body: &str) -> Answer {
        self.api_as(method, path, body, &format!("Authorization: token {TOKEN}\r\n"))
    }

    pub fn api_as(&self, method: &str, path: &str, body: &str, header: &str) -> Answer {
        exchange(
            self.api,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: api\r\n{header}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    }

    pub fn route(&self, path: &str, target: &str) {
        let body = format!(r#"{{"target": "{target}", "jupyterhub": true, "user": "x"}}"#);
        assert_eq!(self.api("POST", &format!("/api/routes{path}"), &body).status, 201);
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, "")
    }

    pub fn get_with(&self, path: &str, headers: &str) -> Answer {
        exchange(
            self.public,
            &format!("GET {path} HTTP/1.1\r\nHost: hub.test\r\n{headers}Connection: close\r\n\r\n"),
        )
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// A self-signed certificate and its key as files in `folder`; their paths.
pub fn certificate(folder: &std::path::Path, name: &str) -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let stem = name.replace('*', "star");
    let (cert, key) = (folder.join(format!("{stem}.pem")), folder.join(format!("{stem}.key")));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    (cert.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned())
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends raw bytes, reads until the connection closes.
pub fn exchange(address: SocketAddr, request: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes)
}

pub fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    out
}

/// An upstream that answers every request with the request itself, head and body, as text.
/// `/status/NNN` sets the status; `/redirect/URL` redirects.
pub fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || while echo_one(&stream).is_some() {});
        }
    });
    address
}

fn echo_one(stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if &head[before..] == "\r\n" {
            break;
        }
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    if let Some((_, rest)) = lower.split_once("content-length: ") {
        let length: usize = rest.lines().next()?.parse().ok()?;
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
    } else if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let path = head.split(' ').nth(1)?;
    let mut extra = String::new();
    let mut status = "200".to_owned();
    if let Some((_, code)) = path.split_once("/status/") {
        status = code.to_owned();
    }
    if let Some((_, url)) = path.split_once("/redirect/") {
        status = "302".to_owned();
        extra = format!("Location: {url}\r\n");
    }
    let mut answer = head.into_bytes();
    answer.extend_from_slice(&body);
    // In one piece: two small writes would wait for each other's acknowledgement.
    let mut whole = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nX-Upstream: echo\r\nKeep-Alive: timeout=5\r\n{extra}\r\n",
        answer.len()
    )
    .into_bytes();
    whole.extend_from_slice(&answer);
    let mut writer = stream;
    writer.write_all(&whole).ok()
}
