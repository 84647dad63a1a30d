//! pure: adoption: metadata records for topics that are on disk but in no metadata log.
//!
//! A broker of a Kafka cluster with ZooKeeper leaves such topics behind: ZooKeeper knew the topics and their settings. Topic
//! names and partition numbers are in the names of directories; topic ids are in `partition.metadata`, if Kafka was new enough
//! to write one. All settings are lost but one: a topic that the cleaner has worked on was compacted. The lost settings may
//! have disabled retention, so nothing of an adopted topic is deleted until the user configures retention.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicPartition, Uuid};
use crate::base::time::Timestamp;
use crate::metadata::controller::topics::check_name;
use crate::metadata::image::records::partition_record;
use crate::metadata::image::{Partition, TOPIC_RESOURCE};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, ProducerIdsRecord, TopicRecord};

/// Upper bound of partition numbers that are believed: a directory named `backup-20211231` must not create twenty million
/// partitions.
const PARTITION_MAX: PartitionIndex = 10_000;

/// A replica on disk, with the log directory that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub partition: TopicPartition,
    pub path: PathBuf,
    pub directory: Uuid,
    pub topic_id: Option<Uuid>,
    pub latest_epoch: Option<LeaderEpoch>,
    pub compacted: bool,
}

/// Result of an adoption.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adopted {
    pub records: Vec<Record>,
    pub topics: usize,
    pub partitions: usize,
    /// Partition directories without a topic id, each with the id to write into it.
    pub unnamed: Vec<(PathBuf, Uuid)>,
    /// Remarks for the operator, in sentences.
    pub remarks: Vec<String>,
}

/// Producer ids reserved per millisecond of time: the distance between the ids after two adoptions a millisecond apart.
const PRODUCER_IDS_PER_MS: i64 = 256;
/// Limit of the time used for producer ids: later times would give ids beyond the integers of clients in JavaScript.
const TIME_MAX: Timestamp = 1 << 44;

/// Makes the records by which `node_id` is leader and only replica of all partitions found. `internal` gives the settings of
/// internal topics, `new_id` an id for a topic that has none.
///
/// Errors: a sentence about directories that contradict each other. Nothing is adopted in that case.
pub fn adopt(
    found: &[Replica],
    node_id: BrokerId,
    now: Timestamp,
    internal: impl Fn(&str) -> Vec<(String, String)>,
    mut new_id: impl FnMut() -> Option<Uuid>,
) -> Result<Adopted, String> {
    let mut topics: BTreeMap<&str, BTreeMap<PartitionIndex, &Replica>> = BTreeMap::new();
    let mut adopted = Adopted::default();
    for replica in found {
        let (name, index) = (&*replica.partition.topic, replica.partition.partition);
        let usable =
            check_name(name).is_ok() && (0..PARTITION_MAX).contains(&index) && !is_metadata(name);
        if !usable {
            let path = replica.path.display();
            adopted
                .remarks
                .push(format!("{path} cannot be a partition and is left alone"));
        } else if let Some(other) = topics.entry(name).or_default().insert(index, replica) {
            return Err(format!(
                "{} and {} are the same partition; move one of them away",
                other.path.display(),
                replica.path.display()
            ));
        }
    }
    for (name, partitions) in topics {
        let id = match topic_id(&partitions)? {
            Some(id) => id,
            None => new_id().ok_or("there is no random topic id")?,
        };
        adopted.records.push(
            TopicRecord {
                name: name.into(),
                topic_id: id,
            }
            .into(),
        );
        for (key, value) in settings(name, &partitions, &internal) {
            adopted.records.push(
                ConfigRecord {
                    resource_type: TOPIC_RESOURCE,
                    resource_name: name.into(),
                    name: key.into(),
                    value: Some(value.into()),
                }
                .into(),
            );
        }
        let count = partitions.last_key_value().map_or(0, |(last, _)| last + 1);
        for index in 0..count {
            let replica = partitions.get(&index).copied();
            match replica {
                Some(replica) if replica.topic_id.is_none() => {
                    adopted.unnamed.push((replica.path.clone(), id));
                }
                Some(_) => {}
                None => adopted.remarks.push(format!(
                    "partition {index} of {name} has no directory; it begins empty"
                )),
            }
            let record = partition_record(id, index, &led_by(node_id, replica));
            adopted.records.push(record.into());
        }
        adopted.topics += 1;
        adopted.partitions += count as usize;
    }
    if adopted.topics > 0 {
        // Producer ids already used are known only to ZooKeeper. If Kafka takes the directory back, it goes on from there:
        // 1,000 ids with each start, from zero. A second producer with the same id would be fenced or taken for the first, so
        // ids here begin far above.
        let ids = ProducerIdsRecord {
            broker_id: node_id,
            broker_epoch: -1,
            next_producer_id: now.clamp(1, TIME_MAX) * PRODUCER_IDS_PER_MS,
        };
        adopted.records.push(ids.into());
    }
    Ok(adopted)
}

fn is_metadata(name: &str) -> bool {
    name == "__cluster_metadata"
}

