//! task: what is due from time to time: checkpoints, flushes, retention, forgetting producers, removal of deleted files. Runs on the blocking pool, one round at a time, until the node stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::base::time::Timestamp;
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
    let every = |interval_ms: i64| Every {
        interval_ms: interval_ms.max(1),
        last: clock.now(),
    };
    let mut checkpoint = every(settings.long("replica.high.watermark.checkpoint.interval.ms"));
    let mut retention = every(settings.long("log.retention.check.interval.ms"));
    let (name, default) = PRODUCER_EXPIRATION_INTERVAL;
    let expiration = settings
        .explicit(name)
        .and_then(|value| value.trim().parse().ok());
    let mut expiration = every(expiration.unwrap_or(default));
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let now = clock.now();
        let checkpoint = checkpoint.is_due(now);
        let retain = retention.is_due(now);
        let due = expiration.is_due(now);
        let expire = due.then(|| producer_expiration_ms(&services));
        let logs = Arc::clone(&logs);
        let round = move || {
            logs.flush_due(now);
            logs.remove_doomed(now);
            if retain {
                logs.retain(now);
            }
            if let Some(expiration_ms) = expire {
                logs.expire_producers(now, expiration_ms);
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

/// Something that is due again an interval after it was done last.
struct Every {
    interval_ms: i64,
    last: Timestamp,
}

impl Every {
    /// Whether it is due; whoever asks does it.
    fn is_due(&mut self, now: Timestamp) -> bool {
        let due = now - self.last >= self.interval_ms;
        if due {
            self.last = now;
        }
        due
    }
}

/// `producer.id.expiration.ms`, which may change while the broker runs.
pub(super) fn producer_expiration_ms(services: &Services) -> i64 {
    let image = services.image.load();
    services.in_force(&image).long("producer.id.expiration.ms")
}
