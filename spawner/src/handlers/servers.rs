//! User servers as the hub sees them: asked for, shown, followed, removed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use nuna_pbs::UserName;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::info;

use crate::app::App;
use crate::config::{LauncherSettings, ProfileSettings, is_variable};
use crate::error::{ApiError, Sent};
use crate::lifecycle::{Answer, Keeper, ServerId, Spec, View};
use crate::profiles::Resources;
use crate::secret::{Code, random_hex};
use crate::templates::JobContext;
use crate::timing::{Other, waiting};

/// A stream says something at least this often: who hears nothing for longer tells people that the service is silent.
const EVENT_INTERVAL: Duration = Duration::from_secs(6);
/// Ids whose beginnings clash are this rare: 24 bits.
const TAG_ATTEMPTS: usize = 5;
const ARGUMENTS_MAX: usize = 256;
const SERVER_NAME_LENGTH_MAX: usize = 255;
/// The node's own are right there; the hub's are not.
const OF_THE_NODE: [&str; 8] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TMPDIR", "LD_LIBRARY_PATH"];

#[derive(Deserialize)]
pub struct Requested {
    user: String,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
    environment: BTreeMap<String, String>,
    argv: Vec<String>,
    /// How often the hub will ask about the server.
    #[serde(default)]
    poll_seconds: Option<f64>,
    /// How many words of `argv` are the command; the others are its arguments.
    #[serde(default = "one")]
    command_words: usize,
}

fn one() -> usize {
    1
}

/// What the launcher gets for its code.
#[derive(Serialize, Deserialize)]
pub struct Launch {
    pub environment: BTreeMap<String, String>,
    pub argv: Vec<String>,
}

#[derive(Serialize)]
pub struct Created {
    id: ServerId,
    wait_seconds_max: u64,
}

/// A server whose id nobody learned is stopped: the hub cannot ask for it any more.
struct Unanswered<'a> {
    keeper: &'a Keeper,
    id: Option<ServerId>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && !self.keeper.stop_now(&id)
        {
            let (keeper, id) = (self.keeper.clone(), id);
            tokio::spawn(async move { keeper.stop(&id).await });
        }
    }
}

pub async fn create(
    State(app): State<Arc<App>>,
    Sent(requested): Sent<Requested>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    if *app.ending.borrow() {
        return Err(ApiError::ending());
    }
    app.keeper.hear(None);
    let user = check(&requested)?;
    let groups = app.groups(&user);
    let choice = app.profiles.choose_from_json(user.as_str(), &groups, &requested.options)?;
    let resources =
        app.profiles.resources(&choice).ok_or_else(|| ApiError::internal(&"a profile vanished"))?;
    let profile =
        app.profiles.get(&resources.profile).ok_or_else(|| ApiError::internal(&"a profile vanished"))?;
    let launch = Launch {
        environment: environment(&app.config.launcher, profile, &user, requested.environment, &resources),
        argv: argv(requested.argv, requested.command_words, profile),
    };
    let launch = serde_json::to_vec(&launch).map_err(|error| ApiError::internal(&error))?;
    for _ in 0..TAG_ATTEMPTS {
        let internal = |error: &dyn std::fmt::Display| ApiError::internal(error);
        let id = random_hex::<16>().map_err(|error| internal(&error))?;
        let tag = format!("{}{}", app.journal.tag_prefix(), &id[..6]);
        let id = ServerId::parse(&id).ok_or_else(|| internal(&"an id is not an id"))?;
        let code = Code::generate().map_err(|error| internal(&error))?;
        let url = app.config.nodes.url.trim_end_matches('/');
        let context = JobContext::new(&resources, &app.config.launcher, url, &user, &tag, &code);
        let script = app.templates.job(&context).map_err(|error| internal(&error))?;
        let spec = Spec {
            id: id.clone(),
            user: user.clone(),
            server_name: requested.server_name.clone(),
            profile: resources.profile.clone(),
            queue: resources.queue.clone(),
            walltime_seconds: resources.walltime_seconds,
            tag,
            requested: app.clock.now(),
            code: code.digest(),
            environment: Some(code.seal(&launch).map_err(|error| internal(&error))?),
            ticket: None,
            asked_every: requested.poll_seconds.and_then(|every| Duration::try_from_secs_f64(every).ok()),
        };
        // Armed before the request: if the hub hangs up while it is recorded, nobody learns the id.
        let mut unanswered = Unanswered { keeper: &app.keeper, id: Some(id.clone()) };
        match app.keeper.request(spec, script).await {
            Some(Answer::Accepted) => {}
            Some(Answer::TagTaken) => {
                unanswered.id = None;
                continue;
            }
            Some(Answer::AlreadyRunning(other)) => {
                unanswered.id = None;
                let message = "This server is still there. Stop it first, or wait until it is gone.";
                let error = ApiError::new(StatusCode::CONFLICT, "already_running", message);
                return Err(ApiError { id: Some(other), ..error });
            }
            Some(Answer::TooMany { limit }) => {
                unanswered.id = None;
                let message =
                    format!("{limit} servers run or wait, which is the limit here. Try again later.");
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_servers", message));
            }
            Some(Answer::TooManyOfUser { limit, names }) => {
                unanswered.id = None;
                return Err(too_many_of_user(limit, &names));
            }
            Some(
                Answer::Granted { .. }
                | Answer::Done(_)
                | Answer::Resolve(_)
                | Answer::Refused(_)
                | Answer::NotYet,
            )
            | None => {
                return Err(ApiError::ending());
            }
        }
        info!(target: "audit", %user, server = id.as_str(), profile = resources.profile, "user server requested");
        submitted(&app, &id).await?;
        unanswered.id = None;
        let patience = app.limits.queue_wait + app.limits.start + app.command_max;
        return Ok((StatusCode::ACCEPTED, Json(Created { id, wait_seconds_max: patience.as_secs() })));
    }
    Err(ApiError::internal(&"five ids in a row begin like that of a living server"))
}