/// The topic id that all directories of a topic agree on.
fn topic_id(partitions: &BTreeMap<PartitionIndex, &Replica>) -> Result<Option<Uuid>, String> {
    let mut known: Option<(&Replica, Uuid)> = None;
    for replica in partitions.values() {
        match (known, replica.topic_id) {
            (Some((first, id)), Some(other)) if id != other => {
                return Err(format!(
                    "{} is of topic id {id}, {} of {other}; move the one that is obsolete away",
                    first.path.display(),
                    replica.path.display()
                ));
            }
            (None, Some(id)) => known = Some((replica, id)),
            _ => {}
        }
    }
    Ok(known.map(|(_, id)| id))
}

fn settings(
    name: &str,
    partitions: &BTreeMap<PartitionIndex, &Replica>,
    internal: impl Fn(&str) -> Vec<(String, String)>,
) -> Vec<(String, String)> {
    let own = internal(name);
    if !own.is_empty() {
        return own;
    }
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    if partitions.values().any(|replica| replica.compacted) {
        vec![own("cleanup.policy", "compact")]
    } else {
        vec![own("retention.bytes", "-1"), own("retention.ms", "-1")]
    }
}

/// The partition as led by this node. The leader epoch is new, so that records of this leader can be told from those of earlier
/// ones.
fn led_by(node_id: BrokerId, replica: Option<&Replica>) -> Partition {
    let latest = replica.and_then(|replica| replica.latest_epoch);
    Partition {
        directories: vec![replica.map_or(Uuid::UNASSIGNED_DIR, |replica| replica.directory)],
        replicas: vec![node_id],
        isr: vec![node_id],
        leader: node_id,
        removing: Vec::new(),
        adding: Vec::new(),
        elr: Vec::new(),
        last_known_elr: Vec::new(),
        leader_recovery_state: 0,
        leader_epoch: latest.map_or(0, |epoch| epoch.saturating_add(1)),
        partition_epoch: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(topic: &str, partition: PartitionIndex) -> Replica {
        Replica {
            partition: TopicPartition::new(topic, partition),
            path: format!("/data/{topic}-{partition}").into(),
            directory: Uuid([9; 16]),
            topic_id: None,
            latest_epoch: None,
            compacted: false,
        }
    }

    fn adopted(found: &[Replica]) -> Result<Adopted, String> {
        let internal = |name: &str| match name {
            "__consumer_offsets" => vec![("cleanup.policy".to_owned(), "compact".to_owned())],
            _ => Vec::new(),
        };
        adopt(found, 7, 1_000, internal, || Some(Uuid([1; 16])))
    }

    /// One word for each record.
    fn words(adopted: &Adopted) -> Vec<String> {
        let word = |record: &Record| match record {
            Record::Topic(topic) => format!("{} {}", topic.name, topic.topic_id.0[0]),
            Record::Config(config) => {
                format!("{}={}", config.name, config.value.as_deref().unwrap_or("-"))
            }
            Record::Partition(partition) => {
                format!(
                    "{} epoch {}",
                    partition.partition_id, partition.leader_epoch
                )
            }
            Record::ProducerIds(ids) => format!("producers from {}", ids.next_producer_id),
            other => format!("{other:?}"),
        };
        adopted.records.iter().map(word).collect()
    }

    #[test]
    fn directories_become_topics() {
        let mut compacted = replica("c", 0);
        compacted.compacted = true;
        let mut known = replica("k", 1);
        known.topic_id = Some(Uuid([2; 16]));
        known.latest_epoch = Some(4);
        let found = [
            replica("__consumer_offsets", 0),
            compacted,
            known,
            replica("backup", 20_211_231),
        ];
        let adopted = adopted(&found).unwrap();
        assert_eq!(
            words(&adopted),
            [
                "__consumer_offsets 1",
                "cleanup.policy=compact",
                "0 epoch 0",
                "c 1",
                "cleanup.policy=compact",
                "0 epoch 0",
                "k 2",
                "retention.bytes=-1",
                "retention.ms=-1",
                "0 epoch 0",
                "1 epoch 5",
                "producers from 256000",
            ]
        );
        assert_eq!((adopted.topics, adopted.partitions), (3, 4));
        let unnamed = |name: &str| (PathBuf::from(name), Uuid([1; 16]));
        assert_eq!(
            adopted.unnamed,
            [unnamed("/data/__consumer_offsets-0"), unnamed("/data/c-0")]
        );
        assert_eq!(
            adopted.remarks,
            [
                "/data/backup-20211231 cannot be a partition and is left alone",
                "partition 0 of k has no directory; it begins empty",
            ]
        );
    }

    #[test]
    fn directories_that_contradict_each_other_are_not_adopted() {
        let (mut first, mut second) = (replica("t", 0), replica("t", 1));
        first.topic_id = Some(Uuid([1; 16]));
        second.topic_id = Some(Uuid([2; 16]));
        assert!(adopted(&[first.clone(), second]).is_err());
        assert!(adopted(&[first.clone(), first]).is_err());
    }
}
