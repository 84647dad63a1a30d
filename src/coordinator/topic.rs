//! The internal topic of a coordinator: a [`RecordLog`] on its partitions, and publishers that tell the coordinator about
//! metadata.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::group::handle::GroupHandle;
use super::runtime::handle::Coordinator;
use super::runtime::log::{Append, RecordLog, Wake};
use super::runtime::shard::{Condition, Shard};
use super::share_state::handle::ShareStateHandle;
use super::txn::handle::TxnHandle;
use crate::base::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use crate::base::time::Timestamp;
use crate::host::task::Halt;
use crate::log::append::Origin;
use crate::log::partition_log::ReadEnd;
use crate::log::producer_state;
use crate::metadata::image::{Delta, Image, Topic};
use crate::metadata::loader::Publisher;
use crate::replica::manager::ReplicaManager;
use crate::replica::partition::{Acks, Partition, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::wire::error_code::ErrorCode;

/// Topic with the groups and their offsets.
pub const GROUP_TOPIC: &str = "__consumer_offsets";
/// Topic with the states of transactional ids.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";
/// Where share groups keep what became of records.
pub const SHARE_STATE_TOPIC: &str = "__share_group_state";
/// All of them: clients do not write there.
pub const INTERNAL_TOPICS: [&str; 3] = [GROUP_TOPIC, TRANSACTION_TOPIC, SHARE_STATE_TOPIC];

/// The partitions of an internal topic that this node leads.
#[derive(Clone, Debug)]
pub struct InternalTopic {
    replicas: ReplicaManager,
    name: &'static str,
    batch_bytes_max: usize,
}

impl InternalTopic {
    /// `batch_bytes_max` is the broker's `message.max.bytes`.
    pub fn new(replicas: ReplicaManager, name: &'static str, batch_bytes_max: usize) -> Self {
        Self {
            replicas,
            name,
            batch_bytes_max: batch_bytes_max.max(BATCH_BYTES_MIN),
        }
    }

    fn partition(&self, index: PartitionIndex) -> Result<Arc<Partition>, ErrorCode> {
        self.replicas.partition(self.name, index)
    }

    /// The partition, if this node leads it in this epoch.
    fn led(&self, index: PartitionIndex, epoch: LeaderEpoch) -> Result<Arc<Partition>, ErrorCode> {
        let partition = self.partition(index)?;
        partition.leads_in_epoch(epoch)?;
        Ok(partition)
    }
}

/// Minimum for the limit of a batch. Smaller values of `message.max.bytes` are meant for producers; a group with one member
/// must fit.
const BATCH_BYTES_MIN: usize = 4096;

impl RecordLog for InternalTopic {
    fn append(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        batch: &Bytes,
        now: Timestamp,
    ) -> Result<Offset, ErrorCode> {
        let partition = self.partition(partition)?;
        let terms = Terms {
            epoch: leader_epoch,
            acks: Acks::All,
            origin: Origin::Internal,
        };
        let appended = partition.append(batch, terms, now);
        appended
            .map(|(appended, _)| appended.last_offset + 1)
            .map_err(|error| {
                let code = error.code();
                let told = code.without_epochs();
                if told == code {
                    tracing::warn!(topic = self.name, partition = partition.index, %error, "a coordinator's records were refused");
                }
                told
            })
    }

    fn high_watermark(&self, partition: PartitionIndex, leader_epoch: LeaderEpoch) -> Offset {
        let partition = self.partition(partition);
        partition
            .and_then(|partition| partition.high_watermark_in(leader_epoch))
            .unwrap_or(-1)
    }

    fn leads_from(&self, partition: PartitionIndex) -> Result<(LeaderEpoch, Offset), ErrorCode> {
        let partition = self.partition(partition)?;
        let epoch = partition.leads_in()?;
        let end = partition.log().log_end();
        // Only a leader that leads all the while has an end that is not truncated meanwhile.
        partition.leads_in_epoch(epoch)?;
        Ok((epoch, end))
    }

    fn bounds(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
    ) -> Result<(Offset, Offset), ErrorCode> {
        let partition = self.led(partition, leader_epoch)?;
        let watermarks = partition.log().watermarks();
        // As in `leads_from`.
        partition.leads_in_epoch(leader_epoch)?;
        Ok((watermarks.log_start, watermarks.log_end))
    }

    fn read(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Bytes, ErrorCode> {
        let partition = self.led(partition, leader_epoch)?;
        let plan = partition
            .log()
            .read(from, max_bytes, ReadEnd::LogEnd, true)
            .map_err(|error| error.code())?;
        let records = plan.records.map_or(Ok(Bytes::new()), |range| range.read());
        // Records that were read after the epoch may be those of another leader, or half of them.
        partition.leads_in_epoch(leader_epoch)?;
        records.map_err(|_| ErrorCode::KafkaStorageError)
    }

    fn delete_before(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        now: Timestamp,
    ) -> Result<(), ErrorCode> {
        let partition = self.led(partition, leader_epoch)?;
        let deleted = partition.delete_records(offset, now);
        deleted.map(|_| ()).map_err(|error| {
            tracing::error!(partition = %partition.name(), %error, "records cannot be deleted");
            ErrorCode::KafkaStorageError
        })
    }

    fn check(&self, partition: PartitionIndex, condition: &Condition) -> Result<(), ErrorCode> {
        let partition = self.partition(partition);
        let partition = partition.map_err(|_| ErrorCode::NotCoordinator)?;
        let log = partition.log();
        match *condition {
            Condition::Joins(producer, epoch, admission) => {
                log.check_joining(producer, epoch, admission)
            }
            Condition::Ends(marker, rules) => {
                let word = producer_state::Marker {
                    committed: marker.commit,
                    coordinator_epoch: marker.coordinator_epoch,
                };
                log.check_marker(marker.producer_id, marker.producer_epoch, word, rules)
                    .map_err(|error| error.code())
            }
        }
    }

    fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }

    /// On a node without followers an append is committed when it returns, so this is not called there.
    fn watch(&self, append: Append, within: Duration, wake: Wake) {
        let Ok(partition) = self.partition(append.partition) else {
            return wake();
        };
        let append = Uncommitted {
            partition,
            epoch: append.leader_epoch,
            end: append.until,
        };
        let replicas = self.replicas.clone();
        let threads = replicas.logs().host().threads.clone();
        threads.spawn(async move {
            let deadline = Instant::now() + within;
            // The result is ignored, because the coordinator checks the high watermark itself.
            until_committed(replicas.waiters(), &[append], deadline).await;
            wake();
        });
    }
}

/// Publisher that tells the group coordinator which partitions this node leads, and which topics are deleted.
#[derive(Debug)]
pub struct GroupTopicWatcher {
    node_id: BrokerId,
    groups: GroupHandle,
    /// Runtime for the deletion of a topic's offsets. The deletion waits for appends, and a publisher must not wait.
    runtime: Handle,
    halt: Halt,
}

impl GroupTopicWatcher {
    pub fn new(node_id: BrokerId, groups: GroupHandle, runtime: Handle, halt: Halt) -> Self {
        Self {
            node_id,
            groups,
            runtime,
            halt,
        }
    }

    /// Passes the whole image to the coordinator at start.
    pub fn install(&self, image: &Arc<Image>) {
        let coordinator = self.groups.coordinator();
        let resize = |partitions| self.groups.set_partitions(partitions);
        install(self.node_id, GROUP_TOPIC, coordinator, image, resize);
    }
}

/// The partitions that a node leads, with their leader epochs.
fn led(node_id: BrokerId, topic: &Topic) -> impl Iterator<Item = (PartitionIndex, LeaderEpoch)> {
    (0..)
        .zip(&topic.partitions)
        .filter(move |(_, partition)| partition.leader == node_id)
        .map(|(index, partition)| (index, partition.leader_epoch))
}

/// Passes the whole image to a coordinator at start, and the partitions of its topic that the node leads. Before these,
/// `resize` gets the topic's number of partitions.
fn install<S: Shard>(
    node_id: BrokerId,
    name: &str,
    coordinator: &Coordinator<S>,
    image: &Arc<Image>,
    resize: impl FnOnce(i32),
) {
    coordinator.on_image(image, &Delta::default());
    let Some(topic) = image.topics.by_name(name) else {
        return;
    };
    resize(topic.partitions.len() as i32);
    for (partition, epoch) in led(node_id, topic) {
        coordinator.elected(partition, epoch);
    }
}

/// Passes a new image to a coordinator, and, if the coordinator's topic changed, the partitions that the node leads from now
/// on. Before these, `resize` gets the topic's number of partitions.
fn follow<S: Shard>(
    node_id: BrokerId,
    name: &str,
    coordinator: &Coordinator<S>,
    (delta, image): (&Delta, &Arc<Image>),
    resize: impl FnOnce(i32),
) {
    coordinator.on_image(image, delta);
    let is_it = |topic: &&Arc<Topic>| &*topic.name == name;
    for topic in delta.removed_topics.iter().filter(is_it) {
        for (partition, _) in led(node_id, topic) {
            coordinator.resigned(partition);
        }
    }
    let mut changed = delta.topics.iter().filter_map(|id| image.topics.by_id(*id));
    let Some(topic) = changed.find(is_it) else {
        return;
    };
    resize(topic.partitions.len() as i32);
    for (index, partition) in (0..).zip(&topic.partitions) {
        if partition.leader == node_id {
            coordinator.elected(index, partition.leader_epoch);
        } else {
            coordinator.resigned(index);
        }
    }
}

impl Publisher for GroupTopicWatcher {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        let coordinator = self.groups.coordinator();
        let resize = |partitions| self.groups.set_partitions(partitions);
        let changed = (delta, image);
        follow(self.node_id, GROUP_TOPIC, coordinator, changed, resize);
        let removed = delta.removed_topics.iter().map(|topic| &topic.name);
        let gone: Vec<ByteString> = removed
            .filter(|name| &***name != GROUP_TOPIC)
            .map(|name| name.as_ref().into())
            .collect();
        if !gone.is_empty() {
            let groups = self.groups.clone();
            let forget = async move { groups.topics_deleted(gone).await };
            self.runtime
                .spawn(self.halt.guard("forgetting of offsets", forget));
        }
    }
}

