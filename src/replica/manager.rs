//! All partitions of this node: applies metadata images to them, and opens, makes and deletes their logs. Kafka's
//! `ReplicaManager`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fetcher::Fetchers;
use super::isr_changes::IsrChanges;
use super::leader::{Alive, Assignment as Replicas, Rules};
use super::making::{AT_ONCE, Making, Makings};
use super::partition::{News, Partition};
use super::purgatory::Waiters;
use super::throttle::{Throttle, is_named};
use crate::base::ids::{BrokerEpoch, BrokerId, PartitionIndex, TopicPartition, Uuid};
use crate::base::time::Timestamp;
use crate::config::broker::BrokerSettings;
use crate::host::clock::Clock;
use crate::log::manager::crew::in_parallel;
use crate::log::manager::{LogDir, LogManager, Place};
use crate::log::partition_log::PartitionLog;
use crate::log::settings::LogSettings;
use crate::metadata::image::{
    BROKER_RESOURCE, Delta, Image, Partition as ImagePartition, TOPIC_RESOURCE, Topic,
};
use crate::metadata::loader::Publisher;
use crate::metadata::placement::{Assignment, Standing};
use crate::telemetry::meters::Meters;
use crate::wire::error_code::ErrorCode;

/// Setting: bytes per second for all lagging followers that are throttled on this broker.
const RATE: &str = "leader.replication.throttled.rate";

/// Partitions that one thread opens or makes one after the other at a start.
const FEW: usize = 16;

/// State of a partition on this node.
#[derive(Clone, Debug)]
pub(super) enum Hosting {
    /// This node has no replica.
    Nothing,
    /// The directory of the replica is not made yet.
    Coming,
    Online(Arc<Partition>),
    /// The log directory of the replica has failed, or could not be reached at the start.
    Offline,
}

impl Hosting {
    fn online(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Online(partition) => Some(partition),
            Self::Nothing | Self::Coming | Self::Offline => None,
        }
    }
}

/// Result of opening or making the log of a replica.
#[derive(Debug)]
pub(super) struct Opened {
    /// `None` if the replica is offline.
    log: Option<Arc<PartitionLog>>,
    /// Directory of the replica, if the metadata does not have it.
    pub(super) assignment: Option<Assignment>,
}

/// Partitions of one topic on this node, by index.
#[derive(Clone, Debug)]
struct Hosted {
    id: Uuid,
    partitions: Vec<Hosting>,
}

impl Hosted {
    fn online(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.partitions.iter().filter_map(Hosting::online)
    }

    fn is_coming(&self) -> bool {
        let mut partitions = self.partitions.iter();
        partitions.any(|hosting| matches!(hosting, Hosting::Coming))
    }
}

/// Partitions of this node (see the module). Cheap to clone.
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
    makings: Makings,
    /// Locked while an image is applied or partitions go online.
    newest: Mutex<Newest>,
    /// Locked during each step of moving a replica between log directories.
    moving: Mutex<()>,
    /// Notifies the task that copies replicas between log directories.
    mover: Notify,
    waiters: Waiters,
    isr_changes: IsrChanges,
    fetchers: Fetchers,
    /// Throttle of lagging followers.
    throttle: Mutex<Throttle>,
    meters: Meters,
    /// Number of partitions that fetches have looked at.
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Arc<Hosted>>,
    by_id: HashMap<Uuid, Arc<Hosted>>,
}

impl Topics {
    fn put(&mut self, name: &Arc<str>, hosted: Hosted) {
        let hosted = Arc::new(hosted);
        self.by_id.insert(hosted.id, Arc::clone(&hosted));
        self.by_name.insert(Arc::clone(name), hosted);
    }
}

#[derive(Debug)]
struct Newest {
    image: Arc<Image>,
    /// Coordinators, which are told of each image after the partitions. Weak, because a coordinator holds the ReplicaManager
    /// and a strong reference would be a cycle.
    followers: Vec<Weak<dyn Publisher>>,
}

