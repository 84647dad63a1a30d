//! Topic-partition -> [`Partition`]: follows the image, makes logs appear and disappear. Kafka's `ReplicaManager`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;

use super::partition::Partition;
use super::purgatory::Waiters;
use crate::base::ids::{BrokerId, PartitionIndex, TopicPartition, Uuid};
use crate::config::broker::BrokerSettings;
use crate::config::topic::TopicSettings;
use crate::host::clock::Clock;
use crate::log::manager::crew::in_parallel;
use crate::log::manager::{LogDir, LogManager};
use crate::log::partition_log::PartitionLog;
use crate::log::settings::LogSettings;
use crate::metadata::image::{
    BROKER_RESOURCE, Delta, Image, Partition as ImagePartition, TOPIC_RESOURCE, Topic,
};
use crate::metadata::loader::Publisher;
use crate::metadata::placement::{Assignment, Standing};
use crate::wire::error_code::ErrorCode;

/// Partitions that one thread opens, or makes, one after the other.
const FEW: usize = 16;
/// Threads that do so with more. A disk syncs a file for each new partition, and several files at once in about the time of
/// one; meanwhile the controller decides about nothing else.
const OPENERS: usize = 8;

/// What this node has of a partition.
#[derive(Clone, Debug)]
enum Hosting {
    /// No replica.
    Nothing,
    Online(Arc<Partition>),
    /// Its log directory has failed, or cannot be reached since the start.
    Offline,
}

impl Hosting {
    fn online(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Online(partition) => Some(partition),
            Self::Nothing | Self::Offline => None,
        }
    }
}

/// All partitions of one topic that this node has.
#[derive(Clone, Debug)]
struct Hosted {
    id: Uuid,
    partitions: Vec<Hosting>,
}

impl Hosted {
    fn online(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.iter().filter_map(Hosting::online)
    }
}

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReplicaManager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node_id: BrokerId,
    logs: Arc<LogManager>,
    settings: BrokerSettings,
    topics: RwLock<Topics>,
    assignments: Mutex<Vec<Assignment>>,
    /// Held while something happens to a replica that moves.
    moving: Mutex<()>,
    /// Wakes whoever copies replicas that move.
    mover: Notify,
    waiters: Waiters,
    /// How many partitions fetches have looked at.
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Arc<Hosted>>,
    by_id: HashMap<Uuid, Arc<Hosted>>,
}

impl ReplicaManager {
    pub fn new(node_id: BrokerId, logs: Arc<LogManager>, settings: BrokerSettings) -> Self {
        let topics = RwLock::default();
        Self {
            inner: Arc::new(Inner {
                node_id,
                logs,
                settings,
                topics,
                assignments: Mutex::default(),
                moving: Mutex::default(),
                mover: Notify::new(),
                waiters: Waiters::default(),
                #[cfg(test)]
                looks: Default::default(),
            }),
        }
    }

    pub fn logs(&self) -> &Arc<LogManager> {
        &self.inner.logs
    }

    /// Those who wait for records.
    pub fn waiters(&self) -> &Waiters {
        &self.inner.waiters
    }

    pub(super) fn node_id(&self) -> BrokerId {
        self.inner.node_id
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.logs.host().clock
    }

