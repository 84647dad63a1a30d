//! Limits of compaction: memory for keys, disk bytes per second, and a request to stop. They are shared, so that they can be
//! changed while compaction runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::base::memory::{Held, Memory, Purpose};
use crate::host::Host;

/// Longest single wait; a new rate or a stop is noticed after it.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Default of `log.cleaner.io.buffer.load.factor`.
const MAP_LOAD: f64 = 0.9;
/// Rates from this one on, in bytes per second, are treated as unlimited.
const UNLIMITED: f64 = 1e15;

/// Limits of compaction, which may be changed while it runs.
#[derive(Debug)]
pub struct Budget {
    host: Host,
    map_bytes: AtomicUsize,
    /// Fraction of the map's slots that may be used, as the bits of an `f64`.
    map_load: AtomicU64,
    /// Bytes per second, read and written together, as the bits of an `f64`.
    rate: AtomicU64,
    stopped: AtomicBool,
    /// Bytes that were read or written ahead of the rate, and the time at which this was true.
    owed: Mutex<(f64, Instant)>,
    /// Account in which the map's memory is counted, if any.
    memory: Option<Arc<Memory>>,
}

impl Budget {
    /// A budget of `map_bytes` bytes for the keys of one log, without a limit of speed.
    pub fn new(host: &Host, map_bytes: usize) -> Self {
        Self {
            map_bytes: AtomicUsize::new(map_bytes),
            map_load: AtomicU64::new(MAP_LOAD.to_bits()),
            rate: AtomicU64::new(f64::MAX.to_bits()),
            stopped: AtomicBool::new(false),
            owed: Mutex::new((0.0, host.clock.steady())),
            host: host.clone(),
            memory: None,
        }
    }

    /// Host with the disk and the clock that compaction uses.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The budget with the map's memory counted in `memory`.
    pub fn counted_in(mut self, memory: &Arc<Memory>) -> Self {
        self.memory = Some(Arc::clone(memory));
        self
    }

    /// Counts a map of `bytes` bytes until the returned value is dropped.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        let memory = self.memory.as_ref()?;
        Some(memory.hold(Purpose::Cleaner, bytes))
    }

    /// Sets the limits: those of memory apply from the next log on, the one of bytes per second at once.
    pub fn set(&self, map_bytes: usize, map_load: f64, bytes_per_second: f64) {
        self.map_bytes.store(map_bytes, Ordering::Relaxed);
        self.map_load.store(map_load.to_bits(), Ordering::Relaxed);
        self.rate
            .store(bytes_per_second.to_bits(), Ordering::Relaxed);
    }

    /// Makes compaction stop; work that has begun is abandoned.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn map_bytes(&self) -> usize {
        self.map_bytes.load(Ordering::Relaxed)
    }

    pub fn map_load(&self) -> f64 {
        f64::from_bits(self.map_load.load(Ordering::Relaxed))
    }

    /// Records that `bytes` were read or written, and waits until this is within the rate. Returns false if compaction must
    /// stop.
    pub fn spend(&self, bytes: usize) -> bool {
        if self.rate() < UNLIMITED {
            self.owed.lock().0 += bytes as f64;
        }
        while !self.is_stopped() {
            let rate = self.rate();
            if rate >= UNLIMITED {
                return true;
            }
            let wait = {
                let mut owed = self.owed.lock();
                let now = self.host.clock.steady();
                let paid = now.duration_since(owed.1).as_secs_f64() * rate;
                *owed = ((owed.0 - paid).max(0.0), now);
                let wait = owed.0 / rate.max(1.0);
                Duration::from_secs_f64(wait.min(WAIT_MAX.as_secs_f64()))
            };
            if wait.is_zero() {
                return true;
            }
            self.host.clock.pause(wait);
        }
        false
    }

    fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Budget {
        /// Test-only: a budget on the host that the test runs on.
        pub fn of(map_bytes: usize) -> Self {
            Self::new(&Host::default(), map_bytes)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_faster_than_it_may_be() {
        let host = Host::simulated(0, 0);
        let budget = Budget::new(&host, 1);
        budget.set(7, 0.5, 1e6);
        let begun = host.clock.steady();
        assert!((0..10).all(|_| budget.spend(20_000)));
        // Each piece waits on its own; rounding adds less than a microsecond to each wait.
        let took = host.clock.since(begun);
        assert!(
            took.abs_diff(Duration::from_millis(200)) < Duration::from_micros(10),
            "{took:?}"
        );
        assert_eq!((budget.map_bytes(), budget.map_load()), (7, 0.5));
    }

    #[test]
    fn a_new_limit_or_a_stop_is_heard_while_one_waits() {
        for stop in [false, true] {
            let budget = Budget::of(1);
            budget.set(1, 0.9, 1.0);
            let went_on = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| budget.spend(1_000_000));
                std::thread::sleep(Duration::from_millis(10));
                assert!(!waiting.is_finished());
                if stop {
                    budget.stop();
                } else {
                    budget.set(1, 0.9, f64::MAX);
                }
                waiting.join().unwrap()
            });
            assert_eq!(went_on, !stop);
        }
    }
}
