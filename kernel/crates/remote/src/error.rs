//! Owns what can go wrong over the network, in words that name address, answer and remedy. Addresses are shown without their
//! query, which may hold a token.

/// Why something could not be had from afar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("`{address}` is no address that can be read: {message}")]
    Address { address: String, message: String },
    #[error("{url} is refused with status {status}{detail}; {hint}")]
    Status { url: String, status: u16, detail: String, hint: &'static str },
    #[error("{url} still fails after {attempts} attempts: {message}")]
    Unreachable { url: String, attempts: u32, message: String },
    #[error("{url} did not deliver within {seconds} s; the last attempt: {message}")]
    Late { url: String, seconds: u64, message: String },
    #[error("{url} answers with something else than was asked for: {message}")]
    Answer { url: String, message: String },
    #[error("{url} was changed after it was opened: {message}; open it again")]
    Changed { url: String, message: String },
    #[error(
        "{url} is sent as a whole only: its server knows no ranges of bytes, which reading parts of a file takes; download it, or have it put on a server that does"
    )]
    NoRanges { url: String },
    #[error("{url} redirects {message}")]
    Redirect { url: String, message: String },
    #[error("{message}")]
    Setup { message: String },
}

impl RemoteError {
    /// Whether asking later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Late { .. })
    }

    /// Whether the server does not let us see it, which some say also of what is not there.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Status { status: 401 | 403, .. })
    }
}
