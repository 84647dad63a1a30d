//! Histogram of durations in the last minutes, with eight buckets per power of two.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Number of buckets between two powers of two.
const PER_POWER: usize = 8;
/// Durations below this, in microseconds, have a bucket each.
const EXACT: u64 = PER_POWER as u64;
/// Exponent of the upper bound: durations of 2^32 microseconds (about an hour) and more are in the last bucket.
const POWERS: usize = 32;
const BUCKETS: usize = (POWERS - EXACT.ilog2() as usize + 1) * PER_POWER;
/// Length of a period. Quantiles cover the current and the previous period. Kafka's reservoirs cover about the last five
/// minutes.
const PERIOD: Duration = Duration::from_secs(150);

/// A histogram. Recording never blocks. See the module.
#[derive(Debug)]
pub struct Histogram {
    count: AtomicU64,
    /// Number of the current period.
    period: AtomicU64,
    /// Buckets of even and of odd periods.
    recent: [[AtomicU32; BUCKETS]; 2],
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = || std::array::from_fn(|_| AtomicU32::new(0));
        Self {
            count: AtomicU64::new(0),
            period: AtomicU64::new(0),
            recent: [buckets(), buckets()],
        }
    }
}

impl Histogram {
    /// Records a duration. `now` is the time since any fixed moment.
    pub fn record(&self, took: Duration, now: Duration) {
        let current = self.enter(now);
        current[bucket(took)].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of durations ever recorded.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Quantiles of the recent durations, in milliseconds; 0 if there are none.
    pub fn quantiles<const N: usize>(&self, parts: [f64; N], now: Duration) -> [f64; N] {
        self.enter(now);
        let [even, odd] = &self.recent;
        let counts = even.iter().zip(odd);
        let counts = counts.map(|(even, odd)| {
            u64::from(even.load(Ordering::Relaxed)) + u64::from(odd.load(Ordering::Relaxed))
        });
        let counts: Vec<u64> = counts.collect();
        let total: u64 = counts.iter().sum();
        parts.map(|part| {
            let rank = ((total as f64 * part).ceil() as u64).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            found.map_or(0.0, |bucket| upper_bound(bucket) as f64 / 1e3)
        })
    }

    /// Buckets of the current period. The first call in a period clears them, and also those of the previous period if it had
    /// no call.
    fn enter(&self, now: Duration) -> &[AtomicU32; BUCKETS] {
        let period = now.as_secs() / PERIOD.as_secs();
        let before = self.period.load(Ordering::Relaxed);
        let is_first = before < period
            && (self.period)
                .compare_exchange(before, period, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        let [even, odd] = &self.recent;
        let (current, other) = match period % 2 {
            0 => (even, odd),
            _ => (odd, even),
        };
        if is_first {
            let stale = [Some(current), (period > before + 1).then_some(other)];
            for bucket in stale.into_iter().flatten().flatten() {
                bucket.store(0, Ordering::Relaxed);
            }
        }
        current
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < EXACT {
        return micros as usize;
    }
    let power = micros.ilog2();
    let step = EXACT.ilog2();
    let within = (micros >> (power - step)) as usize - PER_POWER;
    let bucket = (power - step + 1) as usize * PER_POWER + within;
    bucket.min(BUCKETS - 1)
}

/// Longest duration of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let (power, within) = (bucket / PER_POWER, (bucket % PER_POWER) as u64);
    match power {
        0 => within,
        _ => ((EXACT + within + 1) << (power - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn a_time_is_in_a_bucket_that_is_an_eighth_wide() {
        for micros in (0..5_000).chain([u64::from(u32::MAX) / 3, u64::from(u32::MAX)]) {
            let bound = upper_bound(bucket(Duration::from_micros(micros)));
            assert!(bound >= micros, "{micros} {bound}");
            assert!(bound - micros <= micros / 8, "{micros} {bound}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_was_recorded() {
        let times = Histogram::default();
        assert_eq!(times.quantiles([0.5, 0.99], START), [0.0, 0.0]);
        for millis in 1..=100 {
            times.record(Duration::from_millis(millis), START);
        }
        let found = times.quantiles([0.5, 0.99, 1.0], START);
        for (found, exact) in found.into_iter().zip([50.0, 99.0, 100.0]) {
            assert!(found >= exact && found <= exact * 1.13, "{found} {exact}");
        }
        assert_eq!(times.count(), 100);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_but_counted() {
        let times = Histogram::default();
        let slow = Duration::from_secs(1);
        times.record(slow, START);
        assert!(times.quantiles([0.5], PERIOD)[0] >= 1e3, "too early");
        times.record(Duration::from_millis(1), PERIOD);
        assert!(times.quantiles([1.0], PERIOD)[0] >= 1e3, "too early");
        assert!(times.quantiles([1.0], 2 * PERIOD)[0] < 2.0, "one period");
        assert_eq!(times.quantiles([1.0], 4 * PERIOD), [0.0], "several");
        assert_eq!(times.count(), 2);
    }
}
