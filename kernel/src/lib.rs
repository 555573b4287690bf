//! The Jupyter kernel as a library: reading and compiling cells, the evaluator process, messages, installation.
//! `main.rs` wires them to sockets; `bin/evaluator/` is the process that runs what was compiled.

#![forbid(unsafe_code)]

pub mod channels;
pub mod connection;
pub mod evaluator;
pub mod history;
pub mod install;
pub mod language;
pub mod message;
pub mod parent;
pub mod session;
