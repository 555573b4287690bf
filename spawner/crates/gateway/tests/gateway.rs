//! The gateway as browsers, clusters and strangers meet it: a fake hub, the real dashboard, sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use futures::{SinkExt, StreamExt};
use nuna_dashboard::protocol::Record;
use nuna_dashboard::{Dashboard, Event, Recorder, Settings};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

async fn dashboard() -> (Recorder, Dashboard) {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Dashboard::start(Settings::new("local-1", bind, CLUSTER_TOKEN)).await.unwrap()
}

fn origin(world: &World) -> String {
    format!("Origin: http://{}\r\n", world.gateway)
}

/// Alice with a registered cluster: her server's token and her browser's cookie.
async fn alice(world: &World, dashboard: &str) -> (String, String) {
    let token = world.hub.add_server_token("alice");
    let registered = world.register(&token, dashboard, "").await;
    assert_eq!(registered.status, 200, "{registered:?}");
    (token, world.sign_in("alice").await)
}

#[tokio::test]
async fn an_owner_signs_in_finds_the_cluster_and_sees_its_dashboard() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let list = "/services/nuna/api/clusters";
    let stranger = world.get(list, "").await;
    assert_eq!((stranger.status, stranger.code().as_str()), (401, "not_signed_in"));
    let (_, cookie) = alice(&world, &dashboard.url()).await;

    let listed = world.get(list, &cookie).await;
    assert_eq!(listed.status, 200);
    let clusters: serde_json::Value = serde_json::from_str(&listed.body).unwrap();
    let expected = serde_json::json!([{
        "user": "alice", "name": "local-1", "started": "2026-01-31T12:00:00Z", "origin": "kernel-7",
        "url": "/services/nuna/clusters/alice/local-1/",
    }]);
    assert_eq!(clusters, expected);

    let home = world.get("/services/nuna/", &cookie).await;
    assert!(
        home.status == 200 && home.body.contains("href=\"/services/nuna/clusters/alice/local-1/\""),
        "{home:?}"
    );
    let url = "/services/nuna/clusters/alice/local-1/";
    for (path, kind, part) in [
        ("", "text/html; charset=utf-8", "page.js"),
        ("page.js", "text/javascript; charset=utf-8", "TaskStreamView"),
        ("page.css", "text/css; charset=utf-8", ".nuna-view"),
        ("api/cluster", "application/json", "local-1"),
        ("api/tasks?limit=5", "application/json", "["),
        ("api/failures", "application/json", "["),
        ("metrics", "text/plain; version=0.0.4; charset=utf-8", "nuna_"),
    ] {
        let answer = world.get(&format!("{url}{path}"), &cookie).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}: {answer:?}");
        assert!(answer.body.contains(part), "{path}: {}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("frame-ancestors 'self'") && policy.contains("default-src 'none'"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for path in
        ["api/identity?nonce=0011223344556677", "api/../metrics", "api%2fidentity", "favicon.ico", "%2e%2e/x"]
    {
        let answer = world.get(&format!("{url}{path}"), &cookie).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let odd_query = world.get(&format!("{url}api/tasks?a=<b>"), &cookie).await;
    assert_eq!(odd_query.status, 400, "{odd_query:?}");
    let post = world.send("POST", &format!("{url}api/tasks"), &cookie, "{}").await;
    assert_eq!(post.status, 405, "nothing is changed through here");
}

#[tokio::test]
async fn a_page_without_sign_in_leads_through_the_hub_and_back() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let token = world.hub.add_server_token("alice");
    assert_eq!(world.register(&token, &dashboard.url(), "").await.status, 200);
    let page = "/services/nuna/clusters/alice/local-1/";
    let sent_away = world.get(page, "").await;
    assert_eq!(sent_away.status, 302);
    let login = sent_away.header("location").unwrap().strip_prefix(PREFIX).unwrap().to_owned();
    world.hub.sign_in("alice");
    let (cookie, next) = world.dance(&login).await;
    assert_eq!(next, page);
    assert_eq!(world.get(&next, &cookie).await.status, 200);
    // Who is signed in is not sent round again; and only to our own pages.
    let again = world.get(&format!("{PREFIX}login?next={page}"), &cookie).await;
    assert_eq!((again.status, again.header("location")), (302, Some(page)));
    let elsewhere = world.get(&format!("{PREFIX}login?next=https://evil.example/"), &cookie).await;
    assert_eq!(elsewhere.header("location"), Some(PREFIX));
    // No script gets a redirect to the hub: it could not follow it.
    for path in ["api/cluster", "page.js", "ws"] {
        assert_eq!(world.get(&format!("{page}{path}"), "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_sign_in_that_this_browser_did_not_begin_is_refused() {
    let world = world().await;
    world.hub.sign_in("mallory");
    let begun = world.get("/services/nuna/login", "").await;
    let state_cookie = begun.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let authorized = send(world.hub_address, "GET", begun.header("location").unwrap(), "", "").await;
    let callback = authorized.header("location").unwrap().to_owned();
    // Mallory's callback in Alice's browser, which has no such cookie, or one from a sign-in of hers.
    let others = world.get("/services/nuna/login", "").await;
    let others = others.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let (name, _) = state_cookie.split_once('=').unwrap();
    let forged = format!("{name}={}", others.split_once('=').unwrap().1);
    for cookie in ["", &others, &forged, &format!("{name}=abc.def")] {
        let header = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
        let answer = world.get(&callback, &header).await;
        assert_eq!(answer.status, 403, "{cookie}: {answer:?}");
        assert!(answer.header("set-cookie").is_none());
    }
    assert_eq!(world.hub.0.lock().unwrap().issued, 0, "no code was traded");
    // The code is good once.
    let header = format!("Cookie: {state_cookie}\r\n");
    assert_eq!(world.get(&callback, &header).await.status, 302);
    assert_eq!(world.get(&callback, &header).await.status, 403);
    let refused =
        world.get("/services/nuna/oauth_callback?error=denied&error_description=%3Cb%3Eno%3C/b%3E", "").await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("&lt;b&gt;no") && !refused.body.contains("<b>no"), "{}", refused.body);
}

#[tokio::test]
async fn others_see_nothing_of_a_cluster() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let (alices, alices_cookie) = alice(&world, &dashboard.url()).await;
    let cookie = world.sign_in("bob").await;
    let bobs = world.hub.add_server_token("bob");
    assert_eq!(world.get("/services/nuna/api/clusters", &cookie).await.body, "[]");
    for path in ["", "api/cluster", "metrics"] {
        let theirs = world.get(&format!("/services/nuna/clusters/alice/local-1/{path}"), &cookie).await;
        let nobodys = world.get(&format!("/services/nuna/clusters/alice/no-such/{path}"), &cookie).await;
        assert_eq!((theirs.status, nobodys.status), (404, 404), "{theirs:?}");
    }
    // Bob's name in the path does not lead to Alice's cluster, and he cannot take it off her list.
    assert_eq!(world.get("/services/nuna/clusters/bob/local-1/api/cluster", &cookie).await.status, 404);
    let path = "/services/nuna/api/clusters/local-1";
    let removed = world.send("DELETE", path, &format!("Authorization: token {bobs}\r\n"), "").await;
    assert_eq!(removed.status, 204);
    assert_eq!(
        world.get("/services/nuna/clusters/alice/local-1/api/cluster", &alices_cookie).await.status,
        200
    );
    // A cookie changes nothing, whoever's it is: only the token does.
    assert_eq!(world.send("DELETE", path, &alices_cookie, "").await.status, 401);
    let removed = world.send("DELETE", path, &format!("Authorization: token {alices}\r\n"), "").await;
    assert_eq!(removed.status, 204);
    assert_eq!(
        world.get("/services/nuna/clusters/alice/local-1/api/cluster", &alices_cookie).await.status,
        404
    );
}

#[tokio::test]
async fn a_page_of_another_site_gets_nothing_with_the_cookie() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let (token, cookie) = alice(&world, &dashboard.url()).await;
    let paths = ["/services/nuna/api/clusters", "/services/nuna/clusters/alice/local-1/api/cluster"];
    for path in paths {
        for foreign in
            ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
        {
            let answer = world.get(path, &format!("{cookie}{foreign}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_origin"), "{path} {foreign}");
        }
        assert_eq!(world.get(path, &format!("{cookie}{}", origin(&world))).await.status, 200);
        // The token is no ambient credential, so its requests come from wherever its holder likes.
        let header = format!("Authorization: token {token}\r\nOrigin: https://elsewhere.example\r\n");
        assert_eq!(world.get(path, &header).await.status, 200);
    }
    let stream = "/services/nuna/clusters/alice/local-1/ws";
    let upgrade =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for foreign in ["Origin: https://evil.example\r\n", ""] {
        let answer = world.get(stream, &format!("{upgrade}{cookie}{foreign}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "foreign_origin"), "{foreign}");
    }
    assert_eq!(
        world.get(stream, &format!("{cookie}{}", origin(&world))).await.status,
        426,
        "no upgrade, no stream"
    );
}

#[tokio::test]
async fn the_stream_goes_through_both_ways() {
    let world = world().await;
    let (recorder, dashboard) = dashboard().await;
    let (_, cookie) = alice(&world, &dashboard.url()).await;
    let url = format!("ws://{}/services/nuna/clusters/alice/local-1/ws", world.gateway);
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", cookie.trim().strip_prefix("Cookie: ").unwrap().parse().unwrap());
    headers.insert("origin", format!("http://{}", world.gateway).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text(r#"{"subscribe": ["workers"]}"#)).await.unwrap();
    let joined = Event::WorkerJoined { worker: 7, name: "node-7".into(), threads: 4, memory_limit: 1 << 30 };
    recorder.record(joined);
    let read = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => {
                    let records = Record::decode_all(&bytes).unwrap();
                    if records.iter().any(|record| format!("{record:?}").contains("node-7")) {
                        break;
                    }
                }
                Message::Ping(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the worker is told about");
    // What the dashboard thinks of a request comes back too.
    socket.send(Message::text("nonsense")).await.unwrap();
    let close = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => break frame,
                Some(Ok(_)) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    let frame = tokio::time::timeout(PATIENCE, close).await.expect("a close");
    assert_eq!(frame.code, tungstenite::protocol::frame::coding::CloseCode::Policy);
}

#[tokio::test]
async fn nothing_of_the_browser_reaches_a_dashboard_and_no_header_comes_back() {
    let world = world().await;
    let (address, seen) = odd_dashboard(CLUSTER_TOKEN).await;
    let (_, cookie) = alice(&world, &format!("http://{address}")).await;
    let page = "/services/nuna/clusters/alice/local-1/";
    let sent = format!("{cookie}X-Secret: 1\r\nReferer: http://hub/?token=abc\r\nAccept-Encoding: gzip\r\n");
    let answer = world.get(page, &sent).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "what it is, we say");
    for name in ["set-cookie", "access-control-allow-origin", "location", "x-odd"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert!(
        answer.headers("content-security-policy").all(|policy| policy.contains("frame-ancestors 'self'"))
    );
    let seen = seen.lock().unwrap().pop().unwrap();
    let mut names: Vec<_> = seen.keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["authorization", "host"]);
    assert_eq!(seen["authorization"], format!("Bearer {CLUSTER_TOKEN}"));
    for (path, what) in
        [("api/cluster", "its refusal is not the browser's"), ("api/failures", "no redirect goes out")]
    {
        let answer = world.get(&format!("{page}{path}"), &cookie).await;
        assert_eq!((answer.status, answer.code().as_str()), (502, "dashboard_answer"), "{what}");
    }
    let endless = world.get(&format!("{page}api/tasks"), &cookie).await;
    assert!(endless.body.len() <= 32 << 20, "an answer without end is cut off: {}", endless.body.len());
}

#[tokio::test]
async fn only_a_dashboard_that_proves_itself_is_registered() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let token = world.hub.add_server_token("alice");
    // The right dashboard, the wrong token: someone else's cluster.
    let wrong = "0".repeat(64);
    let answer = world.register_as(&token, "local-1", &dashboard.url(), &wrong, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "not_proven"));
    // Nobody there, and somebody who says something else: the same words.
    let free = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let other =
        serve(axum::Router::new().route("/api/identity", axum::routing::get(|| async { "00".repeat(32) })))
            .await;
    for liar in [free, format!("http://{other}")] {
        let answer = world.register(&token, &liar, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "not_proven"), "{liar}");
        assert!(answer.body.contains("proved"), "{}", answer.body);
    }
    for (address, code) in [
        (format!("http://{}", world.hub_address), "bad_address"),
        ("http://127.0.0.1:22".to_owned(), "bad_address"),
        ("http://169.254.169.254:8080".to_owned(), "bad_address"),
        ("https://127.0.0.1:4000".to_owned(), "bad_address"),
        ("http://no-such-host.invalid:4000".to_owned(), "bad_address"),
    ] {
        let answer = world.register(&token, &address, "").await;
        assert_eq!((answer.status, answer.code().as_str()), (422, code), "{address}");
    }
    // Through the proxy, a registration comes from loopback and yet from elsewhere.
    let forwarded = world.register(&token, &dashboard.url(), "X-Forwarded-For: 127.0.0.1\r\n").await;
    assert_eq!((forwarded.status, forwarded.code().as_str()), (422, "bad_address"));
    assert!(forwarded.body.contains("came from elsewhere"), "{}", forwarded.body);
    let cookie = world.sign_in("alice").await;
    assert_eq!(world.get("/services/nuna/api/clusters", &cookie).await.body, "[]");
}

#[tokio::test]
async fn a_neighbour_who_takes_over_the_port_never_gets_the_token() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let (_, cookie) = alice(&world, &dashboard.url()).await;
    let address = dashboard.address();
    drop(dashboard);
    let listener = loop {
        // The port is free once the dashboard's task has ended.
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let neighbour = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).await.unwrap();
        let body = "00".repeat(32);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        heard.truncate(count);
        String::from_utf8_lossy(&[heard, rest].concat()).into_owned()
    });
    let answer = world.get("/services/nuna/clusters/alice/local-1/api/cluster", &cookie).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "dashboard_unreachable"));
    let heard = tokio::time::timeout(PATIENCE, neighbour).await.unwrap().unwrap();
    assert!(heard.starts_with("GET /api/identity?nonce="), "{heard}");
    assert!(!heard.contains(CLUSTER_TOKEN) && !heard.to_lowercase().contains("authorization"), "{heard}");
}

