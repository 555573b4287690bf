//! `GET /form` and `POST /options`: which profiles somebody may choose, and what they chose.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use crate::app::App;
use crate::error::{ApiError, Sent};
use crate::profiles::ChoiceError;

#[derive(Deserialize)]
pub struct Who {
    #[serde(default)]
    user: String,
}

pub async fn form(State(app): State<Arc<App>>, Query(who): Query<Who>) -> Result<Html<String>, ApiError> {
    let groups = known_groups(&app, &who.user);
    let profiles = app.profiles.allowed(&groups);
    if profiles.is_empty() {
        return Err(ChoiceError::NoProfile { user: who.user }.into());
    }
    app.templates.form(&profiles).map(Html).map_err(|error| ApiError::internal(&error))
}

/// Of what is no user's name: none.
fn known_groups(app: &App, user: &str) -> Vec<String> {
    user.parse().map(|user| app.groups(&user)).unwrap_or_default()
}

#[derive(Deserialize)]
pub struct Filled {
    user: String,
    form: BTreeMap<String, Vec<String>>,
}

pub async fn options(
    State(app): State<Arc<App>>,
    Sent(filled): Sent<Filled>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let groups = known_groups(&app, &filled.user);
    let choice = app.profiles.choose_from_form(&filled.user, &groups, &filled.form)?;
    Ok(Json(choice.to_json()))
}
