//! Owns the door of a scheduler or worker: whoever connects is let in once they have shown who they are. Strangers are
//! few at a time, and the one who has said nothing for longest makes room for the next, so that nobody keeps others out by
//! saying nothing; who was refused is counted, and logged ever more seldom.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};

use crate::connection::{Acceptor, ConnectError, Incoming};

/// Connections that have not shown who they are. The next one sends the oldest of them away.
const STRANGERS_MAX: usize = 64;
/// So many refusals are logged one by one; after that each time their number has doubled.
const REFUSALS_LOGGED: u64 = 16;

/// How many connections were refused since the start, by reason.
#[derive(Debug, Default)]
pub struct Refusals {
    untrusted: AtomicU64,
    silent: AtomicU64,
    crowded_out: AtomicU64,
    malformed: AtomicU64,
    mismatched: AtomicU64,
}

/// A moment's [`Refusals`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalCounts {
    /// No certificate of this cluster, or no TLS at all.
    pub untrusted: u64,
    /// Took longer than the deadline.
    pub silent: u64,
    /// Had not shown who they are when too many others came.
    pub crowded_out: u64,
    /// Frames that are too long, cut off, or not what comes first.
    pub malformed: u64,
    /// Another build or protocol.
    pub mismatched: u64,
}

impl RefusalCounts {
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }

    /// In one word each.
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("untrusted", self.untrusted),
            ("silent", self.silent),
            ("crowded_out", self.crowded_out),
            ("malformed", self.malformed),
            ("mismatched", self.mismatched),
        ]
    }
}

impl Refusals {
    pub fn counts(&self) -> RefusalCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RefusalCounts {
            untrusted: read(&self.untrusted),
            silent: read(&self.silent),
            crowded_out: read(&self.crowded_out),
            malformed: read(&self.malformed),
            mismatched: read(&self.mismatched),
        }
    }

    fn count(&self, error: &ConnectError) {
        let counter = match error {
            ConnectError::Untrusted { .. } | ConnectError::Unreachable { .. } => &self.untrusted,
            ConnectError::Silent { .. } => &self.silent,
            ConnectError::CrowdedOut { .. } => &self.crowded_out,
            ConnectError::Frame { .. } => &self.malformed,
            ConnectError::Refused { .. } | ConnectError::Credentials(_) => &self.mismatched,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets connections in. Bytes and connections of those who are not let in have limits that do not depend on how many
/// there are.
pub struct Door {
    acceptor: Acceptor,
    refusals: Arc<Refusals>,
    connections: Arc<Semaphore>,
    shortcut: Option<UnixListener>,
}

/// Somebody who has come to the door.
enum Stranger {
    Long(TcpStream, SocketAddr),
    /// With the address of this door, for they have none.
    Short(UnixStream, SocketAddr),
}

impl Door {
    /// `connections_max`: of those that were let in, at once.
    pub fn new(acceptor: Acceptor, connections_max: usize) -> Self {
        let refusals = Arc::default();
        Self { acceptor, refusals, connections: Arc::new(Semaphore::new(connections_max)), shortcut: None }
    }

    /// Processes of this user and host may also come this way.
    #[must_use]
    pub fn shortcut(mut self, listener: Option<UnixListener>) -> Self {
        self.shortcut = listener;
        self
    }

    async fn next(&self, listener: &TcpListener) -> std::io::Result<Stranger> {
        let short = async {
            match &self.shortcut {
                Some(shortcut) => shortcut.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            long = listener.accept() => long.map(|(stream, address)| Stranger::Long(stream, address)),
            short = short => Ok(Stranger::Short(short?.0, listener.local_addr()?)),
        }
    }

    pub fn refusals(&self) -> Arc<Refusals> {
        self.refusals.clone()
    }

    /// Accepts connections, and never ends. What `enter` gets counts as one of the connections until the permit is
    /// dropped. `log` hears of refusals, with how many there were until then.
    pub async fn open(
        self,
        listener: TcpListener,
        enter: impl Fn(Incoming, OwnedSemaphorePermit) + Clone + Send + 'static,
        log: impl Fn(&str, Option<SocketAddr>, u64) + Clone + Send + 'static,
    ) {
        // Oldest first; sending, or dropping, the end ends the conversation.
        let mut strangers: VecDeque<oneshot::Sender<()>> = VecDeque::new();
        loop {
            let stranger = match self.next(&listener).await {
                Ok(stranger) => stranger,
                Err(error) => {
                    // Out of file descriptors, most likely: others have to close theirs first.
                    log(&format!("cannot accept a connection: {error}"), None, 0);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            strangers.retain(|stranger| !stranger.is_closed());
            while strangers.len() >= STRANGERS_MAX {
                strangers.pop_front();
            }
            let (keep, mut crowded_out) = oneshot::channel::<()>();
            strangers.push_back(keep);
            let (acceptor, refusals, connections) =
                (self.acceptor.clone(), self.refusals.clone(), self.connections.clone());
            let (enter, log) = (enter.clone(), log.clone());
            tokio::spawn(async move {
                let address = match &stranger {
                    Stranger::Long(_, address) | Stranger::Short(_, address) => *address,
                };
                let accepted = async {
                    match stranger {
                        Stranger::Long(stream, address) => acceptor.accept(stream, address).await,
                        Stranger::Short(stream, address) => acceptor.accept_short(stream, address).await,
                    }
                };
                let incoming = tokio::select! {
                    incoming = accepted => incoming,
                    _ = &mut crowded_out => Err(ConnectError::CrowdedOut { address: address.to_string() }),
                };
                drop(crowded_out);
                match incoming {
                    Ok(incoming) => match connections.try_acquire_owned() {
                        Ok(place) => enter(incoming, place),
                        Err(_) => incoming.refuse("it serves too many connections already".into()).await,
                    },
                    Err(error) => {
                        refusals.count(&error);
                        let total = refusals.counts().total();
                        if total <= REFUSALS_LOGGED || total.is_power_of_two() {
                            log(&error.to_string(), Some(address), total);
                        }
                    }
                }
            });
        }
    }
}
