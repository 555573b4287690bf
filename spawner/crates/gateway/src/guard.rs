//! Who makes a request: the hub's token in the header, or the session a browser's cookie names.

use std::sync::PoisonError;
use std::time::Instant;

use axum::http::{HeaderMap, StatusCode, header};

use crate::error::ApiError;
use crate::hub::HubError;
use crate::origin::{self, Kind};
use crate::session::{self, SessionKey};
use crate::{Gateway, hub};

#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) means: Means,
}

/// How a caller is known; asked again while a stream lasts.
#[derive(Clone, Debug)]
pub(crate) enum Means {
    Session(SessionKey),
    Token(crate::Secret),
}

impl Gateway {
    pub(crate) fn session_cookie(&self) -> String {
        format!("{}-session", self.settings.client_id)
    }

    /// The caller by token or cookie.
    pub(crate) async fn caller(&self, headers: &HeaderMap, kind: Kind) -> Result<Caller, ApiError> {
        if headers.contains_key(header::AUTHORIZATION) {
            let (user, token) = self.token_holder(headers).await?;
            return Ok(Caller { user, means: Means::Token(token) });
        }
        let keys = session::keys(headers, &self.session_cookie());
        if keys.is_empty() {
            return Err(ApiError::not_signed_in());
        }
        // Before the session is looked at, so that another site's page learns nothing from the answer.
        if !origin::is_ours(headers, kind, self.settings.public_origin.as_deref()) {
            return Err(ApiError::foreign_origin());
        }
        for key in keys {
            if let Some(user) = self.session_user(key).await? {
                return Ok(Caller { user, means: Means::Session(key) });
            }
        }
        Err(ApiError::not_signed_in())
    }

    /// The caller by token only: what changes something is never done on the strength of a cookie.
    pub(crate) async fn token_holder(
        &self,
        headers: &HeaderMap,
    ) -> Result<(String, crate::Secret), ApiError> {
        let value = headers.get(header::AUTHORIZATION).ok_or_else(|| {
            ApiError::new(
                StatusCode::UNAUTHORIZED,
                "token_needed",
                "this needs the header `Authorization: token …` with the user's token of the hub",
            )
        })?;
        let unknown = || {
            ApiError::new(
                StatusCode::FORBIDDEN,
                "unknown_token",
                "the hub does not know this token, or it was given for something else; a user server has a good \
                 one in JUPYTERHUB_API_TOKEN",
            )
        };
        let token = value.to_str().ok().and_then(bearer).ok_or_else(unknown)?;
        let user = self.hub.user_of(token).await.map_err(|error| hub_silent(&error))?.ok_or_else(unknown)?;
        if !user.may_act(self.settings.service_name()) {
            return Err(unknown());
        }
        Ok((user.name, crate::Secret::new(token)))
    }

    /// The session's user, if the hub still says so; or if the hub is silent and said so not long ago.
    pub(crate) async fn session_user(&self, key: SessionKey) -> Result<Option<String>, ApiError> {
        let now = Instant::now();
        let sessions = || self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = sessions().get(now, key) else { return Ok(None) };
        match self.hub.user_of(session.token.expose()).await {
            Ok(Some(user)) if user.name == session.user && user.may_use(self.settings.service_name()) => {
                sessions().confirm(now, key);
                Ok(Some(session.user))
            }
            Ok(_) => {
                tracing::info!(user = session.user, "the hub ended this session");
                sessions().end(key);
                Ok(None)
            }
            Err(error) if session.is_fresh(now) => {
                tracing::warn!(%error, user = session.user, "the hub is silent; whom it knew a moment ago is let in");
                Ok(Some(session.user))
            }
            Err(error) => Err(hub_silent(&error)),
        }
    }

    /// Whether a caller who was let in would be let in now. A hub that is silent ends nothing.
    pub(crate) async fn is_still_known(&self, caller: &Caller) -> bool {
        let known = match &caller.means {
            Means::Session(key) => self.session_user(*key).await,
            Means::Token(token) => match self.hub.user_of(token.expose()).await {
                Ok(user) => Ok(user.map(|hub::User { name, .. }| name)),
                Err(error) => Err(hub_silent(&error)),
            },
        };
        match known {
            Ok(user) => user.as_deref() == Some(&caller.user),
            Err(error) => error.status() == StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(crate) fn hub_silent(error: &HubError) -> ApiError {
    tracing::error!(%error, "the hub could not be asked");
    ApiError::hub_unreachable()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}
