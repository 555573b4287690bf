//! The service behind JupyterHub: who may sign in, which profiles they have, and their servers as jobs of PBS
//! or Slurm.
//!
//! `router` has every route on one page, `lifecycle` what happens to a user server, `auth` the directory,
//! `journal` what survives a restart. PBS commands are `nuna-pbs`'s, Slurm's `nuna-slurm`'s, dashboards `nuna-gateway`'s, the inside of a
//! job `nuna-singleuser`'s; JupyterHub's classes are in `hub-config/`.
#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod check;
pub mod clock;
pub mod config;
pub mod error;
pub mod fit;
pub mod form;
pub mod handlers;
pub mod journal;
pub mod lifecycle;
pub mod listen;
pub mod metrics;
pub mod names;
pub mod profiles;
pub mod queues;
mod repeated;
pub mod router;
pub mod secret;
pub mod select;
pub mod serve;
pub mod templates;
pub mod timing;
