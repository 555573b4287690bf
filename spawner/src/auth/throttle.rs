//! How often a name may be tried with wrong passwords, and from an address. The directory may count too; this counts
//! before it is asked.
//!
//! Only for a minute: a longer lock would let anybody keep others out. And an institute behind one address is more than
//! whoever guesses there: names that have signed in from an address are counted apart from those that never have.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Millis;

const WINDOW: Duration = Duration::from_secs(60);
/// Counted each for itself. What a flood has beyond shares the counts of `SHARED_MAX`, so that it neither fills memory
/// nor hides guesses.
const NAMES_MAX: usize = 10_000;
const SHARED_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Guesses {
    first: Millis,
    count: u32,
}

#[derive(Debug)]
struct Counts {
    names: HashMap<String, Guesses>,
    shared: Vec<Guesses>,
}

#[derive(Debug)]
pub struct Throttle {
    counts: Mutex<Counts>,
    hasher: RandomState,
    max: u32,
}

impl Throttle {
    pub fn new(max: u32) -> Self {
        let counts = Counts { names: HashMap::new(), shared: vec![Guesses::default(); SHARED_MAX] };
        Self { counts: Mutex::new(counts), hasher: RandomState::new(), max }
    }

    /// Counts an attempt before its outcome is known, since many may run at once; or says how long to wait.
    pub fn begin(&self, now: Millis, name: &str) -> Result<(), Duration> {
        self.change(name, Some(now), |guesses| {
            let end = guesses.first.after(WINDOW);
            if now >= end {
                *guesses = Guesses { first: now, count: 0 };
            } else if guesses.count >= self.max {
                return Err(end.since(now));
            }
            guesses.count += 1;
            Ok(())
        })
    }

    /// The password was right, so that what was wrong before is forgiven.
    pub fn succeeded(&self, name: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.names.remove(name).is_none() {
            drop(counts);
            self.undecided(name);
        }
    }

    /// Nobody could say, or nothing was wrong: this attempt does not count.
    pub fn undecided(&self, name: &str) {
        self.change(name, None, |guesses| guesses.count = guesses.count.saturating_sub(1));
    }

    /// With the guesses of a name, which is added at a time.
    fn change<T>(&self, name: &str, add: Option<Millis>, change: impl FnOnce(&mut Guesses) -> T) -> T {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = add
            && !counts.names.contains_key(name)
        {
            if counts.names.len() >= NAMES_MAX {
                counts.names.retain(|_, guesses| now < guesses.first.after(WINDOW));
            }
            if counts.names.len() < NAMES_MAX {
                counts.names.insert(name.to_owned(), Guesses { first: now, count: 0 });
            }
        }
        let place = self.hasher.hash_one(name) as usize % SHARED_MAX;
        let Counts { names, shared } = &mut *counts;
        change(names.get_mut(name).unwrap_or(&mut shared[place]))
    }
}

/// As many names with their addresses; one more is as if it had never come.
const ACQUAINTED_MAX: usize = 50_000;
/// After so long it is no acquaintance any more.
const ACQUAINTED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Which names have signed in from where since the service began.
#[derive(Debug, Default)]
pub struct Acquaintances(Mutex<HashMap<(String, String), Millis>>);

impl Acquaintances {
    pub fn signed_in(&self, now: Millis, name: &str, address: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (name.to_owned(), address.to_owned());
        if seen.len() >= ACQUAINTED_MAX && !seen.contains_key(&pair) {
            seen.retain(|_, last| now < last.after(ACQUAINTED_FOR));
        }
        if seen.len() < ACQUAINTED_MAX || seen.contains_key(&pair) {
            seen.insert(pair, now);
        }
    }

    pub fn has(&self, now: Millis, name: &str, address: &str) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (name.to_owned(), address.to_owned());
        seen.get(&pair).is_some_and(|last| now < last.after(ACQUAINTED_FOR))
    }
}

/// What is counted for an address: of IPv6 the network, since whoever has one address there has them all.
pub fn address_key(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Millis {
        Millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn a_name_waits_after_too_many_guesses_and_not_for_long() {
        let throttle = Throttle::new(3);
        for second in 0..3 {
            assert_eq!(throttle.begin(at(second), "alice"), Ok(()));
        }
        assert_eq!(throttle.begin(at(3), "alice"), Err(Duration::from_secs(57)));
        assert_eq!(throttle.begin(at(3), "bob"), Ok(()));
        assert_eq!(throttle.begin(at(60), "alice"), Ok(()), "counted anew");
    }

    #[test]
    fn only_wrong_passwords_count() {
        let throttle = Throttle::new(2);
        for second in 0..10 {
            assert_eq!(throttle.begin(at(second), "alice"), Ok(()));
            throttle.succeeded("alice");
            assert_eq!(throttle.begin(at(second), "bob"), Ok(()));
            throttle.undecided("bob");
        }
    }

    #[test]
    fn a_flood_of_names_neither_fills_memory_nor_hides_guesses() {
        let throttle = Throttle::new(10);
        for number in 0..NAMES_MAX {
            assert_eq!(throttle.begin(at(0), &number.to_string()), Ok(()));
        }
        let guessed = (0..1000).filter(|_| throttle.begin(at(1), "victim").is_ok()).count();
        assert_eq!(guessed, 10);
        throttle.undecided("victim");
        assert_eq!(throttle.begin(at(1), "victim"), Ok(()));
        assert_eq!(throttle.counts.lock().unwrap().names.len(), NAMES_MAX);
        assert_eq!(throttle.begin(at(61), "late"), Ok(()));
        assert_eq!(throttle.counts.lock().unwrap().names.len(), 1, "old ones make room");
    }

    #[test]
    fn acquaintances_end_and_do_not_fill_memory() {
        let seen = Acquaintances::default();
        seen.signed_in(at(0), "alice", "10.1.2.3");
        assert!(seen.has(at(1), "alice", "10.1.2.3"));
        assert!(!seen.has(at(1), "alice", "10.1.2.4") && !seen.has(at(1), "bob", "10.1.2.3"));
        let later = ACQUAINTED_FOR.as_secs() + 1;
        assert!(!seen.has(at(later), "alice", "10.1.2.3"));
        for number in 0..ACQUAINTED_MAX + 10 {
            seen.signed_in(at(1), &number.to_string(), "10.1.2.3");
        }
        assert_eq!(seen.0.lock().unwrap().len(), ACQUAINTED_MAX);
        seen.signed_in(at(later + 1), "late", "10.1.2.3");
        assert_eq!(seen.0.lock().unwrap().len(), 1, "old ones make room");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("10.1.2.3"), "10.1.2.3");
        assert_eq!(key("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }
}
