//! The two clocks of a machine. The wall clock gives the timestamps of records and may be set back. The steady clock never goes
//! back and measures durations.
//!
//! Tasks wait with tokio's timers, which belong to the runtime. A simulation runs in a runtime with a paused clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clocks of a host. Cheap to clone. The default reads the system's clocks.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg(test)]
    Simulated(std::sync::Arc<Simulated>),
}

impl Clock {
    /// Wall-clock time: milliseconds since 1970-01-01 UTC, a `Timestamp`.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now(&self) -> i64 {
        match &self.0 {
            // A time before 1970 means a broken clock. Zero keeps records readable.
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as i64),
            #[cfg(test)]
            Source::Simulated(simulated) => {
                simulated.wall_ms + simulated.passed().as_millis() as i64
            }
        }
    }

    /// Time of the steady clock.
    pub fn steady(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            #[cfg(test)]
            Source::Simulated(simulated) => simulated.began.into_std() + simulated.passed(),
        }
    }

    /// Time since `moment` by the steady clock.
    pub fn since(&self, moment: Instant) -> Duration {
        self.steady().saturating_duration_since(moment)
    }

    /// Blocks this thread for a while. Only for threads that may block.
    pub fn pause(&self, time: Duration) {
        match &self.0 {
            Source::System => std::thread::sleep(time),
            #[cfg(test)]
            Source::Simulated(simulated) => simulated.skip(time),
        }
    }

    /// Test-only: a clock that follows the paused clock of the runtime. The wall clock starts at `wall_ms`. A pause of a thread
    /// does not delay other tasks: it sets this clock ahead of the runtime's.
    #[cfg(test)]
    pub fn simulated(wall_ms: i64) -> Self {
        Self(Source::Simulated(std::sync::Arc::new(Simulated {
            began: tokio::time::Instant::now(),
            wall_ms,
            ahead_nanos: std::sync::atomic::AtomicU64::new(0),
        })))
    }
}

/// See [`Clock::simulated`].
#[cfg(test)]
#[derive(Debug)]
struct Simulated {
    began: tokio::time::Instant,
    wall_ms: i64,
    ahead_nanos: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Simulated {
    fn passed(&self) -> Duration {
        let ahead = self.ahead_nanos.load(std::sync::atomic::Ordering::SeqCst);
        self.began.elapsed() + Duration::from_nanos(ahead)
    }

    fn skip(&self, time: Duration) {
        let nanos = time.as_nanos() as u64;
        self.ahead_nanos
            .fetch_add(nanos, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_goes_by_the_runtime_and_by_pauses() {
        let (one, other) = (Clock::simulated(1_000), Clock::simulated(5));
        let begun = one.steady();
        assert_eq!((one.now(), one.since(begun)), (1_000, Duration::ZERO));
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!(one.now(), 3_601_000);
        assert_eq!(one.since(begun), Duration::from_secs(3_600));
        one.pause(Duration::from_millis(7));
        assert_eq!((one.now(), other.now()), (3_601_007, 3_600_005));
        assert_eq!(one.clone().now(), 3_601_007);
    }

    #[test]
    fn the_default_is_the_system() {
        let clock = Clock::default();
        let (wall, steady) = (clock.now(), clock.steady());
        assert!(wall > 1_700_000_000_000);
        assert!(clock.steady() >= steady);
        assert_eq!(
            clock.since(steady + Duration::from_secs(60)),
            Duration::ZERO
        );
    }
}
