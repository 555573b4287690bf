//! Owns the worker's data server: peers and clients ask for values, and get those that are here.

use std::sync::Arc;

use nuna_wire::{
    Acceptor, Door, Incoming, Payload,
    connection::CONNECTIONS_MAX,
    message::{Fetch, Fetched, Role, RoleAnswer},
};
use tokio::net::TcpListener;

use super::store::Store;

/// Values asked for at once; whoever wants more asks again.
const ITEMS_MAX: usize = 65_536;

pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor, store: Arc<Store>) {
    let enter = move |incoming: Incoming, place| {
        let store = store.clone();
        tokio::spawn(async move {
            let _place = place;
            let address = incoming.address;
            if let Err(error) = converse(incoming, store).await {
                tracing::debug!(%error, %address, "a reader is gone");
            }
        });
    };
    Door::new(acceptor, CONNECTIONS_MAX).open(listener, enter, crate::log_refusal).await;
}

async fn converse(incoming: Incoming, store: Arc<Store>) -> anyhow::Result<()> {
    let mut connection = match incoming.role {
        Role::Reader => incoming.welcome(RoleAnswer::Reader).await?,
        Role::Client { .. } | Role::Worker(_) | Role::ClientAgain { .. } | Role::WorkerAgain { .. } => {
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
