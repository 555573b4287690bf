//! WebSockets, TLS, many clients at once, metrics.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use common::{PATIENCE, Proxy, echo, exchange};
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A WebSocket server that sends everything back, on a runtime of its own.
fn websocket_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                    while let Some(Ok(message)) = socket.next().await {
                        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    });
    address
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn websockets_carry_messages_both_ways_and_are_activity() {
    let proxy = Proxy::start(&[]);
    proxy.route("/ws", &format!("http://{}", websocket_echo()));
    let before = proxy.api("GET", "/api/routes/ws", "").json()["last_activity"].as_str().unwrap().to_owned();
    runtime().block_on(async {
        let url = format!("ws://{}/ws/channel?session=1", proxy.public);
        let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
        assert_eq!(answer.status(), 101);
        for size in [0, 1, 70_000, 1 << 20] {
            let message = Message::binary(vec![7; size]);
            socket.send(message.clone()).await.unwrap();
            let back = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(back, message);
        }
        socket.send(Message::text("grüße")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "grüße");
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    assert!(
        proxy.api("GET", "/api/routes/ws", "").json()["last_activity"].as_str().unwrap() > before.as_str()
    );
}

#[test]
fn many_websockets_at_once_do_not_mix() {
    let proxy = Proxy::start(&[]);
    proxy.route("/ws", &format!("http://{}", websocket_echo()));
    let public = proxy.public;
    runtime().block_on(async {
        let tasks: Vec<_> = (0..100u32)
            .map(|index| {
                tokio::spawn(async move {
                    let (mut socket, _) =
                        tokio_tungstenite::connect_async(format!("ws://{public}/ws/{index}")).await.unwrap();
                    for round in 0..20 {
                        let text = format!("{index}-{round}");
                        socket.send(Message::text(text.clone())).await.unwrap();
                        let back = socket.next().await.unwrap().unwrap();
                        assert_eq!(back.into_text().unwrap().as_str(), text);
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_refused_upgrade_is_passed_on_as_it_is() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    runtime().block_on(async {
        let request = format!("ws://{}/status/403", proxy.public).into_client_request().unwrap();
        match tokio_tungstenite::connect_async(request).await.unwrap_err() {
            tokio_tungstenite::tungstenite::Error::Http(answer) => assert_eq!(answer.status(), 403),
            other => panic!("{other}"),
        }
        let error = tokio_tungstenite::connect_async(format!("ws://{}/", echo())).await;
        assert!(error.is_err());
    });
}

#[test]
fn concurrent_clients_all_get_their_own_answer() {
    let proxy = Proxy::start(&[]);
    proxy.route("/", &format!("http://{}", echo()));
    let threads: Vec<_> = (0..32)
        .map(|client| {
            let public = proxy.public;
            std::thread::spawn(move || {
                for round in 0..20 {
                    let path = format!("/c{client}/r{round}");
                    let answer = exchange(
                        public,
                        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                    );
                    assert!(answer.body.starts_with(&format!("GET {path} ")), "{}", answer.body);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn metrics_count_requests() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let proxy = Proxy::start(&["--metrics-ip", "127.0.0.1", "--metrics-port", &port.to_string()]);
    proxy.route("/", &format!("http://{}", echo()));
    proxy.get("/x");
    proxy.get("/status/404");
    let metrics: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let text = exchange(metrics, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").body;
    for line in [
        "requests_web 2",
        "requests_proxy{status=\"200\"} 1",
        "requests_proxy{status=\"404\"} 1",
        "api_route_add 1",
        "routes 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    // The inner proxy speaks TLS and leads to the echo; the outer one trusts its certificate.
    let inner = Proxy::start(&["--ssl-cert", &path(&cert), "--ssl-key", &path(&key)]);
    inner.route("/", &format!("http://{}", echo()));
    let outer = Proxy::start(&["--client-ssl-ca", &path(&cert)]);
    outer.route("/", &format!("https://localhost:{}", inner.public.port()));
    let answer = outer.get("/through/tls");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("x-forwarded-proto: http,https\r\n"), "{}", answer.body);
    // Nobody vouches for the certificate here, unless told not to care.
    let strict = Proxy::start(&[]);
    strict.route("/", &format!("https://localhost:{}", inner.public.port()));
    assert_eq!(strict.get("/x").status, 503);
    let careless = Proxy::start(&["--insecure"]);
    careless.route("/", &format!("https://localhost:{}", inner.public.port()));
    assert_eq!(careless.get("/x").status, 200);
}

#[test]
fn websockets_within_http2_are_those_of_http1_to_the_target() {
    use http_body_util::{BodyExt, Empty};
    use hyper::ext::Protocol;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio_tungstenite::tungstenite::protocol::Role;

    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = common::certificate(folder.path(), "localhost");
    let proxy = Proxy::start(&["--ssl-cert", &cert, "--ssl-key", &key]);
    proxy.route("/ws", &format!("http://{}", websocket_echo()));
    proxy.route("/plain", &format!("http://{}", echo()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.public).await.unwrap();
        let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let health = hyper::Request::get("https://localhost/_chp_healthz").body(Empty::<bytes::Bytes>::new());
        assert_eq!(sender.send_request(health.unwrap()).await.unwrap().status(), 200);
        let connect = |path: &str, protocol: &'static str| {
            hyper::Request::connect(format!("https://hub.test{path}"))
                .extension(Protocol::from_static(protocol))
                .header("sec-websocket-version", "13")
                .body(Empty::<bytes::Bytes>::new())
                .unwrap()
        };
        // Several at once on the one connection.
        for _ in 0..3 {
            let mut answer = sender.send_request(connect("/ws/x", "websocket")).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(!answer.headers().contains_key("sec-websocket-accept"));
            let upgraded = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
            let mut socket =
                tokio_tungstenite::WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
            for size in [1, 70_000, 1 << 20] {
                socket.send(Message::binary(vec![7; size])).await.unwrap();
                let back = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
                assert_eq!(back, Message::binary(vec![7; size]));
            }
            socket.close(None).await.unwrap();
        }
        // A server that knows no WebSockets must not look as if it had opened one, and what it refuses is refused.
        for (path, status) in [("/plain/x", 502), ("/plain/status/403", 403), ("/nowhere", 404)] {
            let answer = sender.send_request(connect(path, "websocket")).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            let _ = answer.into_body().collect().await;
        }
        for protocol in ["connect-udp", "h2c"] {
            assert_eq!(sender.send_request(connect("/ws/x", protocol)).await.unwrap().status(), 405);
        }
    });
    assert_eq!(proxy.activity("/plain").len(), 24);
}

/// Not an assertion about speed: prints what the way through the proxy costs.
/// `cargo test -p nuna-proxy --test websocket_tls_load -- --ignored --nocapture proxy_cost`
#[test]
#[ignore = "a measurement; run it by name"]
fn proxy_cost_per_request() {
    let proxy = Proxy::start(&["--log-level", "error"]);
    let target = echo();
    proxy.route("/", &format!("http://{target}"));
    for (name, address) in [("direct", target), ("through the proxy", proxy.public)] {
        let started = Instant::now();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    use std::io::{Read, Write};
                    let mut stream = common::connect(address);
                    let mut buffer = [0; 8192];
                    for _ in 0..2000 {
                        stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                        let mut seen = Vec::new();
                        while !seen.ends_with(b"\r\n\r\n")
                            || seen.windows(4).filter(|w| w == b"\r\n\r\n").count() < 2
                        {
                            let length = stream.read(&mut buffer).unwrap();
                            assert!(length > 0);
                            seen.extend_from_slice(&buffer[..length]);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let taken = started.elapsed().max(Duration::from_millis(1));
        println!("{name}: {:.0} requests/s with 8 keep-alive clients", 16_000.0 / taken.as_secs_f64());
    }
}