/// Publisher that tells the transaction coordinator which partitions this node leads.
#[derive(Debug)]
pub struct TransactionTopicWatcher {
    node_id: BrokerId,
    txns: TxnHandle,
}

impl TransactionTopicWatcher {
    pub fn new(node_id: BrokerId, txns: TxnHandle) -> Self {
        Self { node_id, txns }
    }

    /// Passes the whole image to the coordinator at start.
    pub fn install(&self, image: &Arc<Image>) {
        let coordinator = self.txns.coordinator();
        let resize = |partitions| self.txns.set_partitions(partitions);
        install(self.node_id, TRANSACTION_TOPIC, coordinator, image, resize);
    }
}

impl Publisher for TransactionTopicWatcher {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        let coordinator = self.txns.coordinator();
        let resize = |partitions| self.txns.set_partitions(partitions);
        let changed = (delta, image);
        follow(
            self.node_id,
            TRANSACTION_TOPIC,
            coordinator,
            changed,
            resize,
        );
    }
}

/// Tells the share coordinator which partitions are its own, and which topics are gone.
#[derive(Debug)]
pub struct ShareStateTopicWatcher {
    node_id: BrokerId,
    states: ShareStateHandle,
    /// As of [`GroupTopicWatcher`].
    runtime: Handle,
    halt: Halt,
}

