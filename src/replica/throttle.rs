//! pure: throttle of replicas that are not in sync, so that moving replicas leaves bandwidth for clients. Kafka's
//! `ReplicationQuotaManager`.
//!
//! ```text
//! leader.replication.throttled.rate, follower.replication.throttled.rate           bytes per second of a broker
//! leader.replication.throttled.replicas, follower.replication.throttled.replicas   of a topic: partition:broker,... or *
//! ```

use std::collections::VecDeque;

use crate::base::ids::{BrokerId, PartitionIndex};
use crate::base::time::{Timestamp, elapsed_ms};

/// Rate without a limit.
pub const UNLIMITED: i64 = i64::MAX;

/// Throttle of one direction (see the module). Bytes are counted in time windows, of which the newest are kept.
#[derive(Debug)]
pub struct Throttle {
    rate: i64,
    window_ms: i64,
    windows: usize,
    /// Start time and bytes of each window.
    used: VecDeque<(Timestamp, i64)>,
}

impl Throttle {
    /// `windows` windows of `window_ms` each, including the current one.
    pub fn new(window_ms: i64, windows: usize) -> Self {
        Self {
            rate: UNLIMITED,
            window_ms: window_ms.max(1),
            windows: windows.max(1),
            used: VecDeque::new(),
        }
    }

    /// Sets the rate in bytes per second.
    pub fn set_rate(&mut self, rate: i64) {
        self.rate = rate.max(1);
        if !self.is_limited() {
            self.used = VecDeque::new();
        }
    }

    pub fn is_limited(&self) -> bool {
        self.rate < UNLIMITED
    }

    /// Counts bytes that were transferred.
    pub fn note(&mut self, bytes: usize, now: Timestamp) {
        if !self.is_limited() {
            return;
        }
        self.forget(now);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        match self.used.back_mut() {
            Some((begun, used)) if elapsed_ms(*begun, now) < self.window_ms => {
                *used = used.saturating_add(bytes);
            }
            _ => self.used.push_back((now, bytes)),
        }
    }

    /// Time until which no bytes may be transferred; `None` if they may be now.
    pub fn closed_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_limited() {
            return None;
        }
        self.forget(now);
        let (begun, _) = *self.used.front()?;
        let total = self
            .used
            .iter()
            .fold(0_i64, |sum, (_, used)| sum.saturating_add(*used));
        // At least one whole window counts as elapsed, or the first bytes would exceed the rate.
        let elapsed = elapsed_ms(begun, now).max(self.window_ms);
        let allowed = i128::from(self.rate) * i128::from(elapsed) / 1_000;
        if i128::from(total) <= allowed {
            return None;
        }
        let needed = i128::from(total) * 1_000 / i128::from(self.rate);
        let needed = i64::try_from(needed).unwrap_or(i64::MAX);
        // The oldest bytes may be dropped earlier, so the answer is at most one window ahead.
        let until = begun.saturating_add(needed).saturating_add(1);
        Some(until.clamp(now + 1, now.saturating_add(self.window_ms)))
    }

    fn forget(&mut self, now: Timestamp) {
        let age_max = self.window_ms.saturating_mul(self.windows as i64);
        while let Some((begun, _)) = self.used.front()
            && elapsed_ms(*begun, now) >= age_max
        {
            self.used.pop_front();
        }
    }
}

/// Whether a topic's list of throttled replicas names the replica of a partition on a broker.
pub fn is_named(list: &str, index: PartitionIndex, broker: BrokerId) -> bool {
    let list = list.trim();
    let is_it = |entry: &str| {
        let parts = entry.trim().split_once(':');
        parts.is_some_and(|(partition, replica)| {
            partition.trim().parse() == Ok(index) && replica.trim().parse() == Ok(broker)
        })
    };
    list == "*" || list.split(',').any(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = 1_000_000;

    fn throttle(rate: i64) -> Throttle {
        let mut throttle = Throttle::new(1_000, 11);
        throttle.set_rate(rate);
        throttle
    }

    /// A replica that transfers as much as there is, whenever it may, gets about the rate.
    #[test]
    fn over_time_the_rate_is_what_goes() {
        for piece in [20, 1_000, 50_000] {
            let mut throttle = throttle(10_000);
            let (mut now, mut went) = (NOW, 0);
            while now < NOW + 60_000 {
                match throttle.closed_until(now) {
                    Some(until) => {
                        assert!(now < until && until <= now + 1_000);
                        now = until;
                    }
                    None => {
                        throttle.note(piece, now);
                        went += piece;
                        now += 1;
                    }
                }
            }
            assert!((500_000..=700_000).contains(&went), "{piece}: {went}");
        }
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_limited() {
        let mut throttle = throttle(UNLIMITED);
        throttle.note(usize::MAX, NOW);
        assert_eq!(throttle.closed_until(NOW), None);
        throttle.set_rate(100);
        assert_eq!(throttle.closed_until(NOW), None);
        throttle.note(usize::MAX, NOW);
        throttle.note(usize::MAX, NOW);
        assert_eq!(throttle.closed_until(NOW), Some(NOW + 1_000));
        // The bytes have left the windows.
        assert_eq!(throttle.closed_until(NOW + 11_000), None);
    }

    #[test]
    fn a_list_names_replicas_or_all() {
        for (list, named) in [
            ("*", true),
            (" 3:7 ", true),
            ("0:1,3:7", true),
            ("3:1,0:7", false),
            ("", false),
            ("3", false),
            ("3:7:1", false),
        ] {
            assert_eq!(is_named(list, 3, 7), named, "{list}");
        }
    }
}
