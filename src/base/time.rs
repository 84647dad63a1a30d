//! Time as the broker sees it: wall-clock milliseconds for records, and the one place that reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC, as records carry them; -1 where there is none.
pub type Timestamp = i64;

/// Whether an interval has passed since a time of the wall clock. A clock that was set back, maybe by years, counts as an
/// interval that has passed.
pub fn has_passed(since: Timestamp, interval_ms: i64, now: Timestamp) -> bool {
    now < since || now.saturating_sub(since) >= interval_ms
}

/// Where everything that is not a pure machine asks for the time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The wall clock now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now(self) -> Timestamp {
        // A clock before 1970 is a broken machine; 0 keeps records readable.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as Timestamp)
    }
}