fn check(requested: &Requested) -> Result<UserName, ApiError> {
    let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message);
    let user: UserName = requested.user.parse().map_err(|error| bad(format!("{error}.")))?;
    if requested.argv.first().is_none_or(String::is_empty) || requested.argv.len() > ARGUMENTS_MAX {
        return Err(bad(format!("argv needs a program and at most {ARGUMENTS_MAX} words.")));
    }
    if requested.server_name.len() > SERVER_NAME_LENGTH_MAX {
        return Err(bad(format!("A server's name has at most {SERVER_NAME_LENGTH_MAX} bytes.")));
    }
    if requested.argv.iter().chain(requested.environment.values()).any(|text| text.contains('\0')) {
        return Err(bad("An argument or a variable holds a NUL byte.".to_owned()));
    }
    match requested.environment.keys().find(|name| !is_variable(name)) {
        Some(name) => Err(bad(format!("{name:?} is not the name of an environment variable."))),
        None => Ok(user),
    }
}

fn too_many_of_user(limit: usize, names: &[String]) -> ApiError {
    let name = |name: &String| if name.is_empty() { "the default one".to_owned() } else { name.clone() };
    let names = names.iter().map(name).collect::<Vec<_>>().join(", ");
    let servers = if limit == 1 { "1 server".to_owned() } else { format!("{limit} servers") };
    let message = format!("You may have {servers} at once, and have: {names}. Stop one of them first.");
    ApiError::new(StatusCode::FORBIDDEN, "too_many_of_yours", message)
}

/// What runs in the job, with the profile's own command and further arguments.
fn argv(mut argv: Vec<String>, command_words: usize, profile: &ProfileSettings) -> Vec<String> {
    if !profile.command.is_empty() {
        argv.splice(..command_words.min(argv.len()), profile.command.iter().cloned());
    }
    argv.extend(profile.arguments.iter().cloned());
    argv
}

