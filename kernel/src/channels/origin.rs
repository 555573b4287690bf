//! Owns which request a number stands for, so that what comes after its cell, from a thread that it started, still finds
//! it. No I/O.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use crate::{evaluator::print::Parent, message::Message};

/// What is remembered of a request.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) header: Value,
    /// Who asked, and may be asked back.
    pub(crate) identities: Vec<Bytes>,
    pub(crate) allow_stdin: bool,
    /// What it prints is not for the notebook.
    pub(crate) silent: bool,
}

impl Origin {
    pub(crate) fn of(request: &Message) -> Self {
        Self {
            header: request.header.clone(),
            identities: request.identities.clone(),
            allow_stdin: request.content["allow_stdin"].as_bool().unwrap_or(false),
            silent: request.content["silent"].as_bool().unwrap_or(false),
        }
    }
}

/// As many requests are remembered; what comes later than that is shown with the last one.
const ORIGINS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Origins {
    number: Parent,
    held: BTreeMap<Parent, Arc<Origin>>,
    /// The last cell whose prints are shown.
    last: Option<Arc<Origin>>,
}

impl Origins {
    /// Remembers a request under a number of its own, from 1.
    pub(crate) fn add(&mut self, origin: Origin) -> Parent {
        self.number += 1;
        let origin = Arc::new(origin);
        if !origin.silent {
            self.last = Some(Arc::clone(&origin));
        }
        self.held.insert(self.number, origin);
        if self.held.len() > ORIGINS_MAX {
            self.held.pop_first();
        }
        self.number
    }

    /// The request of this number, or if nobody knows it any more, the last cell.
    pub(crate) fn get(&self, parent: Parent) -> Option<Arc<Origin>> {
        self.held.get(&parent).or(self.last.as_ref()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_remembers_belongs_to_the_last_cell_that_is_shown() {
        let mut origins = Origins::default();
        let origin = |name: &str, silent| Origin {
            header: json!(name),
            identities: vec![],
            allow_stdin: false,
            silent,
        };
        assert!(origins.get(0).is_none());
        let first = origins.add(origin("first", false));
        origins.add(origin("hidden", true));
        assert_eq!(origins.get(first).unwrap().header, "first");
        assert_eq!(origins.get(0).unwrap().header, "first");
        for _ in 0..ORIGINS_MAX {
            origins.add(origin("later", false));
        }
        assert_eq!(origins.get(first).unwrap().header, "later");
    }
}
