//! pure: timers with one deadline per key. Setting a key again moves its deadline. Keys come due in order of time, and for
//! equal times in the order in which they were set, as in Kafka's timer.

use std::collections::BTreeMap;

/// Deadline in steady milliseconds, with a number that orders equal deadlines.
type Place = (i64, u64);

/// Deadline that is postponed far more often than it is reached, such as the end of a member's session. Its owner keeps this
/// value. Postponing it does not change the entry in [`Timers`]: the entry comes due at its old time, and is then set again for
/// the remaining time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOff {
    due: Option<Place>,
    /// The entry in the timers.
    set: Option<Place>,
}

impl PutOff {
    /// Whether the deadline is still ahead, although its entry in the timers may be due.
    pub fn is_later(&self, now: i64) -> bool {
        self.due.is_some_and(|(at, _)| at > now)
    }
}

/// Deadlines in steady milliseconds, one per key.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, Place>,
    by_time: BTreeMap<Place, K>,
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

    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_time.remove(&place);
        }
    }

    /// Postpones a deadline to `at`. If its entry is for a later time than `at`, the entry is replaced.
    pub fn put_off(&mut self, deadline: &mut PutOff, at: i64, key: impl FnOnce() -> K) {
        self.set += 1;
        let due = (at, self.set);
        deadline.due = Some(due);
        if deadline.set.is_some_and(|set| set <= due) {
            return;
        }
        if let Some(set) = deadline.set.replace(due) {
            self.by_time.remove(&set);
        }
        self.by_time.insert(due, key());
    }

    /// Called when the entry of a deadline came due. Returns false if the deadline itself is still ahead, and sets the entry
    /// again.
    pub fn has_come(&mut self, deadline: &mut PutOff, key: impl FnOnce() -> K) -> bool {
        let set = deadline.set.take();
        match deadline.due {
            Some(due) if Some(due) != set => {
                deadline.set = Some(due);
                self.by_time.insert(due, key());
                false
            }
            // A deadline that was not set has not been reached.
            due => {
                deadline.due = None;
                due.is_some()
            }
        }
    }

    pub fn call_off(&mut self, deadline: &mut PutOff) {
        if let Some(set) = std::mem::take(deadline).set {
            self.by_time.remove(&set);
        }
    }

    /// Removes and returns the earliest key that is due.
    pub fn pop_due(&mut self, now: i64) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (place, key) = self.by_time.pop_first()?;
        if self.by_key.get(&key) == Some(&place) {
            self.by_key.remove(&key);
        }
        Some(key)
    }

    /// The keys that are due, without removing them.
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

    /// All keys that come due until then, with their times.
    fn come(
        timers: &mut Timers<&'static str>,
        session: &mut PutOff,
        until: i64,
    ) -> Vec<(i64, &'static str)> {
        let mut told = Vec::new();
        while let Some(at) = timers.next().filter(|at| *at <= until) {
            let key = timers.pop_due(at).unwrap();
            if key != "session" || timers.has_come(session, || "session") {
                told.push((at, key));
            }
        }
        told
    }

    #[test]
    fn a_deadline_that_is_put_off_comes_when_it_was_put_off_to() {
        let mut timers = Timers::default();
        let mut session = PutOff::default();
        for at in [10, 20, 30, 35] {
            timers.put_off(&mut session, at, || "session");
            assert_eq!(timers.by_time.len(), 1);
        }
        assert_eq!(timers.next(), Some(10));
        assert_eq!(come(&mut timers, &mut session, 34), []);
        assert_eq!(come(&mut timers, &mut session, 99), [(35, "session")]);
        // A deadline can also be moved to an earlier time, and never comes due after it is cancelled.
        timers.put_off(&mut session, 50, || "session");
        timers.put_off(&mut session, 40, || "session");
        assert_eq!(come(&mut timers, &mut session, 45), [(40, "session")]);
        assert_eq!(come(&mut timers, &mut session, 99), []);
        timers.put_off(&mut session, 50, || "session");
        timers.call_off(&mut session);
        assert_eq!((timers.next(), session), (None, PutOff::default()));
    }

    #[test]
    fn what_is_put_off_keeps_its_turn_among_deadlines_of_one_time() {
        let mut timers = Timers::default();
        let mut session = PutOff::default();
        timers.put_off(&mut session, 3, || "session");
        timers.set("before", 10);
        timers.put_off(&mut session, 10, || "session");
        timers.set("after", 10);
        let told = come(&mut timers, &mut session, 99);
        assert_eq!(told, [(10, "before"), (10, "session"), (10, "after")]);
    }
}
