//! pure: named deadlines. Setting a name again moves its deadline; what is due comes out in order of time.

use std::collections::{BTreeMap, BTreeSet};

/// Deadlines in steady milliseconds, one per key.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, i64>,
    by_time: BTreeSet<(i64, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }
}

impl<K: Clone + Ord> Timers<K> {
    pub fn set(&mut self, key: K, at: i64) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            self.by_time.remove(&(before, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some((key, at)) = self.by_key.remove_entry(key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// Takes the earliest key that is due.
    pub fn pop_due(&mut self, now: i64) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    pub fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_deadline_and_the_earliest_comes_first() {
        let mut timers = Timers::default();
        timers.set("a", 10);
        timers.set("b", 5);
        timers.set("a", 3);
        timers.set("c", 4);
        timers.cancel(&"c");
        assert_eq!(timers.next(), Some(3));
        assert_eq!(timers.pop_due(2), None);
        assert_eq!(timers.pop_due(9), Some("a"));
        assert_eq!(timers.pop_due(9), Some("b"));
        assert_eq!((timers.pop_due(99), timers.next()), (None, None));
    }
}
