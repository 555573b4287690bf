//! Requests through the proxy: what arrives at the target, what comes back, what is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PATIENCE, Proxy, connect, echo, exchange, parse};

#[test]
fn target_sees_the_request_with_forwarding_headers_and_without_hop_headers() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let answer = proxy.get_with(
        "/a%2Fb/%C3%A4?x=%20y",
        "X-Kept: 1\r\nX-Forwarded-For: 9.9.9.9\r\nTE: gzip\r\nX-Drop: 1\r\nConnection: X-Drop\r\nProxy-Authorization: p\r\n",
    );
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.starts_with("get /a%2fb/%c3%a4?x=%20y http/1.1\r\n"), "{seen}");
    for line in [
        "host: hub.test",
        "x-kept: 1",
        "x-forwarded-for: 9.9.9.9,127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-port: 80",
        "x-forwarded-host: hub.test",
    ] {
        assert!(seen.contains(&format!("{line}\r\n")), "{line} is missing in {seen}");
    }
    for name in ["te:", "x-drop", "connection:", "proxy-authorization"] {
        assert!(!seen.contains(&format!("\n{name}")), "{name} passed in {seen}");
    }
    assert_eq!(answer.header("x-upstream"), Some("echo"));
    assert_eq!(answer.header("keep-alive"), None);
}

#[test]
fn encoded_and_dotted_paths_reach_the_decoded_route() {
    let proxy = Proxy::start(&[]);
    let target = echo();
    proxy.route("/user/%C3%A4%20b", &format!("http://{target}/one"));
    proxy.route("/user/bob", &format!("http://{target}/bob"));
    assert!(proxy.get("/user/%c3%a4%20b/x").body.starts_with("GET /one/user/%c3%a4%20b/x "));
    assert!(proxy.get("/user/%62ob/x").body.starts_with("GET /bob/user/%62ob/x "));
    assert!(proxy.get("/user/x/../bob").body.starts_with("GET /bob/user/x/../bob "));
    assert_eq!(proxy.get("/user/bobby").status, 404);
    assert_eq!(proxy.get("/user/100%").status, 400);
}

#[test]
fn large_uploads_and_downloads_stream() {
    // The target reads all, then sends as much back; both far larger than any buffer in between.
    const LENGTH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 20];
        let (mut received, mut head) = (0, Vec::new());
        while received < LENGTH {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "upload broke off after {received}");
            if head.ends_with(b"\r\n\r\n") {
                received += length;
            } else {
                for (at, byte) in buffer[..length].iter().enumerate() {
                    head.push(*byte);
                    if head.ends_with(b"\r\n\r\n") {
                        received += length - at - 1;
                        break;
                    }
                }
            }
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").unwrap();
        let block = vec![b'd'; 1 << 20];
        for _ in 0..LENGTH / block.len() {
            stream.write_all(&block).unwrap();
        }
    });
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{target}"));
    let mut stream = connect(proxy.public);
    write!(stream, "POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {LENGTH}\r\n\r\n")
        .unwrap();
    let block = vec![b'u'; 1 << 20];
    for _ in 0..LENGTH / block.len() {
        stream.write_all(&block).unwrap();
    }
    let mut back = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut first = Vec::new();
    loop {
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        if first.is_empty() {
            first = buffer[..length].to_vec();
        }
        back += length;
    }
    server.join().unwrap();
    assert!(back > LENGTH && back < LENGTH + 1024, "{back} bytes came back");
    assert!(first.starts_with(b"HTTP/1.1 200"));
    let rss_kb = resident_kb(proxy.process.id());
    assert!(rss_kb < 48 << 10, "64 MiB each way cost {rss_kb} kB of memory: something collects bodies");
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn pieces_of_a_stream_arrive_before_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .unwrap();
        wait.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
    });
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{target}"));
    let mut stream = connect(proxy.public);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(5).any(|window| window == b"first") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "closed early");
        seen.extend_from_slice(&buffer[..length]);
    }
    go.send(()).unwrap();
    stream.read_to_end(&mut seen).unwrap();
    assert_eq!(parse(&seen).body, "firstlast");
    server.join().unwrap();
}

