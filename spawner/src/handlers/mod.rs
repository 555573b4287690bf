//! One file per resource: read the request, ask the domain, tell the answer.

pub mod health;
pub mod launch;
pub mod options;
pub mod servers;
pub mod sign_in;
