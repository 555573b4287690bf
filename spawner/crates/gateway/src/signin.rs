//! Sign-in by the hub's OAuth, as jupyterhub.services.auth.HubOAuth does it: a state cookie, a code with PKCE,
//! a session. What must survive the round trip travels sealed in the state cookie, so that strangers who only
//! start sign-ins take no memory here.

use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::guard::hub_silent;
use crate::hub::HubError;
use crate::origin::Kind;
use crate::page::encode;
use crate::{Gateway, Shared, session};

/// As long as the hub keeps its side.
const STATE_LIFETIME: Duration = Duration::from_secs(600);
const NEXT_BYTES_MAX: usize = 1024;
const CODE_BYTES_MAX: usize = 512;
/// Cookies of sign-ins that were begun and not ended, which are cleared at a successful one.
const STALE_COOKIES_MAX: usize = 20;

/// What was decided when a sign-in began.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    state: String,
    verifier: String,
    next: String,
    /// Seconds since 1970.
    until: u64,
}

/// Signs what a browser keeps for us. The key is made at start and never leaves.
pub(crate) struct Seal([u8; 32]);

impl Seal {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }

    fn mac(&self, payload: &str) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(payload.as_bytes());
        mac
    }

    fn close(&self, begun: &Begun) -> String {
        let json = serde_json::to_vec(begun).expect("strings and a number are always JSON");
        let payload = URL_SAFE_NO_PAD.encode(json);
        let signature = hex::encode(self.mac(&payload).finalize().into_bytes());
        format!("{payload}.{signature}")
    }

    fn open(&self, sealed: &str, now: u64) -> Option<Begun> {
        let (payload, signature) = sealed.split_once('.')?;
        self.mac(payload).verify_slice(&hex::decode(signature).ok()?).ok()?;
        let begun: Begun = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (now < begun.until).then_some(begun)
    }
}

#[derive(Deserialize)]
pub(crate) struct LoginQuery {
    next: Option<String>,
}

/// Starts the dance, or skips it for who is signed in.
pub(crate) async fn login(
    State(gateway): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<LoginQuery>,
) -> Response {
    let prefix = &gateway.settings.public_prefix;
    let next = query.next.filter(|next| is_own_path(next, prefix)).unwrap_or_else(|| prefix.clone());
    match gateway.caller(&headers, Kind::Page).await {
        Ok(_) => redirect(&next),
        Err(error) if error.status() == StatusCode::UNAUTHORIZED => begin(&gateway, &headers, next),
        Err(error) => error.as_page().into_response(),
    }
}

fn begin(gateway: &Gateway, headers: &HeaderMap, next: String) -> Response {
    let random = |_| URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let begun =
        Begun { state: random(()), verifier: random(()), next, until: unix_now() + STATE_LIFETIME.as_secs() };
    let settings = &gateway.settings;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(begun.verifier.as_bytes()));
    let location = format!(
        "{}api/oauth2/authorize?client_id={}&redirect_uri={}&response_type=code&state={}\
         &code_challenge={challenge}&code_challenge_method=S256",
        settings.hub_public_path,
        encode(&settings.client_id),
        encode(&settings.redirect_uri()),
        begun.state,
    );
    let name = state_cookie(settings, &begun.state);
    let cookie = cookie(gateway, headers, &name, &gateway.seal.close(&begun), Some(STATE_LIFETIME));
    ([(header::SET_COOKIE, cookie)], redirect(&location)).into_response()
}

#[derive(Deserialize)]
pub(crate) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Where the hub sends the browser back to.
pub(crate) async fn callback(
    State(gateway): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<CallbackQuery>,
) -> Response {
    match finish(&gateway, &headers, query).await {
        Ok(response) => response,
        Err(error) => error.as_page().into_response(),
    }
}

