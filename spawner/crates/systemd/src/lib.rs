//! What a service and systemd say to each other: that it is ready, alive or stopping (`sd_notify`), and which sockets
//! systemd has opened for it (`sd_listen_fds`).
//!
//! Started by anything else, a service finds nobody to tell and no sockets, and works as well.
#![forbid(unsafe_code)]

mod notify;
mod sockets;

pub use notify::{Heart, Manager};
pub use sockets::{Passed, passed};
