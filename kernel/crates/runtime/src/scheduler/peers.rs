//! Owns the scheduler's connections: who has connected is found out here, and what they say goes to the driver.

use std::sync::Arc;

use bytes::Bytes;
use nuna_dashboard::{Event, Recorder};
use nuna_wire::{
    ClientId, Connection, Door, Incoming, Outgoing, RefusalCounts, Refusals, WorkerId,
    connection::Reader,
    message::{FromClient, FromWorker, RoleAnswer},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, mpsc},
};

use crate::HEARTBEAT;

/// What reaches the driver.
pub(crate) enum Input {
    /// Somebody has shown who they are, and waits for an answer.
    Arrived(Box<Incoming>, OwnedSemaphorePermit),
    Worker(WorkerId, FromWorker, Bytes),
    WorkerGone(WorkerId, String),
    Client(ClientId, FromClient, Bytes),
    ClientGone(ClientId, String),
    /// Of those who follow the workers' jobs.
    Jobs(nuna_jobs::driver::Notice),
}

/// Accepts connections for as long as the driver listens.
pub(crate) async fn listen(listener: TcpListener, door: Door, inbox: mpsc::WeakSender<Input>) {
    let enter = move |incoming, place| {
        // Nobody is there only at the end of the process.
        let Some(inbox) = inbox.upgrade() else { return };
        tokio::spawn(async move {
            let _ = inbox.send(Input::Arrived(Box::new(incoming), place)).await;
        });
    };
    door.open(listener, enter, crate::log_refusal).await;
}

/// Tells the dashboard who was refused, whenever that has changed.
pub(crate) async fn count_refusals(refusals: Arc<Refusals>, recorder: Recorder) {
    let mut known = RefusalCounts::default();
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let counts = refusals.counts();
        for ((reason, connections), (_, before)) in counts.by_reason().into_iter().zip(known.by_reason()) {
            if connections != before {
                recorder.record(Event::Refused { reason, connections });
            }
        }
        known = counts;
    }
}

/// Welcomes somebody, then carries messages in both directions until either side ends it.
pub(crate) fn converse<In, Out>(
    incoming: Incoming,
    place: OwnedSemaphorePermit,
    answer: RoleAnswer,
    mut outgoing: Outgoing<Out>,
    inbox: mpsc::Sender<Input>,
    received: impl Fn(In, Bytes) -> Input + Send + 'static,
    gone: impl FnOnce(String) -> Input + Send + 'static,
) where
    In: DeserializeOwned + Send + 'static,
    Out: Serialize + Send + Sync + 'static,
{
    tokio::spawn(async move {
        let _place = place;
        let reason = match incoming.welcome(answer).await {
            Err(error) => error.to_string(),
            Ok(Connection { mut reader, mut writer, .. }) => {
                let (written, read) =
                    (outgoing.write_to(&mut writer), read_all(&mut reader, &inbox, received));
                tokio::select! {
                    written = written => written.err().map_or_else(|| "it was sent away".to_owned(), |error| error.to_string()),
                    reason = read => reason,
                }
            }
        };
        let _ = inbox.send(gone(reason)).await;
    });
}

async fn read_all<In: DeserializeOwned>(
    reader: &mut Reader,
    inbox: &mpsc::Sender<Input>,
    received: impl Fn(In, Bytes) -> Input,
) -> String {
    loop {
        match reader.read::<In>().await {
            Ok(Some((message, payload))) => {
                if inbox.send(received(message, payload)).await.is_err() {
                    return "the scheduler ends".to_owned();
                }
            }
            Ok(None) => return "it closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}
