//! How often a name may be tried with wrong passwords. The directory may count too; this counts before it is asked.
//!
//! Only for a minute: a longer lock would let anybody keep others out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Millis;

const WINDOW: Duration = Duration::from_secs(60);
/// Names kept at the same time. A flood of names beyond is not followed; the number of sign-ins bounds it.
const NAMES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Guesses {
    first: Millis,
    count: u32,
}

#[derive(Debug)]
pub struct Throttle {
    names: Mutex<HashMap<String, Guesses>>,
    max: u32,
}

impl Throttle {
    pub fn new(max: u32) -> Self {
        Self { names: Mutex::default(), max }
    }

    /// Counts an attempt before its outcome is known, since many may run at once; or says how long to wait.
    pub fn begin(&self, now: Millis, name: &str) -> Result<(), Duration> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.retain(|_, guesses| now < guesses.first.after(WINDOW));
            if names.len() >= NAMES_MAX && !names.contains_key(name) {
                return Ok(());
            }
        }
        let guesses = names.entry(name.to_owned()).or_insert(Guesses { first: now, count: 0 });
        let end = guesses.first.after(WINDOW);
        if now >= end {
            *guesses = Guesses { first: now, count: 0 };
        } else if guesses.count >= self.max {
            return Err(end.since(now));
        }
        guesses.count += 1;
        Ok(())
    }

    /// The password was right.
    pub fn succeeded(&self, name: &str) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Nobody could say.
    pub fn undecided(&self, name: &str) {
        if let Some(guesses) = self.names.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name) {
            guesses.count = guesses.count.saturating_sub(1);
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
    fn a_flood_of_names_does_not_fill_memory() {
        let throttle = Throttle::new(1);
        for number in 0..2 * NAMES_MAX {
            assert_eq!(throttle.begin(at(0), &number.to_string()), Ok(()));
        }
        assert_eq!(throttle.names.lock().unwrap().len(), NAMES_MAX);
        assert_eq!(throttle.begin(at(61), "late"), Ok(()));
        assert_eq!(throttle.names.lock().unwrap().len(), 1, "old ones make room");
        assert!(throttle.begin(at(61), "late").is_err());
    }
}
