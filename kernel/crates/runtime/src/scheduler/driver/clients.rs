//! Owns the conversation with clients: who they are, what they ask for, and what the cluster tells them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use nuna_jobs::driver::Order;
use nuna_scheduler::{Event, journal::Record};
use nuna_wire::{
    ClientId, Incoming, Payload,
    message::{ClusterInfo, FromClient, RETURN_RUNS_MAX, RoleAnswer, ToClient, WorkerInfo},
    outbox,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    super::peers::{Input, converse},
    Driver, refuse,
};
use crate::OUTBOX_BYTES_MAX;

/// Libraries kept for workers that have yet to come.
const LIBRARIES_BYTES_MAX: u64 = 4 << 30;
pub(super) const CLIENTS_MAX: usize = 1024;
/// What the journal must have before clients hear of it waits no longer than this for a disk that does not answer.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);

impl Driver {
    pub(super) fn welcome_client(
        &mut self,
        incoming: Incoming,
        place: OwnedSemaphorePermit,
        client: ClientId,
        name: &str,
    ) -> bool {
        if self.clients.len() >= CLIENTS_MAX {
            refuse(incoming, format!("the cluster has {CLIENTS_MAX} clients already"));
            return false;
        }
        let (outbox, outgoing) = outbox(OUTBOX_BYTES_MAX);
        let answer = RoleAnswer::Client { id: client.0, cluster: self.info() };
        converse(
            incoming,
            place,
            answer,
            outgoing,
            self.inbox.clone(),
            move |message, payload| Input::Client(client, message, payload),
            move |reason| Input::ClientGone(client, reason),
        );
        tracing::info!(client = client.0, name, "a client has joined");
        self.clients.insert(client, outbox);
        true
    }

    pub(super) fn from_client(&mut self, client: ClientId, message: FromClient, payload: Bytes) {
        if !self.clients.contains_key(&client) {
            return;
        }
        let message = match (self.clients_returning.remove(&client), message) {
            (false, message) => message,
            (true, FromClient::Return(state)) => {
                let runs = state.submissions.iter().flat_map(|of| &of.received).map(|(_, runs)| runs.len());
                if runs.sum::<usize>() + state.held.len() > RETURN_RUNS_MAX {
                    return self.cut_off_client(client, "it returns with more than anybody could keep");
                }
                return self.handle(Event::ClientReturned { client, state });
            }
            (true, _) => return self.cut_off_client(client, "it has not said what it returns with"),
        };
        match message {
            // It is said once.
            FromClient::Return(_) => {}
            FromClient::Library(id) => {
                let total: u64 = self.libraries.values().map(|library| library.len() as u64).sum();
                if total + payload.len() as u64 > LIBRARIES_BYTES_MAX {
                    tracing::error!(library = ?id, "not kept: more than {LIBRARIES_BYTES_MAX} bytes of libraries");
                } else {
                    self.journal.library(id, payload.clone());
                    self.libraries.insert(id, payload);
                }
                self.handle(Event::ClientHeard(client));
            }
            FromClient::Submit { submission, plan } => {
                self.handle(Event::Submit { client, submission, plan })
            }
            FromClient::Cancel { submission } => self.handle(Event::Cancel { client, submission }),
            FromClient::Release(held) => self.handle(Event::Release { client, held }),
            FromClient::Ask { request, ask } => self.handle(Event::Ask { client, request, ask }),
            FromClient::Received { submission, stage, blocks } => {
                self.handle(Event::Received { client, submission, stage, blocks });
            }
            FromClient::Missing { submission, stage, block, worker } => {
                self.handle(Event::Missing { client, submission, stage, block, worker });
            }
            FromClient::Consumed { bytes } => self.handle(Event::Consumed { client, bytes }),
            FromClient::Scale { least, most } => {
                tracing::info!(client = client.0, least, most, "a client scales the cluster");
                self.journal.record(Record::Scaled { least, most });
                self.order(Order::Want { least, most });
            }
            FromClient::Heartbeat => self.handle(Event::ClientHeard(client)),
            FromClient::ShutDown => {
                tracing::info!(client = client.0, "a client ends the cluster");
                self.ended = true;
            }
        }
    }

    pub(super) fn to_client(&mut self, client: ClientId, message: ToClient, payload: Payload) {
        if self.held_back.is_empty() && self.journal.stands() {
            return self.to_client_now(client, message, payload);
        }
        self.held_back_since.get_or_insert_with(Instant::now);
        self.held_back.push_back((client, message, payload));
    }

    /// Tells clients what waited for the journal, if that stands.
    pub(super) fn tell_held_back(&mut self) {
        let Some(since) = self.held_back_since else { return };
        if !self.journal.stands() {
            if since.elapsed() < JOURNAL_PATIENCE {
                return;
            }
            tracing::error!(
                seconds = JOURNAL_PATIENCE.as_secs(),
                "the journal's file system does not answer: clients are told what may be lost with this process"
            );
        }
        self.held_back_since = None;
        for (client, message, payload) in std::mem::take(&mut self.held_back) {
            self.to_client_now(client, message, payload);
        }
    }

    pub(super) fn to_client_now(&self, client: ClientId, message: ToClient, payload: Payload) {
        if let Some(Err(error)) = self.clients.get(&client).map(|outbox| outbox.send(message, payload)) {
            self.cut_off_client(client, &error.to_string());
        }
    }

    pub(super) fn cut_off_client(&self, client: ClientId, reason: &str) {
        tracing::warn!(client = client.0, reason, "the connection to a client is cut");
        let (inbox, reason) = (self.inbox.clone(), reason.to_owned());
        tokio::spawn(async move {
            let _ = inbox.send(Input::ClientGone(client, reason)).await;
        });
    }

    /// Also shows clients that the scheduler is alive.
    pub(super) fn tell_clients(&self) {
        if self.clients.is_empty() {
            return;
        }
        let info = self.info();
        for outbox in self.clients.values() {
            let _ = outbox.send(ToClient::Cluster(info.clone()), Payload::new());
        }
    }

    pub(super) fn info(&self) -> ClusterInfo {
        let workers = self.scheduler.samples().map(|(id, hello, sample)| WorkerInfo {
            id,
            name: hello.name.clone(),
            pid: hello.pid,
            threads: hello.threads,
            memory_bytes: hello.limit_bytes,
            used_bytes: sample.managed_bytes,
            disks: hello.disks.clone(),
        });
        ClusterInfo {
            name: self.about.name.clone(),
            dashboard: self.about.dashboard.clone(),
            workers: workers.collect(),
            jobs: self.jobs.clone(),
            restarts: self.restarts,
        }
    }
}
