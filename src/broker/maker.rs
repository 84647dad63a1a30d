//! task: makes and removes directories of partitions, several at once and in turns, and tells the controller in which log
//! directories it has placed them. See [`making`](crate::replica::making).

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::services::Services;
use crate::host::task::joined;
use crate::log::manager::Place;
use crate::replica::making::{AT_ONCE, Work};
use crate::replica::pending::Piece;

pub(super) async fn run(services: Arc<Services>, mut stopping: watch::Receiver<bool>) {
    let mut crew = Crew {
        services,
        at_work: JoinSet::new(),
    };
    loop {
        crew.begin();
        tokio::select! {
            biased;
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => break,
            Some(done) = crew.at_work.join_next() => joined(done).await,
            () = crew.services.replicas.has_work() => {}
        }
    }
    crew.services.replicas.make_no_more();
    while !crew.services.replicas.work_is_over() {
        crew.begin();
        tokio::select! {
            biased;
            Some(done) = crew.at_work.join_next() => joined(done).await,
            () = crew.services.replicas.has_work() => {}
        }
    }
}

struct Crew {
    services: Arc<Services>,
    at_work: JoinSet<()>,
}

impl Crew {
    /// Starts pieces of work up to the limit.
    fn begin(&mut self) {
        while self.at_work.len() < AT_ONCE
            && let Some((piece, place)) = self.services.replicas.next_piece()
        {
            let work = work(Arc::clone(&self.services), Arc::new(piece), place);
            let threads = self.services.host.threads.clone();
            threads.spawn_among(&mut self.at_work, work);
        }
    }
}

async fn work(services: Arc<Services>, piece: Arc<Piece<Work>>, place: Option<Place>) {
    let threads = &services.host.threads;
    let (replicas, worked) = (services.replicas.clone(), Arc::clone(&piece));
    let work = move || replicas.work_on(&worked, place);
    threads.blocking(work).await;
    if !services.replicas.worked(&piece) {
        return;
    }
    // Kafka differs: its broker reports directories some time later (`AssignmentsManager`). Here the metadata name the
    // directory before clients can write to the replica, so a replica whose directory is unknown never has records.
    let placed = match &piece.work {
        Work::Make(making) => making.assignments(),
        Work::Remove(_) => Vec::new(),
    };
    let is_known = placed.is_empty() || services.are_told(&placed).await;
    let replicas = services.replicas.clone();
    threads
        .blocking(move || replicas.finish(&piece, is_known))
        .await;
}
