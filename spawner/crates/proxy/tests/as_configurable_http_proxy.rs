//! What configurable-http-proxy's own tests hold it to, held against this proxy. The table of options and answers is in
//! `docs/reference/proxy.md`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{PATIENCE, Proxy, echo, exchange, parse};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A port that nobody listens on.
fn nobody() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// What the target was asked for, as `GET /path`.
fn asked(proxy: &Proxy, path: &str) -> String {
    let answer = proxy.get(path);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body.split(" HTTP/1.1").next().unwrap().to_owned()
}

fn next_millisecond() {
    std::thread::sleep(Duration::from_millis(3));
}

#[test]
fn the_log_is_on_standard_output_in_the_known_words() {
    let target = format!("http://{}", echo());
    let proxy = Proxy::start(&["--default-target", &target, "--log-level", "DEBUG"]);
    let added = proxy.logged("Route added / ->");
    let (stamp, rest) = added.split_once(' ').unwrap();
    assert_eq!(rest, format!("[ConfigProxy] info: Route added / -> {target}"));
    assert!(stamp.len() == 24 && stamp.ends_with('Z') && stamp.as_bytes()[10] == b'T', "{stamp}");
    assert!(proxy.logged("Adding route / ->").ends_with(&target));
    assert!(proxy.logged("Proxying http://").ends_with(&format!("{} to {target}", proxy.public)));
    proxy.route("/user/a", &target);
    assert!(proxy.logged("Route added /user/a").ends_with(&format!("-> {target}")));
    assert!(proxy.logged(" 201 POST ").contains("info: 201 POST /api/routes/user/a"));
    proxy.get("/user/a/x?token=secret");
    assert!(proxy.logged("PROXY WEB").contains("debug: PROXY WEB /user/a/x to "));
    proxy.api("DELETE", "/api/routes/user/a", "");
    proxy.logged("info: Removing route /user/a");
    proxy.api("DELETE", "/api/routes/user/a", "");
    proxy.logged("warn: 404 DELETE /api/routes/user/a");
    proxy.signal("TERM");
    proxy.logged("warn: Terminated");
}

#[test]
fn log_level_is_obeyed() {
    let proxy = Proxy::start(&["--log-level", "info"]);
    proxy.get("/nowhere");
    assert!(proxy.logged("404 GET").contains("error: 404 GET /nowhere"));
    let proxy = Command::new(env!("CARGO_BIN_EXE_nuna-proxy"))
        .args(["--log-level", "warn", "--port", "1", "--ip", "192.0.2.1"])
        .env("CONFIGPROXY_AUTH_TOKEN", "t")
        .output()
        .unwrap();
    assert!(proxy.stdout.is_empty() && !proxy.status.success());
    assert!(String::from_utf8_lossy(&proxy.stderr).contains("cannot listen on 192.0.2.1:1"));
}

