//! Every route of the service on one page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::config::PREFIX;
use crate::error::{ApiError, with_request_id};
use crate::handlers::{health, launch, options, servers, sign_in};
use crate::timing;

/// An environment with room to spare.
const HUB_BODY_MAX: usize = 1 << 20;
/// A report with 4 kB of output, escaped.
const LAUNCH_BODY_MAX: usize = 64 << 10;
/// For a launcher's whole request, its body included.
const LAUNCH_TIME_MAX: Duration = Duration::from_secs(30);

/// For the hub, on the unix socket.
pub fn hub(app: Arc<App>) -> Router {
    Router::new()
        .route("/auth", post(sign_in::sign_in))
        .route("/users/{name}/standing", get(sign_in::standing))
        .route("/form", get(options::form).post(options::form_again))
        .route("/options", post(options::options))
        .route("/servers", post(servers::create))
        .route("/servers/{id}", get(servers::show).delete(servers::remove))
        .route("/servers/{id}/events", get(servers::events))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(HUB_BODY_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), count_hub))
        .layer(middleware::from_fn_with_state(app.clone(), timing::measure))
        .layer(middleware::from_fn(with_request_id))
        .with_state(app)
}

/// For launchers and browsers, on TCP. `gateway` answers everything that is not a launcher's.
pub fn nodes(app: Arc<App>, gateway: Router) -> Router {
    let launch = Router::new()
        .route(&format!("{PREFIX}/launch/exchange"), post(launch::exchange))
        .route(&format!("{PREFIX}/launch/ready"), post(launch::ready))
        .route(&format!("{PREFIX}/launch/failed"), post(launch::failed))
        .layer(DefaultBodyLimit::max(LAUNCH_BODY_MAX))
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn_with_state(app.clone(), timing::measure))
        .with_state(app.clone());
    launch
        .merge(gateway)
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(app, count_nodes))
        .layer(middleware::from_fn(with_request_id))
}

async fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
}

async fn wrong_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "This address is not asked in this way.")
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(LAUNCH_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::too_slow(LAUNCH_TIME_MAX).into_response(),
    }
}

async fn count_hub(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.requested("hub", response.status().as_u16());
    response
}

async fn count_nodes(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.metrics.requested("nodes", response.status().as_u16());
    response
}
