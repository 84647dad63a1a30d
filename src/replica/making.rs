//! Making and removing the directories of partitions, outside of the controller, which can decide about other topics meanwhile:
//! each new partition has a file that is synced, which takes seconds for thousands of partitions.
//!
//! ```text
//! controller: records on disk ──► image published ──► on_update: partitions `Coming`, work pending   (without waiting)
//! maker:      directories made, 4 at a time ──► controller records them ──► partitions `Online` ──► answer
//! ```
//! Until a partition is online, clients get NOT_LEADER_OR_FOLLOWER, as from a Kafka broker that knows a partition from the
//! metadata and has not made it yet. A crash may leave a topic with only some of its directories: the next start makes the
//! others.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::manager::{Opened, ReplicaManager};
use super::pending::{Pending, Piece};
use crate::base::ids::{PartitionIndex, TopicPartition, Uuid};
use crate::log::manager::Place;
use crate::log::settings::LogSettings;
use crate::metadata::image::Topic;
use crate::metadata::placement::Assignment;

/// Directories that are made or removed at the same time. A disk syncs several files in about the time of one. With eight at a
/// time a client that creates one topic waits up to 250 ms on ext4, with four up to 80 ms.
pub const AT_ONCE: usize = 4;

/// Kind of work on the directories of a topic.
#[derive(Clone, Debug)]
pub enum Work {
    Make(Arc<Making>),
    Remove(Uuid),
}

/// Partitions of a topic whose directories are to be made.
#[derive(Debug)]
pub struct Making {
    /// The topic in the image that added the partitions.
    pub(super) topic: Arc<Topic>,
    settings: LogSettings,
    made: Mutex<Vec<(PartitionIndex, Opened)>>,
}

impl Making {
    pub(super) fn new(topic: &Arc<Topic>, settings: LogSettings) -> Self {
        Self {
            topic: Arc::clone(topic),
            settings,
            made: Mutex::default(),
        }
    }

    pub(super) fn take_made(&self) -> Vec<(PartitionIndex, Opened)> {
        std::mem::take(&mut *self.made.lock())
    }

    /// Log directories of the new partitions whose place the metadata does not have yet.
    pub fn assignments(&self) -> Vec<Assignment> {
        let made = self.made.lock();
        made.iter().filter_map(|(_, one)| one.assignment).collect()
    }
}

/// Handle that a waiting task leaves with its steps. The task is woken when the last copy is dropped.
type Waiter = Arc<oneshot::Sender<()>>;

/// Work that the newest image requires and that is not done yet.
#[derive(Debug, Default)]
pub(super) struct Makings {
    state: Mutex<State>,
    /// Notifies the task that does the work.
    wake: Notify,
    /// Topics whose directories a test keeps as they are.
    #[cfg(test)]
    held: (
        Mutex<std::collections::BTreeSet<String>>,
        parking_lot::Condvar,
    ),
}

#[derive(Debug, Default)]
struct State {
    pending: Pending<Work, Waiter>,
    stage: Stage,
}

/// Progress of a shutdown.
#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Working,
    /// Pending removals are still done: the next start would not know the owner of the directories.
    Removing,
    /// No work is done any more.
    Over,
}

impl Makings {
    pub(super) fn make(&self, making: Making, partitions: Vec<PartitionIndex>) {
        let mut state = self.state.lock();
        if state.stage == Stage::Working {
            let topic = Arc::clone(&making.topic.name);
            let work = Work::Make(Arc::new(making));
            state.pending.make(&topic, work, partitions.into());
            self.wake.notify_one();
        }
    }

    /// Queues a removal. False if no work is done any more.
    pub(super) fn remove(&self, topic: &Topic, partitions: &[PartitionIndex]) -> bool {
        let mut state = self.state.lock();
        if state.stage == Stage::Over {
            return false;
        }
        let partitions = partitions.iter().copied().collect();
        let work = Work::Remove(topic.id);
        state.pending.remove(&topic.name, work, partitions);
        self.wake.notify_one();
        true
    }