#[tokio::test]
async fn tokens_that_were_given_for_something_else_register_nothing() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    world.hub.add_token("identify-only-token", "alice", &["read:users:name!user=alice"]);
    world.hub.add_token("other-services-token", "alice", &["access:services!service=other"]);
    for token in ["no-such-token", "identify-only-token", "other-services-token", "", SERVICE_TOKEN] {
        let answer = world.register(token, &dashboard.url(), "").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "unknown_token"), "{token}");
    }
    let answer = world.send("POST", "/services/nuna/api/clusters", "", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (401, "token_needed"));
}

#[tokio::test]
async fn what_is_no_registration_is_refused_with_the_reason() {
    let world = world().await;
    let (_recorder, dashboard) = dashboard().await;
    let hub_token = world.hub.add_server_token("alice");
    let headers = format!("Authorization: token {hub_token}\r\n");
    let register =
        async |body: String| world.send("POST", "/services/nuna/api/clusters", &headers, &body).await;
    let good = serde_json::json!({
        "name": "local-1", "dashboard": dashboard.url(), "token": CLUSTER_TOKEN,
        "started": "2026-01-31T12:00:00Z", "origin": "",
    });
    for (field, value, words) in [
        ("name", "../x", "name must be"),
        ("name", "", "name must be"),
        ("token", "short", "token must be"),
        ("token", "with a space in it, and long enough to pass", "token must be"),
        ("started", "yesterday", "started must be"),
        ("origin", "<script>", "origin must be"),
    ] {
        let mut body = good.clone();
        body[field] = value.into();
        let answer = register(body.to_string()).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "bad_registration"), "{field}={value}");
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    let broken = register(format!("{{\"token\": \"{CLUSTER_TOKEN}\", \"name\": 7}}")).await;
    assert_eq!((broken.status, broken.code().as_str()), (400, "bad_body"));
    assert!(!broken.body.contains(CLUSTER_TOKEN));
    let mut long = good.clone();
    long["extra"] = "x".repeat(20_000).into();
    assert_eq!(register(long.to_string()).await.status, 413);
    assert_eq!(register(good.to_string()).await.status, 200);
}

