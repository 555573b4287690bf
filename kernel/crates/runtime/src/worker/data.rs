//! Owns the worker's data server: peers and clients ask for values, and get those that are here.

use std::sync::Arc;

use nuna_wire::{
    Acceptor, Door, Incoming, Payload,
    connection::CONNECTIONS_MAX,
    message::{Fetch, Fetched, Role, RoleAnswer},
};
use tokio::{net::TcpListener, sync::Semaphore};

use super::store::Store;

/// Values asked for at once; whoever wants more asks again.
const ITEMS_MAX: usize = 65_536;

/// `disk_bytes_max` of what is on disk are in memory at once on their way to those who asked.
pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor, store: Arc<Store>, disk_bytes_max: u64) {
    let most =
        u32::try_from(disk_bytes_max >> 10).unwrap_or(u32::MAX).clamp(1, Semaphore::MAX_PERMITS as u32);
    let room = Arc::new(Room { kilobytes: Semaphore::new(most as usize), most });
    let enter = move |incoming: Incoming, place| {
        let (store, room) = (store.clone(), room.clone());
        tokio::spawn(async move {
            let _place = place;
            let address = incoming.address;
            if let Err(error) = converse(incoming, store, &room).await {
                tracing::debug!(%error, %address, "a reader is gone");
            }
        });
    };
    let shortcut = listener.local_addr().and_then(|address| acceptor.open_shortcut(address));
    let shortcut =
        shortcut.inspect_err(|error| tracing::debug!(%error, "no short way for processes of this host")).ok();
    Door::new(acceptor, CONNECTIONS_MAX).shortcut(shortcut).open(listener, enter, crate::log_refusal).await;
}

/// Memory for values that are read from disk only to be sent.
struct Room {
    kilobytes: Semaphore,
    most: u32,
}

async fn converse(incoming: Incoming, store: Arc<Store>, room: &Room) -> anyhow::Result<()> {
    let mut connection = match incoming.role {
        Role::Reader => incoming.welcome(RoleAnswer::Reader).await?,
        Role::Client { .. } | Role::Worker(_) | Role::ClientAgain { .. } | Role::WorkerAgain { .. } => {
            incoming.refuse("this is a worker's data server; connect to the scheduler".into()).await;
            return Ok(());
        }
    };
    while let Some((request, _)) = connection.reader.read::<Fetch>().await? {
        anyhow::ensure!(request.items.len() <= ITEMS_MAX, "asked for {} values at once", request.items.len());
        let wanted = u32::try_from(store.disk_bytes(&request.items) >> 10).unwrap_or(u32::MAX).min(room.most);
        let _place = room.kilobytes.acquire_many(wanted).await?;
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
