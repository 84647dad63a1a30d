//! pure: what clients have caused, by the user and client id that their quota is for. Clients choose their ids, so the number
//! of buckets is bounded, and those that say nothing any more are dropped.

use std::hash::Hash;
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};

use super::rate::{Measure, Windows};

/// Upper bound on the number of buckets of one kind of quota. A bucket takes some 200 bytes, and 500 when its client is busy.
pub const BUCKETS_MAX: usize = 20_000;
/// Upper bound on the bytes of the names in the buckets of one kind: a client id may have 32 KiB.
pub const NAME_BYTES_MAX: usize = 4 << 20;

/// User and client id of a bucket; `None` if the quota is not for one of them. Both are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<T> {
    pub user: Option<T>,
    pub client: Option<T>,
}

impl Equivalent<Key<Arc<str>>> for Key<&str> {
    fn equivalent(&self, key: &Key<Arc<str>>) -> bool {
        self.user == key.user.as_deref() && self.client == key.client.as_deref()
    }
}

impl Key<Arc<str>> {
    fn bytes(&self) -> usize {
        let len = |part: &Option<Arc<str>>| part.as_deref().map_or(0, str::len);
        len(&self.user) + len(&self.client)
    }
}

#[derive(Debug)]
struct Bucket<M> {
    measure: M,
    used: i64,
    /// The last time for which the client had to wait, in milliseconds.
    throttle_ms: i64,
}

/// Buckets of one kind of quota.
#[derive(Debug)]
pub struct Buckets<M> {
    windows: Windows,
    all: IndexMap<Key<Arc<str>>, Bucket<M>>,
    name_bytes: usize,
    swept: i64,
}

impl<M: Measure> Buckets<M> {
    pub fn new(windows: Windows) -> Self {
        Self {
            windows,
            all: IndexMap::new(),
            name_bytes: 0,
            swept: i64::MIN,
        }
    }

    pub fn windows(&self) -> Windows {
        self.windows
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Changes the bucket of a key, which is made if there is none. `change` gives for how long the client must wait.
    pub fn with(
        &mut self,
        key: Key<&str>,
        now: i64,
        change: impl FnOnce(&mut M, Windows) -> i64,
    ) -> i64 {
        let windows = self.windows;
        let at = match self.all.get_index_of(&key) {
            Some(at) => at,
            None => self.add(key, now),
        };
        let Some((_, bucket)) = self.all.get_index_mut(at) else {
            return 0;
        };
        bucket.used = now;
        bucket.throttle_ms = change(&mut bucket.measure, windows);
        bucket.throttle_ms
    }

    /// Visits all buckets that are still of use.
    pub fn visit(&mut self, now: i64, mut visit: impl FnMut(&Key<Arc<str>>, &mut M, i64)) {
        self.sweep(now);
        for (key, bucket) in &mut self.all {
            visit(key, &mut bucket.measure, bucket.throttle_ms);
        }
    }

    /// Adds a bucket; gives its place.
    fn add(&mut self, key: Key<&str>, now: i64) -> usize {
        let is_due = now.saturating_sub(self.swept) >= self.windows.all_ms();
        let is_full = self.all.len() >= BUCKETS_MAX || self.name_bytes >= NAME_BYTES_MAX;
        if is_due || is_full {
            self.sweep(now);
        }
        if is_full {
            self.shed();
        }
        let key = Key {
            user: key.user.map(Arc::from),
            client: key.client.map(Arc::from),
        };
        self.name_bytes += key.bytes();
        let bucket = Bucket {
            measure: M::default(),
            used: now,
            throttle_ms: 0,
        };
        self.all.insert_full(key, bucket).0
    }

    /// Drops the buckets that behave like new ones.
    fn sweep(&mut self, now: i64) {
        self.swept = now;
        let windows = self.windows;
        self.all
            .retain(|_, bucket| !bucket.measure.is_forgotten(now, windows));
        self.count();
    }

    /// Drops the half that was not used for the longest time, if there are still so many that the next ones would soon need
    /// room again. A client that goes on is never among them, unless thousands of others came since its last request.
    fn shed(&mut self) {
        if self.all.len() <= BUCKETS_MAX / 2 && self.name_bytes <= NAME_BYTES_MAX / 2 {
            return;
        }
        let mut used: Vec<i64> = self.all.values().map(|bucket| bucket.used).collect();
        let middle = used.len() / 2;
        let (_, cut, _) = used.select_nth_unstable(middle);
        let cut = *cut;
        self.all.retain(|_, bucket| bucket.used > cut);
        self.count();
    }

    fn count(&mut self) {
        self.name_bytes = self.all.keys().map(Key::bytes).sum();
        if self.all.capacity() > 4 * self.all.len().max(16) {
            self.all.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::rate::Rate;

    const WINDOWS: Windows = Windows {
        count: 11,
        size_ms: 1000,
    };

    fn of(client: &str) -> Key<&str> {
        Key {
            user: None,
            client: Some(client),
        }
    }

    fn record(buckets: &mut Buckets<Rate>, client: &str, now: i64) -> i64 {
        buckets.with(of(client), now, |rate, windows| {
            rate.record(60_000.0, now, windows);
            rate.throttle_ms(10_000.0, now, windows)
        })
    }

    #[test]
    fn users_and_client_ids_have_buckets_of_their_own() {
        let mut buckets = Buckets::new(WINDOWS);
        assert_eq!(record(&mut buckets, "a", 0), 0);
        assert_eq!(record(&mut buckets, "b", 0), 0);
        assert_eq!(record(&mut buckets, "a", 0), 2000);
        let user = Key {
            user: Some("a"),
            client: None,
        };
        assert_eq!(
            buckets.with(user, 0, |rate, at| rate.measure(0, at).0 as i64),
            0
        );
        assert_eq!(buckets.len(), 3);
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let mut buckets = Buckets::new(WINDOWS);
        for id in 0..100 {
            record(&mut buckets, &format!("c{id}"), 0);
        }
        assert_eq!(buckets.len(), 100);
        record(&mut buckets, "late", 11_000);
        assert_eq!(buckets.len(), 1);
    }

    /// A hostile client takes another id for each request; who behaves stays held to its quota.
    #[test]
    fn a_hundred_thousand_client_ids_take_bounded_memory() {
        let mut buckets = Buckets::new(WINDOWS);
        record(&mut buckets, "steady", 0);
        record(&mut buckets, "steady", 0);
        let mut most = 0;
        for id in 0..100_000_i64 {
            // All within less than a second.
            let now = id / 128;
            record(&mut buckets, &format!("hostile{id}"), now);
            if id % 1000 == 0 {
                record(&mut buckets, "steady", now);
            }
            most = most.max(buckets.len());
        }
        assert!(most <= BUCKETS_MAX, "{most}");
        assert!(record(&mut buckets, "steady", 782) > 100_000);

        let mut buckets = Buckets::new(WINDOWS);
        for id in 0..2_000 {
            let name = format!("{id}{}", "x".repeat(32_000));
            record(&mut buckets, &name, i64::from(id));
            assert!(buckets.name_bytes <= NAME_BYTES_MAX + 33_000);
        }
        record(&mut buckets, "late", 20_000);
        assert_eq!((buckets.len(), buckets.name_bytes), (1, 4));
    }
}