async fn finish(gateway: &Gateway, headers: &HeaderMap, query: CallbackQuery) -> Result<Response, ApiError> {
    let settings = &gateway.settings;
    if let Some(error) = query.error {
        let words: String = query.error_description.unwrap_or(error).chars().take(300).collect();
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "hub_refused",
            format!("the hub did not sign you in: {words}"),
        ));
    }
    let (Some(code), Some(state)) = (query.code, query.state) else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "bad_callback",
            "this address is where the hub sends browsers after a sign-in; open the hub instead",
        ));
    };
    let name = state_cookie(settings, &state);
    let begun = session::cookies(headers)
        .filter(|(found, _)| *found == name)
        .find_map(|(_, sealed)| gateway.seal.open(sealed, unix_now()))
        .filter(|begun| begun.state == state);
    let Some(begun) = begun else {
        // A second sign-in at the same time may have been first.
        if gateway.caller(headers, Kind::Page).await.is_ok() {
            return Ok(redirect(&settings.public_prefix));
        }
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "state_does_not_match",
            "this sign-in was not begun by this browser, or more than ten minutes ago; reload the page to try again",
        ));
    };
    if code.len() > CODE_BYTES_MAX {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_callback", "the hub's codes are shorter"));
    }
    let token = gateway.hub.token_for(&code, &begun.verifier).await.map_err(|error| match error {
        HubError::Answer { .. } => {
            tracing::warn!(%error, "the hub gave no token for a code");
            ApiError::new(
                StatusCode::FORBIDDEN,
                "code_refused",
                "the hub did not accept this sign-in's code; reload the page to try again",
            )
        }
        HubError::Unreachable { .. } | HubError::Unreadable { .. } => hub_silent(&error),
    })?;
    let user = gateway.hub.user_of(token.expose()).await.map_err(|error| hub_silent(&error))?;
    let Some(user) = user.filter(|user| user.may_use(settings.service_name())) else {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not_allowed",
            "the hub does not let you use this service; ask its administrator for access:services",
        ));
    };
    tracing::info!(user = user.name, "signed in");
    let value = gateway.sessions.lock().unwrap_or_else(PoisonError::into_inner).start(
        Instant::now(),
        &user.name,
        token,
    );
    let mut set =
        vec![(header::SET_COOKIE, cookie(gateway, headers, &gateway.session_cookie(), &value, None))];
    let states = format!("{}-signin-", settings.client_id);
    let stale =
        session::cookies(headers).filter(|(name, _)| name.starts_with(&states)).take(STALE_COOKIES_MAX);
    for (name, _) in stale {
        set.push((header::SET_COOKIE, cookie(gateway, headers, name, "", Some(Duration::ZERO))));
    }
    Ok((AppendHeaders(set), redirect(&begun.next)).into_response())
}

/// Of each sign-in its own, so that two at a time do not disturb each other.
fn state_cookie(settings: &crate::Settings, state: &str) -> String {
    let digest = hex::encode(Sha256::digest(state.as_bytes()));
    format!("{}-signin-{}", settings.client_id, &digest[..16])
}

fn cookie(
    gateway: &Gateway,
    headers: &HeaderMap,
    name: &str,
    value: &str,
    lasts: Option<Duration>,
) -> HeaderValue {
    let settings = &gateway.settings;
    let is_tls = match &settings.public_origin {
        Some(origin) => origin.starts_with("https://"),
        None => headers
            .get("x-forwarded-proto")
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|proto| proto.trim() == "https")),
    };
    let mut text = format!("{name}={value}; Path={}; HttpOnly; SameSite=Lax", settings.public_prefix);
    if let Some(lasts) = lasts {
        text.push_str(&format!("; Max-Age={}", lasts.as_secs()));
    }
    if is_tls {
        text.push_str("; Secure");
    }
    HeaderValue::try_from(text).expect("names and values are checked or our own")
}

pub(crate) fn redirect(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
        Err(_) => {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_path", "that is no path of ours").into_response()
        }
    }
}

/// Only paths of this service are gone back to: nobody can make a sign-in end elsewhere.
fn is_own_path(next: &str, prefix: &str) -> bool {
    let lower = next.to_ascii_lowercase();
    next.len() <= NEXT_BYTES_MAX
        && next.starts_with(prefix)
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !lower.contains("..")
        && !lower.contains("%2e")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_sealed_opens_and_only_in_time() {
        let seal = Seal::new();
        let begun =
            Begun { state: "s".into(), verifier: "v".into(), next: "/services/nuna/".into(), until: 100 };
        let sealed = seal.close(&begun);
        assert_eq!(seal.open(&sealed, 99), Some(begun));
        assert_eq!(seal.open(&sealed, 100), None);
        assert_eq!(Seal::new().open(&sealed, 99), None);
        let (payload, signature) = sealed.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"state":"s","verifier":"v","next":"//evil","until":999}"#);
        for wrong in
            [format!("{forged}.{signature}"), format!("{payload}."), payload.to_owned(), String::new()]
        {
            assert_eq!(seal.open(&wrong, 99), None, "{wrong}");
        }
    }

    #[test]
    fn a_sign_in_ends_on_our_own_paths_only() {
        let ours = |next| is_own_path(next, "/services/nuna/");
        assert!(ours("/services/nuna/") && ours("/services/nuna/clusters/alice/local-1/?x=1"));
        for elsewhere in [
            "https://evil.example/",
            "//evil.example/",
            "/services/nuna/../../hub/logout",
            "/hub/",
            "/services/nuna/%2e%2e/x",
            "/services/nuna/\r\nSet-Cookie: a=b",
            "/services/nuna/\\evil",
            "",
            "/services/nunavut/",
        ] {
            assert!(!ours(elsewhere), "{elsewhere}");
        }
    }
}
