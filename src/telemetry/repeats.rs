//! pure: suppression of repeated log lines, per client and per warning. The first line is logged at once. After each interval,
//! one more line tells how often it was repeated.
//!
//! Clients decide how many lines there are, and part of their content. The number of lines told apart is therefore bounded, per
//! client and in total. Lines beyond the bounds are counted together, by client or by place in the source.

use std::collections::HashMap;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Interval between two lines with the same content, in milliseconds.
pub const INTERVAL_MS: i64 = 10_000;
/// Limit on the different lines of one client per interval: many more than a client has that is no attacker.
const OF_ONE_CLIENT: usize = 16;
/// Limit on the different lines in total. Each takes about 300 bytes.
const ALL_MAX: usize = 4_096;

/// Key by which lines count as equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Place in the source: the address of the event's metadata.
    place: usize,
    client: Option<IpAddr>,
    /// Hash of the content; `None` if lines of any content count as equal.
    sense: Option<u64>,
}

type Steady<K, V> = HashMap<K, V, BuildHasherDefault<SipHasher13>>;

/// Lines logged recently. `L` is the data needed to log a line again. See the module.
#[derive(Debug)]
pub struct Repeats<L> {
    said: Steady<Key, Said<L>>,
    of_client: Steady<IpAddr, usize>,
    /// Time at which the first interval ends.
    due: Option<i64>,
}

impl<L> Default for Repeats<L> {
    fn default() -> Self {
        Self {
            said: Steady::default(),
            of_client: Steady::default(),
            due: None,
        }
    }
}

#[derive(Debug)]
struct Said<L> {
    since: i64,
    again: u64,
    line: L,
}

/// Lines that were suppressed in an interval.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary<L> {
    /// The first of the lines, which was logged.
    pub line: L,
    pub times: u64,
    pub within_ms: i64,
    /// Whether different lines of the same client or place are counted together.
    pub is_mixed: bool,
}

impl Summary<()> {
    /// Text to append to the repeated line.
    pub fn words(times: u64, within_ms: i64, is_mixed: bool) -> String {
        let others = if is_mixed { " and others like it" } else { "" };
        let seconds = (within_ms.saturating_add(500) / 1_000).max(1);
        format!("{others}, repeated {times} times in the last {seconds} s")
    }
}

impl<L: Clone> Repeats<L> {
    /// Whether a line is to be logged now. `place` is its place in the source. `line` is called only if the answer is yes.
    pub fn is_news(
        &mut self,
        now: i64,
        place: usize,
        client: Option<IpAddr>,
        sense: &str,
        line: impl FnOnce() -> L,
    ) -> bool {
        let mut hasher = SipHasher13::new();
        sense.hash(&mut hasher);
        let exact = Key {
            place,
            client,
            sense: Some(hasher.finish()),
        };
        let of_client = client.map_or(0, |client| {
            self.of_client.get(&client).copied().unwrap_or(0)
        });
        // Places in the source are few, so the last of these keys always has room.
        let key = if self.said.contains_key(&exact)
            || (self.said.len() < ALL_MAX && of_client < OF_ONE_CLIENT)
        {
            exact
        } else {
            let vague = Key {
                sense: None,
                ..exact
            };
            match self.said.len() < ALL_MAX || self.said.contains_key(&vague) {
                true => vague,
                false => Key {
                    client: None,
                    ..vague
                },
            }
        };
        if let Some(said) = self.said.get_mut(&key) {
            said.again = said.again.saturating_add(1);
            return false;
        }
        if let Some(client) = key.client {
            *self.of_client.entry(client).or_default() += 1;
        }
        let said = Said {
            since: now,
            again: 0,
            line: line(),
        };
        self.said.insert(key, said);
        let due = now.saturating_add(INTERVAL_MS);
        self.due = Some(self.due.map_or(due, |first| first.min(due)));
        true
    }