    pub(super) fn moving(&self) -> MutexGuard<'_, ()> {
        self.inner.moving.lock()
    }

    #[cfg(test)]
    pub(crate) fn looks(&self) -> &std::sync::atomic::AtomicUsize {
        &self.inner.looks
    }

    pub(super) fn wake_mover(&self) {
        self.inner.mover.notify_one();
    }

    /// Waits until there may be replicas to move.
    pub async fn moves(&self) {
        self.inner.mover.notified().await;
    }

    /// The partition that this node leads. Errors: `UnknownTopicOrPartition`; `KafkaStorageError` where its log directory
    /// is offline.
    pub fn partition(
        &self,
        topic: &str,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        pick(topics.by_name.get(topic), index)
    }

    /// As [`Self::partition`]. Errors: `UnknownTopicId` for the topic, `UnknownTopicOrPartition` for the index.
    pub fn partition_by_id(
        &self,
        id: Uuid,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        let hosted = topics.by_id.get(&id).ok_or(ErrorCode::UnknownTopicId)?;
        pick(Some(hosted), index)
    }

    /// How many threads open and close the logs of each directory; may be set while the broker runs.
    pub fn recovery_threads(&self, image: &Image) -> usize {
        let threads = self
            .inner
            .effective(image)
            .int("num.recovery.threads.per.data.dir");
        threads.max(1) as usize
    }

    /// The settings of a topic's logs under an image.
    pub fn log_settings(&self, image: &Image, topic: &str) -> LogSettings {
        let broker = self.inner.effective(image);
        let own = image.topic_overrides(topic).map(|own| &**own);
        LogSettings::from(&TopicSettings {
            own,
            broker: &broker,
        })
    }

    /// Where this node's replica of a partition stands before the node has taken in an image.
    pub fn standing(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        partition: &ImagePartition,
    ) -> Standing {
        self.inner.standing(topic, index, partition, false)
    }

    /// At a start: logs whose `partition.metadata` is damaged are of the topic of their name, if they
    /// [can be](PartitionLog::can_be_of_its_name). But not if a leader wrote there that the topic never had: then it was
    /// another topic's of that name, and is put aside.
    pub fn identify(&self, image: &Image) {
        let logs = &self.inner.logs;
        let known = |log: &PartitionLog| {
            let name = log.partition();
            let topic = image.topics.by_name(&name.topic)?;
            let index = usize::try_from(name.partition).ok()?;
            Some((topic.id, topic.partitions.get(index)?.leader_epoch))
        };
        let identify = |log: &PartitionLog, is_copy: bool| {
            let Some((id, epoch)) = known(log).filter(|_| log.topic_id().is_zero()) else {
                return Ok(());
            };
            let written_by_its_leaders = log.latest_epoch().is_none_or(|latest| latest <= epoch);
            if written_by_its_leaders && log.can_be_of_its_name()? {
                log.identify(id)
            } else if is_copy {
                // It goes with the next step.
                Ok(())
            } else {
                logs.put_aside(log.partition())
            }
        };
        let all = logs.all().into_iter().map(|log| (log, false));
        let copies = logs.futures().into_iter().map(|copy| (copy, true));
        for (log, is_copy) in all.chain(copies) {
            if let Err(error) = identify(&log, is_copy) {
                tracing::error!(partition = %log.partition(), %error, "a log cannot be told from others of its name");
            }
        }
    }

    /// Takes in a whole image, at start. Logs of topics that it does not know are put aside, as Kafka does.
    pub fn install(&self, image: &Arc<Image>) {
        for topic in image.topics.iter() {
            self.host(topic, image, false);
        }
        for copy in self.inner.logs.futures() {
            if image.topics.by_id(copy.topic_id()).is_none() {
                let partition = copy.partition();
                if let Err(error) = self.inner.logs.cancel_move(partition, self.clock().now()) {
                    tracing::error!(%partition, %error, "the copy of a replica that is gone stays");
                }
            }
        }
        for log in self.inner.logs.all() {
            let (partition, id) = (log.partition(), log.topic_id());
            if id.is_zero() {
                if image.topics.by_name(&partition.topic).is_none() {
                    tracing::warn!(%partition, "a log on disk belongs to no topic of the metadata; it is left alone");
                }
            } else if image.topics.by_id(id).is_none()
                && let Err(error) = self.inner.logs.put_aside(partition)
            {
                tracing::error!(%partition, %error, "a log that belongs to no topic cannot be put aside");
            }
        }
    }

    /// Stops serving what lies in a failed log directory; gives the topics' ids and the numbers of the partitions.
    pub fn directory_failed(&self, path: &Path) -> Vec<(Uuid, PartitionIndex)> {
        let mut lost = Vec::new();
        let mut retired = Vec::new();
        let partitions = self.inner.logs.drop_dir(path);
        let mut topics = self.inner.topics.write();
        for name in partitions {
            let Some(hosted) = topics.by_name.get(&name.topic) else {
                continue;
            };
            let mut hosted = (**hosted).clone();
            let index = usize::try_from(name.partition).unwrap_or(usize::MAX);
            let Some(slot) = hosted.partitions.get_mut(index) else {
                continue;
            };
            if let Hosting::Online(partition) = std::mem::replace(slot, Hosting::Offline) {
                retired.push(partition);
            }
            lost.push((hosted.id, name.partition));
            let hosted = Arc::new(hosted);
            topics.by_id.insert(hosted.id, Arc::clone(&hosted));
            topics.by_name.insert(name.topic, hosted);
        }
        drop(topics);
        // Only now: whoever wakes and looks again must find it offline.
        for partition in retired {
            partition.retire();
        }
        lost
    }

    fn host(&self, topic: &Topic, image: &Image, fresh: bool) {
        let inner = &self.inner;
        let known = inner.topics.read().by_id.get(&topic.id).cloned();
        let settings = self.log_settings(image, &topic.name);
        let existing = |index: PartitionIndex| {
            let known = known.as_ref();
            known.and_then(|known| known.partitions.get(index as usize))
        };
        let is_new = |index: PartitionIndex, partition: &ImagePartition| {
            partition.replicas.contains(&inner.node_id)
                && matches!(existing(index), Some(Hosting::Nothing) | None)
        };
        let new: Vec<_> = (0..)
            .zip(&topic.partitions)
            .filter(|(index, partition)| is_new(*index, partition))
            .collect();
        let mut opened = inner.open_all(topic, &new, &settings, fresh);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, partition) in (0..).zip(&topic.partitions) {
            let existing = existing(index);
            let leads = partition.leader == inner.node_id;
            partitions.push(match existing {
                _ if !partition.replicas.contains(&inner.node_id) => Hosting::Nothing,
                Some(Hosting::Online(existing)) => {
                    existing.enter(partition.leader_epoch, leads);
                    Hosting::Online(Arc::clone(existing))
                }
                Some(Hosting::Offline) => Hosting::Offline,
                Some(Hosting::Nothing) | None => opened.remove(&index).unwrap_or(Hosting::Offline),
            });
        }
        let hosted = Arc::new(Hosted {
            id: topic.id,
            partitions,
        });
        let mut topics = inner.topics.write();
        topics
            .by_name
            .insert(Arc::clone(&topic.name), Arc::clone(&hosted));
        topics.by_id.insert(topic.id, hosted);
    }

    fn remove(&self, topic: &Topic) {
        let removed = {
            let mut topics = self.inner.topics.write();
            if topics
                .by_name
                .get(&topic.name)
                .is_some_and(|hosted| hosted.id == topic.id)
            {
                topics.by_name.remove(&topic.name);
            }
            topics.by_id.remove(&topic.id)
        };
        for partition in removed.iter().flat_map(|hosted| hosted.online()) {
            partition.retire();
            if let Err(error) = self
                .inner
                .logs
                .delete(partition.log.partition(), self.clock().now())
            {
                tracing::error!(partition = %partition.log.partition(), %error, "a log cannot be deleted");
            }
        }
    }

    fn update_settings(&self, image: &Image, topic: &str) {
        let hosted = self.inner.topics.read().by_name.get(topic).cloned();
        let settings = self.log_settings(image, topic);
        for partition in hosted.iter().flat_map(|hosted| hosted.online()) {
            partition.log.update_settings(settings.clone());
        }
    }

    /// Every partition of this node.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let topics = self.inner.topics.read();
        topics
            .by_id
            .values()
            .flat_map(|hosted| hosted.online().cloned())
            .collect()
    }
}

