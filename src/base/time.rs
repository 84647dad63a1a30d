//! pure: wall-clock time in milliseconds, as records have it. Sums and differences saturate, because a setting may have any
//! value of its type. The clocks are in `host/clock.rs`.

use std::time::Duration;

/// Milliseconds since 1970-01-01 UTC, as records carry them; -1 where there is none.
pub type Timestamp = i64;

/// Longest time to wait: a hundred years, which every clock can represent.
const FOREVER_MS: u64 = 100 * 365 * 86_400_000;

/// Duration of a setting or a timer. Negative values become zero, large ones a hundred years.
pub fn millis(ms: i64) -> Duration {
    Duration::from_millis((ms.max(0) as u64).min(FOREVER_MS))
}

/// Milliseconds from `since` to `now`. The difference saturates, because a producer may write any timestamp into a record.
pub fn elapsed_ms(since: Timestamp, now: Timestamp) -> i64 {
    now.saturating_sub(since)
}

/// Whether an interval has passed since a wall-clock time. If the clock was set back, the interval counts as passed.
pub fn has_passed(since: Timestamp, interval_ms: i64, now: Timestamp) -> bool {
    now < since || elapsed_ms(since, now) >= interval_ms
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn times_at_the_ends_of_their_type_do_not_wrap() {
        assert_eq!(elapsed_ms(i64::MIN, 5), i64::MAX);
        assert_eq!(elapsed_ms(i64::MAX, -5), i64::MIN);
        assert!(has_passed(i64::MAX, i64::MAX, 0));
        assert!(!has_passed(0, i64::MAX, 5));
        assert_eq!(millis(-1), Duration::ZERO);
        assert_eq!(millis(i64::MIN), Duration::ZERO);
        assert!(Instant::now().checked_add(millis(i64::MAX)).is_some());
    }
}
