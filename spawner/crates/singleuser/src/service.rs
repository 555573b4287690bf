//! What the launcher and the spawner service say to each other.
//!
//! A service that restarts or is out of reach is tried again for a while; one that says no is obeyed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::secret::Secret;

/// For one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
const RETRY_DELAY: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// An environment is a few kB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Serialize)]
pub(crate) struct Exchange<'a> {
    pub(crate) code: &'a Secret,
    pub(crate) job: &'a str,
    pub(crate) host: &'a str,
}

/// What the code is worth.
#[derive(Deserialize)]
pub(crate) struct Grant {
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) argv: Vec<String>,
    pub(crate) ticket: Secret,
}

#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    pub(crate) ticket: &'a Secret,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

#[derive(Debug, Serialize)]
pub(crate) struct Failed<'a> {
    pub(crate) ticket: &'a Secret,
    pub(crate) message: &'a str,
    pub(crate) exit: Option<i32>,
    pub(crate) tail: &'a str,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorWords,
}

#[derive(Deserialize)]
struct ErrorWords {
    message: String,
}

enum Answer {
    Good(Vec<u8>),
    /// The service decided; asking again changes nothing.
    No(String),
    /// It may be different in a moment.
    NotNow(String),
}

pub(crate) struct Service {
    client: reqwest::Client,
    url: reqwest::Url,
    patience: Duration,
}

impl Service {
    pub(crate) fn new(url: &str, patience: Duration) -> anyhow::Result<Self> {
        // A second installation is refused and does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = reqwest::Url::parse(url.trim_end_matches('/'))
            .with_context(|| format!("--service {url:?} is not an address"))?;
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.has_host(),
            "--service {url} is not an address like http://hub:8092/services/nuna"
        );
        let mut builder = reqwest::Client::builder()
            .timeout(REQUEST_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            // The user's http_proxy has no business with the code.
            .no_proxy();
        // Sites with a certificate authority of their own name it as every other tool wants it named.
        if let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            let name = Path::new(&path).display().to_string();
            let pem = std::fs::read(&path).with_context(|| format!("SSL_CERT_FILE: cannot read {name}"))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("SSL_CERT_FILE: {name} holds no certificates"))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self { client: builder.build().context("cannot set up HTTP")?, url, patience })
    }

    pub(crate) fn url(&self) -> &reqwest::Url {
        &self.url
    }

    pub(crate) async fn exchange(&self, exchange: &Exchange<'_>) -> anyhow::Result<Grant> {
        let bytes = self.post("exchange", exchange, self.patience).await?;
        // What the service sent is secret: no part of it may show in an error.
        serde_json::from_slice(&bytes).map_err(|_| {
            anyhow::anyhow!(
                "the service's answer to launch/exchange is not understood: is it of another version?"
            )
        })
    }

    pub(crate) async fn ready(&self, ready: &Ready<'_>) -> anyhow::Result<()> {
        self.post("ready", ready, self.patience).await.map(drop)
    }

    /// The job is about to end, so this is not tried for long.
    pub(crate) async fn failed(&self, failed: &Failed<'_>) -> anyhow::Result<()> {
        self.post("failed", failed, self.patience.min(Duration::from_secs(5))).await.map(drop)
    }

    async fn post(&self, what: &str, body: &impl Serialize, patience: Duration) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/launch/{what}", self.url.as_str().trim_end_matches('/'));
        let give_up = Instant::now() + patience;
        let mut delay = RETRY_DELAY;
        loop {
            match self.attempt(&url, body).await {
                Answer::Good(bytes) => return Ok(bytes),
                Answer::No(reason) => bail!("the service at {} refused launch/{what}: {reason}", self.url),
                Answer::NotNow(reason) => {
                    if Instant::now() + delay >= give_up {
                        bail!(
                            "the service at {} did not answer launch/{what} for {} s: {reason}",
                            self.url,
                            patience.as_secs()
                        );
                    }
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                }
            }
        }
    }

    async fn attempt(&self, url: &str, body: &impl Serialize) -> Answer {
        let mut response = match self.client.post(url).json(body).send().await {
            Ok(response) => response,
            Err(error) => return Answer::NotNow(chain(&error.without_url())),
        };
        let status = response.status();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                    bytes.extend_from_slice(&chunk)
                }
                Ok(Some(_)) => return Answer::No(format!("more than {ANSWER_BYTES_MAX} bytes")),
                Ok(None) => break,
                Err(error) => return Answer::NotNow(chain(&error.without_url())),
            }
        }
        if status.is_success() {
            return Answer::Good(bytes);
        }
        let words = serde_json::from_slice::<ErrorBody>(&bytes)
            .map_or_else(|_| String::new(), |body| format!(": {}", body.error.message));
        let reason = format!("{status}{words}");
        // 429 and everything of the 500s is the moment's trouble.
        if status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            Answer::NotNow(reason)
        } else {
            Answer::No(reason)
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
