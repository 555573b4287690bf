//! Owns what travels between scheduler, workers and clients: the messages, their framing with limits, the
//! credentials of a cluster, and authenticated connections.
//!
//! Leaves to others: what a message means (`scheduler`, `worker`), and every socket's place in a program (`runtime`,
//! `client`). A frame is a `postcard` header and raw bytes; values are never re-encoded on the way.

#![forbid(unsafe_code)]

pub mod cluster_file;
pub mod connection;
pub mod credentials;
pub mod door;
pub mod fetch;
pub mod frame;
pub mod id;
pub mod message;
pub mod outbox;
pub mod payload;
mod search;
mod shortcut;

pub use cluster_file::ClusterFile;
pub use connection::{Acceptor, ConnectError, Connection, Connector, Incoming};
pub use credentials::{Authority, Credentials, CredentialsError, Party};
pub use door::{Door, RefusalCounts, Refusals};
pub use fetch::{FetchError, Fetcher, OpenShared};
pub use frame::{Allocate, FrameError, FrameReader, FrameWriter, Limits, PayloadMemory};
pub use id::{ClientId, StageKey, WorkerId};
pub use outbox::{Outbox, OutboxError, Outgoing, outbox};
pub use payload::{Parts, Payload, ValueShape};
pub use search::Search;
