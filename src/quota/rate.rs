//! pure: the two ways in which Kafka measures what a quota limits: a rate over sliding windows, and a bucket of tokens.

/// Windows over which a rate is measured: `quota.window.num` of `quota.window.size.seconds` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub count: usize,
    pub size_ms: i64,
}

impl Windows {
    pub fn new(count: i32, size_seconds: i32) -> Self {
        Self {
            count: count.max(1) as usize,
            size_ms: i64::from(size_seconds.max(1)) * 1000,
        }
    }

    /// Length of all windows, in milliseconds.
    pub fn all_ms(self) -> i64 {
        (self.count as i64).saturating_mul(self.size_ms)
    }

    /// Shortest time over which a rate is measured, in milliseconds: all windows but the current one.
    fn measured_ms_min(self) -> i64 {
        (self.count as i64 - 1).saturating_mul(self.size_ms)
    }

    /// The time, in seconds, for which a client may cause as much as its quota allows before it must wait: how much a single
    /// answer may have at most.
    pub fn burst_seconds(self) -> f64 {
        self.measured_ms_min().max(self.size_ms) as f64 / 1000.0
    }
}

/// What a client has caused, by which its quota is measured.
pub trait Measure: Default {
    /// Whether a new value would behave the same from now on.
    fn is_forgotten(&self, now: i64, windows: Windows) -> bool;
}

/// Amount within one window.
#[derive(Clone, Copy, Debug)]
struct Sample {
    start: i64,
    last: i64,
    value: f64,
}

impl Sample {
    fn new(now: i64) -> Self {
        Self {
            start: now,
            last: now,
            value: 0.0,
        }
    }
}

/// Rate over the last windows. Kafka's `Rate` and `SampledStat`.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// At most one more than there are windows, so that one which lies half in the measured time is kept.
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    /// Adds an amount; a negative one takes back what was added.
    pub fn record(&mut self, amount: f64, now: i64, windows: Windows) {
        match self.samples.get(self.current) {
            None => self.samples.push(Sample::new(now)),
            Some(sample) if now - sample.start >= windows.size_ms => {
                self.current = (self.current + 1) % (windows.count + 1);
                match self.samples.get_mut(self.current) {
                    Some(sample) => *sample = Sample::new(now),
                    None => self.samples.push(Sample::new(now)),
                }
            }
            Some(_) => {}
        }
        if let Some(sample) = self.samples.get_mut(self.current) {
            sample.value += amount;
            sample.last = now;
        }
    }

    /// Amount per second, and the time over which it was measured, in milliseconds.
    pub fn measure(&mut self, now: i64, windows: Windows) -> (f64, i64) {
        for sample in &mut self.samples {
            if now - sample.last >= windows.all_ms() {
                *sample = Sample::new(now);
            }
        }
        let start = self.samples.iter().map(|sample| sample.start).min();
        let mut elapsed = now - start.unwrap_or(now);
        let full = elapsed / windows.size_ms;
        let missing = windows.count as i64 - 1 - full;
        if missing > 0 {
            elapsed += missing.saturating_mul(windows.size_ms);
        }
        // Nothing has a rate over no time: that is the case at the first moment of a single window.
        let elapsed = match elapsed {
            0 => windows.size_ms,
            elapsed => elapsed,
        };
        let total: f64 = self.samples.iter().map(|sample| sample.value).sum();
        (total * 1000.0 / elapsed as f64, elapsed)
    }

    /// Time to wait until the rate is within `quota` again, in milliseconds; 0 if it is within.
    pub fn throttle_ms(&mut self, quota: f64, now: i64, windows: Windows) -> i64 {
        let (rate, elapsed) = self.measure(now, windows);
        if rate <= quota {
            return 0;
        }
        ((rate - quota) / quota * elapsed as f64).round() as i64
    }
}

impl Measure for Rate {
    fn is_forgotten(&self, now: i64, windows: Windows) -> bool {
        let old = |sample: &Sample| now - sample.last >= windows.all_ms();
        self.samples.iter().all(old)
    }
}

/// Tokens of a client: each change takes some, and they come back at the rate of the quota. Kafka's `TokenBucket`.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Tokens that are missing from a full bucket.
    missing: f64,
    updated: i64,
    /// Time at which the bucket is full again, by the quota at the last use.
    full_at: i64,
}

impl Tokens {
    /// Tokens that are left; negative if more were taken than there were.
    pub fn left(&mut self, quota: f64, now: i64, windows: Windows) -> f64 {
        let since = (now - self.updated).max(0) as f64 / 1000.0;
        self.missing = (self.missing - since * quota).max(0.0);
        self.updated = now;
        let burst = windows.all_ms() as f64 / 1000.0 * quota;
        burst - self.missing
    }

