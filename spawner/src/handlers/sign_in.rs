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
    match outcome {
        Ok(identity) => {
            info!(target: "audit", user = %identity.name, groups = ?identity.groups, admin = identity.admin, "signed in");
            app.remember(&identity).await.map_err(|error| ApiError::internal(&error))?;
            Ok(Json(identity))
        }
        Err(error) => {
            // People type passwords where names go: only what could be a name is logged.
            let user = credentials.username.trim().to_lowercase();
            let user =
                user.parse::<nuna_pbs::UserName>().map_or_else(|_| "?".to_owned(), |user| user.to_string());
            warn!(target: "audit", user, outcome = word, "sign-in refused: {error}");
            Err(error.into())
        }
    }
}
