//! `POST /auth`: name and password in, name and groups out. The groups are remembered for the profiles.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use tracing::{info, warn};

use crate::app::App;
use crate::auth::{Identity, SignInError};
use crate::error::{ApiError, Sent};
use crate::secret::Secret;

/// Wait for one of `limits.sign_ins_max` places.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// Stands in the log for what is not a name, and is none.
const NO_NAME: &str = "?";

#[derive(Deserialize)]
pub struct Credentials {
    username: String,
    password: Secret,
}

pub async fn sign_in(
    State(app): State<Arc<App>>,
    Sent(credentials): Sent<Credentials>,
) -> Result<Json<Identity>, ApiError> {
    let Ok(Ok(_place)) = tokio::time::timeout(PLACE_WAIT, app.sign_ins.acquire()).await else {
        let message = "Too many people sign in at the moment. Try again in a minute.";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
    };
    // People type passwords where names go: only what could be a name is logged, and can be somebody's.
    let name = credentials.username.trim().to_lowercase().parse::<nuna_pbs::UserName>().ok();
    let name = name.as_ref().map_or(NO_NAME, nuna_pbs::UserName::as_str);
    // What cannot be a name is refused without asking anybody.
    if name != NO_NAME
        && let Err(wait) = app.throttle.begin(app.clock.now(), name)
    {
        warn!(target: "audit", user = name, "sign-in refused: too many wrong passwords");
        app.metrics.signed_in("throttled", Duration::ZERO);
        let message = format!(
            "Too many wrong passwords for this name. Try again in {} seconds.",
            wait.as_secs().max(1)
        );
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message));
    }
    let begun = Instant::now();
    let outcome = app.directory.sign_in(&credentials.username, &credentials.password).await;
    let word = match &outcome {
        Ok(_) => "accepted",
        Err(SignInError::WrongPassword { .. }) => "wrong_password",
        Err(SignInError::NotAllowed) => "not_allowed",
        Err(SignInError::Unreachable { .. }) => "unreachable",
        Err(SignInError::Misconfigured { .. }) => "misconfigured",
    };
    app.metrics.signed_in(word, begun.elapsed());
    match &outcome {
        Ok(_) | Err(SignInError::NotAllowed) => app.throttle.succeeded(name),
        Err(SignInError::Unreachable { .. } | SignInError::Misconfigured { .. }) => {
            app.throttle.undecided(name)
        }
        Err(SignInError::WrongPassword { .. }) => {}
    }
    match outcome {
        Ok(identity) => {
            info!(target: "audit", user = %identity.name, groups = ?identity.groups, admin = identity.admin, "signed in");
            app.remember(&identity).await.map_err(|error| ApiError::internal(&error))?;
            Ok(Json(identity))
        }
        Err(error) => {
            warn!(target: "audit", user = name, outcome = word, "sign-in refused: {error}");
            Err(error.into())
        }
    }
}
