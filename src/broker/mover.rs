//! task: moves replicas between log directories while they are in use. Copies them in rounds, tells the controller the
//! directory of a complete copy, then replaces the log with its copy. Kafka's `ReplicaAlterLogDirsThread`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::replica::moves::Round;

/// Number of bytes to copy of each replica in one round: large enough to be efficient, small enough that all moves progress.
const STRETCH: usize = 4 << 20;
/// Pause after a round in which nothing was copied.
const PAUSE: Duration = Duration::from_millis(20);
/// Setting that limits the bytes per second of all moves together.
const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

pub(super) async fn run(services: Arc<Services>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            () = services.replicas.moves() => {}
        }
        while !services.replicas.logs().futures().is_empty() {
            let pause = round(&services).await;
            tokio::select! {
                biased;
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// Copies one round of all moves. Gives the pause before the next one.
async fn round(services: &Arc<Services>) -> Duration {
    let rate = services.in_force(&services.image.load()).long(RATE).max(1) as u64;
    let stretch = usize::try_from(rate).unwrap_or(STRETCH).min(STRETCH);
    let replicas = services.replicas.clone();
    let threads = &services.host.threads;
    let round = threads.blocking(move || replicas.copy_round(stretch)).await;
    let bytes = round.bytes;
    if !round.caught_up.is_empty() {
        finish(services, round).await;
    }
    if bytes == 0 {
        return PAUSE;
    }
    Duration::from_secs_f64(bytes as f64 / rate as f64)
}

/// Ends moves whose copies are complete. The controller must know the new directory first, because a crash between the two
/// renames of a move leaves only the copy.
async fn finish(services: &Arc<Services>, round: Round) {
    let (copies, assignments): (Vec<_>, Vec<_>) = round.caught_up.into_iter().unzip();
    if !services.are_told(&assignments).await {
        return;
    }
    let replicas = services.replicas.clone();
    let stay = services
        .host
        .threads
        .blocking(move || {
            let stays = |copy| {
                replicas.finish_move(copy);
                replicas.stays(copy)
            };
            copies.iter().filter_map(stays).collect::<Vec<_>>()
        })
        .await;
    if !stay.is_empty() {
        // The move was cancelled meanwhile, so the metadata must name the old directory again. Otherwise Apache Kafka would
        // promote a later copy in the named directory to the partition's log, complete or not.
        services.are_told(&stay).await;
    }
}
