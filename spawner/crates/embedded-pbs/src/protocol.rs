//! What a command and the server say to each other: one JSON line each way, then the connection closes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::attributes::Object;
use crate::error::Refusal;

/// A request, script included, is at most this long; real PBS has similar bounds on scripts.
pub(crate) const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Longest wait for the server's answer.
pub(crate) const ANSWER_SECONDS_MAX: u64 = 30;

/// The server's state folder: `$NUNA_PBS_DIR`, else below the user's state folder.
pub(crate) fn state_folder() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("NUNA_PBS_DIR").unwrap_or_else(|| {
        from("XDG_STATE_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".local/state")))
            .unwrap_or_else(|| PathBuf::from("/tmp"))
            .join("nuna/pbs")
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The name jobs are submitted under and permissions are checked against.
    pub(crate) user: String,
    pub(crate) request: Request,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Submit(Box<Submission>),
    Status { ids: Vec<String>, filter: Filter },
    Delete { id: String, force: bool, forget: bool },
    Hold { id: String },
    Release { id: String },
    Queues { names: Vec<String> },
    Server,
    Nodes { names: Vec<String> },
}

/// Which jobs `Status` is about when no id is named, and whether ended ones count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Filter {
    pub(crate) history: bool,
    /// Only ended jobs (`qstat -H`).
    pub(crate) only_ended: bool,
    /// Arrays with their jobs (`-t`).
    #[serde(default)]
    pub(crate) expand: bool,
    /// Arrays only; with `expand`, only their jobs (`-J`).
    #[serde(default)]
    pub(crate) only_arrays: bool,
    pub(crate) users: Vec<String>,
    pub(crate) queue: Option<String>,
    /// Letters of the wanted states; empty means any.
    pub(crate) states: String,
    pub(crate) job_name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Submission {
    pub(crate) name: String,
    pub(crate) queue: Option<String>,
    /// As bytes, since a program may be submitted too; taken out once it is in the spool.
    #[serde(with = "base64_bytes")]
    pub(crate) script: Vec<u8>,
    /// `-l` items in the order given.
    pub(crate) resources: Vec<(String, String)>,
    pub(crate) output_path: Option<String>,
    pub(crate) error_path: Option<String>,
    /// `n`, `oe` or `eo`.
    pub(crate) join: String,
    /// `n` or letters of `o`, `e`, `d`.
    pub(crate) keep: String,
    pub(crate) mail_points: String,
    pub(crate) account: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) shell: Option<String>,
    pub(crate) priority: i32,
    pub(crate) rerunable: bool,
    pub(crate) hold: bool,
    /// `X-Y[:Z]` if it is an array, and how many of its jobs may run at once.
    #[serde(default)]
    pub(crate) array: Option<(String, Option<u32>)>,
    /// Not before this second since the epoch.
    pub(crate) execution_time_s: Option<i64>,
    pub(crate) umask: Option<u32>,
    /// `PBS_O_*` and `-v`/`-V` variables in PBS's order.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) home: String,
    pub(crate) folder: String,
    pub(crate) host: String,
    /// The options as typed, for `Submit_arguments`.
    pub(crate) arguments: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Submitted {
        id: String,
    },
    Done,
    /// Objects found, and what was wrong with the names that were not.
    Objects {
        server: String,
        objects: Vec<Object>,
        refusals: Vec<Refusal>,
    },
    Refused(Refusal),
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