    /// Queues the removal of partitions of which this node has no replica any more. If the node stops first, their directories
    /// stay.
    pub(super) fn remove_some(&self, topic: &Topic, partitions: Vec<PartitionIndex>) {
        let mut state = self.state.lock();
        if state.stage == Stage::Working {
            let work = Work::Remove(topic.id);
            let pending = &mut state.pending;
            pending.remove_some(&topic.name, work, partitions.into());
            self.wake.notify_one();
        }
    }
}

impl ReplicaManager {
    /// Waits until the directories of these topics match the newest image and their partitions are served. Each call has a turn
    /// of its own in the queue.
    pub async fn settled<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let (told, over) = oneshot::channel();
        {
            let waiter = Arc::new(told);
            let mut state = self.makings().state.lock();
            state.pending.wait(topics.into_iter(), &waiter);
            self.makings().wake.notify_one();
        }
        // Nothing is ever sent: the wait ends when the sender is dropped.
        drop(over.await);
    }

    /// Waits until there may be directories to make or remove.
    pub async fn has_work(&self) {
        self.makings().wake.notified().await;
    }

    /// The next piece of work, with the place of a new replica. The caller passes the piece to [`Self::work_on`], then to
    /// [`Self::worked`].
    pub fn next_piece(&self) -> Option<(Piece<Work>, Option<Place>)> {
        let piece = self.makings().state.lock().pending.next_piece()?;
        let place = match &piece.work {
            Work::Make(making) => self.place_for(&making.topic, piece.partition),
            Work::Remove(_) => None,
        };
        Some((piece, place))
    }

    /// Makes or removes one directory. Blocks on disks.
    pub fn work_on(&self, piece: &Piece<Work>, place: Option<Place>) {
        #[cfg(test)]
        self.wait_while_held(&piece.topic);
        match &piece.work {
            Work::Make(making) => {
                let opened = self.open(&making.topic, piece.partition, &making.settings, place);
                let made = opened.map(|opened| (piece.partition, opened));
                making.made.lock().extend(made);
            }
            Work::Remove(id) => {
                let name = TopicPartition::new(Arc::clone(&piece.topic), piece.partition);
                self.delete(&name, *id);
            }
        }
    }

    /// Reports that a piece is done. True if it was the last of its step: then the caller calls [`Self::finish`].
    pub fn worked(&self, piece: &Piece<Work>) -> bool {
        self.makings().state.lock().pending.done(piece)
    }

    /// Ends a step: serves the partitions that were made, if the controller knows their directories, and wakes the waiting
    /// tasks. Blocks.
    pub fn finish(&self, piece: &Piece<Work>, is_known: bool) {
        if let Work::Make(making) = &piece.work
            && is_known
        {
            self.put_online(making);
        }
        self.makings().state.lock().pending.finished(piece);
        self.makings().wake.notify_one();
    }

    /// Cancels all pending directories, because the node stops. The next start makes them.
    pub fn make_no_more(&self) {
        let mut state = self.makings().state.lock();
        state.stage = Stage::Removing;
        state.pending.make_no_more();
    }

    /// Whether no removals are left. If so, later removals are done at once by their callers.
    pub fn work_is_over(&self) -> bool {
        let mut state = self.makings().state.lock();
        let is_over = state.pending.is_empty();
        if is_over {
            state.stage = Stage::Over;
        }
        is_over
    }
}

#[cfg(test)]
impl ReplicaManager {
    /// Stops making and removing the directories of a topic.
    pub(crate) fn hold(&self, topic: &str) {
        self.makings().held.0.lock().insert(topic.to_owned());
    }

    pub(crate) fn let_go(&self, topic: &str) {
        let (held, changed) = &self.makings().held;
        held.lock().remove(topic);
        changed.notify_all();
    }

    fn wait_while_held(&self, topic: &str) {
        let (held, changed) = &self.makings().held;
        changed.wait_while(&mut held.lock(), |held| held.contains(topic));
    }
}
