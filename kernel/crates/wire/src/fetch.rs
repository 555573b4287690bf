//! Owns fetching values from workers: connections are kept for the next fetch, and a stale one is replaced once.

use std::{collections::HashMap, net::SocketAddr, sync::Mutex, time::Duration};

use bytes::Bytes;
use nuna_plan::Value;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    connection::{ConnectError, Connection, Connector},
    frame::{Allocate, FrameError},
    id::StageKey,
    message::{Fetch, Fetched, Shared},
    payload::{Payload, unpack},
};

/// Connections kept per worker.
const IDLE_MAX: usize = 4;
/// Fetches under way at once; more only make each of them slower.
const FETCHES_MAX: usize = 16;
/// A peer that takes longer than this for one answer is as good as gone.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// Fetches values from workers.
pub struct Fetcher {
    connector: Connector,
    idle: Mutex<HashMap<SocketAddr, Vec<Connection>>>,
    permits: Semaphore,
    allocate: Option<Allocate>,
    open: Option<OpenShared>,
}

/// Maps what a process of this user and host has described.
pub type OpenShared = fn(u32, &Shared) -> Option<Bytes>;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no answer within {} s", ANSWER_DEADLINE.as_secs())]
    Silent,
    #[error("the worker closed the connection")]
    Closed,
}

impl Fetcher {
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
            permits: Semaphore::new(FETCHES_MAX),
            allocate: None,
            open: None,
        }
    }

    /// Large answers are read into memory of this kind.
    #[must_use]
    pub fn memory(mut self, allocate: Allocate) -> Self {
        self.allocate = Some(allocate);
        self
    }

    /// Values that a process of this host shares are opened so, instead of sent.
    #[must_use]
    pub fn sharing(mut self, open: OpenShared) -> Self {
        self.open = Some(open);
        self
    }

    /// The values of `items` as the worker at `address` has them; `None` for those it has not.
    ///
    /// # Errors
    /// If the worker cannot be reached or does not answer.
    pub async fn fetch(
        &self,
        address: SocketAddr,
        items: Vec<(StageKey, u64)>,
    ) -> Result<Vec<Option<Value>>, FetchError> {
        let _permit = self.permits.acquire().await.map_err(|_| FetchError::Closed)?;
        let kept = self.lock().get_mut(&address).and_then(Vec::pop);
        if let Some(mut connection) = kept
            && let Ok(values) = self.ask(&mut connection, &items).await
        {
            self.keep(address, connection);
            return Ok(values);
        }
        let mut connection = self.connector.connect_reader(address).await?;
        if let Some(allocate) = self.allocate {
            connection.reader.set_memory(allocate);
        }
        let values = self.ask(&mut connection, &items).await?;
        self.keep(address, connection);
        Ok(values)
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        items: &[(StageKey, u64)],
    ) -> Result<Vec<Option<Value>>, FetchError> {
        // Whose memory it is says the system, not the message.
        let open = self.open.zip(connection.short_to());
        let request = Fetch { items: items.to_vec(), shares: open.is_some() };
        let (mut values, shared) = ask(connection, &request).await?;
        let mut unopened = Vec::new();
        for (number, shared) in shared {
            let number = number as usize;
            let value = values.get_mut(number).and_then(Option::as_mut).ok_or(FetchError::Closed)?;
            let (open, pid) = open.ok_or(FetchError::Closed)?;
            match open(pid, &shared) {
                Some(body) => value.body = body,
                None => unopened.push(number),
            }
        }
        if !unopened.is_empty() {
            let items = unopened.iter().map(|&number| items[number]).collect();
            let (again, _) = ask(connection, &Fetch { items, shares: false }).await?;
            unopened.into_iter().zip(again).for_each(|(number, value)| values[number] = value);
        }
        Ok(values)
    }

    /// Forgets connections to a worker that is gone.
    pub fn forget(&self, address: SocketAddr) {
        self.lock().remove(&address);
    }

    fn keep(&self, address: SocketAddr, connection: Connection) {
        let mut idle = self.lock();
        let connections = idle.entry(address).or_default();
        if connections.len() < IDLE_MAX {
            connections.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Values, and the bodies that some of them lack.
type Answer = (Vec<Option<Value>>, Vec<(u32, Shared)>);

async fn ask(connection: &mut Connection, request: &Fetch) -> Result<Answer, FetchError> {
    let answer = async {
        connection.writer.write(request, Payload::new()).await?;
        connection.writer.flush().await?;
        let (answer, payload) = connection.reader.read::<Fetched>().await?.ok_or(FetchError::Closed)?;
        let mut values = unpack(&payload, answer.shapes.iter().copied().flatten())?.into_iter();
        let found: Vec<Option<Value>> =
            answer.shapes.iter().map(|shape| shape.and_then(|_| values.next())).collect();
        if found.len() == request.items.len() { Ok((found, answer.shared)) } else { Err(FetchError::Closed) }
    };
    timeout(ANSWER_DEADLINE, answer).await.map_err(|_| FetchError::Silent)?
}
