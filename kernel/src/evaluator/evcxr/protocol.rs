//! Owns what the kernel and `nuna-evcxr` say to each other: one JSON line each, over the socket that the program gets as
//! standard input. Also compiled into `kernel/crates/evcxr-evaluator`, which shares nothing else with the kernel.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// From kernel to program. Each is answered once, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// Runs cell In [`number`].
    Evaluate {
        code: String,
        number: u32,
    },
    /// `at` is in bytes.
    Complete {
        code: String,
        at: usize,
    },
    Inspect {
        code: String,
        at: usize,
    },
}

/// From program to kernel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The running cell printed this; more will follow.
    Stdout(String),
    Stderr(String),
    Evaluated(Evaluated),
    /// What could stand at bytes `start..end`.
    Completed {
        matches: Vec<String>,
        start: usize,
        end: usize,
    },
    /// Text and HTML about what stands there.
    Inspected(Option<(String, String)>),
}

/// What became of a cell.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Evaluated {
    /// Media type and data.
    pub(crate) shown: BTreeMap<String, String>,
    pub(crate) trouble: Option<Trouble>,
    /// The person interrupted the cell.
    pub(crate) interrupted: bool,
    /// The process that holds the variables ended; says how.
    pub(crate) ended: Option<String>,
    /// Variables and their types, then items.
    pub(crate) names: Vec<(String, String)>,
}

/// Why a cell failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) traceback: Vec<String>,
}
