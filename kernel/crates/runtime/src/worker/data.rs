//! Owns the worker's data server: peers and clients ask for values, and get those that are here.

use std::sync::Arc;

use bytes::Bytes;
use nuna_plan::Value;
use nuna_wire::{
    Acceptor, Door, Incoming, Payload,
    connection::CONNECTIONS_MAX,
    message::{Fetch, Fetched, Role, RoleAnswer},
};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{
    sealed,
    spill::PART_MAX,
    store::{Offer, Store},
};

/// Values asked for at once; whoever wants more asks again.
const ITEMS_MAX: usize = 65_536;

/// Parts of what is on disk that are in memory at once, on their way to those who asked, take up `disk_bytes_max` at most.
pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor, store: Arc<Store>, disk_bytes_max: u64) {
    let most = usize::try_from(disk_bytes_max).unwrap_or(usize::MAX) / PART_MAX;
    let room = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
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

/// `room` is for those who are sent something from disk.
async fn converse(incoming: Incoming, store: Arc<Store>, room: &Semaphore) -> anyhow::Result<()> {
    let mut connection = match incoming.role {
        Role::Reader => incoming.welcome(RoleAnswer::Reader).await?,
        Role::Client { .. } | Role::Worker(_) | Role::ClientAgain { .. } | Role::WorkerAgain { .. } => {
            incoming.refuse("this is a worker's data server; connect to the scheduler".into()).await;
            return Ok(());
        }
    };
    while let Some((request, _)) = connection.reader.read::<Fetch>().await? {
        anyhow::ensure!(request.items.len() <= ITEMS_MAX, "asked for {} values at once", request.items.len());
        let _place = if store.is_any_on_disk(&request.items) { Some(room.acquire().await?) } else { None };
        let store = store.clone();
        let offers = tokio::task::spawn_blocking(move || store.offer(&request.items)).await?;
        let shares = request.shares && connection.short_to().is_some();
        let mut payload = Payload::new();
        let (mut shared, mut kept) = (Vec::new(), Vec::new());
        let mut push = |number: usize, offer| match offer {
            Offer::Value(value) => {
                let described = if shares { sealed::describe(&value.body) } else { None };
                let Some(described) = described else { return payload.push(&value) };
                shared.push((number as u32, described));
                let shape = payload.push(&Value { header: value.header.clone(), body: Bytes::new() });
                // It stays until the answer is written: it may be gone from the store by then.
                kept.push(value);
                shape
            }
            Offer::Later(shape, reading) => {
                payload.push_later(shape, Box::new(reading));
                shape
            }
        };
        let offers = offers.into_iter().enumerate();
        let shapes = offers.map(|(number, offer)| offer.map(|offer| push(number, offer))).collect();
        connection.writer.write(&Fetched { shapes, shared }, payload).await?;
        connection.writer.flush().await?;
    }
    Ok(())
}
