//! pure: exponential backoff: the first pause is doubled after each failure up to the longest pause, with 20 % jitter. Kafka's
//! `ExponentialBackoff`.

use std::time::Duration;

/// First and longest pause, without jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first_ms: u32,
    pub longest_ms: u32,
}

/// Largest random change of a pause, as a fraction. It spreads the reconnects of many nodes that lost the same peer.
const JITTER: f64 = 0.2;
/// Number of doublings after which every pause is the longest one.
const DOUBLINGS_MAX: u32 = 20;

impl Backoff {
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms` of Kafka's clients, and of connections between its brokers.
    pub const RECONNECT: Self = Self {
        first_ms: 50,
        longest_ms: 1_000,
    };

    /// Pause after a failure that follows `failures` other failures in a row. `chance` is a random byte.
    pub fn pause(&self, failures: u32, chance: u8) -> Duration {
        let doubled = u64::from(self.first_ms) << failures.min(DOUBLINGS_MAX);
        let longest = u64::from(self.longest_ms);
        let share = 1.0 - JITTER + 2.0 * JITTER * f64::from(chance) / f64::from(u8::MAX);
        let drawn = (doubled.min(longest) as f64 * share) as u64;
        Duration::from_millis(drawn.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = |chance| {
            let pause = |failures| Backoff::RECONNECT.pause(failures, chance).as_millis();
            [0, 1, 4, 5, u32::MAX].map(pause)
        };
        assert_eq!(pauses(0), [40, 80, 640, 800, 800]);
        assert_eq!(pauses(u8::MAX), [60, 120, 960, 1_000, 1_000]);
    }
}
