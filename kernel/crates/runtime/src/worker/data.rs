//! Owns the worker's data server: peers and clients ask for values, and get those that are here.

use std::{net::SocketAddr, sync::Arc};

use nuna_wire::{
    Acceptor, Payload,
    connection::{CONNECTIONS_MAX, UNAUTHENTICATED_MAX},
    message::{Fetch, Fetched, Role, RoleAnswer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::store::Store;

/// Values asked for at once; whoever wants more asks again.
const ITEMS_MAX: usize = 65_536;

pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor, store: Arc<Store>) {
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
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, store) = (acceptor.clone(), store.clone());
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, address, acceptor, store, stranger).await {
                tracing::debug!(%error, %address, "a reader is gone");
            }
        });
    }
}

async fn converse(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Acceptor,
    store: Arc<Store>,
    stranger: tokio::sync::OwnedSemaphorePermit,
) -> anyhow::Result<()> {
    let incoming = acceptor.accept(stream, address).await?;
    drop(stranger);
    let mut connection = match incoming.role {
        Role::Reader => incoming.welcome(RoleAnswer::Reader).await?,
        Role::Client { .. } | Role::Worker(_) => {
            incoming.refuse("this is a worker's data server; connect to the scheduler".into()).await;
            return Ok(());
        }
    };
    while let Some((request, _)) = connection.reader.read::<Fetch>().await? {
        anyhow::ensure!(request.items.len() <= ITEMS_MAX, "asked for {} values at once", request.items.len());
        let store = store.clone();
        let values = tokio::task::spawn_blocking(move || {
            request.items.iter().map(|&item| store.get(item)).collect::<Vec<_>>()
        })
        .await?;
        let mut payload = Payload::new();
        let shapes = values.iter().map(|value| value.as_ref().map(|value| payload.push(value))).collect();
        connection.writer.write(&Fetched { shapes }, payload).await?;
        connection.writer.flush().await?;
    }
    Ok(())
}
