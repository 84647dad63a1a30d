//! task: periodic work: checkpoints, flushes, retention, expiry of producers, removal of deleted files, release of descriptors
//! and memory, reading of token keys. Each round runs on the blocking pool. One round follows the other until the node stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::base::time::{Timestamp, has_passed};
use crate::config::broker::{BrokerSettings, INITIAL_TASK_DELAY, PRODUCER_EXPIRATION_INTERVAL};
use crate::host::process::give_back_free_memory;
use crate::log::manager::LogManager;

/// Longest interval between two rounds. `log.flush.scheduler.interval.ms` can shorten it. Kafka's default for this setting
/// disables its scheduler; logs with `flush.ms` are flushed here nevertheless.
const TICK: Duration = Duration::from_secs(1);
/// Interval at which free memory is returned to the system.
const MEMORY_INTERVAL_MS: i64 = 10_000;
const TICK_MIN: Duration = Duration::from_millis(10);
/// Settings for the intervals of checkpoints. All checkpoint files are written together, at the shortest of the intervals.
const CHECKPOINT_INTERVALS: [&str; 3] = [
    "replica.high.watermark.checkpoint.interval.ms",
    "log.flush.offset.checkpoint.interval.ms",
    "log.flush.start.offset.checkpoint.interval.ms",
];

pub(super) async fn run(
    logs: Arc<LogManager>,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) {
    let (clock, settings) = (&services.host.clock, &services.config.settings);
    let every = |interval_ms| Every::from_start(interval_ms, FIRST, clock.now());
    let mut checkpoint = every(checkpoint_interval(settings));
    let tick = tick(settings);
    let retention = settings.long("log.retention.check.interval.ms");
    let mut retention = match own_number(settings, INITIAL_TASK_DELAY.0) {
        Some(first) => Every {
            last: clock.now(),
            wait_ms: first,
            interval_ms: retention.max(1),
        },
        None => every(retention),
    };
    let (name, default) = PRODUCER_EXPIRATION_INTERVAL;
    let (mut memory, mut kept) = (every(MEMORY_INTERVAL_MS), 0);
    let mut expiration = every(own_number(settings, name).unwrap_or(default));
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(tick) => {}
        }
        let now = clock.now();
        let checkpoint = checkpoint.is_due(now);
        let retain = retention.is_due(now);
        let due = expiration.is_due(now);
        let expire = due.then(|| producer_expiration_ms(&services));
        let give_back = memory.is_due(now);
        for keys in services.entries.due(now) {
            // A provider may be slow, and nothing waits for it.
            let host = services.host.clone();
            services.host.threads.spawn(keys.read_again(host));
        }
        let logs = Arc::clone(&logs);
        let round = move || {
            logs.flush_due(now);
            logs.remove_doomed(now);
            logs.release_files();
            if retain {
                logs.retain(now);
            }
            if let Some(expiration_ms) = expire {
                logs.expire_producers(now, expiration_ms);
            }
            if checkpoint {
                logs.write_checkpoints();
            }
            match give_back {
                true => give_back_free_memory(kept),
                false => kept,
            }
        };
        kept = services.host.threads.blocking(round).await;
    }
}

fn checkpoint_interval(settings: &BrokerSettings) -> i64 {
    let intervals = CHECKPOINT_INTERVALS.map(|name| settings.long(name));
    intervals.into_iter().fold(i64::MAX, i64::min)
}

fn tick(settings: &BrokerSettings) -> Duration {
    let flushes = settings.long("log.flush.scheduler.interval.ms");
    let flushes = u64::try_from(flushes).map_or(TICK, Duration::from_millis);
    flushes.clamp(TICK_MIN, TICK)
}

/// Number from an explicit setting that is in no table of settings.
fn own_number(settings: &BrokerSettings, name: &str) -> Option<i64> {
    settings.explicit(name)?.trim().parse().ok()
}

/// Work that is due again an interval after it was last done.
struct Every {
    last: Timestamp,
    /// Time from `last` to the next due time.
    wait_ms: i64,
    interval_ms: i64,
}

/// Longest delay of the first round of any work after a start. A node that was restarted because its disk is full should not
/// wait for a long retention interval.
const FIRST: i64 = INITIAL_TASK_DELAY.1;

impl Every {
    fn from_start(interval_ms: i64, first_ms: i64, now: Timestamp) -> Self {
        let interval_ms = interval_ms.max(1);
        Self {
            last: now,
            wait_ms: interval_ms.min(first_ms),
            interval_ms,
        }
    }

    /// Whether the work is due. A caller that gets `true` must do it.
    fn is_due(&mut self, now: Timestamp) -> bool {
        let due = has_passed(self.last, self.wait_ms, now);
        if due {
            self.last = now;
            self.wait_ms = self.interval_ms;
        }
        due
    }
}

/// `producer.id.expiration.ms`, which may change while the broker runs.
pub(super) fn producer_expiration_ms(services: &Services) -> i64 {
    let image = services.image.load();
    services.in_force(&image).long("producer.id.expiration.ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker::standalone;
    use crate::config::parse::Property;

    #[test]
    fn what_is_due_does_not_wait_for_a_clock_that_was_set_back() {
        let due = |every: &mut Every, times: &[i64]| -> Vec<bool> {
            times.iter().map(|now| every.is_due(*now)).collect()
        };
        let mut often = Every::from_start(1_000, FIRST, 50_000);
        let times = [50_999, 51_000, 51_500, 52_000, 10, 1_000, 1_010];
        let expected = [false, true, false, true, true, false, true];
        assert_eq!(due(&mut often, &times), expected);
        let mut seldom = Every::from_start(300_000, FIRST, 0);
        let times = [29_999, 30_000, 60_000, 330_000];
        assert_eq!(due(&mut seldom, &times), [false, true, false, true]);
        let mut never = Every::from_start(i64::MAX, i64::MAX, 0);
        assert_eq!(due(&mut never, &[1, i64::MAX - 1]), [false, false]);
    }

    #[test]
    fn what_is_set_more_often_is_looked_at_more_often() {
        let settings = |key: &str, value: &str| {
            let property = Property::given(key, value);
            standalone(&[property]).unwrap().config.settings.clone()
        };
        let flushes = |value| tick(&settings("log.flush.scheduler.interval.ms", value));
        assert_eq!(flushes("9223372036854775807"), TICK);
        assert_eq!(flushes("200"), Duration::from_millis(200));
        assert_eq!(flushes("0"), TICK_MIN);
        for (name, value, interval) in [
            ("log.flush.offset.checkpoint.interval.ms", "60000", 5_000),
            ("log.flush.offset.checkpoint.interval.ms", "900", 900),
            ("log.flush.start.offset.checkpoint.interval.ms", "800", 800),
            (
                "replica.high.watermark.checkpoint.interval.ms",
                "70000",
                60_000,
            ),
        ] {
            assert_eq!(
                checkpoint_interval(&settings(name, value)),
                interval,
                "{name}"
            );
        }
    }
}
