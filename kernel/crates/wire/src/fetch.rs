//! Owns fetching values from workers: connections are kept for the next fetch, and a stale one is replaced once.

use std::{collections::HashMap, net::SocketAddr, sync::Mutex, time::Duration};

use nuna_plan::Value;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    connection::{ConnectError, Connection, Connector},
    frame::{Allocate, FrameError},
    id::StageKey,
    message::{Fetch, Fetched},
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
}

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
        Self { connector, idle: Mutex::default(), permits: Semaphore::new(FETCHES_MAX), allocate: None }
    }

    /// Large answers are read into memory of this kind.
    #[must_use]
    pub fn memory(mut self, allocate: Allocate) -> Self {
        self.allocate = Some(allocate);
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
        let request = Fetch { items };
        if let Some(mut connection) = kept
            && let Ok(values) = ask(&mut connection, &request).await
        {
            self.keep(address, connection);
            return Ok(values);
        }
        let mut connection = self.connector.connect_reader(address).await?;
        if let Some(allocate) = self.allocate {
            connection.reader.set_memory(allocate);
        }
        let values = ask(&mut connection, &request).await?;
        self.keep(address, connection);
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

async fn ask(connection: &mut Connection, request: &Fetch) -> Result<Vec<Option<Value>>, FetchError> {
    let answer = async {
        connection.writer.write(request, Payload::new()).await?;
        connection.writer.flush().await?;
        let (answer, payload) = connection.reader.read::<Fetched>().await?.ok_or(FetchError::Closed)?;
        let mut values = unpack(&payload, answer.shapes.iter().copied().flatten())?.into_iter();
        let found: Vec<Option<Value>> =
            answer.shapes.iter().map(|shape| shape.and_then(|_| values.next())).collect();
        if found.len() == request.items.len() { Ok(found) } else { Err(FetchError::Closed) }
    };
    timeout(ANSWER_DEADLINE, answer).await.map_err(|_| FetchError::Silent)?
}
