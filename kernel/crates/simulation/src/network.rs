//! Owns the connections between the scheduler and everybody else: messages of one connection keep their order, those of
//! different ones do not, a cut link keeps what was sent until it is mended, as TCP does, and what is on its way when a connection
//! breaks is lost.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, rngs::StdRng};

use crate::{
    agenda::{Agenda, MILLISECOND, Time},
    world::What,
};

/// A process, by a number of its own: a worker or client that starts again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Scheduler,
    Machine(u32),
    Client(u32),
}

#[derive(Default)]
struct Link {
    /// When its last message arrives.
    last: Time,
    /// Sent while the link was cut.
    kept: Vec<What>,
}

#[derive(Default)]
pub(crate) struct Network {
    links: BTreeMap<(Party, Party), Link>,
    /// Parties that the scheduler's messages do not reach, nor theirs the scheduler.
    cut: BTreeSet<Party>,
    /// How often the connection of a party was broken.
    broken: BTreeMap<Party, u32>,
    /// Parties whose connection is, until they are back.
    apart: BTreeSet<Party>,
    /// Machines that cannot reach one another; the smaller number first.
    peers_cut: BTreeSet<(u32, u32)>,
}

impl Network {
    pub(crate) fn send(
        &mut self,
        agenda: &mut Agenda<What>,
        rng: &mut StdRng,
        from: Party,
        to: Party,
        what: What,
    ) {
        let outer = if from == Party::Scheduler { to } else { from };
        if self.apart.contains(&outer) {
            return;
        }
        let link = self.links.entry((from, to)).or_default();
        if self.cut.contains(&outer) {
            link.kept.push(what);
            return;
        }
        let slow = rng.random_bool(0.02);
        let delay = rng.random_range(20..if slow { 200 * MILLISECOND } else { 500 });
        link.last = link.last.max(agenda.now + delay);
        agenda.after(link.last - agenda.now, what);
    }

    pub(crate) fn cut(&mut self, party: Party) {
        self.cut.insert(party);
    }

    /// What was sent in the meantime arrives now, in order.
    pub(crate) fn mend(&mut self, agenda: &mut Agenda<What>, rng: &mut StdRng, party: Party) {
        if !self.cut.remove(&party) {
            return;
        }
        for (from, to) in [(party, Party::Scheduler), (Party::Scheduler, party)] {
            let kept = self.links.get_mut(&(from, to)).map(|link| std::mem::take(&mut link.kept));
            for what in kept.unwrap_or_default() {
                self.send(agenda, rng, from, to, what);
            }
        }
    }

    /// What is sent from now on is lost, until [`Network::join`].
    pub(crate) fn break_off(&mut self, party: Party) {
        *self.broken.entry(party).or_default() += 1;
        self.apart.insert(party);
    }

    pub(crate) fn join(&mut self, party: Party) {
        self.apart.remove(&party);
    }

    pub(crate) fn times_broken(&self, party: Party) -> u32 {
        self.broken.get(&party).copied().unwrap_or(0)
    }

    pub(crate) fn is_cut(&self, party: Party) -> bool {
        self.cut.contains(&party)
    }

    pub(crate) fn cut_parties(&self) -> Vec<Party> {
        self.cut.iter().copied().collect()
    }

    pub(crate) fn cut_peers(&mut self, a: u32, b: u32) {
        self.peers_cut.insert((a.min(b), a.max(b)));
    }

    pub(crate) fn mend_peers(&mut self, a: u32, b: u32) {
        self.peers_cut.remove(&(a.min(b), a.max(b)));
    }

    pub(crate) fn peers_reach(&self, a: u32, b: u32) -> bool {
        !self.peers_cut.contains(&(a.min(b), a.max(b)))
    }
}