impl ShareStateTopicWatcher {
    pub fn new(node_id: BrokerId, states: ShareStateHandle, runtime: Handle, halt: Halt) -> Self {
        Self {
            node_id,
            states,
            runtime,
            halt,
        }
    }

    /// Takes in a whole image, at start.
    pub fn install(&self, image: &Arc<Image>) {
        let coordinator = self.states.coordinator();
        let resize = |partitions| self.states.set_partitions(partitions);
        install(self.node_id, SHARE_STATE_TOPIC, coordinator, image, resize);
    }
}

impl Publisher for ShareStateTopicWatcher {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        let coordinator = self.states.coordinator();
        let resize = |partitions| self.states.set_partitions(partitions);
        let changed = (delta, image);
        follow(
            self.node_id,
            SHARE_STATE_TOPIC,
            coordinator,
            changed,
            resize,
        );
        if !delta.removed_topics.is_empty() {
            let states = self.states.clone();
            let forget = async move { states.topics_deleted().await };
            self.runtime
                .spawn(self.halt.guard("forgetting of share states", forget));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{TopicPartition, Uuid};
    use crate::config::broker::BrokerSettings;
    use crate::host::Host;
    use crate::log::manager::{LogManager, ManagerSettings};
    use crate::log::settings::LogSettings;
    use crate::metadata::record::Record;
    use crate::metadata::record::schema::{PartitionChangeRecord, PartitionRecord, TopicRecord};
    use crate::replica::partition::following::{Chore, LeaderAnswer, Step};
    use crate::wire::batch::builder::BatchBuilder;
    use crate::wire::batch::header::BatchHeader;

    const NOW: Timestamp = 1_000_000;
    const TOPIC: Uuid = Uuid([3; 16]);
    const DIR: Uuid = Uuid([9; 16]);

    struct Stage {
        _dir: tempfile::TempDir,
        image: Image,
        replicas: ReplicaManager,
        topic: InternalTopic,
    }

    impl Stage {
        /// This node is broker 1 and leads in epoch 5.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let dirs = vec![(dir.path().to_owned(), Ok(DIR))];
            let logs = LogManager::open(&Host::default(), dirs, ManagerSettings::default());
            let logs = logs.unwrap();
            logs.load(0, &|_| LogSettings::default(), NOW).unwrap();
            let settings = BrokerSettings::default();
            let replicas = ReplicaManager::new(1, Arc::new(logs), settings);
            let topic = TopicRecord {
                name: GROUP_TOPIC.into(),
                topic_id: TOPIC,
            };
            let partition = PartitionRecord {
                partition_id: 0,
                topic_id: TOPIC,
                replicas: vec![1, 2],
                isr: vec![1, 2],
                leader: 1,
                leader_epoch: 5,
                directories: vec![DIR; 2],
                ..Default::default()
            };
            let mut image = Image::empty();
            for record in [Record::from(topic), partition.into()] {
                image.apply(&record, 0, &mut Delta::default());
            }
            replicas.install(&Arc::new(image.clone()));
            Self {
                _dir: dir,
                image,
                topic: InternalTopic::new(replicas.clone(), GROUP_TOPIC, 1 << 20),
                replicas,
            }
        }

        fn elect(&mut self, leader: BrokerId) {
            let mut delta = Delta::default();
            let change = PartitionChangeRecord {
                partition_id: 0,
                topic_id: TOPIC,
                leader,
                ..Default::default()
            };
            self.image.apply(&change.into(), 0, &mut delta);
            (self.replicas).on_update(&delta, &Arc::new(self.image.clone()));
        }

        /// Results of all reads as the leader of an epoch.
        fn all(&self, epoch: LeaderEpoch) -> [Result<i64, ErrorCode>; 4] {
            let topic = &self.topic;
            let led = topic
                .leads_from(0)
                .and_then(|(led, end)| match led == epoch {
                    true => Ok(end),
                    false => Err(ErrorCode::NotLeaderOrFollower),
                });
            let read = topic.read(0, epoch, 0, 1 << 20);
            [
                led,
                topic.bounds(0, epoch).map(|(_, end)| end),
                read.map(|records| {
                    let last = BatchHeader::parse(&records).unwrap();
                    last.next_offset()
                }),
                topic.delete_before(0, epoch, 0, NOW).map(|()| 1),
            ]
        }
    }