    /// Takes tokens; a negative amount gives some back.
    pub fn take(&mut self, amount: f64, quota: f64, now: i64, windows: Windows) {
        self.left(quota, now, windows);
        self.missing = (self.missing + amount).max(0.0);
        self.full_at = now.saturating_add((self.missing / quota * 1000.0).ceil() as i64);
    }

    /// Time to wait until tokens are left again, in milliseconds; 0 if they are.
    pub fn throttle_ms(&mut self, quota: f64, now: i64, windows: Windows) -> i64 {
        let left = self.left(quota, now, windows);
        if left >= 0.0 {
            return 0;
        }
        (-left / quota * 1000.0).round() as i64
    }
}

impl Measure for Tokens {
    fn is_forgotten(&self, now: i64, _windows: Windows) -> bool {
        now >= self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKAS: Windows = Windows {
        count: 11,
        size_ms: 1000,
    };

    /// Records 60,000 at each moment as a client does that waits as it is told; gives the waits.
    fn waits(quota: f64, times: usize) -> Vec<i64> {
        let (mut rate, mut now) = (Rate::default(), 1_000_000);
        (0..times)
            .map(|_| {
                rate.record(60_000.0, now, KAFKAS);
                let wait = rate.throttle_ms(quota, now, KAFKAS);
                now += wait;
                wait
            })
            .collect()
    }

    /// Apache Kafka 4.4.0 answered 0, 1950, 7997, 14009 and 0 ms to five such requests, some ms apart from each other.
    #[test]
    fn waits_are_those_of_kafka() {
        assert_eq!(waits(10_000.0, 5), [0, 2000, 8000, 14_000, 0]);
        assert_eq!(waits(100_000.0, 3), [0, 0, 0]);
    }

    #[test]
    fn a_rate_stays_near_its_quota_for_long() {
        let (mut rate, mut now, mut sent) = (Rate::default(), 0, 0.0);
        while now < 600_000 {
            rate.record(1_000.0, now, KAFKAS);
            sent += 1_000.0;
            now += 1 + rate.throttle_ms(10_000.0, now, KAFKAS);
        }
        let mean = sent / (now as f64 / 1000.0);
        assert!((9_500.0..=11_500.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_taken_back_counts_no_more_and_what_is_old_is_forgotten() {
        let mut rate = Rate::default();
        assert!(rate.is_forgotten(0, KAFKAS));
        rate.record(60_000.0, 0, KAFKAS);
        rate.record(60_000.0, 0, KAFKAS);
        assert_eq!(rate.throttle_ms(10_000.0, 0, KAFKAS), 2000);
        rate.record(-60_000.0, 0, KAFKAS);
        assert_eq!(rate.throttle_ms(10_000.0, 0, KAFKAS), 0);
        assert!(!rate.is_forgotten(10_999, KAFKAS));
        assert!(rate.is_forgotten(11_000, KAFKAS));
        assert_eq!(rate.measure(11_000, KAFKAS).0, 0.0);
        let once = Windows::new(1, 1);
        let mut rate = Rate::default();
        rate.record(5.0, 0, once);
        assert_eq!(rate.measure(0, once), (5.0, 1000));
    }

    /// Windows are never more than one above their number, however long a client goes on.
    #[test]
    fn a_rate_takes_no_more_memory_with_time() {
        let mut rate = Rate::default();
        for now in 0..1000 {
            rate.record(1.0, now * 700, KAFKAS);
        }
        assert_eq!(rate.samples.len(), 12);
    }

    /// Apache Kafka 4.4.0: with a rate of 5, 60 partitions are made, and then none for about a second.
    #[test]
    fn tokens_are_there_at_once_and_come_back_by_and_by() {
        let (quota, mut tokens) = (5.0, Tokens::default());
        assert_eq!(tokens.left(quota, 7, KAFKAS), 55.0);
        tokens.take(60.0, quota, 7, KAFKAS);
        assert_eq!(tokens.throttle_ms(quota, 7, KAFKAS), 1000);
        assert_eq!(tokens.throttle_ms(quota, 507, KAFKAS), 500);
        assert_eq!(tokens.throttle_ms(quota, 1007, KAFKAS), 0);
        assert!(!tokens.is_forgotten(1007, KAFKAS));
        assert!(tokens.is_forgotten(12_007, KAFKAS));
        assert_eq!(tokens.left(quota, 12_007, KAFKAS), 55.0);
        tokens.take(-3.0, quota, 12_007, KAFKAS);
        assert_eq!(tokens.left(quota, 12_007, KAFKAS), 55.0);
    }
}
