//! pure: named deadlines. Setting a name again moves its deadline; what is due comes out in order of time, and of one time
//! in the order in which it was set, as from Kafka's timer.

use std::collections::BTreeMap;

/// Deadlines in steady milliseconds, one per key.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    /// Each with its number, which tells deadlines of one time apart.
    by_key: BTreeMap<K, (i64, u64)>,
    by_time: BTreeMap<(i64, u64), K>,
    set: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_time: BTreeMap::new(),
            set: 0,
        }
    }
}

impl<K: Clone + Ord> Timers<K> {
    pub fn set(&mut self, key: K, at: i64) {
        self.cancel(&key);
        self.set += 1;
        self.by_key.insert(key.clone(), (at, self.set));
        self.by_time.insert((at, self.set), key);
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_time.remove(&place);
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

    /// The keys that are due, which stay where they are.
    pub fn due(&self, now: i64) -> impl Iterator<Item = &K> {
        self.by_time.range(..=(now, u64::MAX)).map(|(_, key)| key)
    }

    pub fn next(&self) -> Option<i64> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
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
        assert_eq!(timers.due(4).collect::<Vec<_>>(), [&"a"]);
        assert_eq!(timers.pop_due(9), Some("a"));
        assert_eq!(timers.pop_due(9), Some("b"));
        assert_eq!((timers.pop_due(99), timers.next()), (None, None));
    }

    #[test]
    fn of_one_time_the_first_that_was_set_comes_first() {
        let mut timers = Timers::default();
        for key in ["c", "a", "b", "c"] {
            timers.set(key, 5);
        }
        let due = || timers.pop_due(5);
        assert_eq!(std::iter::from_fn(due).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