fn environment(
    launcher: &LauncherSettings,
    profile: &ProfileSettings,
    user: &UserName,
    mut environment: BTreeMap<String, String>,
    resources: &Resources,
) -> BTreeMap<String, String> {
    environment.retain(|name, _| !OF_THE_NODE.contains(&name.as_str()));
    environment.extend(resources.limits());
    environment.extend(launcher.environment.clone());
    // A prologue may have changed what the script has set, such as by `module load`.
    if let Some(path) = launcher.path.as_ref().filter(|_| profile.prologue.is_empty()) {
        environment.insert("PATH".to_owned(), path.clone());
    }
    if let Some(home) = &launcher.home {
        environment.insert("HOME".to_owned(), home.replace("{user}", user.as_str()));
    }
    environment.extend(profile.environment.clone());
    for (name, value) in
        [("JUPYTERHUB_ROOT_DIR", &profile.notebook_dir), ("JUPYTERHUB_DEFAULT_URL", &profile.default_url)]
    {
        if let Some(value) = value {
            environment.insert(name.to_owned(), value.replace("{user}", user.as_str()));
        }
    }
    environment
}

/// Waits for `qsub`'s word.
async fn submitted(app: &App, id: &ServerId) -> Result<(), ApiError> {
    let mut watch = app.keeper.watch(id).ok_or_else(ApiError::ending)?;
    let patience = app.command_max + Duration::from_secs(5);
    let settled = tokio::time::timeout(patience, watch.wait_for(|view| view.state != "submitting"));
    let view = match waiting(Other::Batch, settled).await {
        Ok(Ok(view)) => view.clone(),
        Ok(Err(_)) => return Err(ApiError::ending()),
        Err(_) => {
            let system = app.config.batch.system;
            let message = format!("{system} takes too long to accept jobs at the moment. Try again later.");
            return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "pbs_unreachable", &message));
        }
    };
    match view.failure {
        Some(failure) => Err(ApiError::failure(failure, &view.message)),
        None => Ok(()),
    }
}

fn known(id: &str) -> Result<ServerId, ApiError> {
    ServerId::parse(id).ok_or_else(ApiError::no_such_server)
}

pub async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<View>, ApiError> {
    let id = known(&id)?;
    app.keeper.hear(Some(&id));
    app.keeper.view(&id).map(Json).ok_or_else(ApiError::no_such_server)
}

pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let Some(id) = ServerId::parse(&id) else { return Ok(StatusCode::NO_CONTENT) };
    let Some(mut watch) = app.keeper.watch(&id) else { return Ok(StatusCode::NO_CONTENT) };
    if watch.borrow().is_gone() {
        return Ok(StatusCode::NO_CONTENT);
    }
    info!(target: "audit", user = watch.borrow().user, server = id.as_str(), "stop requested");
    app.keeper.stop(&id).await;
    let gone = tokio::time::timeout(app.config.limits.stop(), watch.wait_for(View::is_gone));
    match waiting(Other::Batch, gone).await {
        // Forgotten is gone as well.
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(_) => {
            let message = app.keeper.view(&id).map(|view| view.message).unwrap_or_default();
            let limit = app.config.limits.stop().as_secs();
            let message =
                format!("The job is not gone after {limit} s; the service goes on deleting it. {message}");
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "still_stopping", message))
        }
    }
}

/// Where a stream is.
enum Following {
    First,
    Next,
    Last,
}

pub async fn events(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id = known(&id)?;
    let watch = app.keeper.watch(&id).ok_or_else(ApiError::no_such_server)?;
    let stream = futures::stream::unfold(
        (watch, app.ending.clone(), Following::First, (app.keeper.clone(), id)),
        |(mut watch, mut ending, following, (keeper, id))| async move {
            match following {
                Following::First => {}
                Following::Last => return None,
                Following::Next => tokio::select! {
                    changed = watch.changed() => changed.ok()?,
                    () = tokio::time::sleep(EVENT_INTERVAL) => {}
                    // The reader asks again, and gets the service's next life.
                    _ = ending.wait_for(|ending| *ending) => return None,
                },
            }
            keeper.hear(Some(&id));
            let view = read(&mut watch);
            let next = if view.is_settled() { Following::Last } else { Following::Next };
            let mut line = serde_json::to_vec(&view).unwrap_or_default();
            line.push(b'\n');
            Some((Ok::<_, Infallible>(Bytes::from(line)), (watch, ending, next, (keeper, id))))
        },
    );
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn read(watch: &mut watch::Receiver<View>) -> View {
    watch.borrow_and_update().clone()
}
