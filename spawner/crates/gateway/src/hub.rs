//! The hub's API: whose a token is, and a code for a token. Answers are kept for half a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::settings::{GatewayError, Secret, Settings};

const LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// Short, since a token may be made a moment after it was first asked about.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
const KEPT_MAX: usize = 4096;
/// Questions to the hub at a time; JupyterHub answers one after the other.
const QUESTIONS_MAX: usize = 16;
const QUEUE_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const TOKEN_BYTES_MAX: usize = 512;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error("the hub's API at {url} did not answer: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the hub's API at {url} answered {status}: {words}")]
    Answer { url: String, status: u16, words: String },
    #[error("the hub's API at {url} answered what is not expected: {reason}")]
    Unreadable { url: String, reason: String },
}

/// Whom the hub recognised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    scopes: Vec<String>,
}

impl User {
    pub(crate) fn is_person(&self) -> bool {
        (self.kind.is_empty() || self.kind == "user") && !self.name.is_empty() && self.name.len() <= 255
    }

    /// The hub gave this token for this service.
    pub(crate) fn may_use(&self, service: &str) -> bool {
        let only_this = format!("access:services!service={service}");
        self.scopes.iter().any(|scope| scope == "access:services" || *scope == only_this)
    }

    /// A token of the user's own server, or of the user: not one given to some other service, which has got
    /// no say over clusters.
    pub(crate) fn may_act(&self, service: &str) -> bool {
        let own =
            [format!("access:servers!user={}", self.name), format!("access:servers!server={}/", self.name)];
        self.may_use(service)
            || self
                .scopes
                .iter()
                .any(|scope| scope == "access:servers" || *scope == own[0] || scope.starts_with(&own[1]))
    }
}

/// Tokens by their hash, when the hub was asked about them, and what it said.
type Kept = HashMap<[u8; 32], (Instant, Option<User>)>;

pub(crate) struct Hub {
    client: reqwest::Client,
    user_url: String,
    token_url: String,
    client_id: String,
    api_token: Secret,
    redirect_uri: String,
    questions: Semaphore,
    kept: Mutex<Kept>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
}

impl Hub {
    pub(crate) fn new(settings: &Settings) -> Result<Self, GatewayError> {
        // reqwest takes the process's provider; a second installation is refused and does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = settings.hub_api_url.trim_end_matches('/');
        let is_http = base.parse::<reqwest::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            return Err(GatewayError::Setting {
                setting: "hub_api_url",
                value: settings.hub_api_url.clone(),
                rule: "must be an address such as http://127.0.0.1:8081/hub/api",
            });
        }
        // A site's web proxy has no business between service and hub.
        let client = reqwest::Client::builder()
            .timeout(LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            user_url: format!("{base}/user"),
            token_url: format!("{base}/oauth2/token"),
            client_id: settings.client_id.clone(),
            api_token: settings.api_token.clone(),
            redirect_uri: settings.redirect_uri(),
            questions: Semaphore::new(QUESTIONS_MAX),
            kept: Mutex::default(),
        })
    }

    /// Whose token this is; `None` if nobody's.
    pub(crate) async fn user_of(&self, token: &str) -> Result<Option<User>, HubError> {
        let is_token = |byte: u8| byte.is_ascii_graphic();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(is_token) {
            return Ok(None);
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((until, user)) = self.kept().get(&key)
            && Instant::now() < *until
        {
            return Ok(user.clone());
        }
        let request = self.client.get(&self.user_url).header("Authorization", format!("token {token}"));
        let (status, body) = self.ask(&self.user_url, request).await?;
        let user = match status {
            200 => Some(serde_json::from_slice::<User>(&body).map_err(|error| HubError::Unreadable {
                url: self.user_url.clone(),
                reason: error.to_string(),
            })?),
            401 | 403 => None,
            _ => return Err(answer(&self.user_url, status, &body)),
        };
        let user = user.filter(User::is_person);
        let now = Instant::now();
        let until = now + if user.is_some() { KNOWN_FOR } else { UNKNOWN_FOR };
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, (until, _)| now < *until);
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
        }
        kept.insert(key, (until, user.clone()));
        Ok(user)
    }

    /// The last step of the OAuth dance: the token of whoever came back with `code`.
    pub(crate) async fn token_for(&self, code: &str, verifier: &str) -> Result<Secret, HubError> {
        let fields = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.api_token.expose()),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier),
        ];
        let (status, body) =
            self.ask(&self.token_url, self.client.post(&self.token_url).form(&fields)).await?;
        if status != 200 {
            return Err(answer(&self.token_url, status, &body));
        }
        // The reason would quote the answer, which has the token in it.
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| HubError::Unreadable {
            url: self.token_url.clone(),
            reason: "no access_token in it".to_owned(),
        })?;
        Ok(Secret::new(answer.access_token))
    }

    async fn ask(&self, url: &str, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), HubError> {
        let unreachable = |reason: String| HubError::Unreachable { url: url.to_owned(), reason };
        let _turn = tokio::time::timeout(QUEUE_LIMIT, self.questions.acquire())
            .await
            .map_err(|_| unreachable(format!("{QUESTIONS_MAX} questions wait for its answer already")))?
            .expect("the semaphore is never closed");
        let mut response =
            request.send().await.map_err(|error| unreachable(error.without_url().to_string()))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| unreachable(error.without_url().to_string()))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(HubError::Unreadable {
                    url: url.to_owned(),
                    reason: format!("more than {ANSWER_BYTES_MAX} bytes"),
                });
            }
        }
        Ok((status, body))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(url: &str, status: u16, body: &[u8]) -> HubError {
    let words = String::from_utf8_lossy(body);
    let words = words.chars().filter(|c| !c.is_control()).take(200).collect();
    HubError::Answer { url: url.to_owned(), status, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(scopes: &[&str]) -> User {
        User {
            name: "alice".into(),
            kind: "user".into(),
            scopes: scopes.iter().map(|&scope| scope.into()).collect(),
        }
    }

    #[test]
    fn a_token_for_another_service_or_another_users_server_has_no_say() {
        for (scopes, may_use, may_act) in [
            (&["access:services!service=nuna", "read:users:name!user=alice"][..], true, true),
            (&["access:services"], true, true),
            (&["access:servers!server=alice/", "users:activity!user=alice"], false, true),
            (&["access:servers!user=alice"], false, true),
            (&["read:users:name!user=alice"], false, false),
            (&["access:services!service=other"], false, false),
            (&["access:servers!server=alicia/", "access:servers!server=alic"], false, false),
            (&["access:services!service=nuna2"], false, false),
        ] {
            assert_eq!(
                (user(scopes).may_use("nuna"), user(scopes).may_act("nuna")),
                (may_use, may_act),
                "{scopes:?}"
            );
        }
    }

    #[test]
    fn a_service_is_no_person() {
        let service: User =
            serde_json::from_str(r#"{"kind": "service", "name": "x", "admin": true}"#).unwrap();
        assert!(!service.is_person());
        assert!(user(&[]).is_person());
    }
}
