//! Dashboards of running clusters, as a service of the hub: clusters register, their owners sign in through the
//! hub's OAuth, and requests go through with the cluster's token added on the way.
//!
//! Leaves to others: listening, the paths of the launcher and the rest of the service (`spawner/src`), what a
//! dashboard shows (`kernel/crates/dashboard`), and TLS and routing in front (`spawner/crates/proxy`).
//!
//! What a reader cannot see: no browser ever holds a cluster's token or the hub's; no answer and no log line has
//! one; a token is sent only over a connection whose other end has just proven to know it; and an address of this
//! machine is believed only from this machine.
#![forbid(unsafe_code)]

mod address;
mod clusters;
mod dashboard;
mod error;
mod forward;
mod guard;
mod hub;
mod origin;
mod page;
mod registry;
mod session;
mod settings;
mod shares;
mod signin;
mod tunnel;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Request, Response, header};
use axum::middleware::{self, Next};
use axum::routing::{delete, get};

pub use settings::{GatewayError, Secret, Settings};

/// A registration is a few hundred bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The policy of every page below the prefix, whatever a dashboard says: its own files, no other site's frames.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// All that a request may use.
struct Gateway {
    settings: Settings,
    hub: hub::Hub,
    sessions: Mutex<session::Sessions>,
    registry: Mutex<registry::Registry>,
    seal: signin::Seal,
    /// Bounds what one user can make this service do at a time.
    requests: Arc<shares::Shares>,
    streams: Arc<shares::Shares>,
    proofs: Arc<shares::Shares>,
}

type Shared = Arc<Gateway>;

/// Every path of the gateway, all below `settings.public_prefix`.
///
/// The listener must tell who connects: serve with `into_make_service_with_connect_info::<SocketAddr>()`. Without
/// that, registrations are answered with an error that says so.
///
/// # Errors
/// If a setting cannot be used; the message names it.
pub fn router(settings: Settings) -> Result<Router, GatewayError> {
    settings.check()?;
    let prefix = settings.public_prefix.clone();
    let at = |path: &str| format!("{prefix}{path}");
    let gateway = Arc::new(Gateway {
        hub: hub::Hub::new(&settings)?,
        sessions: Mutex::default(),
        registry: Mutex::default(),
        seal: signin::Seal::new(),
        requests: shares::Shares::new("requests", 32),
        streams: shares::Shares::new("live views", 32),
        proofs: shares::Shares::new("registrations", 8),
        settings,
    });
    let router = Router::new()
        .route(&at(""), get(page::home))
        .route(&at("login"), get(signin::login))
        .route(&at("oauth_callback"), get(signin::callback))
        .route(&at("api/clusters"), get(clusters::list).post(clusters::register))
        .route(&at("api/clusters/{name}"), delete(clusters::remove))
        .route(&at("clusters/{user}/{name}/ws"), get(forward::stream))
        .route(&at("clusters/{user}/{name}/"), get(forward::index))
        .route(&at("clusters/{user}/{name}/{*path}"), get(forward::file))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(harden))
        .with_state(gateway);
    Ok(router)
}

async fn harden(request: Request<axum::body::Body>, next: Next) -> Response<axum::body::Body> {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
