//! Tells the hub's service where this cluster's dashboard is, again and again, until the cluster ends.
//!
//! The service forgets a cluster that stops telling, so a crash needs no clean-up. What the service does
//! with it (prove the address, proxy the owner to it) is `spawner/`.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the service is told; the same words as in the cluster file.
#[derive(Clone, Serialize)]
pub struct Registration {
    pub name: String,
    /// `http://HOST:PORT`, reachable from the hub.
    pub dashboard: String,
    pub token: String,
    /// RFC 3339.
    pub started: String,
    /// Kernel id of the notebook that started the cluster, or empty.
    pub origin: String,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("name", &self.name)
            .field("dashboard", &self.dashboard)
            .field("token", &"***")
            .finish_non_exhaustive()
    }
}

/// Where the hub's service is, and who we are to it.
#[derive(Clone)]
pub struct Service {
    url: String,
    api_token: String,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("url", &self.url).field("api_token", &"***").finish()
    }
}

impl Service {
    pub fn new(url: impl Into<String>, api_token: impl Into<String>) -> Self {
        let mut url = url.into();
        url.truncate(url.trim_end_matches('/').len());
        Self { url, api_token: api_token.into() }
    }

    /// From `NUNA_SERVICE_URL` and `JUPYTERHUB_API_TOKEN`, which a user server under the hub has.
    pub fn from_env() -> Option<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self::new(set("NUNA_SERVICE_URL")?, set("JUPYTERHUB_API_TOKEN")?))
    }
}

/// Keeps a cluster registered while it lives.
#[derive(Debug)]
pub struct Registrar {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Registrar {
    /// Registers at once and then every 15 s. A service that does not answer is tried again; what it
    /// said is logged once per change, not once per try.
    ///
    /// # Errors
    /// If the certificates named by `SSL_CERT_FILE` cannot be read.
    pub fn start(service: Service, registration: Registration) -> Result<Self, RegisterError> {
        let client = http_client()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep_registered(client, service, registration, stopped));
        Ok(Self { stop: Some(stop), task })
    }

    /// Takes the cluster off the service's list; waits at most 10 s for its answer.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only if the task is gone already.
            let _ = stop.send(());
        }
        let _ = tokio::time::timeout(TIMEOUT, &mut self.task).await;
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("cannot read the certificates in {path} (from SSL_CERT_FILE): {reason}")]
    Certificates { path: String, reason: String },
    #[error("cannot set up the connection to the hub's service: {0}")]
    Client(#[from] reqwest::Error),
}

fn http_client() -> Result<reqwest::Client, RegisterError> {
    // reqwest takes the process's provider; a second installation is refused and does no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    // Sites with a certificate authority of their own name it as every other tool wants it named.
    if let Some(path) = std::env::var_os("SSL_CERT_FILE") {
        let wrong = |reason: String| RegisterError::Certificates {
            path: Path::new(&path).display().to_string(),
            reason,
        };
        let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder.build()?)
}

async fn keep_registered(
    client: reqwest::Client,
    service: Service,
    registration: Registration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut last = None;
    loop {
        let answer = tell(&client, &service, &registration).await;
        if last.as_ref() != Some(&answer) {
            match &answer {
                Ok(()) => {
                    tracing::info!(service = %service.url, cluster = %registration.name, "registered with the hub")
                }
                Err(reason) => tracing::warn!(service = %service.url, cluster = %registration.name, %reason,
                    "could not register with the hub; the dashboard is reachable from this machine only until it answers"),
            }
            last = Some(answer);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = &mut stopped => break,
        }
    }
    let url = format!("{}/api/clusters/{}", service.url, registration.name);
    let request = client.delete(url).header("Authorization", format!("token {}", service.api_token));
    // The service forgets us within a minute if this fails.
    let _ = request.send().await;
}

async fn tell(
    client: &reqwest::Client,
    service: &Service,
    registration: &Registration,
) -> Result<(), String> {
    let response = client
        .post(format!("{}/api/clusters", service.url))
        .header("Authorization", format!("token {}", service.api_token))
        .json(registration)
        .send()
        .await
        .map_err(|error| error.without_url().to_string())?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let text = response.text().await.unwrap_or_default();
    Err(format!("it answered {status}: {}", text.chars().take(300).collect::<String>()))
}
