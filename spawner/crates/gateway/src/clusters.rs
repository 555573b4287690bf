//! The list of clusters: registering (and renewing), removing, listing.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::address::{self, CameFrom};
use crate::dashboard::{DashboardError, Proven};
use crate::error::ApiError;
use crate::origin::Kind;
use crate::page::cluster_path;
use crate::registry::{CLUSTERS_MAX, CLUSTERS_PER_USER_MAX, Cluster, Full, LIFETIME};
use crate::{Secret, Shared};

const BODY_LIMIT: Duration = Duration::from_secs(10);
const NAME_BYTES_MAX: usize = 64;
const ORIGIN_BYTES_MAX: usize = 128;
/// A short token could be found out by trying, by whoever can ask for proofs.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// What a cluster says of itself; `nuna_dashboard::register::Registration` on the other side.
#[derive(Deserialize)]
struct Registration {
    name: String,
    dashboard: String,
    token: String,
    started: String,
    #[serde(default)]
    origin: String,
}

#[derive(Serialize)]
pub(crate) struct Registered {
    url: String,
    expires_in_seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    user: String,
    name: String,
    started: String,
    origin: String,
    url: String,
}

/// Adds a cluster of the token's user, or renews it, once its dashboard is proven to be where it says.
pub(crate) async fn register(
    State(gateway): State<Shared>,
    request: Request,
) -> Result<Json<Registered>, ApiError> {
    let (user, _) = gateway.token_holder(request.headers()).await?;
    let _share = gateway.proofs.take(&user)?;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let Some(peer) = peer else {
        tracing::error!(
            "the listener does not say who connects; serve with into_make_service_with_connect_info"
        );
        return Err(ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no_peer",
            "the service cannot tell where this request came from; its log says why",
        ));
    };
    let from = CameFrom::of(peer, request.headers());
    let registration = read(request).await?;
    let bad = |message: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_registration", message);
    check(&registration).map_err(|message| bad(message.to_owned()))?;
    let note = |error: &dyn std::error::Error| {
        let mut registry = gateway.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if registry.refuse(&user, &registration.name) {
            let (cluster, dashboard) = (&registration.name, &registration.dashboard);
            tracing::warn!(user, cluster, dashboard, %peer, %error, "not registered; said once per cluster");
        }
    };
    let refused = |error: address::AddressError| {
        note(&error);
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_address", error.to_string())
    };
    let (host, port) = address::parse(&registration.dashboard).map_err(refused)?;
    let addresses =
        address::resolve(&host, port, from, &gateway.settings.own_ports).await.map_err(refused)?;
    let token = Secret::new(registration.token.clone());
    let dashboard = prove(&addresses, &token).await.map_err(|error| {
        note(&error);
        // The same words for a closed port and a wrong answer: this is no way to look around in the network.
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "not_proven",
            format!(
                "nothing at {} proved that it holds this cluster's token, as seen from the hub; the dashboard must \
                 be running there, and a firewall must let the hub reach it",
                registration.dashboard
            ),
        )
    })?;
    let cluster = Cluster {
        user: user.clone(),
        name: registration.name.clone(),
        started: registration.started,
        origin: registration.origin,
        dashboard,
        token,
    };
    let url = cluster_path(&gateway.settings.public_prefix, &cluster);
    let put = gateway.registry.lock().unwrap_or_else(PoisonError::into_inner).put(Instant::now(), cluster);
    let is_new = put.map_err(|full| {
        let message = match full {
            Full::User => {
                format!("{CLUSTERS_PER_USER_MAX} clusters of yours are registered already; stop one")
            }
            Full::Service => {
                format!("{CLUSTERS_MAX} clusters are registered already; tell the administrator")
            }
        };
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many", message)
    })?;
    if is_new {
        tracing::info!(user, cluster = registration.name, %dashboard, %peer, "registered");
    }
    Ok(Json(Registered { url, expires_in_seconds: LIFETIME.as_secs() }))
}

/// Takes a cluster of the token's user off the list. What is not there is gone.
pub(crate) async fn remove(
    State(gateway): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let (user, _) = gateway.token_holder(&headers).await?;
    if gateway.registry.lock().unwrap_or_else(PoisonError::into_inner).remove(&user, &name) {
        tracing::info!(user, cluster = name, "removed");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's clusters, oldest first.
pub(crate) async fn list(
    State(gateway): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Vec<Listed>>, ApiError> {
    let caller = gateway.caller(&headers, Kind::Api).await?;
    let clusters =
        gateway.registry.lock().unwrap_or_else(PoisonError::into_inner).list(Instant::now(), &caller.user);
    let listed = clusters.iter().map(|cluster| Listed {
        user: cluster.user.clone(),
        name: cluster.name.clone(),
        started: cluster.started.clone(),
        origin: cluster.origin.clone(),
        url: cluster_path(&gateway.settings.public_prefix, cluster),
    });
    Ok(Json(listed.collect()))
}

async fn read(request: Request) -> Result<Registration, ApiError> {
    let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad_body", message);
    let body = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, &()))
        .await
        .map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!("the body did not come within {BODY_LIMIT:?}"),
            )
        })?
        .map_err(|rejection| ApiError::new(rejection.status(), "bad_body", rejection.body_text()))?;
    // serde's words could quote the token, so only the place is told.
    serde_json::from_slice(&body).map_err(|error| {
        bad(format!(
            "line {} column {} is not what a registration has: name, dashboard, token, started and origin, all text",
            error.line(),
            error.column()
        ))
    })
}

fn check(registration: &Registration) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !is_name(&registration.name) {
        return Err(
            "name must be 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
        );
    }
    if !TOKEN_BYTES.contains(&registration.token.len())
        || !registration.token.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err("token must be 32 to 256 printable characters");
    }
    if registration.started.len() > 64 || registration.started.parse::<jiff::Timestamp>().is_err() {
        return Err("started must be a time such as 2026-01-31T12:00:00Z");
    }
    if registration.origin.len() > ORIGIN_BYTES_MAX || !registration.origin.bytes().all(is_word) {
        return Err("origin must be a kernel's id, or empty");
    }
    Ok(())
}

pub(crate) fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(is_word)
}

async fn prove(addresses: &[SocketAddr], token: &Secret) -> Result<SocketAddr, DashboardError> {
    let mut result = Proven::connect(addresses[0], token).await;
    for address in &addresses[1..] {
        if result.is_ok() {
            break;
        }
        result = Proven::connect(*address, token).await;
    }
    result.map(|proven| proven.address())
}
