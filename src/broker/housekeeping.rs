//! task: what is due from time to time: checkpoints, flushes, retention, compaction, forgetting producers, removal of
//! deleted files. Runs on the blocking pool, one round at a time, until the node stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::config::broker::PRODUCER_EXPIRATION_INTERVAL;
use crate::log::manager::LogManager;

/// How often the rounds look whether something is due.
const TICK: Duration = Duration::from_secs(1);

pub(super) async fn run(
    logs: Arc<LogManager>,
    services: Arc<Services>,
    mut stopping: watch::Receiver<bool>,
) {
    let (clock, settings) = (services.clock, &services.config.settings);
    let interval = |name: &str| settings.long(name).max(1);
    let checkpoint_every = interval("replica.high.watermark.checkpoint.interval.ms");
    let retention_every = interval("log.retention.check.interval.ms");
    let compact_every = interval("log.cleaner.backoff.ms");
    let (name, default) = PRODUCER_EXPIRATION_INTERVAL;
    let expire_every = settings
        .explicit(name)
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(default);
    let compaction_on = settings.boolean("log.cleaner.enable");
    let map_bytes = settings.long("log.cleaner.dedupe.buffer.size").max(1) as usize;
    let (mut checkpointed, mut retained, mut compacted) = (clock.now(), clock.now(), clock.now());
    let mut expired = clock.now();
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
        let expire = now - expired >= expire_every;
        if expire {
            expired = now;
        }
        let expiration_ms = producer_expiration_ms(&services);
        let logs = Arc::clone(&logs);
        let round = move || {
            logs.flush_due(now);
            logs.remove_doomed(now);
            if retain {
                logs.retain(now);
            }
            if expire {
                logs.expire_producers(now, expiration_ms);
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

/// `producer.id.expiration.ms`, which may change while the broker runs.
pub(super) fn producer_expiration_ms(services: &Services) -> i64 {
    let image = services.image.load();
    services.in_force(&image).long("producer.id.expiration.ms")
}
