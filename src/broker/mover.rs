//! task: moves replicas between log directories while they are written to: copies in rounds, tells the controller where a
//! copy that lacks nothing is, and puts it in the place of its log. Kafka's `ReplicaAlterLogDirsThread`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::api::services::Services;
use crate::replica::moves::Round;

/// Copied of each replica in one round: large enough for the disk, small enough that every move goes on.
const STRETCH: usize = 4 << 20;
/// Between rounds in which nothing moved.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes per second that all moves together may copy.
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

/// One round of all moves; gives how long to wait before the next.
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

/// The controller must know first: after a crash between the two renames of a move only the copy is there.
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
        // The move was given up meanwhile. Apache Kafka would put the next copy there, whole or not, in the place of the log.
        services.are_told(&stay).await;
    }
}
