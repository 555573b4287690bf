//! `POST /auth`: name and password in, name and groups out. `GET /users/NAME/standing`: the same without a password,
//! for somebody who has signed in. The groups are remembered for the profiles.
//!
//! Each decision is a line of the audit log. What people typed is in it only as what it was parsed to, so that no
//! name can break a line or look like another field.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use nuna_pbs::UserName;
use serde::Deserialize;
use tracing::{info, warn};

use crate::app::App;
use crate::auth::{Identity, SignInError, Throttle, address_key};
use crate::error::{ApiError, Sent};
use crate::secret::Secret;
use crate::timing::{Other, waiting};

/// Wait for one of `limits.sign_ins_max` places.
const PLACE_WAIT: Duration = Duration::from_secs(10);
/// Refusals are answered at whole multiples of it, so that the time says nothing about why: a name that nobody has
/// is found out sooner than a wrong password.
const REFUSAL_STEP: Duration = Duration::from_millis(500);

/// Stands in the log for what is not a name, and is none.
const NO_NAME: &str = "?";

#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: Secret,
    /// Where the browser is, as the hub's own proxy says.
    #[serde(default)]
    address: Option<IpAddr>,
}

pub async fn sign_in(
    State(app): State<Arc<App>>,
    Sent(credentials): Sent<Credentials>,
) -> Result<Json<Identity>, ApiError> {
    let Ok(Ok(place)) = tokio::time::timeout(PLACE_WAIT, app.sign_ins.acquire()).await else {
        let message = "Too many people sign in at the moment. Try again in a minute.";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
    };
    // People type passwords where names go: only what could be a name is logged, and can be somebody's.
    let name = credentials.username.trim().to_lowercase().parse::<UserName>().ok();
    let name = name.as_ref().map_or(NO_NAME, UserName::as_str);
    let key = credentials.address.map(address_key);
    let address = credentials.address.map_or_else(|| NO_NAME.to_owned(), |address| address.to_string());
    let address = address.as_str();
    let place_throttle = place_throttle(&app, name, key.as_deref());
    begin(&app, name, key.as_deref(), place_throttle).inspect_err(|(why, _)| {
        warn!(target: "audit", user = name, address, outcome = "throttled", "sign-in refused: too many wrong passwords {why}");
        app.metrics.signed_in("throttled", Duration::ZERO);
    })
    .map_err(|(why, wait)| {
        let seconds = wait.as_secs().max(1);
        let message = format!("Too many wrong passwords {why}. Try again in {seconds} seconds.");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
    })?;
    let begun = Instant::now();
    let question = app.directory.sign_in(&credentials.username, &credentials.password);
    let outcome = waiting(Other::Directory, question).await;
    drop(place);
    let word = outcome.as_ref().map_or_else(SignInError::word, |_| "accepted");
    app.metrics.signed_in(word, begun.elapsed());
    let is_wrong = matches!(outcome, Err(SignInError::WrongPassword { .. }));
    match &outcome {
        _ if is_wrong => {}
        // The password was right.
        Ok(_) | Err(SignInError::NotAllowed | SignInError::Locked { .. }) => app.throttle.succeeded(name),
        Err(_) => app.throttle.undecided(name),
    }
    if let (Some(key), false) = (&key, is_wrong) {
        // Nothing is forgiven: whoever has an account here could guess at others without an end.
        place_throttle.undecided(key);
    }
    match outcome {
        Ok(identity) => {
            info!(
                target: "audit",
                user = identity.name.as_str(),
                address,
                groups = ?identity.groups,
                admin = identity.admin,
                outcome = word,
                "signed in"
            );
            if let Some(key) = &key {
                app.acquaintances.signed_in(app.clock.now(), name, key);
            }
            app.remember(&identity).await.map_err(|error| ApiError::internal(&error))?;
            app.standings.signed_in(app.clock.now(), &identity);
            Ok(Json(identity))
        }
        Err(error) => {
            warn!(target: "audit", user = name, address, outcome = word, "sign-in refused: {error}");
            if is_wrong {
                waiting(Other::Clock, tokio::time::sleep(until_told(begun.elapsed()))).await;
            }
            Err(error.into())
        }
    }
}

/// Where guesses from the address are counted: one person who guesses must not keep an institute out.
fn place_throttle<'a>(app: &'a App, name: &str, address: Option<&str>) -> &'a Throttle {
    if address.is_some_and(|address| app.acquaintances.has(app.clock.now(), name, address)) {
        &app.acquainted_throttle
    } else {
        &app.address_throttle
    }
}

/// Counts an attempt of the name and from the address; or says which of them has to wait, and how long.
fn begin(
    app: &App,
    name: &str,
    address: Option<&str>,
    place: &Throttle,
) -> Result<(), (&'static str, Duration)> {
    let now = app.clock.now();
    if let Some(address) = address {
        place.begin(now, address).map_err(|wait| ("from this address", wait))?;
    }
    // What cannot be a name is refused without asking anybody.
    if name != NO_NAME {
        app.throttle.begin(now, name).map_err(|wait| ("for this name", wait))?;
    }
    Ok(())
}

/// From now to the next step after `taken`.
fn until_told(taken: Duration) -> Duration {
    let steps = taken.as_nanos() / REFUSAL_STEP.as_nanos() + 1;
    let told = REFUSAL_STEP.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
    told.saturating_sub(taken)
}

/// What the directory says now about somebody who has signed in. Without an answer of the directory nothing changes,
/// here and at the hub.
pub async fn standing(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Identity>, ApiError> {
    let gone = || ApiError::from(SignInError::Gone);
    let name: UserName = name.parse().map_err(|_| gone())?;
    let now = app.clock.now();
    let outcome = waiting(Other::Directory, app.standings.of(now, &name, app.directory.as_ref())).await;
    app.metrics.looked_up(outcome.as_ref().map_or_else(SignInError::word, |_| "active"));
    let known = app.journal.user(&name);
    match outcome {
        Ok(identity) => {
            if known.as_ref() != Some(&identity) {
                info!(
                    target: "audit",
                    user = identity.name.as_str(),
                    groups = ?identity.groups,
                    admin = identity.admin,
                    "the directory has changed somebody's groups"
                );
                app.remember(&identity).await.map_err(|error| ApiError::internal(&error))?;
            }
            Ok(Json(identity))
        }
        Err(error) => {
            if error.is_decision() && known.is_some() {
                warn!(target: "audit", user = name.as_str(), outcome = error.word(), "access ended: {error}");
                app.forget(&name).await.map_err(|error| ApiError::internal(&error))?;
            }
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A body is a sign-in or it is not; nothing in it is a fault of the service, and no password shows.
        #[test]
        fn any_body_is_read(body in any::<Vec<u8>>(), name in any::<String>(), address in "[0-9a-f:.,/ ]{0,20}") {
            let _ = serde_json::from_slice::<Credentials>(&body);
            let sent = serde_json::json!({"username": name, "password": "hunter-2", "address": address});
            if let Ok(credentials) = serde_json::from_value::<Credentials>(sent) {
                prop_assert_eq!(credentials.address, address.parse().ok());
                let shown = format!("{:?}", credentials.password);
                prop_assert!(!shown.contains("hunter"), "{}", shown);
            } else {
                prop_assert!(address.parse::<IpAddr>().is_err());
            }
        }
    }

    #[test]
    fn refusals_are_told_at_steps() {
        let told = |millis: u64| {
            let taken = Duration::from_millis(millis);
            (taken + until_told(taken)).as_millis()
        };
        assert_eq!([told(0), told(1), told(499), told(500), told(1730)], [500, 500, 500, 1000, 2000]);
    }
}