#[test]
fn a_missing_token_is_warned_about_and_everybody_may_change_routes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuna-proxy"));
    let port = free_port();
    command.args(["--ip", "127.0.0.1", "--port", "0", "--api-ip", "127.0.0.1", "--api-port"]);
    command.arg(port.to_string()).env_remove("CONFIGPROXY_AUTH_TOKEN").stdout(std::process::Stdio::piped());
    let mut process = nuna_testing::Guarded::start(&mut command);
    let log = std::io::BufReader::new(process.stdout.take().unwrap());
    let line = std::io::BufRead::lines(log).map_while(Result::ok).find(|line| line.contains("warn")).unwrap();
    assert!(line.ends_with("[ConfigProxy] warn: REST API is not authenticated."), "{line}");
    let api: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let started = Instant::now();
    while std::net::TcpStream::connect(api).is_err() {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(exchange(api, "GET /api/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status, 200);
}

#[test]
fn target_path_comes_first_and_the_prefix_stays() {
    let proxy = Proxy::start(&[]);
    let target = format!("http://{}/foo", echo());
    proxy.route("/bar", &target);
    proxy.route("/b@r/b%20r", &target);
    assert_eq!(asked(&proxy, "/bar/rest/of/it"), "GET /foo/bar/rest/of/it");
    assert_eq!(asked(&proxy, "/bar?query=foo"), "GET /foo/bar?query=foo");
    assert_eq!(asked(&proxy, "/b%40r/b%20r/rest"), "GET /foo/b%40r/b%20r/rest");
    assert_eq!(asked(&proxy, "/b@r/b%20r/rest"), "GET /foo/b@r/b%20r/rest");
}

#[test]
fn prefix_and_target_path_can_be_left_out() {
    let target = format!("http://{}/foo", echo());
    for (options, expected) in [
        (vec!["--no-prepend-path"], "GET /bar/rest"),
        (vec!["--no-include-prefix"], "GET /foo/rest"),
        (vec!["--no-include-prefix", "--no-prepend-path"], "GET /rest"),
    ] {
        let proxy = Proxy::start(&options);
        proxy.route("/bar", &target);
        assert_eq!(asked(&proxy, "/bar/rest"), expected, "{options:?}");
    }
}

#[test]
fn answers_say_that_the_connection_is_kept_or_closed() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let mut stream = common::connect(proxy.public);
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        // The answer repeats the request's head after its own.
        while seen.windows(4).filter(|window| window == b"\r\n\r\n").count() < 2 {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "closed");
            seen.extend_from_slice(&buffer[..length]);
        }
        assert_eq!(parse(&seen).header("connection"), Some("keep-alive"));
    }
    assert_eq!(proxy.get("/").header("connection"), Some("close"));
}

#[test]
fn custom_headers_are_trimmed_and_bad_ones_refused() {
    let proxy = Proxy::start(&["--custom-header", "k1: v1", "--custom-header", " k2 : host:123 "]);
    proxy.route("/", &format!("http://{}", echo()));
    let seen = proxy.get("/").body;
    assert!(seen.contains("k1: v1\r\n") && seen.contains("k2: host:123\r\n"), "{seen}");
    let refused =
        Command::new(env!("CARGO_BIN_EXE_nuna-proxy")).args(["--custom-header", "invalid"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("colon was expected"));
}

#[test]
fn error_pages_are_html_that_begins_with_the_code() {
    let proxy = Proxy::start(&[]);
    proxy.route("/missing", &nobody());
    for (path, code, words) in [("/nope", 404, "404:"), ("/missing/x", 503, "503:")] {
        let answer = proxy.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (code, Some("text/html")), "{path}");
        assert!(answer.body.contains(words), "{}", answer.body);
    }
}

