//! TLS: HTTP/2, certificates by name, new certificates without a restart, certificates demanded of clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::sync::Arc;

use common::{PATIENCE, Proxy, certificate, echo};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

type Stream = TlsStream<tokio::net::TcpStream>;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client that trusts these certificates, and shows `identity` if it is asked to.
fn config(trusted: &[&str], identity: Option<(&str, &str)>, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for file in trusted {
        roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some((cert, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(cert).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(address: std::net::SocketAddr, name: &str, config: ClientConfig) -> std::io::Result<Stream> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, connecting).await.unwrap()
}

/// One request of HTTP/1.1; the whole answer.
async fn ask(stream: &mut Stream, head: &str) -> std::io::Result<String> {
    stream.write_all(format!("{head}\r\nHost: x\r\n\r\n").as_bytes()).await?;
    let mut buffer = vec![0; 1 << 16];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap()?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn shown(stream: &Stream) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(file: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file).unwrap().to_vec()
}

#[test]
fn browsers_that_can_get_http2_with_one_cookie_and_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "localhost");
    let proxy = Proxy::start(&["--ssl-cert", &cert, "--ssl-key", &key]);
    proxy.route("/", &format!("http://{}", echo()));
    runtime().block_on(async {
        let stream =
            connect(proxy.public, "localhost", config(&[&cert], None, &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        // Many at once on one connection, uploads among them.
        let requests = (0..50).map(|index| {
            let mut sender = sender.clone();
            async move {
                let request = Request::post(format!("https://hub.test/p{index}?q"))
                    .header("cookie", "a=1")
                    .header("cookie", "b=2")
                    .body(Full::new(bytes::Bytes::from(vec![b'u'; 200_000])))
                    .unwrap();
                let answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(!answer.headers().contains_key("connection"));
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let text = String::from_utf8_lossy(&body).into_owned();
                assert!(text.starts_with(&format!("POST /p{index}?q HTTP/1.1\r\n")), "{}", &text[..200]);
                for line in ["host: hub.test", "cookie: a=1; b=2", "x-forwarded-proto: https"] {
                    assert!(text.contains(&format!("{line}\r\n")), "{line} is missing in {}", &text[..400]);
                }
                assert!(text.ends_with(&"u".repeat(200_000)));
            }
        });
        tokio::time::timeout(PATIENCE, futures::future::join_all(requests)).await.unwrap();
        let mut sender = sender.clone();
        let lost = Request::get("https://hub.test/_chp_healthz").body(Full::default()).unwrap();
        assert_eq!(sender.send_request(lost).await.unwrap().status(), 200);
    });
}

#[test]
fn other_clients_get_http1_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "localhost");
    let proxy = Proxy::start(&["--ssl-cert", &cert, "--ssl-key", &key]);
    runtime().block_on(async {
        let mut stream = connect(proxy.public, "localhost", config(&[&cert], None, &[])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        assert!(ask(&mut stream, "GET /x HTTP/1.1").await.unwrap().starts_with("HTTP/1.1 404"));
    });
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "localhost");
    let (other, other_key) = certificate(folder.path(), "other.test");
    let (star, star_key) = certificate(folder.path(), "*.star.test");
    let proxy = Proxy::start(&[
        "--ssl-cert",
        &cert,
        "--ssl-key",
        &key,
        "--ssl-sni",
        &format!("other.test={other}:{other_key}"),
        "--ssl-sni",
        &format!("*.star.test={star}:{star_key}"),
    ]);
    runtime().block_on(async {
        for (name, expected) in [("localhost", &cert), ("other.test", &other), ("a.star.test", &star)] {
            let trusted = config(&[&cert, &other, &star], None, &[]);
            let stream = connect(proxy.public, name, trusted).await.unwrap();
            assert_eq!(shown(&stream), der(expected), "{name}");
        }
    });
}

fn replace(by: &str, file: &str) {
    std::fs::copy(by, file).unwrap();
}

