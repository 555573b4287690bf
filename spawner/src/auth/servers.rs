//! Which directory server is asked, and the connections kept for looking things up.
//!
//! A server that does not answer is left alone for a while that doubles with each failure, and tried again in the
//! background: people do not wait for it unless there is no other.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, info, warn};

use super::connection::{Connection, Connector, Trouble};
use super::{DirectoryServer, DirectoryState};
use crate::config::{DirectorySettings, Fault, ServerUrl};

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    /// Not asked before then.
    rests_until: Option<Instant>,
}

impl Health {
    /// How long it is left alone from now on. Of many that fail at the same time one counts.
    fn failed(&mut self, now: Instant) -> Duration {
        if let Some(rest) = self.rests_until.and_then(|until| until.checked_duration_since(now)) {
            return rest;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
        self.rests_until = Some(now + pause);
        pause
    }
}

/// Questions since the service began.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    questions: u64,
    failures: u64,
    time: Duration,
}

struct Server {
    url: ServerUrl,
    /// Asked only when another one refers to it.
    is_referred: bool,
    health: Mutex<Health>,
    tally: Mutex<Tally>,
    /// One attempt in the background at a time.
    is_tried: AtomicBool,
    /// Bound as the account that looks up.
    idle: Mutex<Vec<Connection>>,
}

impl Server {
    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Servers {
    pub(super) connector: Connector,
    list: Vec<Server>,
    /// Connections that look up at the same time.
    places: Semaphore,
    idle_max: Duration,
    is_swept: AtomicBool,
}

impl Servers {
    pub(super) fn new(settings: &DirectorySettings) -> Result<Self, Vec<Fault>> {
        let parsed = |texts: &[String]| -> Vec<ServerUrl> {
            texts.iter().filter_map(|text| ServerUrl::parse(text).ok()).collect()
        };
        let (urls, referred) = (parsed(&settings.servers), parsed(&settings.referral_servers));
        let connector = Connector::new(settings, &[urls.as_slice(), &referred].concat())?;
        let list = urls
            .into_iter()
            .map(|url| (url, false))
            .chain(referred.into_iter().map(|url| (url, true)))
            .map(|(url, is_referred)| Server {
                url,
                is_referred,
                health: Mutex::default(),
                tally: Mutex::default(),
                is_tried: AtomicBool::new(false),
                idle: Mutex::default(),
            })
            .collect();
        let places = Semaphore::new(settings.lookup_connections_max);
        Ok(Self {
            connector,
            list,
            places,
            idle_max: settings.lookup_idle(),
            is_swept: AtomicBool::new(false),
        })
    }

    pub(super) fn url(&self, index: usize) -> &ServerUrl {
        &self.list[index].url
    }

    pub(super) fn indices(&self) -> std::ops::Range<usize> {
        0..self.list.len()
    }

    /// In the order of the configuration, those that rest last; and whether any does not rest.
    pub(super) fn order(self: &Arc<Self>) -> (Vec<usize>, bool) {
        let now = Instant::now();
        let mut order = Vec::new();
        let mut resting = Vec::new();
        for (index, server) in self.list.iter().enumerate().filter(|(_, server)| !server.is_referred) {
            match server.health().rests_until {
                None => order.push(index),
                Some(until) => {
                    if until <= now {
                        self.try_again(index);
                    }
                    resting.push((until, index));
                }
            }
        }
        let any = !order.is_empty();
        resting.sort();
        order.extend(resting.into_iter().map(|(_, index)| index));
        (order, any)
    }

    /// The server of the configuration that one of these URLs points to.
    pub(super) fn referred(&self, urls: &[String]) -> Option<usize> {
        let targets = urls.iter().filter_map(|url| ServerUrl::of_referral(url));
        targets.filter_map(|target| self.list.iter().position(|server| server.url == target)).next()
    }

    pub(super) fn answered(&self, index: usize) {
        let server = &self.list[index];
        let mut health = server.health();
        if health.rests_until.is_some() {
            info!(server = %server.url, "the directory server answers again");
        }
        *health = Health::default();
    }

    pub(super) fn failed(&self, index: usize, why: &str) {
        let server = &self.list[index];
        let pause = server.health().failed(Instant::now());
        server.idle().clear();
        warn!(
            server = %server.url,
            "the directory server did not settle a question, and is left alone for {} s: {why}",
            pause.as_secs()
        );
    }

    /// A question was asked, and settled or not.
    pub(super) fn count(&self, index: usize, took: Duration, is_settled: bool) {
        let mut tally = self.list[index].tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.questions += 1;
        tally.failures += u64::from(!is_settled);
        tally.time += took;
    }