impl ReplicaManager {
    pub fn new(node_id: BrokerId, logs: Arc<LogManager>, settings: BrokerSettings) -> Self {
        let topics = RwLock::default();
        let fetchers = Fetchers::new(node_id, Arc::clone(&logs), &settings);
        let throttle = new_throttle(&settings, RATE);
        Self {
            inner: Arc::new(Inner {
                node_id,
                logs,
                settings,
                topics,
                makings: Makings::default(),
                newest: Mutex::new(Newest {
                    image: Arc::new(Image::empty()),
                    followers: Vec::new(),
                }),
                moving: Mutex::default(),
                mover: Notify::new(),
                waiters: Waiters::default(),
                isr_changes: IsrChanges::default(),
                fetchers,
                throttle: Mutex::new(throttle),
                meters: Meters::new(Instant::now().into_std()),
                #[cfg(test)]
                looks: Default::default(),
            }),
        }
    }

    pub fn logs(&self) -> &Arc<LogManager> {
        &self.inner.logs
    }

    /// Meters of the node.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    /// Waiting fetches and appends.
    pub fn waiters(&self) -> &Waiters {
        &self.inner.waiters
    }

    /// Pending changes of the ISRs of partitions that this node leads.
    pub fn isr_changes(&self) -> &IsrChanges {
        &self.inner.isr_changes
    }

    /// Fetchers of the partitions that this node follows.
    pub fn fetchers(&self) -> &Fetchers {
        &self.inner.fetchers
    }

    pub(super) fn node_id(&self) -> BrokerId {
        self.inner.node_id
    }