#[test]
fn new_certificates_are_used_and_open_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "localhost");
    let first = der(&cert);
    let fresh = folder.path().join("fresh");
    std::fs::create_dir(&fresh).unwrap();
    let (new_cert, new_key) = certificate(&fresh, "localhost");
    let proxy = Proxy::start(&["--ssl-cert", &cert, "--ssl-key", &key]);
    runtime().block_on(async {
        let trusted = || config(&[&cert, &new_cert], None, &[]);
        let mut open = connect(proxy.public, "localhost", trusted()).await.unwrap();
        assert_eq!(shown(&open), first);
        // What does not fit together is refused, and nothing changes.
        replace(&new_cert, &cert);
        proxy.signal("HUP");
        proxy.logged("The certificates in use are kept");
        replace(&new_key, &key);
        proxy.signal("HUP");
        proxy.logged("Certificates read anew");
        let after = connect(proxy.public, "localhost", trusted()).await.unwrap();
        assert_eq!(shown(&after), der(&new_cert));
        assert!(ask(&mut open, "GET /x HTTP/1.1").await.unwrap().starts_with("HTTP/1.1 404"));
    });
}

#[test]
fn the_api_and_targets_can_demand_certificates() {
    // As JupyterHub's `internal_ssl` sets it up.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let place = folder.path().join(name);
        std::fs::create_dir(&place).unwrap();
        certificate(&place, "localhost")
    };
    let ((api, api_key), (hub, hub_key), (stranger, stranger_key)) = (at("api"), at("hub"), at("stranger"));
    let proxy = Proxy::start(&[
        "--api-ssl-cert",
        &api,
        "--api-ssl-key",
        &api_key,
        "--api-ssl-ca",
        &hub,
        "--api-ssl-request-cert",
        "--api-ssl-reject-unauthorized",
    ]);
    runtime().block_on(async {
        let head = format!("GET /api/routes HTTP/1.1\r\nAuthorization: token {}", common::TOKEN);
        let known = config(&[&api], Some((&hub, &hub_key)), &[]);
        let mut stream = connect(proxy.api, "localhost", known).await.unwrap();
        assert!(ask(&mut stream, &head).await.unwrap().starts_with("HTTP/1.1 200"));
        for identity in [None, Some((stranger.as_str(), stranger_key.as_str()))] {
            // With TLS 1.3 a client hears of the refusal when it reads.
            let refused = match connect(proxy.api, "localhost", config(&[&api], identity, &[])).await {
                Ok(mut stream) => {
                    ask(&mut stream, &head).await.map(|answer| answer.is_empty()).unwrap_or(true)
                }
                Err(_) => true,
            };
            assert!(refused, "{identity:?}");
        }
    });
    // The same towards targets: one that wants a certificate gets the proxy's.
    let inner = Proxy::start(&[
        "--ssl-cert",
        &api,
        "--ssl-key",
        &api_key,
        "--ssl-ca",
        &hub,
        "--ssl-request-cert",
        "--ssl-reject-unauthorized",
    ]);
    inner.route("/", &format!("http://{}", echo()));
    let target = format!("https://localhost:{}", inner.public.port());
    let shows =
        Proxy::start(&["--client-ssl-ca", &api, "--client-ssl-cert", &hub, "--client-ssl-key", &hub_key]);
    shows.route("/", &target);
    assert_eq!(shows.get("/x").status, 200);
    let hides = Proxy::start(&["--client-ssl-ca", &api]);
    hides.route("/", &target);
    assert_eq!(hides.get("/x").status, 503);
}

#[test]
fn encrypted_keys_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path(), "localhost");
    let clear = std::fs::read_to_string(&key).unwrap();
    for text in [
        clear.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        clear.replace(
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
        ),
    ] {
        std::fs::write(&key, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nuna-proxy"));
        command.args(["--ip", "127.0.0.1", "--port", "0", "--api-port", "0"]);
        let refused = command.args(["--ssl-cert", &cert, "--ssl-key", &key]).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("openssl pkey"), "{said}");
    }
}