impl Inner {
    fn standing(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        partition: &ImagePartition,
        fresh: bool,
    ) -> Standing {
        let name = TopicPartition {
            topic: Arc::clone(&topic.name),
            partition: index,
        };
        let log = self.logs.get(&name);
        let its_own =
            |log: &Arc<PartitionLog>| log.topic_id() == topic.id || log.topic_id().is_zero();
        if let Some(log) = log.filter(its_own)
            && let Some(dir) = self.logs.dir_of(&log.dir())
        {
            return match log.was_recovered() {
                true => Standing::Recovered(dir.id),
                false => Standing::In(dir.id),
            };
        }
        if self.logs.future(&name).is_some() {
            // A copy without its log, which is in a directory that cannot be reached.
            return Standing::Unreachable;
        }
        let directory = partition.directory_of(self.node_id);
        let reachable = if directory.is_zero() || directory == Uuid::UNASSIGNED_DIR {
            // Nobody has said where it is: it may be in a directory that cannot be read, unless it is new.
            fresh || self.logs.dirs().iter().all(LogDir::is_online)
        } else {
            // Kafka differs: where the directory is none of ours any more it makes an empty log in another one, which
            // nobody leads, and which is in the way when the directory comes back.
            self.logs.online().any(|dir| dir.id == directory)
        };
        if reachable {
            Standing::Absent
        } else {
            Standing::Unreachable
        }
    }

