//! What hostile clients and hostile targets try: each is refused, logged, and reaches nobody.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, Proxy, connect, echo, exchange, parse};

/// A target that notes every byte it gets and says `ok` to every head.
fn recorder() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let seen = kept.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length) = stream.read(&mut buffer)
                    && length > 0
                {
                    seen.lock().unwrap().extend_from_slice(&buffer[..length]);
                    let heads = buffer[..length].windows(4).filter(|end| end == b"\r\n\r\n").count();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(heads);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// A target that says these bytes to whoever asks, and closes.
fn says(answer: &[u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.to_vec();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
        }
    });
    address
}

/// All that comes back for these bytes until the connection closes.
fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // The proxy may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
    {
        bytes.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";

/// Requests that two readers may cut apart differently, with another behind them.
fn smuggling() -> Vec<Vec<u8>> {
    let both = |first: &str, second: &str| {
        format!("POST /a HTTP/1.1\r\nHost: x\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n{HIDDEN}").into_bytes()
    };
    let long = format!("Content-Length: {}", HIDDEN.len() + 5);
    let mut all = vec![
        // CL.TE and TE.CL
        both(&long, "Transfer-Encoding: chunked"),
        both("Transfer-Encoding: chunked", &long),
        both("Content-Length: 3", "transfer-ENCODING:chunked"),
        // TE.TE: one of the two is written so that only some see it.
        both("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        both("Transfer-Encoding: xchunked", "X: y"),
        both("Transfer-Encoding : chunked", "X: y"),
        both("Transfer-Encoding: chunked, identity", "X: y"),
        both("Transfer-Encoding:\x0bchunked", "X: y"),
        both("Transfer-Encoding: \x00chunked", "X: y"),
        both("X: y\nTransfer-Encoding : chunked", &long),
        both("X: y\rTransfer-Encoding: chunked", &long),
        both("Foo: bar\r\n Transfer-Encoding: chunked", &long),
        both(" Content-Length: 3", "X: y"),
        // Two lengths, and lengths that are none.
        both("Content-Length: 3", &long),
        both("Content-Length: 0, 3", "X: y"),
        both("Content-Length: +3", "X: y"),
        both("Content-Length: -3", "X: y"),
        both("Content-Length: 0x3", "X: y"),
        both("Content-Length: 3 4", "X: y"),
        both("Content-Length: ", "X: y"),
        both("Content-Length: 18446744073709551619", "X: y"),
        both("Content-Length : 3", "X: y"),
        both("Content-Length\t: 3", "X: y"),
        both("Content-Length: 3\0", "X: y"),
        // Names and lines that are none.
        both(": nameless", "X: y"),
        both("no colon", "X: y"),
        both("X: a\0b", "Y: z"),
        both("X\0: a", "Y: z"),
        both("X: a\rY: b", "Y: z"),
    ];
    // Chunks that only some can read.
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
    ] {
        let head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        all.push(format!("{head}{chunks}{HIDDEN}").into_bytes());
    }
    for line in [
        "GET /a HTTP/1.1 \r\nHost: x",
        "GET /a HTTP/9.1\r\nHost: x",
        "GET  /a HTTP/1.1\r\nHost: x",
        "GET /a b HTTP/1.1\r\nHost: x",
        "GET /a\x00 HTTP/1.1\r\nHost: x",
        "G\x01T /a HTTP/1.1\r\nHost: x",
        "GET /a HTTP/1.1\r\n Host: x",
        "GET a HTTP/1.1\r\nHost: x",
        "GET /a HTTP/1.1\r\nHost: x\r\nHost: y",
        "GET /a HTTP/1.1\r\nHost: x/../y",
        "GET /a HTTP/1.1\r\nHost: user@x",
        "GET /a HTTP/1.1\r\nHost: x y",
        "GET /a HTTP/1.1\r\nX: y",
        "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nHost: x",
    ] {
        all.push(format!("{line}\r\n\r\n").into_bytes());
    }
    all
}

#[test]
fn requests_that_can_be_read_in_two_ways_reach_nobody() {
    let proxy = Proxy::start(&[]);
    let (target, seen) = recorder();
    proxy.route("/", &format!("http://{target}"));
    let good = "GET /good HTTP/1.1\r\nHost: x\r\n\r\n";
    for bad in smuggling() {
        let shown = String::from_utf8_lossy(&bad).into_owned();
        for before in ["", good] {
            seen.lock().unwrap().clear();
            let answers = raw(proxy.public, &[before.as_bytes(), &bad].concat());
            let rest = answers.strip_prefix("HTTP/1.1 200 ").unwrap_or(&answers);
            assert_eq!(rest.len() < answers.len(), !before.is_empty(), "{shown:?} gave {answers:?}");
            assert!(!rest.contains("HTTP/1.1 200"), "{shown:?} gave {answers:?}");
            let statuses: Vec<&str> =
                rest.match_indices("HTTP/1.1 ").map(|(at, _)| &rest[at + 9..at + 12]).collect();
            // Within the body it is too late for an answer of ours, if the target was already asked.
            assert!(statuses.iter().all(|status| ["400", "503"].contains(status)), "{shown:?}: {answers:?}");
            let reached = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
            assert!(!reached.contains("hidden"), "{shown:?} reached the target as {reached:?}");
        }
    }
    proxy.logged("refused what is no proper request");
    proxy.logged("more than one Host");
    // And still serves.
    assert_eq!(proxy.get("/fine").body, "ok");
}

#[test]
fn extensions_of_chunks_and_trailers_go_no_further() {
    let proxy = Proxy::start(&[]);
    let (target, seen) = recorder();
    proxy.route("/", &format!("http://{target}"));
    let head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    raw(proxy.public, format!("{head}5;evil=\"1\"\r\nhello\r\n0\r\nX-Admin: yes\r\n\r\n").as_bytes());
    let reached = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(
        reached.contains("hello") && !reached.contains("evil") && !reached.contains("Admin"),
        "{reached}"
    );
}

#[test]
fn a_client_cannot_take_headers_away_or_put_them_in() {
    for options in [&[][..], &["--no-include-prefix"][..]] {
        // With the second, requests go by way of hyper.
        let proxy = Proxy::start(options);
        proxy.route("/", &format!("http://{}", echo()));
        let seen = proxy
            .get_with("/", "Connection: authorization, cookie, host, x-forwarded-for, origin, x-own\r\nAuthorization: token a\r\nCookie: c=1\r\nOrigin: http://hub.test\r\nX-Own: 1\r\nProxy-Authorization: Basic x\r\n")
            .body
            .to_ascii_lowercase();
        for line in
            ["authorization: token a", "cookie: c=1", "origin: http://hub.test", "x-forwarded-for: 127.0.0.1"]
        {
            assert!(seen.contains(&format!("\n{line}\r\n")), "{line} is missing in {seen}");
        }
        for name in ["x-own", "connection", "proxy-authorization"] {
            assert!(!seen.contains(&format!("\n{name}:")), "{name} passed in {seen}");
        }
        // A carriage return or line feed in a path is none in what the target reads.
        let seen = proxy.get("/x%0d%0aX-Injected:%20yes?%0d%0aY:%201").body;
        assert!(seen.starts_with("GET /x%0d%0aX-Injected:%20yes?%0d%0aY:%201 HTTP/1.1\r\n"), "{seen}");
    }
}

#[test]
fn upgrades_to_anything_but_websockets_are_not_passed_on() {
    let proxy = Proxy::start(&[]);
    let (target, seen) = recorder();
    proxy.route("/", &format!("http://{target}"));
    for protocol in ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c"] {
        seen.lock().unwrap().clear();
        let head = format!(
            "GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        );
        let answers = raw(proxy.public, head.as_bytes());
        assert!(answers.starts_with("HTTP/1.1 200") && !answers.contains("101"), "{answers}");
        let reached = String::from_utf8_lossy(&seen.lock().unwrap()).to_ascii_lowercase();
        assert!(!reached.contains("upgrade") && !reached.contains("pri *"), "{protocol}: {reached}");
        assert!(!reached.contains("http2-settings"), "{protocol}: {reached}");
    }
    // A target that changes protocols although nobody asked is cut off, on both ways.
    let target =
        says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nbytes");
    proxy.route("/turns", &format!("http://{target}"));
    for head in ["", "TE: trailers\r\n"] {
        let answer = proxy.get_with("/turns/x", head);
        assert!((500..600).contains(&answer.status) && !answer.body.contains("bytes"), "{answer:?}");
    }
}

#[test]
fn paths_lead_to_the_route_they_resolve_to_and_to_no_other() {
    let proxy = Proxy::start(&[]);
    let target = echo();
    for user in ["alice", "bob"] {
        proxy.route(&format!("/user/{user}"), &format!("http://{target}/for-{user}"));
    }
    // As a browser resolves it, and its server authorizes the one it leads to.
    for path in
        ["/user/alice/../bob/x", "/user/alice/%2e%2e/bob/x", "/user/alice/.%2E/bob/x", "/user/./bob/x"]
    {
        assert!(proxy.get(path).body.starts_with(&format!("GET /for-bob{path} ")), "{path}");
    }
    // An encoded slash separates for routes, as in configurable-http-proxy, but is not resolved.
    for path in ["/user/alice%2F..%2Fbob/x", "/user/alice/%252e%252e/bob/x", "/user/alice/..%252fbob/x"] {
        assert!(proxy.get(path).body.starts_with(&format!("GET /for-alice{path} ")), "{path}");
    }
    for path in ["/user/alice/../bobby", "/user/alice/../..", "/user/bob%00", "/user/alice%2e", "/USER/bob/x"]
    {
        assert_eq!(proxy.get(path).status, 404, "{path}");
    }
    for path in ["/user/%", "/user/%zz/x", "/user/%c0%ae%c0%ae/bob", "/user/bob%ff/x"] {
        assert_eq!(proxy.get(path).status, 400, "{path}");
    }
    // The address of the API, in any writing, is a path like others on the public side.
    for path in ["/api/routes", "//api/routes", "/%61pi/routes", "/x/../api/routes"] {
        assert_eq!(proxy.get(path).status, 404, "{path}");
    }
    // A whole address as target of a request counts with its host.
    let absolute = raw(
        proxy.public,
        b"GET http://other.test/user/bob/x HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n\r\n",
    );
    assert!(
        parse(absolute.as_bytes()).body.to_ascii_lowercase().contains("host: other.test\r\n"),
        "{absolute}"
    );
    assert_eq!(
        exchange(proxy.public, "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .status,
        405
    );
}

#[test]
fn what_untrusted_clients_say_of_themselves_is_dropped_if_asked_to() {
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /p\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Scheme: https\r\n";
    for more in [&[][..], &["--no-include-prefix"][..]] {
        let proxy = Proxy::start(&[&["--trusted-proxy", "10.0.0.0/8"][..], more].concat());
        proxy.route("/", &format!("http://{}", echo()));
        let seen = proxy.get_with("/x", lies).body.to_ascii_lowercase();
        for lie in ["6.6.6.6", "evil", "prefix:", "https"] {
            assert!(!seen.contains(lie), "{lie} passed in {seen}");
        }
        assert!(
            seen.contains("x-forwarded-for: 127.0.0.1\r\n")
                && seen.contains("x-forwarded-host: hub.test\r\n")
        );
        // Those in front of us, and everybody if nobody is named, are believed.
        for options in [&["--trusted-proxy", "127.0.0.1"][..], &[][..]] {
            let proxy = Proxy::start(&[options, more].concat());
            proxy.route("/", &format!("http://{}", echo()));
            let seen = proxy.get_with("/x", lies).body.to_ascii_lowercase();
            for line in [
                "x-forwarded-for: 6.6.6.6,127.0.0.1",
                "x-forwarded-proto: https,http",
                "x-forwarded-host: evil",
                "x-real-ip: 6.6.6.6",
                "forwarded: for=6.6.6.6",
            ] {
                assert!(seen.contains(&format!("\n{line}\r\n")), "{line} is missing in {seen}");
            }
        }
    }
}

#[test]
fn the_origin_of_a_websocket_reaches_who_judges_it() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let head = "GET /ws HTTP/1.1\r\nHost: hub.test\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.test\r\n\r\n";
    // The target here knows no WebSockets and repeats what it was asked.
    let seen = raw(proxy.public, head.as_bytes()).to_ascii_lowercase();
    assert!(
        seen.contains("\norigin: http://evil.test\r\n") && seen.contains("\nhost: hub.test\r\n"),
        "{seen}"
    );
}

#[test]
fn targets_cannot_desynchronize_a_client() {
    let proxy = Proxy::start(&[]);
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (index, answer) in [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nX : a\r\n\r\n{next}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n X: folded\r\n\r\n{next}"),
        "evil".to_owned(),
        String::new(),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(100_000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(200)),
        "HTTP/1.1 103 Early\r\n\r\n".repeat(1000),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.route(&format!("/t{index}"), &format!("http://{}", says(answer.as_bytes())));
        let request = format!("GET /t{index}/x HTTP/1.1\r\nHost: x\r\n\r\n");
        let last = "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answers = raw(proxy.public, format!("{request}{last}").as_bytes());
        assert!(answers.starts_with("HTTP/1.1 503"), "{answer:.90} gave {answers}");
        assert!(answers.contains("HTTP/1.1 404") && !answers.contains("evil"), "{answer:.90} gave {answers}");
    }
    // More than it promised: the rest is not the next answer.
    proxy.route(
        "/more",
        &format!(
            "http://{}",
            says(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{next}").as_bytes())
        ),
    );
    let twice =
        "GET /more HTTP/1.1\r\nHost: x\r\n\r\nGET /more HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = raw(proxy.public, twice.as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(!answers.contains("evil"), "{answers}");
    // Broken off within the body, and chunks that are none: the client's connection ends, and the answer does not.
    for (path, body) in [
        ("/short", "Content-Length: 9\r\n\r\nhi"),
        ("/chunks", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
        ("/nonsense", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n5\nevil\r\n0\r\n\r\n"),
    ] {
        proxy.route(path, &format!("http://{}", says(format!("HTTP/1.1 200 OK\r\n{body}").as_bytes())));
        let twice = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
        let answers = raw(proxy.public, twice.as_bytes());
        assert!(!answers.contains("404") && !answers.contains("0\r\n\r\n"), "{path} gave {answers}");
        assert!(!answers.contains("evil"), "{path} gave {answers}");
    }
    proxy.logged("two lengths");
}

#[test]
fn oversized_everything_is_refused() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let long = "a".repeat(100_000);
    for (request, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), ["414", "431"]),
        (format!("GET /?{long} HTTP/1.1\r\nHost: x\r\n\r\n"), ["414", "431"]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), ["431", "400"]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{long}: x\r\n\r\n"), ["431", "400"]),
        (format!("{long} / HTTP/1.1\r\nHost: x\r\n\r\n"), ["431", "400"]),
        // Each part by itself would do.
        (format!("{0} /{0} HTTP/1.1\r\nHost: x\r\nX: {0}\r\n\r\n", &long[..25_000]), ["431", "400"]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(101)), ["431", "400"]),
    ] {
        let answers = raw(proxy.public, request.as_bytes());
        let is_refused = answers.is_empty() || status.iter().any(|status| answers[9..].starts_with(status));
        assert!(is_refused, "{request:.60} gave {answers:.200}");
    }
    // The API takes a route's worth of data, and short paths.
    let target = format!(r#"{{"target": "http://127.0.0.1:1", "x": "{}"}}"#, "a".repeat(2 << 20));
    let head = format!(
        "POST /api/routes/x HTTP/1.1\r\nHost: x\r\nAuthorization: token {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        common::TOKEN,
        target.len()
    );
    let answers = raw(proxy.api, format!("{head}{target}").as_bytes());
    assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 413"), "{answers}");
    assert_eq!(proxy.api("GET", "/api/routes/x", "").status, 404);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(proxy.api("POST", "/api/routes/x", &deep).status, 400);
    assert_eq!(proxy.get("/fine").status, 200);
}

#[test]
fn slow_clients_are_cut_off_and_slow_targets_are_not() {
    let limits = ["--client-timeout", "300", "--keep-alive-timeout", "300"];
    let proxy = Proxy::start(&limits);
    proxy.route("/", &format!("http://{}", echo()));
    // Heads, small bodies and large ones, of which a piece comes and then nothing.
    for (start, expected) in [
        ("GET / HTTP/1.1\r\nHost:", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", ""),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n1", "HTTP/1.1 408"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", "HTTP/1.1 408"),
    ] {
        let started = Instant::now();
        let answers = raw(proxy.public, start.as_bytes());
        assert!(answers.starts_with(expected), "{start:?} gave {answers:?}");
        let taken = started.elapsed();
        assert!(taken >= Duration::from_millis(250) && taken < PATIENCE, "{start:?} took {taken:?}");
    }
    proxy.logged("a request was not finished within");
    proxy.logged("the client sent nothing for");
    // A byte now and then does not help a head, and does help a body.
    let mut stream = connect(proxy.public);
    let started = Instant::now();
    while stream.write_all(b"G").is_ok() && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < PATIENCE, "a head may take for ever");
    // Pieces come well within the limit, and all of them take longer.
    let proxy = Proxy::start(&["--client-timeout", "2000", "--keep-alive-timeout", "2000"]);
    proxy.route("/", &format!("http://{}", echo()));
    let mut stream = connect(proxy.public);
    stream
        .write_all(b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(350));
        stream.write_all(b"1\r\na\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(parse(&bytes).body.ends_with("aaaaaaaa"), "{}", String::from_utf8_lossy(&bytes));
    // A target that thinks for longer, as in long polling.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.route("/slow", &format!("http://{}", listener.local_addr().unwrap()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            std::thread::sleep(Duration::from_millis(2_300));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
            std::thread::sleep(Duration::from_millis(2_300));
            let _ = stream.write_all(b"1\r\nb\r\n0\r\n\r\n");
        }
    });
    for head in ["", "TE: trailers\r\n"] {
        assert_eq!(proxy.get_with("/slow/x", head).body, "ab");
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let proxy = Proxy::start(&["--client-timeout", "300"]);
    proxy.route("/", &format!("http://{target}"));
    for head in ["", "TE: trailers\r\n"] {
        let mut client = connect(proxy.public);
        write!(client, "GET /big HTTP/1.1\r\nHost: x\r\n{head}\r\n").unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        upstream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = upstream.read(&mut [0; 4096]).unwrap();
        let started = Instant::now();
        let mut sent = upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n");
        while sent.is_ok() {
            sent = upstream.write_all(&[b'x'; 1 << 16]);
        }
        assert_ne!(sent.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "the target was left waiting");
        assert!(started.elapsed() < PATIENCE);
        drop(client);
    }
}

