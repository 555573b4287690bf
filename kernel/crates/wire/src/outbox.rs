//! Owns what waits to be sent over one connection: whoever decides never waits for a socket, and whoever does not
//! read is cut off before what waits for it fills the memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde::Serialize;
use tokio::{io::AsyncWrite, sync::mpsc};

use crate::{
    frame::{FrameError, FrameWriter},
    payload::Payload,
};

/// What a message counts for besides its payload.
const MESSAGE_BYTES: u64 = 256;

/// The sending end. Cheap to clone.
pub struct Outbox<M> {
    sender: mpsc::UnboundedSender<(M, Payload)>,
    waiting: Arc<AtomicU64>,
    limit: u64,
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting: self.waiting.clone(), limit: self.limit }
    }
}

/// An outbox that does not keep its connection open.
pub struct WeakOutbox<M> {
    sender: mpsc::WeakUnboundedSender<(M, Payload)>,
    waiting: Arc<AtomicU64>,
    limit: u64,
}

impl<M> Clone for WeakOutbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting: self.waiting.clone(), limit: self.limit }
    }
}

impl<M> WeakOutbox<M> {
    /// The outbox, if any other is left.
    pub fn upgrade(&self) -> Option<Outbox<M>> {
        Some(Outbox { sender: self.sender.upgrade()?, waiting: self.waiting.clone(), limit: self.limit })
    }
}

/// The end that writes. The connection is closed when it ends.
pub struct Outgoing<M> {
    receiver: mpsc::UnboundedReceiver<(M, Payload)>,
    waiting: Arc<AtomicU64>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    #[error("the connection is gone")]
    Closed,
    #[error("more than {limit} bytes wait to be sent")]
    Full { limit: u64 },
}

/// An outbox in which at most `limit` bytes may wait.
pub fn outbox<M>(limit: u64) -> (Outbox<M>, Outgoing<M>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicU64::new(0));
    (Outbox { sender, waiting: waiting.clone(), limit }, Outgoing { receiver, waiting })
}

impl<M> Outbox<M> {
    /// An outbox that does not keep the connection open.
    pub fn downgrade(&self) -> WeakOutbox<M> {
        WeakOutbox { sender: self.sender.downgrade(), waiting: self.waiting.clone(), limit: self.limit }
    }

    /// Whether nobody writes any more what is sent.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// # Errors
    /// If the connection is gone, or its other side does not read what it is sent.
    pub fn send(&self, message: M, payload: Payload) -> Result<(), OutboxError> {
        let bytes = payload.byte_count() + MESSAGE_BYTES;
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return Err(OutboxError::Full { limit: self.limit });
        }
        self.sender.send((message, payload)).map_err(|_| OutboxError::Closed)
    }
}

impl<M: Serialize> Outgoing<M> {
    /// Writes what is sent until every [`Outbox`] is gone, then closes the connection.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn write_to<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut FrameWriter<W>,
    ) -> Result<(), FrameError> {
        while let Some((message, payload)) = self.receiver.recv().await {
            self.write(writer, message, payload).await?;
            while let Ok((message, payload)) = self.receiver.try_recv() {
                self.write(writer, message, payload).await?;
            }
            writer.flush().await?;
        }
        writer.close().await
    }

    /// Takes out what has not been written.
    pub fn take_waiting(&mut self) -> Vec<(M, Payload)> {
        let mut waiting = Vec::new();
        while let Ok((message, payload)) = self.receiver.try_recv() {
            self.waiting.fetch_sub(payload.byte_count() + MESSAGE_BYTES, Ordering::Relaxed);
            waiting.push((message, payload));
        }
        waiting
    }

    async fn write<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut FrameWriter<W>,
        message: M,
        payload: Payload,
    ) -> Result<(), FrameError> {
        let bytes = payload.byte_count() + MESSAGE_BYTES;
        writer.write(&message, payload).await?;
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}
