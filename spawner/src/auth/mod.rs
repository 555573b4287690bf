//! Who somebody is, and to which groups they belong. `Directory` is the seam; `ldap` asks a real one.

mod escape;
mod ldap;
mod throttle;

use nuna_pbs::UserName;
use serde::{Deserialize, Serialize};

pub use ldap::LdapDirectory;
pub use throttle::Throttle;

use crate::secret::Secret;

/// Somebody who gave the right password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub name: UserName,
    pub groups: Vec<String>,
    pub admin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Or there is no such user, or the account is locked; a page must not tell which. `why` is for the log.
    #[error("wrong user name or password ({why})")]
    WrongPassword { why: String },
    /// Right password, but none of `directory.allowed_groups`.
    #[error("not a member of a group that may sign in")]
    NotAllowed,
    #[error("no directory server answered: {}", tried.join("; "))]
    Unreachable { tried: Vec<String> },
    /// The directory answered what the configuration does not expect.
    #[error("{message}")]
    Misconfigured { message: String },
}

#[async_trait::async_trait]
pub trait Directory: Send + Sync {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Identity, SignInError>;
    /// Tries each server; one line for each about what was found.
    async fn probe(&self) -> Vec<Result<String, String>>;
}
