//! The threads that carry the public traffic, each with a runtime and connections to targets of its own.
//!
//! A client's connection stays with the worker it was given to, so a request is never handed between threads. The
//! REST API, metrics and signals are served by the main thread, which a flood of requests does not reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::converse::Arrival;
use crate::pool::Upstream;
use crate::tls::Outgoing;

pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    inbox: mpsc::UnboundedSender<Word>,
    open: Arc<AtomicUsize>,
}

/// What a worker is told.
enum Word {
    Arrival(Arrival),
    /// To be answered at once.
    Answer(oneshot::Sender<()>),
}

impl Workers {
    /// They run until the process ends.
    pub(crate) fn start(count: usize, tls: &Arc<Outgoing>) -> anyhow::Result<Self> {
        (0..count.max(1)).map(|_| Worker::start(tls.clone())).collect::<anyhow::Result<_>>().map(Self)
    }

    /// Gives a connection to the worker with the fewest. What waits is bounded by the slots that arrivals hold.
    pub(crate) fn give(&self, arrival: Arrival) {
        let Some(idlest) = self.0.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed)) else {
            return;
        };
        idlest.open.fetch_add(1, Ordering::Relaxed);
        if idlest.inbox.send(Word::Arrival(arrival)).is_err() {
            tracing::error!("a worker has ended; a connection is dropped");
        }
    }

    /// Returns once every worker has taken this up; never if one hangs or has ended.
    pub(crate) async fn answer(&self) {
        for worker in &self.0 {
            let (answer, answered) = oneshot::channel();
            if worker.inbox.send(Word::Answer(answer)).is_err() || answered.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Worker {
    fn start(tls: Arc<Outgoing>) -> anyhow::Result<Self> {
        let (inbox, mut words) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = open.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a worker's runtime")?;
        let work = async move {
            let upstream = Arc::new(Upstream::new(tls));
            tokio::spawn(upstream.clone().sweep());
            while let Some(word) = words.recv().await {
                let arrival = match word {
                    Word::Arrival(arrival) => arrival,
                    Word::Answer(answer) => {
                        // Nobody waits once the proxy ends.
                        let _ = answer.send(());
                        continue;
                    }
                };
                let (upstream, left) = (upstream.clone(), Left(counted.clone()));
                tokio::spawn(async move {
                    arrival.serve(upstream).await;
                    drop(left);
                });
            }
        };
        std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(move || runtime.block_on(work))
            .context("cannot start a worker")?;
        Ok(Self { inbox, open })
    }
}

/// Counts a connection out, however its task ends.
struct Left(Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