#[tokio::test]
async fn a_sign_out_at_the_hub_ends_the_session_and_a_silent_hub_does_not() {
    let world = world().await;
    let cookie = world.sign_in("alice").await;
    world.hub.0.lock().unwrap().down = true;
    // The hub's last word is kept for half a minute; without it, whom it knew a moment ago is let in.
    assert_eq!(world.get("/services/nuna/api/clusters", &cookie).await.status, 200);
    let stranger =
        world.get("/services/nuna/api/clusters", "Authorization: token never-seen-before\r\n").await;
    assert_eq!((stranger.status, stranger.code().as_str()), (503, "hub_unreachable"));
    let wrong = "Cookie: service-nuna-session=0123456789abcdef\r\n";
    assert_eq!(world.get("/services/nuna/api/clusters", wrong).await.status, 401);
}

#[tokio::test]
async fn behind_tls_cookies_are_for_tls() {
    let world = world().await;
    let plain = world.get("/services/nuna/login", "").await;
    assert!(!plain.header("set-cookie").unwrap().contains("Secure"));
    let tls = world.get("/services/nuna/login", "X-Forwarded-Proto: https\r\n").await;
    assert!(tls.header("set-cookie").unwrap().ends_with("; Secure"));
    let configured =
        world_with(|settings| settings.public_origin = Some("https://hub.example.org".into())).await;
    let begun = configured.get("/services/nuna/login", "").await;
    assert!(begun.header("set-cookie").unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn headers_and_bodies_have_limits() {
    let world = world().await;
    let token = world.hub.add_server_token("alice");
    let many = "X-Filler: 1\r\n".repeat(200);
    assert_eq!(world.get("/services/nuna/api/clusters", &many).await.status, 431);
    let long = format!("Authorization: token {}\r\n", "x".repeat(20_000));
    let answer = world.get("/services/nuna/api/clusters", &long).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "unknown_token"), "the hub is not even asked");
    // A body that never comes.
    let headers = format!("Authorization: token {token}\r\nContent-Length: 100\r\n");
    let answer = world.get("/services/nuna/api/clusters", &headers).await;
    assert_eq!(answer.status, 200, "a question has no use for a body");
    let answer = world.send("POST", "/services/nuna/api/clusters", &headers, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (408, "slow_body"));
}

#[tokio::test]
async fn a_slow_dashboard_is_given_up() {
    let world = world().await;
    let token = world.hub.add_server_token("alice");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    // It accepts and never says a word.
    let silent = tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let answer = world.register(&token, &format!("http://{address}"), "").await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "not_proven"));
    silent.abort();
}