    /// Opens, or makes, several partitions of a topic, many of them by several threads.
    fn open_all(
        &self,
        topic: &Topic,
        partitions: &[(PartitionIndex, &ImagePartition)],
        settings: &LogSettings,
        fresh: bool,
    ) -> HashMap<PartitionIndex, Hosting> {
        let threads = match partitions.len() {
            0..=FEW => 0,
            _ => self.logs.host().threads.at_once(OPENERS),
        };
        let open = |(index, partition): &(PartitionIndex, &ImagePartition)| {
            let hosting = self.open(topic, *index, partition, settings, fresh);
            Ok((*index, hosting))
        };
        // What fails is told, and is a partition that is offline.
        let opened = in_parallel(threads, partitions, Duration::MAX, open, |_| {});
        opened.into_iter().flatten().collect()
    }

    /// Opens or makes the log of a replica that this node should have.
    fn open(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        partition: &ImagePartition,
        settings: &LogSettings,
        fresh: bool,
    ) -> Hosting {
        let name = TopicPartition {
            topic: Arc::clone(&topic.name),
            partition: index,
        };
        if self.standing(topic, index, partition, fresh) == Standing::Unreachable {
            tracing::error!(partition = %name, "a replica is in a log directory that is offline or not there");
            return Hosting::Offline;
        }
        let directory = partition.directory_of(self.node_id);
        let now = self.logs.host().clock.now();
        let log = match self
            .logs
            .get_or_create(&name, topic.id, directory, settings, now)
        {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(partition = %name, %error, "a log cannot be opened; its partition is offline");
                return Hosting::Offline;
            }
        };
        if let Some(dir) = self.logs.dir_of(&log.dir())
            && dir.id != directory
        {
            self.assignments.lock().push(Assignment {
                topic_id: topic.id,
                partition: index,
                directory: dir.id,
            });
        }
        // The only replica has all that was ever committed, whatever a checkpoint remembers: after a crash the newest
        // records were acknowledged but are above it.
        log.set_high_watermark(log.log_end());
        Hosting::Online(Arc::new(Partition::new(
            Arc::clone(&topic.name),
            topic.id,
            index,
            log,
            partition.leader_epoch,
            partition.leader == self.node_id,
        )))
    }

    fn effective(&self, image: &Image) -> BrokerSettings {
        let mut settings = self.settings.clone();
        for name in ["", &self.node_id.to_string()] {
            if let Some(own) = image.overrides(BROKER_RESOURCE, name) {
                settings = settings.with(own);
            }
        }
        settings
    }
}

fn pick(hosted: Option<&Arc<Hosted>>, index: PartitionIndex) -> Result<Arc<Partition>, ErrorCode> {
    let found = hosted.zip(usize::try_from(index).ok());
    match found.and_then(|(hosted, index)| hosted.partitions.get(index)) {
        Some(Hosting::Online(partition)) => Ok(Arc::clone(partition)),
        Some(Hosting::Offline) => Err(ErrorCode::KafkaStorageError),
        Some(Hosting::Nothing) | None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

impl Publisher for ReplicaManager {
    /// Kafka reports the directories of new replicas later (`AssignmentsManager`). Here the metadata name the directory before
    /// clients can write to the replica, so a replica without a known directory never has records.
    fn take_assignments(&self) -> Vec<Assignment> {
        std::mem::take(&mut *self.inner.assignments.lock())
    }

    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        for topic in &delta.removed_topics {
            self.remove(topic);
        }
        for id in &delta.topics {
            if let Some(topic) = image.topics.by_id(*id) {
                self.host(topic, image, true);
            }
        }
        for (kind, name) in &delta.configs {
            if *kind == TOPIC_RESOURCE {
                self.update_settings(image, name);
            } else if *kind == BROKER_RESOURCE {
                for topic in image.topics.iter() {
                    self.update_settings(image, &topic.name);
                }
            }
        }
    }
}
