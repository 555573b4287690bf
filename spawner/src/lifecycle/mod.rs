//! User servers from requested to gone. `server` is one of them and `fleet` all, both without I/O or clock;
//! `polling` decides when PBS is asked; `view` says it in words; `driver` is what touches the world.

pub mod budget;
pub mod contact;
pub mod driver;
pub mod exit_status;
pub mod fleet;
pub mod polling;
pub mod server;
pub mod state;
pub mod view;

pub use driver::{Driver, Keeper};
pub use fleet::{Answer, Fleet, Owners};
pub use state::{Address, Failure, LaunchReport, Limits, ServerId, Spec, State};
pub use view::{PbsHealth, Poll, View};