    /// A coordinator that loaded them would serve offsets that are in no log.
    #[test]
    fn records_that_are_about_to_be_truncated_are_not_read() {
        let mut stage = Stage::new();
        for end in 1..=3 {
            let mut builder = BatchBuilder::default();
            builder.push(NOW, Some(b"k"), Some(b"v"));
            let appended = stage.topic.append(0, 5, &builder.build(), NOW);
            assert_eq!(appended, Ok(end));
        }
        let ends = [Ok(3), Ok(3), Ok(1), Ok(1)];
        assert_eq!(stage.all(5), ends);
        let not_led = [Err(ErrorCode::NotLeaderOrFollower); 4];
        stage.elect(2);
        assert_eq!((stage.all(5), stage.all(6)), (not_led, not_led));
        let partition = stage.topic.partition(0).unwrap();
        let Step::Fetch(asked) = partition.next_step(6, NOW) else {
            panic!("{partition:?}");
        };
        let diverging = LeaderAnswer::Diverging {
            epoch: 5,
            end_offset: 1,
        };
        let chores = partition.take_in(&asked, &diverging, 1_000, NOW).unwrap();
        let [Chore::Cut(cut)] = chores[..] else {
            panic!("{chores:?}");
        };
        stage.elect(1);
        assert_eq!(stage.all(7), not_led, "the truncation is due");
        let logs = stage.replicas.logs();
        let log = logs.get(&TopicPartition::new(GROUP_TOPIC, 0)).unwrap();
        assert!(logs.cut(&[(log, cut)]).iter().all(Result::is_ok));
        assert_eq!(stage.all(7), not_led, "the role has not changed");
        assert!(partition.was_cut(NOW));
        assert_eq!(stage.all(7), [Ok(1); 4]);
        assert_eq!(stage.all(5), not_led);
    }
}
