//! Owns the rule by which a process keeps what it has opened: so many of them, of no more than so much in all, and the one that
//! nobody asked for the longest goes first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// With the turn at which each was asked for last.
type Entries<K, V> = BTreeMap<K, (Arc<V>, u64)>;

/// What is kept open, by all that describes it.
pub(crate) struct Kept<K, V> {
    /// And the turn now.
    entries: Mutex<(Entries<K, V>, u64)>,
    count_max: usize,
    size_max: usize,
    size: fn(&V) -> usize,
}

impl<K: Ord + Clone, V> Kept<K, V> {
    pub(crate) const fn new(count_max: usize, size_max: usize, size: fn(&V) -> usize) -> Self {
        Self { entries: Mutex::new((BTreeMap::new(), 0)), count_max, size_max, size }
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (entries, turn) = &mut *guard;
        let (value, used) = entries.get_mut(key)?;
        *turn += 1;
        *used = *turn;
        Some(value.clone())
    }

    /// What is kept, or what is made now and then kept.
    pub(crate) fn get_or_put(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(value) = self.get(&key) {
            return value;
        }
        let value = Arc::new(make());
        self.put(key, &value);
        value
    }

    /// Keeps it, the last one whatever its size.
    pub(crate) fn put(&self, key: K, value: &Arc<V>) {
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (entries, turn) = &mut *guard;
        *turn += 1;
        entries.insert(key, (value.clone(), *turn));
        while entries.len() > 1
            && (entries.len() > self.count_max
                || entries.values().map(|(value, _)| (self.size)(value)).sum::<usize>() > self.size_max)
        {
            let oldest = entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            match oldest {
                Some(oldest) => entries.remove(&oldest),
                None => break,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_the_longest_goes_first() {
        static KEPT: Kept<u32, usize> = Kept::new(3, 100, |&size| size);
        let known =
            || (0..9).filter(|key| KEPT.entries.lock().unwrap().0.contains_key(key)).collect::<Vec<_>>();
        for key in 0..3 {
            KEPT.put(key, &Arc::new(10));
        }
        assert_eq!(KEPT.get(&0).as_deref(), Some(&10));
        KEPT.put(3, &Arc::new(10));
        assert_eq!((known(), KEPT.get(&1)), (vec![0, 2, 3], None));
        KEPT.put(4, &Arc::new(85));
        assert_eq!(known(), [3, 4]);
        KEPT.put(5, &Arc::new(1000));
        assert_eq!(known(), [5], "the last one stays");
    }
}
