//! Owns whose turn it is: plans of higher priority first; among equals clients take turns, then the plans of each client;
//! of one plan the stage nearest to its end, which frees memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use nuna_wire::{ClientId, StageKey};

/// Bits of a stage's priority that say how near it is to the end of its plan; above them is the plan's priority.
const DEPTH_BITS: u32 = 16;
const DEPTH_MAX: u32 = (1 << DEPTH_BITS) - 1;
/// Plans of higher and lower priority than this are as these.
const LEVEL_MAX: i32 = 1000;

/// Of a stage with `after` stages behind it in its plan. All ends are equally near, whatever the plan's length. A worker
/// begins with the blocks of the highest one.
pub(crate) fn priority(plan: i32, after: u32) -> u32 {
    let level = (plan.clamp(-LEVEL_MAX, LEVEL_MAX) + LEVEL_MAX).unsigned_abs();
    level << DEPTH_BITS | (DEPTH_MAX - after.min(DEPTH_MAX))
}

/// The part of a priority that is its plan's.
pub(crate) fn level(priority: u32) -> u32 {
    priority >> DEPTH_BITS
}

/// Where a stage stands among those with ready blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Of the plan; lower ones first.
    level: u32,
    client: u32,
    plan: u32,
    /// Stages behind it; fewer first.
    after: u32,
    pub(crate) key: StageKey,
}

impl Rank {
    pub(crate) fn new(priority: u32, client: ClientId, plan: u32, key: StageKey) -> Self {
        let (level, after) = (u32::MAX - level(priority), DEPTH_MAX - (priority & DEPTH_MAX));
        Rank { level, client: client.0, plan, after, key }
    }

    /// Whether its plan has a higher priority than the other's.
    pub(crate) fn outranks(&self, other: &Rank) -> bool {
        self.level < other.level
    }

    fn first_of(level: u32, client: u32, plan: u32) -> Self {
        Rank { level, client, plan, after: 0, key: StageKey(0) }
    }
}

/// Who was served first the last time.
#[derive(Default)]
pub(crate) struct Turns {
    client: u32,
    /// The plan of each client.
    plans: BTreeMap<u32, u32>,
}

impl Turns {
    pub(crate) fn forget(&mut self, client: ClientId) {
        self.plans.remove(&client.0);
    }

    /// At least `most` of `ready`, or all, in the order in which they are to be served now. Each call is one turn.
    pub(crate) fn next(&mut self, ready: &BTreeSet<Rank>, most: usize) -> Vec<StageKey> {
        let mut order: Vec<&Rank> = Vec::new();
        let mut first = true;
        let mut level = ready.first().map(|rank| rank.level);
        while let Some(now) = level {
            let clients = clients(ready, now);
            let start = clients.partition_point(|&client| client <= self.client) % clients.len();
            for &client in clients[start..].iter().chain(&clients[..start]) {
                let last = self.plans.get(&client).copied();
                let mine = Rank::first_of(now, client, 0)..Rank::first_of(now, client.saturating_add(1), 0);
                let after =
                    last.map_or(mine.start, |plan| Rank::first_of(now, client, plan.saturating_add(1)));
                let served = order.len();
                order.extend(ready.range(after..mine.end).take(most));
                order.extend(ready.range(mine.start..after).take(most));
                if first && let Some(rank) = order.get(served) {
                    first = false;
                    self.client = client;
                    self.plans.insert(client, rank.plan);
                }
                if order.len() >= most {
                    return order.into_iter().map(|rank| rank.key).collect();
                }
            }
            let next = Rank::first_of(now.saturating_add(1), 0, 0);
            level = ready.range(next..).next().map(|rank| rank.level);
        }
        order.into_iter().map(|rank| rank.key).collect()
    }
}

/// Those with ready blocks at that level, in order.
fn clients(ready: &BTreeSet<Rank>, level: u32) -> Vec<u32> {
    let mut clients = Vec::new();
    let mut from = Bound::Included(Rank::first_of(level, 0, 0));
    while let Some(rank) = ready.range((from, Bound::Unbounded)).next()
        && rank.level == level
    {
        clients.push(rank.client);
        from = Bound::Included(Rank::first_of(level, rank.client.saturating_add(1), 0));
    }
    clients
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(level: i32, client: u32, plan: u32, after: u32, key: u32) -> Rank {
        Rank::new(priority(level, after), ClientId(client), plan, StageKey(key))
    }

    fn keys(order: &[StageKey]) -> Vec<u32> {
        order.iter().map(|key| key.0).collect()
    }

    #[test]
    fn a_plans_priority_comes_before_how_near_its_stages_are_to_the_end() {
        assert!(priority(1, 70_000) > priority(0, 0));
        assert!(priority(0, 0) > priority(0, 1));
        assert!(priority(i32::MIN, u32::MAX) < priority(i32::MAX, 0));
        let ready = BTreeSet::from([rank(0, 1, 1, 0, 1), rank(5, 2, 2, 3, 2), rank(-1, 1, 3, 0, 3)]);
        for _ in 0..3 {
            assert_eq!(keys(&Turns::default().next(&ready, 10)), [2, 1, 3]);
        }
    }

    #[test]
    fn clients_take_turns_and_so_do_the_plans_of_each() {
        // Client 1 has plans 1 and 2, client 2 has plan 3 of two stages, of which 4 is nearer to the end.
        let ready = BTreeSet::from([
            rank(0, 1, 1, 0, 1),
            rank(0, 1, 2, 0, 2),
            rank(0, 2, 3, 1, 3),
            rank(0, 2, 3, 0, 4),
        ]);
        let mut turns = Turns::default();
        let orders: Vec<Vec<u32>> = (0..4).map(|_| keys(&turns.next(&ready, 10))).collect();
        assert_eq!(orders, [[1, 2, 4, 3], [4, 3, 2, 1], [2, 1, 4, 3], [4, 3, 1, 2]]);
    }

    #[test]
    fn no_more_are_looked_at_than_are_wanted_and_all_have_their_turn() {
        let ready: BTreeSet<Rank> = (1..=100).map(|plan| rank(0, 1, plan, 0, plan)).collect();
        let mut turns = Turns::default();
        let firsts: BTreeSet<u32> = (0..100).map(|_| keys(&turns.next(&ready, 3))[0]).collect();
        assert_eq!(firsts.len(), 100);
        assert!(turns.next(&ready, 3).len() < 7);
        assert_eq!(turns.next(&ready, usize::MAX).len(), 100);
    }
}
