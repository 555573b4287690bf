//! What launchers say, from inside the jobs: anybody on the network can ask, only codes and tickets count.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::servers::Launch;
use crate::app::App;
use crate::error::{ApiError, Sent};
use crate::lifecycle::fleet::{Event, Resolved};
use crate::lifecycle::{Answer, LaunchReport};
use crate::names::Names;
use crate::secret::{Code, Digest, Secret, random_hex};
use crate::timing::{Other, waiting};

/// A job may start before `qsub` has said its id.
const NOT_YET_TRIES: usize = 50;
const NOT_YET_PAUSE: Duration = Duration::from_millis(200);
/// What a request names, and what PBS names: a claim may be judged by either.
const RESOLVE_TRIES: usize = 3;
const MESSAGE_LENGTH_MAX: usize = 500;
const TAIL_LENGTH_MAX: usize = 4096;
const NAME_LENGTH_MAX: usize = 255;

#[derive(Deserialize)]
pub struct Exchange {
    code: Secret,
    job: String,
    host: String,
}

#[derive(Serialize)]
pub struct Grant {
    environment: BTreeMap<String, String>,
    argv: Vec<String>,
    ticket: String,
}

fn refused(why: &str, peer: SocketAddr) -> ApiError {
    warn!(target: "audit", %peer, "a launcher was refused: {why}");
    ApiError::new(StatusCode::FORBIDDEN, "refused", format!("Refused: {why}."))
}

fn not_now() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_yet",
        "The job is not known yet; ask again in a moment.",
    )
}

pub async fn exchange(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Sent(sent): Sent<Exchange>,
) -> Result<Json<Grant>, ApiError> {
    let code = Code::from_text(sent.code.reveal());
    let ticket = random_hex::<32>().map_err(|error| ApiError::internal(&error))?;
    let mut resolved = None;
    for _ in 0..NOT_YET_TRIES {
        let event = Event::Exchange {
            code: code.digest(),
            job: sent.job.clone(),
            ticket: Digest::of("ticket", &ticket),
            peer: peer.ip(),
            resolved: resolved.clone(),
        };
        match app.keeper.ask(event).await {
            Some(Answer::Resolve(host)) => resolved = Some(resolve(&app.node_names, host, peer.ip()).await),
            Some(Answer::Granted { id, user, environment, node }) => {
                let launch = code.open(&environment).map_err(|error| ApiError::internal(&error))?;
                let launch: Launch =
                    serde_json::from_slice(&launch).map_err(|error| ApiError::internal(&error))?;
                let host = shortened(&sent.host, NAME_LENGTH_MAX);
                let node = node.as_deref().unwrap_or("not verified");
                info!(target: "audit", %user, server = id.as_str(), job = sent.job, host, node, %peer, "environment handed over");
                return Ok(Json(Grant { environment: launch.environment, argv: launch.argv, ticket }));
            }
            Some(Answer::NotYet) => waiting(Other::Batch, tokio::time::sleep(NOT_YET_PAUSE)).await,
            Some(Answer::Refused(why)) => return Err(refused(why, peer)),
            Some(_) | None => return Err(not_now()),
        }
    }
    Err(not_now())
}

#[derive(Deserialize)]
pub struct Ready {
    ticket: Secret,
    host: String,
    port: u16,
}

#[derive(Serialize)]
pub struct Done {}

pub async fn ready(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Sent(sent): Sent<Ready>,
) -> Result<Json<Done>, ApiError> {
    // Past the proxy, a user must not reach what only this machine's own programs reach.
    if app.own_ports.contains(&sent.port) && is_own(peer.ip()) {
        return Err(refused("the port is one of the hub's own", peer));
    }
    let mut resolved = None;
    for _ in 0..RESOLVE_TRIES {
        let event = Event::Ready {
            ticket: Digest::of("ticket", sent.ticket.reveal()),
            resolved: resolved.clone(),
            host: sent.host.clone(),
            port: sent.port,
            peer: peer.ip(),
        };
        match app.keeper.ask(event).await {
            Some(Answer::Resolve(host)) => {
                resolved = Some(resolve(&app.claimed_names, host, peer.ip()).await)
            }
            other => return done(other, peer),
        }
    }
    Err(not_now())
}

