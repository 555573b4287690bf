//! Which user servers the hub still asks about: it polls all it knows. One that it does not ask about while it asks
//! about others, or lets people in, is one that it has forgotten, and nobody would ever stop its job.
//!
//! Counted is only the time in which the hub is heard: a hub that is away forgets nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::ServerId;
use crate::clock::Millis;

/// A longer pause between two questions is the hub's absence.
const GAP_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Contact {
    last: Option<Millis>,
    /// How long the hub has been heard altogether.
    heard: Duration,
    /// How much of it had passed when each was last asked about.
    asked: BTreeMap<ServerId, Duration>,
}

impl Contact {
    /// The hub asks for something, perhaps about a server.
    pub fn hear(&mut self, now: Millis, about: Option<&ServerId>) {
        let gap = self.last.map(|last| now.since(last)).unwrap_or_default();
        self.heard += gap.min(GAP_MAX);
        self.last = Some(now);
        if let Some(id) = about {
            self.asked.insert(id.clone(), self.heard);
        }
    }

    /// For how long the hub was heard and did not ask about this one.
    pub fn silence(&self, id: &ServerId) -> Duration {
        self.heard - self.asked.get(id).copied().unwrap_or_default()
    }

    pub fn forget(&mut self, id: &ServerId) {
        self.asked.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ServerId {
        ServerId::parse(&format!("{number:032x}")).unwrap()
    }

    fn at(seconds: u64) -> Millis {
        Millis(seconds * 1000)
    }

    #[test]
    fn one_that_is_not_asked_about_while_others_are_is_forgotten() {
        let mut contact = Contact::default();
        contact.hear(at(0), Some(&id(1)));
        for second in (0..=600).step_by(10) {
            contact.hear(at(second), Some(&id(2)));
        }
        assert_eq!(contact.silence(&id(1)), Duration::from_secs(600));
        assert_eq!(contact.silence(&id(2)), Duration::ZERO);
        contact.hear(at(601), Some(&id(1)));
        assert_eq!(contact.silence(&id(1)), Duration::ZERO);
    }

    #[test]
    fn a_hub_that_is_away_forgets_nobody() {
        let mut contact = Contact::default();
        contact.hear(at(0), Some(&id(1)));
        contact.hear(at(100_000), None);
        assert_eq!(contact.silence(&id(1)), GAP_MAX);
        // Nor does one that a restart of the service has not heard yet.
        assert_eq!(Contact::default().silence(&id(1)), Duration::ZERO);
    }
}