#[test]
fn unreachable_targets_and_missing_routes_give_pages() {
    let proxy = Proxy::start(&[]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.route("/down", &format!("http://{closed}"));
    let down = proxy.get("/down/x");
    assert_eq!(down.status, 503);
    assert!(down.body.contains("does not answer"));
    assert_eq!(proxy.get("/nowhere").status, 404);
    assert_eq!(exchange(proxy.public, "GET /_chp_healthz HTTP/1.0\r\n\r\n").json()["status"], "OK");
}

#[test]
fn error_target_makes_the_page_and_keeps_the_code() {
    let target = echo();
    let proxy = Proxy::start(&["--error-target", &format!("http://{target}/hub/error")]);
    let answer = proxy.get("/nowhere?token=x&y=%20");
    assert_eq!(answer.status, 404);
    assert!(
        answer.body.starts_with("GET /hub/error/404?url=%2Fnowhere%3Ftoken%3Dx%26y%3D%2520 HTTP/1.1"),
        "{}",
        answer.body
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(&["--error-target", &format!("http://{closed}/hub/error")]);
    assert!(proxy.get("/nowhere").body.contains("no route"), "falls back to the plain page");
}

#[test]
fn error_path_serves_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("404.html"), "gone fishing").unwrap();
    let proxy = Proxy::start(&["--error-path", folder.path().to_str().unwrap()]);
    let answer = proxy.get("/x");
    assert_eq!((answer.status, answer.body.as_str()), (404, "gone fishing"));
}

#[test]
fn conflicting_lengths_cannot_smuggle_a_request() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    // Two different lengths: refused.
    let answer = exchange(
        proxy.public,
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 30\r\nConnection: close\r\n\r\nabc",
    );
    assert_eq!(answer.status, 400);
    // A length and chunks, in either order: refused, and nothing of it reaches anybody.
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let (length, chunks) =
        (format!("Content-Length: {}\r\n", hidden.len() + 5), "Transfer-Encoding: chunked\r\n".to_owned());
    for headers in [format!("{length}{chunks}"), format!("{chunks}{length}")] {
        let bad = format!("POST /a HTTP/1.1\r\nHost: x\r\n{headers}\r\n0\r\n\r\n{hidden}");
        assert_eq!(exchange(proxy.public, &bad).status, 400, "{bad}");
        // Behind a good request on the same connection, which is answered.
        let good = "POST /good HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let mut stream = connect(proxy.public);
        stream.write_all(format!("{good}{bad}").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("POST /good"), "{text}");
        assert!(text.contains("HTTP/1.1 400") && !text.contains("hidden"), "{text}");
    }
    // A body may say so.
    let body = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head =
        format!("POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(exchange(proxy.public, &format!("{head}{body}")).status, 200);
    // Chunks that are not last, and chunks in HTTP/1.0: refused.
    for head in [
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(exchange(proxy.public, head).status, 400, "{head}");
    }
}

#[test]
fn oversized_headers_are_refused() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(200_000));
    let mut stream = connect(proxy.public);
    // The proxy may answer and close before it has read everything.
    let _ = stream.write_all(long.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.is_empty() || parse(&bytes).status == 431, "{:?}", String::from_utf8_lossy(&bytes));
    let many: String = (0..200).map(|index| format!("X-{index}: 1\r\n")).collect();
    assert_eq!(exchange(proxy.public, &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).status, 431);
    assert_eq!(proxy.get("/fine").status, 200);
}

