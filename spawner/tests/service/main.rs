//! The service as a real process, between real neighbours. One program, since linking it is what takes long.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on says so by panicking")]

mod attacks;
mod check;
mod common;
mod fuzzed;
mod guessing;
mod load;
mod nonsense;
mod operations;
mod real_pbs;
#[path = "../../crates/slurm/tests/common/mod.rs"]
mod room;
mod secrets;
mod sign_in;
mod slapd;
mod slurm;
mod standing;
mod user_servers;
