//! Directories of partitions are made and removed beside the controller, which decides about other topics meanwhile: each new
//! partition has a file that is synced, which takes seconds for thousands of them.
//!
//! ```text
//! controller: records on disk ──► image shown ──► on_update: partitions `Coming`, work pending      (nobody waits here)
//! maker:      directories made, 4 at once, in turns ──► controller is told where ──► partitions `Online` ──► answer
//! ```
//! Until then clients are told NOT_LEADER_OR_FOLLOWER, as by a broker of Kafka that knows of a partition from the metadata
//! and has not made it. A crash leaves topics of which some directories are there: the next start makes the others.

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

/// Directories that are made or removed at once. A disk syncs several files in about the time of one, but with eight of them a
/// client that wants one topic waits up to 250 ms on ext4, and 80 ms with four.
pub const AT_ONCE: usize = 4;

/// What is to be done with the directories of a topic.
#[derive(Clone, Debug)]
pub enum Work {
    Make(Arc<Making>),
    Remove(Uuid),
}

/// Partitions of a topic that are to be made.
#[derive(Debug)]
pub struct Making {
    /// As the image had it that asked for them.
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

    /// In which log directories the partitions were placed, where the metadata do not say it.
    pub fn assignments(&self) -> Vec<Assignment> {
        let made = self.made.lock();
        made.iter().filter_map(|(_, one)| one.assignment).collect()
    }
}

/// Dropped when all that somebody waits for is over.
type Waiter = Arc<oneshot::Sender<()>>;

/// What the newest image wants of the disks and they do not have yet.
#[derive(Debug, Default)]
pub(super) struct Makings {
    state: Mutex<State>,
    /// Wakes whoever does the work.
    wake: Notify,
    /// Topics whose directories a test wants to stay as they are.
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

/// How far a stop is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Working,
    /// What is to be removed still is: the next start would not know whose it was.
    Removing,
    /// Nobody does the work any more.
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

    /// Whether somebody will do it.
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
}

impl Makings {
    /// This node has no replica of some partitions any more. A stop may come before it is done: the directories stay then.
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
    /// Waits until the directories of these topics are as the newest image wants them, and their partitions are served. Whoever
    /// waits has a turn of its own.
    pub async fn settled<'a>(&self, topics: impl IntoIterator<Item = &'a str>) {
        let (told, over) = oneshot::channel();
        {
            let waiter = Arc::new(told);
            let mut state = self.makings().state.lock();
            state.pending.wait(topics.into_iter(), &waiter);
            self.makings().wake.notify_one();
        }
        // It is dropped, and nothing is ever sent.
        drop(over.await);
    }

    /// Waits until there may be directories to make or remove.
    pub async fn has_work(&self) {
        self.makings().wake.notified().await;
    }

    /// What is to be done next, with the place of a new replica: it is to be [done](Self::work_on), and given
    /// [back](Self::worked).
    pub fn next_piece(&self) -> Option<(Piece<Work>, Option<Place>)> {
        let piece = self.makings().state.lock().pending.next_piece()?;
        let place = match &piece.work {
            Work::Make(making) => self.place_for(&making.topic, piece.partition),
            Work::Remove(_) => None,
        };
        Some((piece, place))
    }

    /// Makes or removes a directory. Blocks on disks.
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

    /// Takes back a piece that is done. Whether it was the last of its topic: then [`Self::finish`] is due.
    pub fn worked(&self, piece: &Piece<Work>) -> bool {
        self.makings().state.lock().pending.done(piece)
    }

    /// Serves the partitions that were made, if the controller knows where they are, and tells those who wait for them. Blocks.
    pub fn finish(&self, piece: &Piece<Work>, is_known: bool) {
        if let Work::Make(making) = &piece.work
            && is_known
        {
            self.put_online(making);
        }
        self.makings().state.lock().pending.finished(piece);
        self.makings().wake.notify_one();
    }

    /// The node stops: nothing is made any more, the next start does it.
    pub fn make_no_more(&self) {
        let mut state = self.makings().state.lock();
        state.stage = Stage::Removing;
        state.pending.make_no_more();
    }

    /// Whether there is nothing left to remove; from then on whoever wants it does it at once.
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
    /// From now on the directories of a topic are neither made nor removed.
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
