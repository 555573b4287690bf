//! A connection to one cluster's dashboard: made, proven, and only then given the cluster's token.
//!
//! The proof is asked for on every new connection and the request follows on that same connection, so that a
//! neighbour who takes over the port of a dashboard that ended gets a nonce and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;

use crate::settings::Secret;

const PROOF_LIMIT: Duration = Duration::from_secs(5);
/// The head of an answer; its body has a limit of its own.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 32 * 1024;
const IDENTITY_BYTES_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DashboardError {
    #[error("cannot connect to {address}: {reason}")]
    Unreachable { address: SocketAddr, reason: String },
    #[error("{address} did not prove that it holds the cluster's token: {reason}")]
    NotProven { address: SocketAddr, reason: String },
    #[error("{address} did not answer: {reason}")]
    Silent { address: SocketAddr, reason: String },
}

/// The other end knows the cluster's token.
pub(crate) struct Proven {
    address: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
    token: Secret,
}

impl Proven {
    /// Connects and asks for the proof, all within five seconds.
    pub(crate) async fn connect(address: SocketAddr, token: &Secret) -> Result<Self, DashboardError> {
        let connect = async {
            let unreachable = |reason: String| DashboardError::Unreachable { address, reason };
            let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
            // Fails only on sockets that are broken already.
            let _ = stream.set_nodelay(true);
            let (sender, connection) = http1::Builder::new()
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEADER_BYTES_MAX)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            tokio::spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, %address, "a connection to a dashboard ended");
                }
            });
            let mut proven = Self { address, sender, token: token.clone() };
            proven.prove().await?;
            Ok(proven)
        };
        tokio::time::timeout(PROOF_LIMIT, connect).await.unwrap_or_else(|_| {
            Err(DashboardError::NotProven { address, reason: format!("nothing came within {PROOF_LIMIT:?}") })
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn prove(&mut self) -> Result<(), DashboardError> {
        let address = self.address;
        let not_proven = |reason: String| DashboardError::NotProven { address, reason };
        let nonce = rand::random::<[u8; 32]>();
        let request = self.request(&format!("/api/identity?nonce={}", hex::encode(nonce)), "");
        let response =
            self.sender.send_request(request).await.map_err(|error| not_proven(error.to_string()))?;
        if response.status() != StatusCode::OK {
            return Err(not_proven(format!("it answered {}", response.status())));
        }
        let body = Limited::new(response.into_body(), IDENTITY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| not_proven(error.to_string()))?.to_bytes();
        let answer = hex::decode(&body).map_err(|_| not_proven("its answer is not hex".to_owned()))?;
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(self.token.expose().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(&nonce);
        mac.verify_slice(&answer).map_err(|_| not_proven("its answer is wrong".to_owned()))?;
        let ready = self.sender.ready().await;
        ready.map_err(|error| not_proven(format!("it hung up after the proof: {error}")))
    }

    /// GET of `path`, with the token.
    pub(crate) async fn get(self, path: &str) -> Result<Response<Incoming>, DashboardError> {
        let request = self.request(path, &format!("Bearer {}", self.token.expose()));
        self.send(request).await
    }

    /// Asks for the stream. The browser's key goes along, since the answer to it goes back.
    pub(crate) async fn upgrade(
        self,
        path: &str,
        key: HeaderValue,
    ) -> Result<Response<Incoming>, DashboardError> {
        let mut request = self.request(path, &format!("Bearer {}", self.token.expose()));
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
        self.send(request).await
    }

    async fn send(mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, DashboardError> {
        let address = self.address;
        let silent = |reason: String| DashboardError::Silent { address, reason };
        tokio::time::timeout(ANSWER_LIMIT, self.sender.send_request(request))
            .await
            .map_err(|_| silent(format!("nothing came within {ANSWER_LIMIT:?}")))?
            .map_err(|error| silent(error.to_string()))
    }

    /// None of the browser's headers: what a dashboard gets is written here.
    fn request(&self, path: &str, authorization: &str) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().expect("paths are ours, and queries were checked");
        let headers = request.headers_mut();
        let host = HeaderValue::try_from(self.address.to_string()).expect("an address is ASCII");
        headers.insert(header::HOST, host);
        if !authorization.is_empty() {
            let mut value = HeaderValue::try_from(authorization).expect("tokens are checked at registration");
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        request
    }
}
