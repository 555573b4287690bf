//! The dashboard as a browser meets it: HTTP and WebSocket on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use nuna_dashboard::protocol::Record;
use nuna_dashboard::register::{Registrar, Registration, Service};
use nuna_dashboard::{Dashboard, Event, Outcome, Recorder, Settings, SpanKind, TaskSpan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "3f6c0a";

async fn start() -> (Recorder, Dashboard) {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Dashboard::start(Settings::new("local-1", bind, TOKEN)).await.unwrap()
}

/// Status, headers as text, body.
async fn request(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn some_work(recorder: &Recorder, tasks: u64) {
    recorder.record(Event::WorkerJoined {
        worker: 1,
        name: "node1".into(),
        threads: 4,
        memory_limit: 1 << 30,
    });
    recorder.record(Event::ComputationStarted { computation: 1, label: "In [2]".into() });
    recorder.record(Event::StageStarted {
        computation: 1,
        stage: 9,
        name: "mean(time)".into(),
        blocks: tasks,
    });
    more_work(recorder, 0, tasks);
}

fn more_work(recorder: &Recorder, from: u64, to: u64) {
    let spans = (from..to).map(|block| TaskSpan {
        stage: 9,
        block,
        worker: 1,
        thread: (block % 4) as u16,
        start_us: 1000 * block,
        duration_us: 900,
        kind: SpanKind::Compute,
    });
    recorder.record(Event::Tasks(spans.collect()));
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn connect(address: SocketAddr, subscription: &str) -> Socket {
    let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text(subscription)).await.unwrap();
    socket
}

/// Reads records until `enough` says so.
async fn read_until(socket: &mut Socket, mut enough: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
    let mut records = Vec::new();
    let read = async {
        while !enough(&records) {
            match socket.next().await.expect("the stream goes on").unwrap() {
                Message::Binary(bytes) => records.extend(Record::decode_all(&bytes).unwrap()),
                Message::Ping(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!("not enough after {PATIENCE:?}: {} records, last {:?}", records.len(), records.last());
    }
    records
}

fn tasks(records: &[Record]) -> usize {
    records.iter().map(|record| if let Record::Tasks { spans, .. } = record { spans.len() } else { 0 }).sum()
}

#[tokio::test]
async fn every_route_but_identity_needs_the_token() {
    let (_recorder, dashboard) = start().await;
    let address = dashboard.address();
    for path in
        ["/", "/page.js", "/page.css", "/ws", "/api/cluster", "/api/tasks", "/api/failures", "/metrics"]
    {
        for headers in ["", "Authorization: Bearer wrong\r\n", "Cookie: nuna-dashboard=x\r\n"] {
            let (status, _, body) = request(address, "GET", path, headers).await;
            assert_eq!(status, 401, "{path} with {headers:?}");
            assert!(body.contains("\"unauthorized\""), "{body}");
        }
    }
    assert_eq!(request(address, "GET", "/?token=wrong", "").await.0, 401);
    assert_eq!(
        request(address, "GET", "/api/cluster?token=3f6c0a", "").await.0,
        401,
        "tokens in URLs are for pages"
    );
    let nonce = "00".repeat(16);
    let (status, _, identity) = request(address, "GET", &format!("/api/identity?nonce={nonce}"), "").await;
    assert_eq!((status, identity.len()), (200, 64));
    assert_eq!(request(address, "GET", "/api/identity?nonce=00", "").await.0, 400);
}

#[tokio::test]
async fn a_token_in_the_address_is_traded_for_a_cookie_that_other_sites_cannot_use() {
    let (_recorder, dashboard) = start().await;
    let address = dashboard.address();
    let (status, head, _) = request(address, "GET", &format!("/?token={TOKEN}"), "").await;
    assert_eq!(status, 303);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.contains("httponly") && cookie.contains("samesite=lax"), "{cookie}");
    assert!(!cookie.contains(TOKEN), "the cookie is not the token");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());

    let (status, head, body) = request(address, "GET", "/", &cookie).await;
    assert_eq!(status, 200);
    assert!(head.contains("frame-ancestors 'self'"), "{head}");
    assert!(body.contains("page.js"));
    let same = format!("{cookie}Origin: http://{address}\r\n");
    assert_eq!(request(address, "GET", "/api/cluster", &same).await.0, 200);
    let foreign = format!("{cookie}Origin: https://evil.example\r\n");
    let upgrade = format!(
        "{foreign}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    assert_eq!(request(address, "GET", "/api/cluster", &foreign).await.0, 403);
    assert_eq!(request(address, "GET", "/ws", &upgrade).await.0, 403);
}

#[tokio::test]
async fn a_viewer_gets_the_past_then_the_present_of_what_it_subscribed_to() {
    let (recorder, dashboard) = start().await;
    some_work(&recorder, 100);
    let mut socket = connect(dashboard.address(), r#"{"subscribe": ["tasks", "progress"]}"#).await;
    let past = read_until(&mut socket, |records| tasks(records) == 100).await;
    assert!(matches!(&past[0], Record::Hello { name, .. } if name == "local-1"));
    assert!(matches!(past[1], Record::Reset { spans_skipped: 0 }));
    let worker = past.iter().position(|record| matches!(record, Record::Worker { .. })).unwrap();
    let first = past.iter().position(|record| matches!(record, Record::Tasks { .. })).unwrap();
    assert!(worker < first, "a worker is known before its tasks");
    assert!(!past.iter().any(|record| matches!(record, Record::Totals(_) | Record::Samples(_))));

    more_work(&recorder, 100, 150);
    recorder.record(Event::ComputationFinished { computation: 1, outcome: Outcome::Succeeded });
    let done = |records: &[Record]| {
        records.iter().rev().find_map(|record| match record {
            Record::Progress(stages) => Some(stages[0].done),
            _ => None,
        })
    };
    let present = read_until(&mut socket, |records| {
        done(records) == Some(150)
            && records
                .iter()
                .any(|r| matches!(r, Record::Computation { finished_us, .. } if *finished_us > 0))
    })
    .await;
    assert_eq!(tasks(&present), 50, "each task comes once");
}

#[tokio::test]
async fn a_viewer_that_asks_for_nonsense_is_told_why() {
    let (_recorder, dashboard) = start().await;
    for wrong in [r#"{"subscribe": ["everything"]}"#, "hello", r#"{"run": "rm"}"#] {
        let mut socket = connect(dashboard.address(), wrong).await;
        let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        match answer {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1008, "{}", frame.reason),
            other => panic!("{wrong} was answered with {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_without_the_token_is_refused() {
    let (_recorder, dashboard) = start().await;
    match tokio_tungstenite::connect_async(format!("ws://{}/ws", dashboard.address())).await {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rest_and_metrics_tell_what_was_recorded() {
    let (recorder, dashboard) = start().await;
    some_work(&recorder, 40);
    recorder.record(Event::Failure { stage: 9, block: 3, worker: 1, message: "boom".into() });
    // The stream says when everything has been applied.
    let mut socket = connect(dashboard.address(), r#"{"subscribe": ["tasks", "failures"]}"#).await;
    read_until(&mut socket, |records| {
        tasks(records) == 40 && records.iter().any(|record| matches!(record, Record::Failure { .. }))
    })
    .await;
    let get = async |path: &str| {
        let (status, _, body) = request(dashboard.address(), "GET", path, &bearer()).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    };
    let json = |body: String| serde_json::from_str::<serde_json::Value>(&body).unwrap();
    let cluster = json(get("/api/cluster").await);
    assert_eq!(cluster["tasks_done"], 40);
    assert_eq!(cluster["workers"][0]["name"], "node1");
    assert_eq!(cluster["computations"][0]["stages"][0]["done"], 40);
    let task = json(get("/api/tasks?lane=2&at_us=6500").await);
    assert_eq!(
        (&task["block"], &task["name"], &task["thread"]),
        (&6.into(), &"mean(time)".into(), &2.into())
    );
    assert!(json(get("/api/tasks?lane=2&at_us=7500").await).is_null());
    assert_eq!(json(get("/api/tasks?limit=7").await).as_array().unwrap().len(), 7);
    assert_eq!(json(get("/api/failures").await)[0]["message"], "boom");
    let metrics = get("/metrics").await;
    assert!(metrics.contains("nuna_tasks_total{cluster=\"local-1\"} 40\n"), "{metrics}");
}

#[tokio::test]
async fn dropping_the_dashboard_closes_its_views_and_its_port() {
    let (recorder, dashboard) = start().await;
    let address = dashboard.address();
    let mut socket = connect(address, r#"{"subscribe": []}"#).await;
    read_until(&mut socket, |records| !records.is_empty()).await;
    drop(dashboard);
    let end = async {
        while let Some(Ok(message)) = socket.next().await
            && !message.is_close()
        {}
    };
    tokio::time::timeout(PATIENCE, end).await.expect("the view ends");
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the port closes");
    recorder.record(Event::ComputationStarted { computation: 5, label: String::new() });
}

#[tokio::test]
async fn a_dashboard_without_a_token_does_not_start() {
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let error = Dashboard::start(Settings::new("open", bind, "")).await.unwrap_err();
    assert!(error.to_string().contains("open has no token"), "{error}");
}

/// Accepts one HTTP request, answers 200, and returns it whole.
async fn one_request(listener: &TcpListener) -> String {
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .filter_map(|line| {
                        line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                    })
                    .next()
                    .map_or(0, |length| length.parse::<usize>().unwrap());
                if body.len() >= length || count == 0 {
                    break;
                }
            }
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            .await
            .unwrap();
        text
    };
    tokio::time::timeout(PATIENCE, serve).await.expect("a request in time")
}

#[tokio::test]
async fn a_cluster_is_registered_with_the_hub_and_taken_off_at_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service =
        Service::new(format!("http://{}/services/nuna/", listener.local_addr().unwrap()), "hub-token");
    let registration = Registration {
        name: "local-1".into(),
        dashboard: "http://127.0.0.1:4321".into(),
        token: TOKEN.into(),
        started: "2026-11-21T03:00:00Z".into(),
        origin: "kernel-7".into(),
    };
    assert!(!format!("{registration:?} {service:?}").contains("token\": \"h"), "secrets print as ***");
    assert!(!format!("{registration:?} {service:?}").contains(TOKEN));
    let registrar = Registrar::start(service, registration).unwrap();
    let posted = one_request(&listener).await;
    assert!(posted.starts_with("POST /services/nuna/api/clusters HTTP/1.1\r\n"), "{posted}");
    assert!(posted.to_lowercase().contains("authorization: token hub-token\r\n"), "{posted}");
    let body: serde_json::Value = serde_json::from_str(posted.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["name"], &body["origin"]), (&"local-1".into(), &"kernel-7".into()));
    let (deleted, ()) = tokio::join!(one_request(&listener), registrar.stop());
    assert!(deleted.starts_with("DELETE /services/nuna/api/clusters/local-1 HTTP/1.1\r\n"), "{deleted}");
}
