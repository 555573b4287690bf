//! Owns a small HTTP server for tests that answers what the test says, also wrongly: answers that come late, are cut off, or
//! lie about their length. It speaks HTTP/1.1 as far as clients of this repository ask.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct WebRequest {
    pub method: String,
    /// With the query, as it was sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many came before it.
    pub number: usize,
}

impl WebRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What is sent for one.
#[derive(Clone, Debug, Default)]
pub struct WebReply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What `content-length` says instead of the truth.
    pub says: Option<usize>,
    /// Before anything is sent.
    pub wait: Duration,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
}

impl WebReply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a good server answers that has `value`: the part that is asked for, or all.
    pub fn of(request: &WebRequest, value: &[u8]) -> Self {
        let total = value.len();
        let asked = request.header("range").and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = asked else { return Self::new(200, value) };
        let number = |text: &str| text.parse::<usize>().ok();
        let (start, end) = match (number(first), number(last)) {
            (None, Some(count)) => (total.saturating_sub(count), total),
            (Some(start), last) => (start, last.map_or(total, |last| (last + 1).min(total))),
            (None, None) => (0, total),
        };
        if start >= end {
            return Self::new(416, "").with("content-range", &format!("bytes */{total}"));
        }
        let part = Self::new(206, &value[start..end]);
        part.with("content-range", &format!("bytes {start}-{}/{total}", end - 1))
    }

    /// What a good server answers that serves a folder. Nothing in `request`'s path is decoded.
    pub fn file(request: &WebRequest, folder: &Path) -> Self {
        match std::fs::read(folder.join(request.path().trim_start_matches('/'))) {
            Ok(value) => Self::of(request, &value),
            Err(_) => Self::new(404, "not here"),
        }
    }
}

type Answer = dyn Fn(&WebRequest) -> WebReply + Send + Sync;

/// The server. It listens on loopback until it is dropped.
pub struct WebServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<WebRequest>>>,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
}

impl WebServer {
    /// # Panics
    /// If there is no port to be had.
    pub fn start(answer: impl Fn(&WebRequest) -> WebReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
        let address = listener.local_addr().expect("a listener has an address");
        let server =
            Self { address, requests: Arc::default(), connections: Arc::default(), stopped: Arc::default() };
        let (requests, connections, stopped) =
            (server.requests.clone(), server.connections.clone(), server.stopped.clone());
        let answer: Arc<Answer> = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(SeqCst) {
                    break;
                }
                connections.fetch_add(1, SeqCst);
                let (requests, answer) = (requests.clone(), answer.clone());
                // A client that goes away is no fault of the test's.
                thread::spawn(move || serve(&stream, &requests, &*answer));
            }
        });
        server
    }

    /// `http://127.0.0.1:PORT` and a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<WebRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: &TcpStream, requests: &Mutex<Vec<WebRequest>>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&n| n > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: u64 = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
        let mut body = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut body).ok()?;
        let request = {
            let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
            let request = WebRequest { method, target, headers, body, number: requests.len() };
            requests.push(request.clone());
            request
        };
        let reply = answer(&request);
        thread::sleep(reply.wait);
        let mut head = format!("HTTP/1.1 {} Answer\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", reply.says.unwrap_or(reply.body.len())));
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
        let mut out = stream;
        out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).ok()?;
        if reply.cut.is_some() || reply.says.is_some() {
            return stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}
