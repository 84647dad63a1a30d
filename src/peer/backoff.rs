//! pure: how long to wait before something is tried again: the first pause, doubled after each failure, never above the
//! longest, give or take a fifth. Kafka's `ExponentialBackoff`.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first_ms: u32,
    pub longest_ms: u32,
}

/// Many nodes that lost the same peer come back at different moments: the share of a pause by which it is drawn.
const JITTER: f64 = 0.2;
/// Doublings after which every pause is the longest.
const DOUBLINGS_MAX: u32 = 20;

impl Backoff {
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms` of Kafka's clients, and of its brokers among each other.
    pub const RECONNECT: Self = Self {
        first_ms: 50,
        longest_ms: 1_000,
    };

    /// The pause after so many failures in a row before the newest. `chance` is a random byte.
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