    /// Broker epoch of this process's newest registration; -1 if there is none.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.inner.fetchers.broker_epoch()
    }

    /// Sets the broker epoch that controllers gave to this process. It is not taken from an image: that may have the
    /// registration of another process that has replaced this one (KIP-903).
    pub fn set_broker_epoch(&self, epoch: BrokerEpoch) {
        self.inner.fetchers.set_broker_epoch(epoch);
    }

    /// Whether other brokers are registered: only those are in ISRs.
    pub(super) fn has_other_brokers(&self) -> bool {
        let newest = self.inner.newest.lock();
        let mut brokers = newest.image.brokers.keys();
        brokers.any(|id| *id != self.inner.node_id)
    }

    /// Whether the throttle forbids sending records of a partition to a lagging follower now.
    pub(super) fn holds_back(&self, partition: &Partition, follower: BrokerId) -> bool {
        partition.is_served_slowly()
            && !partition.has_in_sync(follower)
            && (self.inner.throttle.lock())
                .closed_until(self.clock().now())
                .is_some()
    }

    /// Counts bytes of throttled partitions that were sent to followers.
    pub fn note_throttled(&self, bytes: usize) {
        if bytes > 0 {
            self.inner.throttle.lock().note(bytes, self.clock().now());
        }
    }

    /// The current settings of this node.
    pub(super) fn settings(&self) -> BrokerSettings {
        let image = Arc::clone(&self.inner.newest.lock().image);
        self.inner.effective(&image)
    }

    pub fn clock(&self) -> &Clock {
        &self.inner.logs.host().clock
    }

    pub(super) fn makings(&self) -> &Makings {
        &self.inner.makings
    }

    /// Adds a publisher that is told of images after the partitions, and of a new topic once all its partitions are online: a
    /// coordinator, which reads them.
    pub fn followed_by(&self, follower: &Arc<dyn Publisher>) {
        let follower = Arc::downgrade(follower);
        self.inner.newest.lock().followers.push(follower);
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

    /// Waits until there may be replicas to move between log directories.
    pub async fn moves(&self) {
        self.inner.mover.notified().await;
    }

    /// Returns a partition that this node leads. Errors: `UnknownTopicOrPartition`; `NotLeaderOrFollower` if other nodes have
    /// the partition, or its directory is not made yet; `KafkaStorageError` if its log directory is offline.
    pub fn partition(
        &self,
        topic: &str,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        pick(topics.by_name.get(topic), index)
    }

    /// Like [`Self::partition`], by topic id. Errors: `UnknownTopicId` for the topic, `UnknownTopicOrPartition` for the index.
    pub fn partition_by_id(
        &self,
        id: Uuid,
        index: PartitionIndex,
    ) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.inner.topics.read();
        let hosted = topics.by_id.get(&id).ok_or(ErrorCode::UnknownTopicId)?;
        pick(Some(hosted), index)
    }

    /// Number of threads that open and close the logs of each directory; may change while the broker runs.
    pub fn recovery_threads(&self, image: &Image) -> usize {
        let threads = self
            .inner
            .effective(image)
            .int("num.recovery.threads.per.data.dir");
        threads.max(1) as usize
    }

    /// Log settings of a topic in an image.
    pub fn log_settings(&self, image: &Image, topic: &str) -> LogSettings {
        log_settings(&self.inner.effective(image), image, topic)
    }

    /// State of this node's replica of a partition, before the image is applied.
    pub fn standing(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        partition: &ImagePartition,
    ) -> Standing {
        self.inner.standing(topic, index, partition, false)
    }

    /// Assigns topic ids at a start to logs with a damaged `partition.metadata`, by the name of their topic, if they [can
    /// be](PartitionLog::can_be_of_its_name) of that topic. A log with records of a leader epoch that the topic never had
    /// belongs to an earlier topic of the same name, and is put aside.
    pub fn identify(&self, image: &Image) {
        let logs = &self.inner.logs;
        let known = |log: &PartitionLog| {
            let name = log.partition();
            let topic = image.topics.by_name(&name.topic)?;
            Some((topic.id, topic.partition(name.partition)?.leader_epoch))
        };
        let identify = |log: &PartitionLog, is_copy: bool| {
            let Some((id, epoch)) = known(log).filter(|_| log.topic_id().is_zero()) else {
                return Ok(());
            };
            let written_by_its_leaders = log
                .reader()
                .latest_epoch()
                .is_none_or(|latest| latest <= epoch);
            if written_by_its_leaders && log.can_be_of_its_name()? {
                log.identify(id)
            } else if is_copy {
                // The copy is removed by the next step.
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

    /// Applies the first image at a start. Returns the directories of replicas that the metadata does not have. Logs of topics
    /// that the image does not have are put aside, as in Kafka.
    pub fn install(&self, image: &Arc<Image>) -> Vec<Assignment> {
        self.inner.newest.lock().image = Arc::clone(image);
        let broker = self.inner.effective(image);
        let mut placed = Vec::new();
        for topic in image.topics.iter() {
            let settings = log_settings(&broker, image, &topic.name);
            let (mut hosted, new) = self.inner.host(topic, None);
            let told = Told::new(&self.inner, image, &broker, topic);
            for (index, opened) in self.inner.open_all(topic, &new, &settings) {
                hosted.partitions[index as usize] = told.hosting(index, opened.log);
                placed.extend(opened.assignment);
            }
            self.inner.fetchers.assign(hosted.online());
            self.inner.topics.write().put(&topic.name, hosted);
        }
        self.inner.take_settings(&broker);
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
        placed
    }

    /// Takes the partitions in a failed log directory offline. Returns topic ids and partition indexes.
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
            topics.put(&name.topic, hosted);
        }
        drop(topics);
        // Partitions are retired only now: a woken task that looks again must find them offline.
        for partition in &retired {
            partition.retire();
        }
        self.inner.fetchers.assign(&retired);
        lost
    }

    /// Applies a new or changed topic. Returns the partitions whose roles were updated.
    fn changed(
        &self,
        topic: &Arc<Topic>,
        image: &Image,
        broker: &BrokerSettings,
    ) -> Vec<Arc<Partition>> {
        let inner = &self.inner;
        let (before, new) = {
            let mut topics = inner.topics.write();
            let known = topics.by_id.get(&topic.id).cloned();
            let (hosted, new) = inner.host(topic, known.as_deref());
            topics.put(&topic.name, hosted);
            (known, new)
        };
        // Roles are updated without the lock of the topics: an update may wait for an append, and lookups of other partitions
        // must not wait for that.
        let told = Told::new(inner, image, broker, topic);
        let before = before.iter().flat_map(|hosted| &hosted.partitions);
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (index, hosting) in (0..).zip(before) {
            let partition = topic.partition(index);
            let is_ours = partition.is_some_and(|one| one.replicas.contains(&inner.node_id));
            if !is_ours && matches!(hosting, Hosting::Online(_) | Hosting::Coming) {
                gone.push(index);
            }
            if let Some(partition) = hosting.online() {
                told.tell(index, partition);
                changed.push(Arc::clone(partition));
            }
        }
        if !gone.is_empty() {
            // The other replicas have what was committed.
            inner.makings.remove_some(topic, gone);
        }
        if !new.is_empty() {
            let making = Making::new(topic, log_settings(broker, image, &topic.name));
            inner.makings.make(making, new);
        }
        changed
    }

    /// Chooses the log directory of a new replica.
    pub(super) fn place_for(&self, topic: &Topic, index: PartitionIndex) -> Option<Place> {
        let partition = topic.partition(index)?;
        let directory = partition.directory_of(self.inner.node_id);
        let name = TopicPartition::new(Arc::clone(&topic.name), index);
        self.inner.logs.place_for(&name, directory)
    }

    /// Makes the log of a new replica. `None` if its topic was deleted meanwhile.
    pub(super) fn open(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        settings: &LogSettings,
        place: Option<Place>,
    ) -> Option<Opened> {
        let is_known = self.inner.topics.read().by_id.contains_key(&topic.id);
        let partition = topic.partition(index)?;
        is_known.then(|| {
            let replica = (topic, index, partition);
            self.inner.open(replica, settings, true, place)
        })
    }

    /// Serves the partitions of a topic that were made, and tells the publishers if the topic is complete.
    pub(super) fn put_online(&self, making: &Making) {
        let newest = self.inner.newest.lock();
        // The current topic is used: it may have changed since its directories were requested.
        let Some(topic) = newest.image.topics.by_id(making.topic.id) else {
            return;
        };
        let broker = self.inner.effective(&newest.image);
        let settings = log_settings(&broker, &newest.image, &topic.name);
        let settings = self.inner.logs.share(settings);
        let told = Told::new(&self.inner, &newest.image, &broker, topic);
        let made = making.take_made().into_iter().map(|(index, opened)| {
            if let Some(log) = &opened.log {
                log.update_settings(Arc::clone(&settings));
            }
            (index, told.hosting(index, opened.log))
        });
        let made: Vec<_> = made.collect();
        let mut online = Vec::new();
        {
            let mut topics = self.inner.topics.write();
            let Some(hosted) = topics.by_id.get(&topic.id) else {
                return;
            };
            let mut hosted = (**hosted).clone();
            for (index, hosting) in made {
                let Some(slot) = hosted.partitions.get_mut(index as usize) else {
                    continue;
                };
                // The slot may be offline by now because its log directory has failed, or empty because the replica went to
                // other nodes. Then nobody would ever take the partition away from the fetchers.
                if matches!(slot, Hosting::Coming) {
                    online.extend(hosting.online().cloned());
                    *slot = hosting;
                }
            }
            topics.put(&topic.name, hosted);
        }
        self.inner.fetchers.assign(&online);
        let delta = Delta {
            topics: [topic.id].into(),
            ..Delta::default()
        };
        self.tell_followers(&newest, &delta);
    }

    /// Tells the publishers of an image. Topics with partitions that are not made yet are left out until they are complete.
    fn tell_followers(&self, newest: &Newest, delta: &Delta) {
        let mut delta = delta.clone();
        {
            let topics = self.inner.topics.read();
            let is_coming = |id: &Uuid| topics.by_id.get(id).is_some_and(|topic| topic.is_coming());
            delta.topics.retain(|id| !is_coming(id));
        }
        for follower in newest.followers.iter().filter_map(Weak::upgrade) {
            follower.on_update(&delta, &newest.image);
        }
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
        let Some(removed) = removed else {
            return;
        };
        for partition in removed.online() {
            partition.retire();
        }
        self.inner.fetchers.assign(removed.online());
        let there = (0..).zip(&removed.partitions).filter(|(_, hosting)| {
            // A directory that is still to be made may exist already.
            matches!(hosting, Hosting::Online(_) | Hosting::Coming)
        });
        let there: Vec<_> = there.map(|(index, _)| index).collect();
        if self.inner.makings.remove(topic, &there) {
            return;
        }
        for partition in there {
            let name = TopicPartition::new(Arc::clone(&topic.name), partition);
            self.delete(&name, topic.id);
        }
    }

    /// Deletes the log of a partition, if there is one and it belongs to this topic.
    pub(super) fn delete(&self, partition: &TopicPartition, topic_id: Uuid) {
        let logs = &self.inner.logs;
        let log = logs.get(partition);
        if log.is_none_or(|log| log.topic_id() != topic_id) {
            return;
        }
        if let Err(error) = logs.delete(partition, self.clock().now()) {
            tracing::error!(%partition, %error, "a log cannot be deleted");
        }
    }

    fn update_settings(
        &self,
        settings: LogSettings,
        rules: Rules,
        throttled: &[String; 2],
        topic: &str,
    ) {
        let settings = self.inner.logs.share(settings);
        let hosted = self.inner.topics.read().by_name.get(topic).cloned();
        for partition in hosted.iter().flat_map(|hosted| hosted.online()) {
            partition.log.update_settings(Arc::clone(&settings));
            partition.set_rules(rules, self.clock().now());
            tell_throttled(throttled, partition, self.inner.node_id);
        }
    }

    /// All online partitions of this node.
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
    /// State of a topic's partitions on this node in an image, based on the `known` state, and the partitions that must be
    /// opened or made.
    fn host(&self, topic: &Topic, known: Option<&Hosted>) -> (Hosted, Vec<PartitionIndex>) {
        let mut new = Vec::new();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, partition) in (0..).zip(&topic.partitions) {
            let existing = known.and_then(|known| known.partitions.get(index as usize));
            partitions.push(match existing {
                _ if !partition.replicas.contains(&self.node_id) => Hosting::Nothing,
                Some(known @ (Hosting::Online(_) | Hosting::Offline | Hosting::Coming)) => {
                    known.clone()
                }
                Some(Hosting::Nothing) | None => {
                    new.push(index);
                    Hosting::Coming
                }
            });
        }
        let id = topic.id;
        (Hosted { id, partitions }, new)
    }

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
            // There is a copy but no log: the log is in a directory that cannot be reached.
            return Standing::Unreachable;
        }
        let directory = partition.directory_of(self.node_id);
        let reachable = if directory.is_zero() || directory == Uuid::UNASSIGNED_DIR {
            // The metadata has no directory: the log may be in a directory that cannot be read, unless the replica is new.
            fresh || self.logs.dirs().iter().all(LogDir::is_online)
        } else {
            // Kafka differs: if the directory does not exist on this node any more, Kafka makes an empty log in another
            // directory, which has no leader, and which is in the way when the directory comes back.
            self.logs.online().any(|dir| dir.id == directory)
        };
        if reachable {
            Standing::Absent
        } else {
            Standing::Unreachable
        }
    }

    /// Opens or makes several partitions of a topic at a start, many of them on several threads.
    fn open_all(
        &self,
        topic: &Topic,
        partitions: &[PartitionIndex],
        settings: &LogSettings,
    ) -> Vec<(PartitionIndex, Opened)> {
        let threads = match partitions.len() {
            0..=FEW => 0,
            _ => self.logs.host().threads.at_once(AT_ONCE),
        };
        let open = |index: &PartitionIndex| {
            let replica = (topic, *index, &topic.partitions[*index as usize]);
            Ok((*index, self.open(replica, settings, false, None)))
        };
        // A failure was logged, and its partition is offline.
        in_parallel(threads, partitions, Duration::MAX, open, |_| {}).unwrap_or_default()
    }

    /// Opens or makes the log of one replica.
    fn open(
        &self,
        (topic, index, partition): (&Topic, PartitionIndex, &ImagePartition),
        settings: &LogSettings,
        fresh: bool,
        place: Option<Place>,
    ) -> Opened {
        let offline = Opened {
            log: None,
            assignment: None,
        };
        let name = TopicPartition {
            topic: Arc::clone(&topic.name),
            partition: index,
        };
        if self.standing(topic, index, partition, fresh) == Standing::Unreachable {
            tracing::error!(partition = %name, "a replica is in a log directory that is offline or not there");
            return offline;
        }
        let directory = partition.directory_of(self.node_id);
        let now = self.logs.host().clock.now();
        let log = match self
            .logs
            .get_or_create_at(place, &name, topic.id, directory, settings, now)
        {
            Ok(log) => log,
            Err(error) => {
                tracing::error!(partition = %name, %error, "a log cannot be opened; its partition is offline");
                return offline;
            }
        };
        let dir = self.logs.dir_of(&log.dir());
        let assignment = dir.filter(|dir| dir.id != directory).map(|dir| Assignment {
            topic_id: topic.id,
            partition: index,
            directory: dir.id,
        });
        Opened {
            log: Some(log),
            assignment,
        }
    }

    fn effective(&self, image: &Image) -> BrokerSettings {
        image.broker_settings(self.node_id, &self.settings)
    }

    /// Applies the settings that may change while the node runs.
    fn take_settings(&self, settings: &BrokerSettings) {
        self.throttle.lock().set_rate(settings.long(RATE));
        self.fetchers.set_settings(settings);
    }
}

