//! Owns reading bytes over HTTP(S), and reading and writing them in S3-compatible stores: where something lies ([`Location`]), who asks
//! ([`Aws`], signatures), and requests with ranges, side by side over connections that are kept, tried again when a server
//! or the way to it fails, and given up after a time ([`Client`]).
//!
//! Leaves to others: what the bytes mean (`storage`). Nothing here waits without a limit, no secret is in an error, and no
//! credentials go to another host than they are for. What callers see is blocking; a few threads of this crate do the waiting.

#![forbid(unsafe_code)]

mod attempt;
mod aws;
mod client;
mod error;
mod location;
mod sign;
// Public for who fuzzes it.
#[doc(hidden)]
pub mod xml;

pub use attempt::{Part, Version};
pub use aws::{Aws, Credentials};
pub use client::{Client, Head, Pending, Settings};
pub use error::RemoteError;
pub use location::Location;
