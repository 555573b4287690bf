//! `/form` and `POST /options`: which profiles somebody may choose, and what they chose.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::Html;
use serde::Deserialize;

use crate::app::App;
use crate::error::{ApiError, Sent};
use crate::form::{Before, Form, Moment};
use crate::profiles::ChoiceError;

#[derive(Deserialize)]
pub struct Who {
    #[serde(default)]
    user: String,
}

/// Who looks at the form, and what they have chosen before.
#[derive(Deserialize)]
pub struct Looking {
    user: String,
    /// Fields of a form that was refused.
    #[serde(default)]
    form: Option<BTreeMap<String, Vec<String>>>,
    /// Options of a server that was started, as the hub keeps them.
    #[serde(default)]
    last: Option<serde_json::Map<String, serde_json::Value>>,
}

pub async fn form(State(app): State<Arc<App>>, Query(who): Query<Who>) -> Result<Html<String>, ApiError> {
    drawn(&app, &who.user, Before::default()).await
}

pub async fn form_again(
    State(app): State<Arc<App>>,
    Sent(looking): Sent<Looking>,
) -> Result<Html<String>, ApiError> {
    drawn(&app, &looking.user, Before { filled: looking.form.as_ref(), last: looking.last.as_ref() }).await
}

async fn drawn(app: &App, user: &str, before: Before<'_>) -> Result<Html<String>, ApiError> {
    let groups = known_groups(app, user);
    let profiles = app.profiles.allowed(&groups);
    if profiles.is_empty() {
        return Err(ChoiceError::NoProfile { user: user.to_owned() }.into());
    }
    let (known, servers) = (app.queues.look().await, app.keeper.of_user(user));
    let moment = Moment { user, system: app.config.batch.system, known: &known, servers: &servers };
    let form = Form::new(&profiles, before, moment);
    app.templates.form(&form).map(Html).map_err(|error| ApiError::internal(&error))
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