fn log_settings(broker: &BrokerSettings, image: &Image, topic: &str) -> LogSettings {
    LogSettings::from(&image.topic_settings(topic, broker))
}

/// Data that the partitions of a topic need from an image.
struct Told<'a> {
    inner: &'a Inner,
    image: &'a Image,
    topic: &'a Topic,
    rules: Rules,
    throttled: [String; 2],
    now: Timestamp,
}

impl<'a> Told<'a> {
    fn new(inner: &'a Inner, image: &'a Image, broker: &BrokerSettings, topic: &'a Topic) -> Self {
        Self {
            inner,
            image,
            topic,
            rules: rules(broker, image, &topic.name),
            throttled: throttled(broker, image, &topic.name),
            now: inner.logs.host().clock.now(),
        }
    }

    fn with_news<T>(&self, partition: &ImagePartition, told: impl FnOnce(&News<'_>) -> T) -> T {
        told(&News {
            assignment: Replicas {
                leader: partition.leader,
                epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                replicas: &partition.replicas,
                isr: &partition.isr,
            },
            rules: self.rules,
            alive: &alive_in(self.image),
            now: self.now,
        })
    }

    /// State of a partition whose log was opened.
    fn hosting(&self, index: PartitionIndex, log: Option<Arc<PartitionLog>>) -> Hosting {
        let Some((log, partition)) = log.zip(self.topic.partition(index)) else {
            return Hosting::Offline;
        };
        let (name, id) = (Arc::clone(&self.topic.name), self.topic.id);
        let me = self.inner.node_id;
        let partition = self.with_news(partition, |news| {
            Partition::new(name, id, index, log, me, news)
        });
        tell_throttled(&self.throttled, &partition, me);
        Hosting::Online(Arc::new(partition))
    }

    /// Updates a partition that existed before.
    fn tell(&self, index: PartitionIndex, existing: &Partition) {
        match self.topic.partition(index) {
            Some(partition) if partition.replicas.contains(&self.inner.node_id) => {
                self.with_news(partition, |news| existing.update(news));
            }
            _ => existing.retire(),
        }
    }
}

fn alive_in(image: &Image) -> impl Fn(BrokerId) -> Option<Alive> {
    |id| {
        let broker = image.brokers.get(&id).filter(|broker| !broker.fenced)?;
        Some(Alive {
            epoch: broker.epoch,
            shuts_down: broker.in_controlled_shutdown,
        })
    }
}

/// A throttle with the windows of the settings, and the rate of the setting that is named.
pub(super) fn new_throttle(settings: &BrokerSettings, rate: &str) -> Throttle {
    let seconds = settings.long("replication.quota.window.size.seconds");
    let windows = settings.int("replication.quota.window.num").max(1);
    let mut throttle = Throttle::new(seconds.saturating_mul(1_000), windows as usize);
    throttle.set_rate(settings.long(rate));
    throttle
}

/// Values of the two topic settings that name throttled replicas: those of leaders, and those of followers.
fn throttled(broker: &BrokerSettings, image: &Image, topic: &str) -> [String; 2] {
    let settings = image.topic_settings(topic, broker);
    let list = |name| settings.get(name).unwrap_or_default();
    [
        "leader.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
    ]
    .map(list)
}

fn tell_throttled(lists: &[String; 2], partition: &Partition, me: BrokerId) {
    let [as_leader, as_follower] = lists;
    let named = |list: &String| !list.is_empty() && is_named(list, partition.index, me);
    partition.set_throttled(named(as_leader), named(as_follower));
}

fn rules(broker: &BrokerSettings, image: &Image, topic: &str) -> Rules {
    let topic = image.topic_settings(topic, broker);
    Rules {
        min_isr: usize::try_from(topic.long("min.insync.replicas")).unwrap_or(1),
        lag_max_ms: broker.long("replica.lag.time.max.ms"),
    }
}

fn pick(hosted: Option<&Arc<Hosted>>, index: PartitionIndex) -> Result<Arc<Partition>, ErrorCode> {
    let found = hosted.zip(usize::try_from(index).ok());
    match found.and_then(|(hosted, index)| hosted.partitions.get(index)) {
        Some(Hosting::Online(partition)) => Ok(Arc::clone(partition)),
        // A partition on other nodes is not reported as unknown: the writer of transaction markers, for example, would not look
        // for its leader.
        Some(Hosting::Coming | Hosting::Nothing) => Err(ErrorCode::NotLeaderOrFollower),
        Some(Hosting::Offline) => Err(ErrorCode::KafkaStorageError),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

impl Publisher for ReplicaManager {
    /// Applies an image without waiting for a disk: directories are made and removed by the task that takes [pieces of
    /// work](Self::next_piece).
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        let mut newest = self.inner.newest.lock();
        newest.image = Arc::clone(image);
        let broker = self.inner.effective(image);
        for topic in &delta.removed_topics {
            self.remove(topic);
            self.inner.meters.topic_gone(&topic.name);
        }
        let mut changed = Vec::new();
        for topic in delta.topics.iter().filter_map(|id| image.topics.by_id(*id)) {
            changed.extend(self.changed(topic, image, &broker));
        }
        let update = |topic: &str| {
            let rules = rules(&broker, image, topic);
            let throttled = throttled(&broker, image, topic);
            let settings = log_settings(&broker, image, topic);
            self.update_settings(settings, rules, &throttled, topic);
        };
        for (kind, name) in &delta.configs {
            if *kind == TOPIC_RESOURCE {
                update(name);
            } else if *kind == BROKER_RESOURCE {
                self.inner.take_settings(&broker);
                image.topics.iter().for_each(|topic| update(&topic.name));
            }
        }
        self.inner.fetchers.assign(&changed);
        if !delta.brokers.is_empty() {
            let (alive, now) = (alive_in(image), self.clock().now());
            for partition in self.all() {
                partition.set_alive(&alive, now);
            }
        }
        self.tell_followers(&newest, delta);
    }
}