#[test]
fn names_of_routes_cannot_write_lines_of_the_log() {
    let proxy = Proxy::start(&[]);
    let target = format!("http://{}", echo());
    proxy.route("/user/x%0a2026-01-01T00:00:00.000Z%20[ConfigProxy]%20info:%20forged", &target);
    let line = proxy.logged("Route added /user/x");
    assert!(line.contains("forged"), "the line was cut in two: {line:?}");
    proxy.get("/nowhere/%0aforged2%1b[31m");
    let line = proxy.logged("forged2");
    assert!(line.contains("404 GET") && !line.contains('\u{1b}'), "{line:?}");
}

#[test]
fn every_guess_of_the_token_is_refused_and_logged() {
    let proxy = Proxy::start(&[]);
    let token = common::TOKEN;
    let almost = &token[..token.len() - 1];
    for given in
        ["".to_owned(), almost.to_owned(), format!("{token}x"), token.to_uppercase(), format!("x{token}")]
    {
        let header = format!("Authorization: token {given}\r\n");
        assert_eq!(proxy.api_as("GET", "/api/routes", "", &header).status, 403, "{given:?}");
    }
    proxy.logged("warn: 403 GET /api/routes");
    // In the address it is no token, and is not written down.
    assert_eq!(proxy.api_as("GET", &format!("/api/routes?token={token}"), "", "").status, 403);
    assert!(!proxy.logged("warn: 403 GET").contains(token));
}
