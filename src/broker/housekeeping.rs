//! task: what is due from time to time: checkpoints, flushes, retention, compaction, removal of deleted files. Runs on the blocking
//! pool, one round at a time, until the node stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::time::Clock;
use crate::config::broker::BrokerSettings;
use crate::log::manager::LogManager;

/// How often the rounds look whether something is due.
const TICK: Duration = Duration::from_secs(1);

pub(super) async fn run(
    logs: Arc<LogManager>,
    settings: BrokerSettings,
    clock: Clock,
    mut stopping: watch::Receiver<bool>,
) {
    let interval = |name: &str| settings.long(name).max(1);
    let checkpoint_every = interval("replica.high.watermark.checkpoint.interval.ms");
    let retention_every = interval("log.retention.check.interval.ms");
    let compact_every = interval("log.cleaner.backoff.ms");
    let compaction_on = settings.boolean("log.cleaner.enable");
    let map_bytes = settings.long("log.cleaner.dedupe.buffer.size").max(1) as usize;
    let (mut checkpointed, mut retained, mut compacted) = (clock.now(), clock.now(), clock.now());
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let now = clock.now();
        let checkpoint = now - checkpointed >= checkpoint_every;
        let retain = now - retained >= retention_every;
        if checkpoint {
            checkpointed = now;
        }
        if retain {
            retained = now;
        }
        let compact = compaction_on && now - compacted >= compact_every;
        if compact {
            compacted = now;
        }
        let logs = Arc::clone(&logs);
        let round = move || {
            logs.flush_due(now);
            logs.remove_doomed(now);
            if retain {
                logs.retain(now);
            }
            if compact {
                logs.compact(map_bytes, now);
            }
            if checkpoint {
                logs.write_checkpoints();
            }
        };
        if tokio::task::spawn_blocking(round).await.is_err() {
            tracing::error!("a round of housekeeping ended in a panic");
        }
    }
}