    /// Summaries of the intervals that have ended by `now`, oldest first. Lines that were not repeated are forgotten.
    pub fn take(&mut self, now: i64) -> Vec<Summary<L>> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.summaries(now, |since| since.saturating_add(INTERVAL_MS) <= now)
    }

    /// Summaries of all intervals, for the end of the log.
    pub fn take_all(&mut self, now: i64) -> Vec<Summary<L>> {
        self.summaries(now, |_| true)
    }

    fn summaries(&mut self, now: i64, is_over: impl Fn(i64) -> bool) -> Vec<Summary<L>> {
        let (mut summaries, mut due) = (Vec::new(), None::<i64>);
        let of_client = &mut self.of_client;
        self.said.retain(|key, said| {
            if is_over(said.since) {
                if said.again == 0 {
                    if let Some(count) = key.client.and_then(|client| of_client.get_mut(&client)) {
                        *count = count.saturating_sub(1);
                    }
                    return false;
                }
                let summary = Summary {
                    line: said.line.clone(),
                    times: said.again,
                    within_ms: now.saturating_sub(said.since),
                    is_mixed: key.sense.is_none(),
                };
                summaries.push((said.since, summary));
                said.again = 0;
                said.since = now;
            }
            let next = said.since.saturating_add(INTERVAL_MS);
            due = Some(due.map_or(next, |first| first.min(next)));
            true
        });
        of_client.retain(|_, count| *count > 0);
        self.due = due;
        summaries.sort_by_key(|(since, _)| *since);
        summaries.into_iter().map(|(_, summary)| summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn the_first_is_said_and_the_others_are_counted() {
        let mut repeats = Repeats::default();
        let mut say =
            |now, client, sense: &str| repeats.is_news(now, 1, client, sense, || sense.to_owned());
        assert!(say(0, ip(1), "a"));
        assert!(!say(1, ip(1), "a"));
        assert!(say(2, ip(2), "a"));
        assert!(say(3, ip(1), "b"));
        assert!(!say(9_999, ip(1), "a"));
        assert_eq!(repeats.due, Some(10_000));
        assert_eq!(repeats.take(9_999), []);
        let counted = |times, within_ms| Summary {
            line: "a".to_owned(),
            times,
            within_ms,
            is_mixed: false,
        };
        assert_eq!(repeats.take(10_001), [counted(2, 10_001)]);
        // The repeated line stays suppressed; the others are logged again.
        assert!(!repeats.is_news(10_002, 1, ip(1), "a", String::new));
        assert_eq!(repeats.take(10_004), []);
        assert!(repeats.is_news(10_005, 1, ip(2), "a", || "a".to_owned()));
        assert_eq!(repeats.take(20_001), [counted(1, 10_000)]);
        assert_eq!(repeats.take(30_001), []);
        assert_eq!((repeats.said.len(), repeats.of_client.len()), (0, 0));
        assert_eq!(repeats.due, None);
    }

    #[test]
    fn who_varies_the_reason_is_counted_all_the_same() {
        let mut repeats = Repeats::default();
        let said = (0..1_000).filter(|number| {
            let sense = format!("a request of {number} bytes");
            repeats.is_news(0, 1, ip(1), &sense, || sense.clone())
        });
        assert_eq!(said.count(), OF_ONE_CLIENT + 1);
        let left = repeats.take_all(5_000);
        let [summary] = left.as_slice() else {
            panic!("{left:?}");
        };
        assert_eq!(summary.times, 1_000 - OF_ONE_CLIENT as u64 - 1);
        assert!(summary.is_mixed);
        assert_eq!(
            Summary::words(summary.times, summary.within_ms, summary.is_mixed),
            " and others like it, repeated 983 times in the last 5 s"
        );
    }

    #[test]
    fn a_million_clients_are_bounded_too() {
        let mut repeats = Repeats::default();
        let said = (0..1_000_000u32).filter(|number| {
            let client = Some(IpAddr::from(number.to_be_bytes()));
            repeats.is_news(0, 1, client, "x", || ())
        });
        assert_eq!(said.count(), ALL_MAX + 1);
        assert_eq!(repeats.said.len(), ALL_MAX + 1);
        assert_eq!(repeats.take_all(1).len(), 1);
    }
}
