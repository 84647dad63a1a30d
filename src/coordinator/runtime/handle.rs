//! What the rest of the broker holds of a coordinator: cheap to clone, no channel in sight.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::log::RecordLog;
use super::shard::Shard;
use super::task::{Event, MakeShard, Slots, Task, Told};
use crate::base::ids::{LeaderEpoch, PartitionIndex};
use crate::base::work_pool::WorkPool;
use crate::host::Host;
use crate::metadata::image::{Delta, Image};
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;

/// Requests that may wait for the task. Whoever comes then waits with its connection.
const QUEUE_MAX: usize = 4096;

/// A coordinator at work.
pub struct Coordinator<S: Shard> {
    queue: mpsc::Sender<Event<S>>,
    /// What the metadata say. Whoever publishes them tells it and must not wait: no limit but the number of partitions of the
    /// topic and one, each time that the metadata change.
    told: mpsc::UnboundedSender<Told>,
}

impl<S: Shard> Clone for Coordinator<S> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            told: self.told.clone(),
        }
    }
}

impl<S: Shard> std::fmt::Debug for Coordinator<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Coordinator")
    }
}

/// A handle that does not keep the coordinator going.
pub struct WeakCoordinator<S: Shard> {
    queue: mpsc::WeakSender<Event<S>>,
    told: mpsc::UnboundedSender<Told>,
}

impl<S: Shard> WeakCoordinator<S> {
    pub fn upgrade(&self) -> Option<Coordinator<S>> {
        let told = self.told.clone();
        (self.queue.upgrade()).map(|queue| Coordinator { queue, told })
    }
}

impl<S: Shard> Coordinator<S> {
    pub fn downgrade(&self) -> WeakCoordinator<S> {
        WeakCoordinator {
            queue: self.queue.downgrade(),
            told: self.told.clone(),
        }
    }

    /// The handle, and the task to run, of which `pool` works off long rounds. The task ends when the last handle is gone.
    pub fn new(
        name: &'static str,
        host: &Host,
        log: Arc<dyn RecordLog>,
        make: MakeShard<S>,
        commit_timeout: Duration,
        compression: Compression,
        pool: WorkPool,
    ) -> (Self, Task<S>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let (told, heard) = mpsc::unbounded_channel();
        let ends = (sender.downgrade(), receiver, heard);
        let place = (host, pool);
        let task = Task::new(name, place, log, make, ends, commit_timeout, compression);
        let queue = sender;
        (Self { queue, told }, task)
    }

    /// Asks the shard of a partition, and waits until the answer's records are committed.
    ///
    /// Errors: `NotCoordinator`, `CoordinatorLoadInProgress`, `CoordinatorNotAvailable`.
    pub async fn ask(
        &self,
        partition: PartitionIndex,
        request: S::Request,
    ) -> Result<S::Answer, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let event = Event::Request {
            partition,
            request,
            reply,
        };
        if self.queue.send(event).await.is_err() {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        answer.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }

    /// The partitions that can answer now.
    pub async fn active(&self) -> Vec<PartitionIndex> {
        self.slots().await.active
    }

    /// The same for those who want to hear of everything.
    ///
    /// Errors: `CoordinatorLoadInProgress` while some cannot answer yet.
    pub async fn all_active(&self) -> Result<Vec<PartitionIndex>, ErrorCode> {
        let slots = self.slots().await;
        if slots.is_loading {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        Ok(slots.active)
    }

    async fn slots(&self) -> Slots {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Event::Slots(reply)).await.is_err() {
            return Slots::default();
        }
        answer.await.unwrap_or_default()
    }

    /// This node has become the leader of a partition, or of a newer epoch of it. Loads it.
    pub fn elected(&self, partition: PartitionIndex, epoch: LeaderEpoch) {
        // Without a task there is nothing to load into: the broker is going down.
        let _ = self.told.send(Told::Leads(partition, epoch));
    }

    /// It is the leader no more.
    pub fn resigned(&self, partition: PartitionIndex) {
        let _ = self.told.send(Told::NoMore(partition));
    }

    /// The metadata are these from now on. Partitions that are elected afterwards know them from the start.
    pub fn on_image(&self, image: &Arc<Image>, delta: &Delta) {
        let (image, delta) = (Arc::clone(image), Arc::new(delta.clone()));
        let _ = self.told.send(Told::Image(image, delta));
    }
}
