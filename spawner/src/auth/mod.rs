//! Who somebody is, and to which groups they belong. `Directory` is the seam; `ldap` asks a real one.
//!
//! `connection` is one connection to one server, `servers` which of them is asked, `account` and `groups` what
//! entries say, `standing` what was last heard of whom, `throttle` how often passwords may be guessed.

mod account;
mod connection;
mod escape;
mod groups;
mod ldap;
mod servers;
mod standing;
mod throttle;

use nuna_pbs::UserName;
use serde::{Deserialize, Serialize};

pub use ldap::LdapDirectory;
pub use standing::Standings;
pub use throttle::{Acquaintances, Throttle, address_key};

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
    /// Or there is no such user, or the directory refuses the account; a page must not tell which. `why` is for the
    /// log.
    #[error("wrong user name or password ({why})")]
    WrongPassword { why: String },
    /// Right password, but the account is locked or has expired.
    #[error("the account is {why}")]
    Locked { why: String },
    /// Right password, but none of `directory.allowed_groups`.
    #[error("not a member of a group that may sign in")]
    NotAllowed,
    /// Of somebody who had signed in: the directory has no such user any more.
    #[error("the directory has no such user any more")]
    Gone,
    /// Without `directory.lookup_dn` nobody can be asked about.
    #[error("there is no account that looks people up")]
    NoLookup,
    #[error("no directory server answered: {}", tried.join("; "))]
    Unreachable { tried: Vec<String> },
    /// The directory answered what the configuration does not expect.
    #[error("{message}")]
    Misconfigured { message: String },
}

impl SignInError {
    /// The directory has decided, and another question would be answered alike.
    pub fn is_decision(&self) -> bool {
        matches!(self, Self::WrongPassword { .. } | Self::Locked { .. } | Self::NotAllowed | Self::Gone)
    }

    /// For metrics and the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::WrongPassword { .. } => "wrong_password",
            Self::Locked { .. } => "locked",
            Self::NotAllowed => "not_allowed",
            Self::Gone => "gone",
            Self::NoLookup => "not_looked_up",
            Self::Unreachable { .. } => "unreachable",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }
}

/// What is known of one server without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryState {
    NotAsked,
    Answers,
    Silent,
}

/// One server, and how it did since the service began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectoryServer {
    pub url: String,
    pub state: DirectoryState,
    pub questions: u64,
    /// Those that it did not settle.
    pub failures: u64,
    /// That all questions took together.
    pub seconds: f64,
}

#[async_trait::async_trait]
pub trait Directory: Send + Sync {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Identity, SignInError>;
    /// What the directory says now about somebody who has signed in, without a password.
    async fn look_up(&self, user: &UserName) -> Result<Identity, SignInError>;
    /// Tries each server; one line for each about what was found.
    async fn probe(&self) -> Vec<Result<String, String>>;
    /// What is known of each server, without asking.
    fn servers(&self) -> Vec<DirectoryServer> {
        Vec::new()
    }
}
