//! Handle of a coordinator for the rest of the broker. It is cheap to clone, and hides the channels to the task.

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

/// Capacity of the task's request queue. While it is full, senders wait, and with them their connections.
const QUEUE_MAX: usize = 4096;

/// Handle of a running coordinator.
pub struct Coordinator<S: Shard> {
    queue: mpsc::Sender<Event<S>>,
    /// Queue of metadata changes. It is unbounded because publishers must not wait; each metadata change adds at most one entry
    /// per partition of the topic, and one more.
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

/// Handle that does not keep the coordinator running.
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

    /// Makes the handle and the task to run; `pool` runs long rounds of the task. The task ends when the last handle is
    /// dropped.
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

    /// Sends a request to the shard of a partition, and waits until the records behind the answer are committed.
    ///
    /// Errors: `NotCoordinator`, `CoordinatorLoadInProgress`, `CoordinatorNotAvailable`; see [`is_passing`].
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

    /// Partitions that can answer now.
    pub async fn active(&self) -> Vec<PartitionIndex> {
        self.slots().await.active
    }

    /// Partitions that can answer now, for requests that need all partitions of this node.
    ///
    /// Errors: `CoordinatorLoadInProgress` while some partitions are loading.
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

    /// Loads a partition: this node became its leader, or leads it in a newer epoch.
    pub fn elected(&self, partition: PartitionIndex, epoch: LeaderEpoch) {
        // Without a task there is nothing to load: the broker is stopping.
        let _ = self.told.send(Told::Leads(partition, epoch));
    }

    /// Unloads a partition: this node no longer leads it.
    pub fn resigned(&self, partition: PartitionIndex) {
        let _ = self.told.send(Told::NoMore(partition));
    }

    /// Passes new metadata to all shards. Partitions elected later know the metadata from their start.
    pub fn on_image(&self, image: &Arc<Image>, delta: &Delta) {
        let (image, delta) = (Arc::clone(image), Arc::new(delta.clone()));
        let _ = self.told.send(Told::Image(image, delta));
    }
}

/// Whether an error of a coordinator is temporary: the same request may succeed later.
pub fn is_passing(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
    )
}