#[test]
fn error_pages_without_a_file_of_their_own_come_from_error_html() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("404.html"), "lost").unwrap();
    std::fs::write(folder.path().join("error.html"), "broken").unwrap();
    let proxy = Proxy::start(&["--error-path", folder.path().to_str().unwrap()]);
    proxy.route("/missing", &nobody());
    assert_eq!(proxy.get("/nope").body, "lost");
    let answer = proxy.get("/missing/x");
    assert_eq!((answer.status, answer.body.as_str()), (503, "broken"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
}

#[test]
fn error_target_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("errors.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npage")
            .unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    let target = format!("http+unix://{}", socket.to_str().unwrap().replace('/', "%2F"));
    let proxy = Proxy::start(&["--error-target", &target]);
    let answer = proxy.get("/foo/bar");
    assert_eq!((answer.status, answer.body.as_str()), (404, "page"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /404?url=%2Ffoo%2Fbar HTTP/1.1\r\n"), "{request}");
}

#[test]
fn failures_are_no_activity_and_uploads_are() {
    let proxy = Proxy::start(&[]);
    proxy.route("/missing", &nobody());
    proxy.route("/here", &format!("http://{}", echo()));
    let before = proxy.activity("/missing");
    next_millisecond();
    assert_eq!(proxy.get("/missing/prefix").status, 503);
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = format!("GET /missing/ws HTTP/1.1\r\nHost: x\r\n{websocket}\r\n");
    assert_eq!(exchange(proxy.public, &request.replace("Upgrade\r\n", "Upgrade, close\r\n")).status, 503);
    assert_eq!(proxy.activity("/missing"), before);
    // Sending is activity even if the answer is no success.
    let before = proxy.activity("/here");
    next_millisecond();
    let post =
        "POST /here/status/500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(exchange(proxy.public, post).status, 500);
    assert!(proxy.activity("/here") > before);
}

#[test]
fn redirects_are_left_alone_unless_told_otherwise() {
    let target = echo();
    let proxy = Proxy::start(&[]);
    proxy.route("/p", &format!("http://{target}"));
    let location = "http://foo.test:12345/whatever";
    assert_eq!(proxy.get(&format!("/p/redirect/{location}")).header("location"), Some(location));
    let proxy = Proxy::start(&["--auto-rewrite", "--protocol-rewrite", "https"]);
    proxy.route("/p", &format!("http://{target}"));
    // The host counts, not how the target speaks of itself.
    let answer = proxy.get(&format!("/p/redirect/https://{target}/whatever"));
    assert_eq!(answer.header("location"), Some("https://hub.test/whatever"));
    assert_eq!(proxy.get(&format!("/p/redirect/{location}")).header("location"), Some(location));
}

#[test]
fn http_is_redirected_to_https() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = common::certificate(folder.path(), "localhost");
    let (from, port) = (free_port(), free_port());
    let start = |more: &[&str]| {
        let (from, port) = (from.to_string(), port.to_string());
        let mut arguments =
            vec!["--ssl-cert", &cert, "--ssl-key", &key, "--redirect-port", &from, "--port", &port];
        arguments.extend(more);
        let proxy = Proxy::start(&arguments);
        let line = proxy.logged("Added HTTP to HTTPS redirection from ");
        (proxy, line)
    };
    let address: SocketAddr = format!("127.0.0.1:{from}").parse().unwrap();
    let ask =
        |head: &str| exchange(address, &format!("GET /a?b=c HTTP/1.1\r\n{head}Connection: close\r\n\r\n"));
    let (first, line) = start(&[]);
    assert!(line.ends_with(&format!(" to {port}")), "{line}");
    let answer = ask("Host: hub.test:80\r\n");
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some(format!("https://hub.test:{port}/a?b=c").as_str()));
    assert_eq!(ask("").status, 400);
    drop(first);
    let (_second, _) = start(&["--redirect-to", "443"]);
    assert_eq!(ask("Host: hub.test\r\n").header("location"), Some("https://hub.test/a?b=c"));
}

#[test]
fn metrics_can_be_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("metrics.sock");
    let proxy = Proxy::start(&["--metrics-socket", socket.to_str().unwrap()]);
    assert_eq!(proxy.get("/nowhere").status, 404);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = parse(&bytes).body;
    assert!(text.contains("\nrequests_proxy{status=\"404\"} 1\n"), "{text}");
    drop(proxy);
}

#[test]
fn a_broken_path_is_the_client_s_mistake() {
    // configurable-http-proxy says 500: a scanner's nonsense would look like a fault of the hub.
    let proxy = Proxy::start(&["--error-target", &format!("http://{}", echo())]);
    let answer = proxy.get("/%");
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("GET /400?url=%2F%25 "), "{}", answer.body);
}

#[test]
fn idle_connections_to_a_target_that_went_are_not_used() {
    // Answers once on each connection, then closes it; a second request must open another.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let proxy = Proxy::start(&["--threads", "1"]);
    proxy.route("/", &format!("http://{target}"));
    for round in 0..20 {
        let answer = proxy.get("/");
        assert_eq!((answer.status, answer.body.as_str()), (200, "hi"), "round {round}");
        next_millisecond();
    }
}