#[derive(Deserialize)]
pub struct Failed {
    ticket: Secret,
    message: String,
    #[serde(default)]
    exit: Option<i32>,
    #[serde(default)]
    tail: String,
}

pub async fn failed(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Sent(sent): Sent<Failed>,
) -> Result<Json<Done>, ApiError> {
    let report = LaunchReport {
        message: shortened(&sent.message, MESSAGE_LENGTH_MAX),
        exit: sent.exit,
        tail: tail(&sent.tail),
    };
    let event = Event::LaunchFailed { ticket: Digest::of("ticket", sent.ticket.reveal()), report };
    done(app.keeper.ask(event).await, peer)
}

fn done(answer: Option<Answer>, peer: SocketAddr) -> Result<Json<Done>, ApiError> {
    match answer {
        Some(Answer::Done(_)) => Ok(Json(Done {})),
        Some(Answer::Refused(why)) => Err(refused(why, peer)),
        Some(_) | None => Err(not_now()),
    }
}

/// Asked only for who holds a code or a ticket: looking up names takes time and threads.
async fn resolve(names: &Names, host: String, peer: IpAddr) -> Resolved {
    if host.len() > NAME_LENGTH_MAX || host.contains(char::is_whitespace) {
        return Resolved { host, addresses: Vec::new() };
    }
    let mut addresses = waiting(Other::Names, names.addresses(&host)).await;
    // This machine is one node however it is reached.
    if addresses.iter().copied().any(is_own) && is_own(peer) {
        addresses.push(peer);
    }
    Resolved { host, addresses }
}

/// Whether the address is one of this machine's: only those can be bound.
fn is_own(address: IpAddr) -> bool {
    !address.is_unspecified() && std::net::UdpSocket::bind((address.to_canonical(), 0)).is_ok()
}

/// What a job prints may hold anything: one line, no control characters, none that turn the direction of writing.
fn shortened(text: &str, length_max: usize) -> String {
    let text: String = text.chars().map(|letter| if is_plain(letter) { letter } else { ' ' }).collect();
    text.trim().chars().take(length_max).collect()
}

/// The end of an output, line by line.
fn tail(text: &str) -> String {
    let letters: Vec<char> = text.chars().filter(|letter| is_plain(*letter) || *letter == '\n').collect();
    letters[letters.len().saturating_sub(TAIL_LENGTH_MAX)..].iter().collect()
}

fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn own_addresses_are_known_and_names_are_bounded() {
        let local = IpAddr::from([127, 0, 0, 1]);
        assert!(is_own(local) && is_own("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!is_own([192, 0, 2, 1].into()) && !is_own([0, 0, 0, 0].into()));
        let found = resolve(&Names::default(), "localhost".to_owned(), local).await;
        assert!(found.addresses.contains(&local), "{found:?}");
        for odd in ["", "two words", &"x".repeat(300)] {
            assert_eq!(
                resolve(&Names::default(), odd.to_owned(), [192, 0, 2, 1].into()).await.addresses,
                [] as [IpAddr; 0],
                "{odd:?}"
            );
        }
    }

    #[test]
    fn output_of_jobs_loses_what_could_deceive() {
        assert_eq!(shortened("a\u{1b}[31mb\nc\u{202e}d", 100), "a [31mb c d");
        assert_eq!(shortened(&"x".repeat(999), 3), "xxx");
        assert_eq!(tail("one\r\ntwo\u{7}\n"), "one\ntwo\n");
        assert_eq!(tail(&format!("{}end", "x".repeat(9000))).chars().count(), TAIL_LENGTH_MAX);
    }
}
