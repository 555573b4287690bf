//! Owns the scheduler's connections: who has connected is found out here, and what they say goes to the driver.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use nuna_wire::{
    Acceptor, ClientId, Connection, Incoming, Outgoing, WorkerId,
    connection::{CONNECTIONS_MAX, Reader, UNAUTHENTICATED_MAX},
    message::{FromClient, FromWorker, RoleAnswer},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

/// What reaches the driver.
pub(crate) enum Input {
    /// Somebody has shown who they are, and waits for an answer.
    Arrived(Box<Incoming>, OwnedSemaphorePermit),
    Worker(WorkerId, FromWorker, Bytes),
    WorkerGone(WorkerId, String),
    Client(ClientId, FromClient, Bytes),
    ClientGone(ClientId, String),
}

/// Accepts connections for as long as the driver listens.
pub(crate) async fn listen(listener: TcpListener, acceptor: Acceptor, inbox: mpsc::WeakSender<Input>) {
    let strangers = Arc::new(Semaphore::new(UNAUTHENTICATED_MAX));
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (Ok(stranger), Ok(place)) =
            (strangers.clone().acquire_owned().await, connections.clone().acquire_owned().await)
        else {
            return;
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others have to close theirs first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, inbox) = (acceptor.clone(), inbox.clone());
        tokio::spawn(async move {
            let incoming = acceptor.accept(stream, address).await;
            drop(stranger);
            match incoming {
                Ok(incoming) => {
                    // Nobody is there only at the end of the process.
                    if let Some(inbox) = inbox.upgrade() {
                        let _ = inbox.send(Input::Arrived(Box::new(incoming), place)).await;
                    }
                }
                Err(error) => tracing::warn!(%error, %address, "a connection was refused"),
            }
        });
    }
}

/// Welcomes somebody, then carries messages in both directions until either side ends it.
pub(crate) fn converse<In, Out>(
    incoming: Incoming,
    place: OwnedSemaphorePermit,
    answer: RoleAnswer,
    outgoing: Outgoing<Out>,
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
            Ok(Connection { mut reader, mut writer }) => {
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
