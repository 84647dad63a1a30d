//! pure: time as the broker sees it: wall-clock milliseconds for records. Sums of times and settings end at the ends of their
//! type: a setting may be as long as its type allows. The clocks themselves are in `host/clock.rs`.

use std::time::Duration;

/// Milliseconds since 1970-01-01 UTC, as records carry them; -1 where there is none.
pub type Timestamp = i64;

/// The longest that anybody waits: a hundred years, which every clock can be asked for.
const FOREVER_MS: u64 = 100 * 365 * 86_400_000;

/// Milliseconds of a setting or a timer, to wait for: none are negative, and none go beyond what a clock can be asked for.
pub fn millis(ms: i64) -> Duration {
    Duration::from_millis((ms.max(0) as u64).min(FOREVER_MS))
}

/// How long ago something was, by the times in records: whoever wrote them may have written anything.
pub fn elapsed_ms(since: Timestamp, now: Timestamp) -> i64 {
    now.saturating_sub(since)
}

/// Whether an interval has passed since a time of the wall clock. A clock that was set back, maybe by years, counts as an
/// interval that has passed.
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