    pub(super) fn report(&self) -> Vec<DirectoryServer> {
        let report = |server: &Server| {
            let tally = *server.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let state = match (tally.questions, server.health().rests_until) {
                (0, _) => DirectoryState::NotAsked,
                (_, None) => DirectoryState::Answers,
                (_, Some(_)) => DirectoryState::Silent,
            };
            DirectoryServer {
                url: server.url.to_string(),
                state,
                questions: tally.questions,
                failures: tally.failures,
                seconds: tally.time.as_secs_f64(),
            }
        };
        self.list.iter().map(report).collect()
    }

    fn try_again(self: &Arc<Self>, index: usize) {
        if self.list[index].is_tried.swap(true, Ordering::AcqRel) {
            return;
        }
        let servers = self.clone();
        tokio::spawn(async move {
            let server = &servers.list[index];
            let probe = AssertUnwindSafe(servers.probe(index)).catch_unwind().await;
            match probe.unwrap_or_else(|_| Err("it answered something that is not LDAP".to_owned())) {
                // The failures stay counted until a question is settled: a server that only greets is no help.
                Ok(()) => {
                    server.health().rests_until = None;
                    info!(server = %server.url, "the directory server answers again");
                }
                Err(why) => {
                    let pause = server.health().failed(Instant::now());
                    debug!(server = %server.url, "still no answer, tried again in {} s: {why}", pause.as_secs());
                }
            }
            server.is_tried.store(false, Ordering::Release);
        });
    }

    /// Whether the server answers, and knows the account that looks up.
    pub(super) async fn probe(&self, index: usize) -> Result<(), String> {
        let why = |trouble| match trouble {
            Trouble::Server(why) | Trouble::Stale(why) => why,
            Trouble::Referred(urls) => format!("it refers to {urls:?}"),
            Trouble::Final(error) => error.to_string(),
        };
        let mut connection = self.connector.open_lookup(&self.list[index].url).await.map_err(why)?;
        connection.answers(self.connector.timeout()).await
    }

    /// A kept connection if there is one that lives, else a new one.
    pub(super) async fn lend(self: &Arc<Self>, index: usize) -> Result<Lent<'_>, Trouble> {
        let timeout = self.connector.timeout();
        let Ok(Ok(place)) = tokio::time::timeout(timeout, self.places.acquire()).await else {
            let why = "all connections that look up are busy".to_owned();
            return Err(Trouble::Final(super::SignInError::Unreachable { tried: vec![why] }));
        };
        let (connection, is_kept) = match self.kept(&self.list[index]).await {
            Some(connection) => (connection, true),
            None => (self.connector.open_lookup(&self.list[index].url).await?, false),
        };
        Ok(Lent { connection, is_kept, servers: self, index, _place: place })
    }

    /// A question on a kept connection failed: those beside it may be as old.
    pub(super) fn drop_kept(&self, index: usize) {
        self.list[index].idle().clear();
    }

    async fn kept(&self, server: &Server) -> Option<Connection> {
        loop {
            let mut connection = server.idle().pop()?;
            if connection.idle() < self.idle_max && connection.is_alive().await {
                return Some(connection);
            }
        }
    }

    fn keep(self: &Arc<Self>, server: &Server, mut connection: Connection) {
        connection.used_now();
        server.idle().push(connection);
        if self.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let (servers, pause) = (Arc::downgrade(self), self.idle_max);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(servers) = servers.upgrade() else { return };
                for server in &servers.list {
                    server.idle().retain(|connection| connection.idle() < pause);
                }
                if servers.list.iter().all(|server| server.idle().is_empty()) {
                    servers.is_swept.store(false, Ordering::Release);
                    return;
                }
            }
        });
    }
}

/// A connection that looks up, for one question. Closed if it is not given back.
pub(super) struct Lent<'a> {
    pub(super) connection: Connection,
    is_kept: bool,
    servers: &'a Arc<Servers>,
    index: usize,
    _place: SemaphorePermit<'a>,
}

impl Lent<'_> {
    /// Keeps the connection unless it failed.
    pub(super) fn back<T>(self, outcome: Result<T, Trouble>) -> Result<T, Trouble> {
        match outcome {
            Err(Trouble::Server(why)) if self.is_kept => Err(Trouble::Stale(why)),
            Err(Trouble::Server(_) | Trouble::Stale(_)) => outcome,
            Ok(_) | Err(Trouble::Final(_) | Trouble::Referred(_)) => {
                self.servers.keep(&self.servers.list[self.index], self.connection);
                outcome
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let (mut health, now) = (Health::default(), Instant::now());
        let mut at = now;
        let pauses = (0..8).map(|_| {
            let pause = health.failed(at);
            // Those that were under way fail too.
            assert_eq!(health.failed(at), pause);
            at += pause + Duration::from_millis(1);
            pause.as_secs()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