#[test]
fn slow_headers_are_cut_off() {
    let proxy = Proxy::start(&["--keep-alive-timeout", "200"]);
    let mut stream = connect(proxy.public);
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let started = Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn host_routing_looks_at_the_host() {
    let proxy = Proxy::start(&["--host-routing"]);
    let target = echo();
    proxy.route("/alice.hub.test/user/alice", &format!("http://{target}/a"));
    let ask = |host: &str| {
        exchange(
            proxy.public,
            &format!("GET /user/alice/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        )
    };
    assert!(ask("alice.hub.test:8000").body.starts_with("GET /a/user/alice/x "));
    assert_eq!(ask("bob.hub.test").status, 404);
    assert_eq!(
        proxy.api("GET", "/api/routes", "").json()["/alice.hub.test/user/alice"]["host"],
        "alice.hub.test"
    );
}

#[test]
fn options_change_what_is_forwarded() {
    let target = echo();
    let proxy = Proxy::start(&[
        "--no-include-prefix",
        "--no-x-forward",
        "--change-origin",
        "--auto-rewrite",
        "--custom-header",
        "X-Mine: 7",
    ]);
    proxy.route("/p", &format!("http://{target}/base"));
    let seen = proxy.get("/p/x?y").body.to_ascii_lowercase();
    assert!(seen.starts_with("get /base/x?y http/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("host: {target}\r\n")) && seen.contains("x-mine: 7\r\n"), "{seen}");
    assert!(!seen.contains("x-forwarded"));
    let answer = proxy.get(&format!("/p/redirect/http://{target}/z"));
    assert_eq!(answer.header("location"), Some("http://hub.test/z"));
}

#[test]
fn unix_sockets_work_on_both_sides() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("target.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    let public = folder.path().join("public.sock");
    let proxy = Proxy::start(&["--metrics-ip", "127.0.0.1"]);
    let target = socket.to_str().unwrap().replace('/', "%2F");
    proxy.route("/s", &format!("http+unix://{target}/"));
    assert_eq!(proxy.get("/s/x").body, "hi");
    assert!(server.join().unwrap().starts_with("GET /s/x HTTP/1.1\r\n"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_nuna-proxy"));
    command.arg("--socket").arg(&public).arg("--api-socket").arg(folder.path().join("api.sock"));
    let _process = nuna_testing::Guarded::start(command.stderr(std::process::Stdio::null()));
    let started = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(&public) {
            Ok(stream) => break stream,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    stream.write_all(b"GET /_chp_healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(parse(&bytes).status, 200);
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{target}"));
    for body in ["", "hello"] {
        let mut client = connect(proxy.public);
        write!(client, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        upstream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.ends_with(format!("\r\n\r\n{body}").as_bytes()) {
            let length = upstream.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..length]);
        }
        drop(client);
        // The end, or a reset: not the time-out.
        match upstream.read(&mut buffer) {
            Ok(length) => assert_eq!(length, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn requests_sent_at_once_are_answered_in_turn() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let mut client = connect(proxy.public);
    let requests: String =
        (0..20).map(|index| format!("GET /n{index} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    client.write_all(requests.as_bytes()).unwrap();
    client.write_all(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let places: Vec<_> = (0..20).map(|index| text.find(&format!("GET /n{index} ")).unwrap()).collect();
    assert!(places.is_sorted() && text.find("GET /last ").unwrap() > places[19], "{text}");
}

#[test]
fn running_requests_finish_after_sigterm_and_new_ones_find_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let mut proxy = Proxy::start(&["--drain-timeout", "20000"]);
    proxy.route("/", &format!("http://{target}"));
    let mut client = connect(proxy.public);
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    let mut buffer = [0; 4096];
    let _ = upstream.read(&mut buffer).unwrap();
    let killed = Command::new("kill").args(["-TERM", &proxy.process.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let started = Instant::now();
    while std::net::TcpStream::connect(proxy.public).is_ok() {
        assert!(started.elapsed() < PATIENCE, "still accepting");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(parse(&bytes).body, "done");
    assert!(proxy.process.wait().unwrap().success());
}

/// Reads one request of a target, head and a body of known length; `None` once the connection has ended.
fn one_request(stream: &mut std::net::TcpStream) -> Option<String> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        seen.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length =
                length.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
    }
}

#[test]
fn a_request_is_sent_again_only_if_that_is_safe() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let (asked, requests) = std::sync::mpsc::channel();
    // Answers the first request of each connection, and closes when the second has come.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            std::thread::spawn(move || {
                let Some(first) = one_request(&mut stream) else { return };
                asked.send(first).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                if let Some(second) = one_request(&mut stream) {
                    asked.send(second).unwrap();
                }
            });
        }
    });
    let proxy = Proxy::start(&["--threads", "1"]);
    proxy.route("/", &format!("http://{target}"));
    let post = "POST /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    for (second, status, sent) in
        [("GET /g HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, 3), (post, 503, 2)]
    {
        // The connection that is kept by an earlier round is used up first.
        while requests.try_recv().is_ok() {}
        assert_eq!(proxy.get("/first").status, 200);
        let first = requests.recv_timeout(PATIENCE).unwrap();
        assert!(first.starts_with("GET /first"), "{first}");
        assert_eq!(exchange(proxy.public, second).status, status, "{second}");
        let line = second.lines().next().unwrap();
        for _ in 1..sent {
            assert!(requests.recv_timeout(PATIENCE).unwrap().starts_with(line));
        }
        assert!(
            requests.recv_timeout(std::time::Duration::from_millis(100)).is_err(),
            "{line} was sent too often"
        );
        // Uses up what was kept.
        let _ = exchange(proxy.public, post);
    }
}

#[test]
fn answers_of_every_framing_leave_the_connection_usable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                while let Some(request) = one_request(&mut stream) {
                    let (answer, closes) = match request.split(' ').nth(1).unwrap() {
                        "/length" => ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", false),
                        "/chunks" => (
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2;x\r\ndy\r\n0\r\nT: 1\r\n\r\n",
                            false,
                        ),
                        "/close" => ("HTTP/1.0 200 OK\r\n\r\nbody", true),
                        "/head" => ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", false),
                        "/none" => ("HTTP/1.1 204 No Content\r\n\r\n", false),
                        "/same" => {
                            ("HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 4\r\n\r\n", false)
                        }
                        "/hints" => (
                            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
                            false,
                        ),
                        _ => return,
                    };
                    // In pieces, which may end anywhere.
                    for piece in answer.as_bytes().chunks(7) {
                        stream.write_all(piece).unwrap();
                        std::thread::yield_now();
                    }
                    if closes {
                        return;
                    }
                }
            });
        }
    });
    for options in [&[][..], &["--no-include-prefix"][..]] {
        // With the second, requests go by way of hyper.
        let proxy = Proxy::start(options);
        proxy.route("/", &format!("http://{target}"));
        let all = [
            ("GET /length", "200"),
            ("GET /chunks", "200"),
            ("GET /close", "200"),
            ("HEAD /head", "200"),
            ("GET /none", "204"),
            ("GET /same", "304"),
            ("GET /hints", "200"),
            ("POST /length", "200"),
        ];
        let mut client = connect(proxy.public);
        for (line, _) in all {
            write!(client, "{line} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        }
        client.write_all(b"GET /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let statuses: Vec<&str> =
            text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
        let expected: Vec<&str> = all.iter().map(|(_, status)| *status).chain(["200"]).collect();
        assert_eq!(statuses, expected, "{text}");
        assert_eq!(text.matches("body").count() + text.matches("bo\r\n2\r\ndy").count(), 6, "{text}");
        assert!(text.ends_with("body") && !text.contains("T: 1"), "{text}");
    }
}

#[test]
fn who_waits_for_a_hub_that_stands_still_is_told() {
    let proxy = Proxy::start(&["--hub-timeout", "400", "--error-target", "http://127.0.0.1:9/hub/error"]);
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let body = format!(r#"{{"target": "http://{address}", "hub": true}}"#);
    assert_eq!(proxy.api("POST", "/api/routes/", &body).status, 201);
    proxy.route("/user/a", &format!("http://{address}"));
    // Plain requests and those of hyper's.
    for headers in ["", "X-Odd: \u{e9}\r\nTransfer-Encoding: chunked\r\n"] {
        let end = if headers.is_empty() { "" } else { "0\r\n\r\n" };
        for method in ["GET", "POST"] {
            let request =
                format!("{method} /hub/home HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{end}");
            let answer = exchange(proxy.public, &request);
            assert_eq!(answer.status, 504, "{request}");
            assert!(answer.body.contains("The hub does not answer"), "{}", answer.body);
            assert_eq!(answer.body.contains("look before you send it again"), method == "POST");
            assert_eq!(answer.header("refresh"), (method == "GET").then_some("10"));
        }
    }
    proxy.logged("no answer within 400ms");
    // Others' servers may think for as long as they like.
    let mut stream = connect(proxy.public);
    stream.write_all(b"GET /user/a/long HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1_500))).unwrap();
    let waited = stream.read(&mut [0; 64]).unwrap_err();
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited}");
    // Killed, rather than stopped: at once.
    drop(silent);
    let answer = proxy.get("/hub/home");
    assert_eq!((answer.status, answer.header("refresh")), (503, Some("10")));
}
