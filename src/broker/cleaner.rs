//! task: compacts logs one after the other on a thread of the blocking pool. Changed settings take effect during a round.
//! Kafka's `LogCleaner` with one thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::base::time::millis;
use crate::host::task::joined;
use crate::log::compaction::Budget;
use crate::log::manager::LogManager;

/// Interval at which settings are read during a round.
const TICK: Duration = Duration::from_millis(500);
/// Limit on the key map as a fraction (one half) of the memory for requests. The map's memory is not part of that.
const PART_OF_MEMORY: usize = 2;
/// Shortest pause between rounds, whatever the backoff.
const PAUSE_MIN: Duration = Duration::from_millis(100);

pub(super) async fn run(
    logs: Arc<LogManager>,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) {
    // As in Kafka, this setting cannot change while the broker runs.
    if !services.config.settings.boolean("log.cleaner.enable") {
        return;
    }
    let budget = Arc::new(Budget::new(&services.host, 0).counted_in(&services.memory));
    loop {
        let backoff = apply(&services, &budget);
        let (logs, now, its_budget) = (
            Arc::clone(&logs),
            services.host.clock.now(),
            Arc::clone(&budget),
        );
        let mut round = services
            .host
            .threads
            .start_blocking(move || logs.compact(&its_budget, now));
        let done = loop {
            tokio::select! {
                biased;
                done = &mut round => break done,
                () = async { drop(stopping.wait_for(|stop| *stop).await) }, if !budget.is_stopped() => budget.stop(),
                () = tokio::time::sleep(TICK) => drop(apply(&services, &budget)),
            }
        };
        let got_on = joined(done).await;
        // After a round that made progress there may be more to do: the map may have been too small for a whole log.
        let pause = if got_on {
            PAUSE_MIN
        } else {
            backoff.max(PAUSE_MIN)
        };
        tokio::select! {
            biased;
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Applies the current settings. Gives the backoff between rounds.
fn apply(services: &Services, budget: &Budget) -> Duration {
    let image = services.image.load();
    let settings = services.in_force(&image);
    let map_bytes = settings.long("log.cleaner.dedupe.buffer.size");
    budget.set(
        usize::try_from(map_bytes)
            .unwrap_or(0)
            .min(services.memory.limit() / PART_OF_MEMORY),
        settings.double("log.cleaner.io.buffer.load.factor"),
        settings.double("log.cleaner.io.max.bytes.per.second"),
    );
    millis(settings.long("log.cleaner.backoff.ms"))
}
