//! Owns the worker's connection to its scheduler: what waits to be sent over it, and how it comes back when the scheduler
//! was lost and another process takes its place, perhaps at another address. What the worker computes meanwhile waits here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nuna_wire::{
    Connection, Outbox, Payload, Search, StageKey,
    frame::FrameError,
    message::{Blocks, FromWorker, ToWorker},
    outbox,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{INBOX_MESSAGES, OUTBOX_BYTES_MAX};

/// Of results that wait for a scheduler; those beyond are computed again.
const UNSENT_BYTES_MAX: u64 = 1 << 30;

type Message = Result<Option<(ToWorker, Bytes)>, FrameError>;

/// A connection that is there.
struct There {
    outbox: Outbox<FromWorker>,
    messages: mpsc::Receiver<Message>,
    reading: JoinHandle<()>,
    writing: JoinHandle<Result<(), FrameError>>,
}

/// The connection, or the search for it.
enum State {
    There(There),
    Away(JoinHandle<Result<Connection, String>>),
}

pub(crate) struct Link {
    search: Arc<Search>,
    state: State,
    /// Results that were to be reported while nobody was there.
    unsent: Vec<(FromWorker, Payload)>,
    unsent_bytes: u64,
}

/// What a link brings.
pub(crate) enum News {
    Message(ToWorker, Bytes),
    /// The scheduler is lost, and searched for.
    Lost(String),
    /// Another is there: it must be told what this worker has, before anything else.
    Back,
    /// None will come.
    Gone(String),
}

impl Link {
    pub(crate) fn new(search: Search, connection: Connection) -> Self {
        let state = State::There(There::new(connection));
        Self { search: Arc::new(search), state, unsent: Vec::new(), unsent_bytes: 0 }
    }

    /// Sends it, or keeps it until somebody is there if it must not be lost.
    pub(crate) fn send(&mut self, message: FromWorker, payload: Payload) {
        if let State::There(there) = &self.state
            && !there.outbox.is_closed()
        {
            if let Err(error) = there.outbox.send(message, payload) {
                tracing::warn!(%error, "the scheduler does not take what it is sent");
                there.reading.abort();
            }
            return;
        }
        let keep = match &message {
            FromWorker::Completed(_) | FromWorker::Failed { .. } | FromWorker::InputMissing { .. } => true,
            // What these tell is part of what is told on return, or of no interest then.
            FromWorker::Reclaimed { .. }
            | FromWorker::Spans(_)
            | FromWorker::Sample(_)
            | FromWorker::Lasts { .. }
            | FromWorker::Draining { .. }
            | FromWorker::Leaving { .. }
            | FromWorker::Unreachable { .. }
            | FromWorker::Adopted { .. }
            | FromWorker::NotAdopted { .. }
            | FromWorker::Return(_) => false,
        };
        if keep && self.unsent_bytes + payload.byte_count() <= UNSENT_BYTES_MAX {
            self.unsent_bytes += payload.byte_count();
            self.unsent.push((message, payload));
        }
    }

    /// For whoever has something to say that is of no use to another scheduler.
    pub(crate) fn outbox(&self) -> Option<Outbox<FromWorker>> {
        match &self.state {
            State::There(there) => Some(there.outbox.clone()),
            State::Away(_) => None,
        }
    }

    /// Blocks whose end waits to be reported.
    pub(crate) fn unreported(&self) -> Vec<Blocks> {
        let mut blocks: Vec<(StageKey, u64)> = Vec::new();
        for (message, _) in &self.unsent {
            match message {
                FromWorker::Completed(stages) => {
                    for (stage, done) in stages {
                        blocks.extend(done.iter().map(|done| (*stage, done.block)));
                    }
                }
                FromWorker::Failed { stage, block, .. } | FromWorker::InputMissing { stage, block, .. } => {
                    blocks.push((*stage, *block));
                }
                _ => {}
            }
        }
        blocks.sort_unstable();
        let mut runs: Vec<Blocks> = Vec::new();
        for (stage, block) in blocks {
            match runs.last_mut() {
                Some(run) if run.stage == stage && run.end == block => run.end += 1,
                Some(_) | None => runs.push(Blocks { stage, start: block, end: block + 1 }),
            }
        }
        runs
    }

    /// Sends what waited for somebody to be there.
    pub(crate) fn send_unsent(&mut self) {
        self.unsent_bytes = 0;
        for (message, payload) in std::mem::take(&mut self.unsent) {
            self.send(message, payload);
        }
    }

    /// The scheduler is there no more, however that was found out.
    pub(crate) fn lose(&mut self) {
        if let State::There(there) = &self.state {
            there.reading.abort();
            there.writing.abort();
            let search = self.search.clone();
            self.state =
                State::Away(tokio::spawn(async move { search.run(|| None).await.map(|(there, _)| there) }));
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        matches!(self.state, State::There(_))
    }

    /// A message that is there already.
    pub(crate) fn try_next(&mut self) -> Option<News> {
        let State::There(there) = &mut self.state else { return None };
        let message = there.messages.try_recv().ok()?;
        Some(self.received(Some(message)))
    }

    /// What comes next. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> News {
        match &mut self.state {
            State::There(there) => {
                let message = there.messages.recv().await;
                self.received(message)
            }
            State::Away(search) => match search.await {
                Ok(Ok(connection)) => {
                    self.state = State::There(There::new(connection));
                    News::Back
                }
                Ok(Err(reason)) => News::Gone(reason),
                Err(error) => News::Gone(error.to_string()),
            },
        }
    }

    fn received(&mut self, message: Option<Message>) -> News {
        let reason = match message {
            Some(Ok(Some((message, payload)))) => return News::Message(message, payload),
            Some(Ok(None)) | None => "it closed the connection".to_owned(),
            Some(Err(error)) => error.to_string(),
        };
        self.lose();
        News::Lost(reason)
    }

    /// What was sent last should arrive, but nobody waits for it long.
    pub(crate) async fn close(self) {
        if let State::There(there) = self.state {
            there.reading.abort();
            drop(there.outbox);
            let _ = tokio::time::timeout(Duration::from_millis(500), there.writing).await;
        }
    }
}

impl There {
    fn new(connection: Connection) -> Self {
        let (outbox, mut outgoing) = outbox::<FromWorker>(OUTBOX_BYTES_MAX);
        let Connection { mut reader, mut writer, .. } = connection;
        let writing = tokio::spawn(async move { outgoing.write_to(&mut writer).await });
        let (sender, messages) = mpsc::channel(INBOX_MESSAGES);
        let reading = tokio::spawn(async move {
            loop {
                let message = reader.read::<ToWorker>().await;
                let last = !matches!(message, Ok(Some(_)));
                if sender.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Self { outbox, messages, reading, writing }
    }
}
