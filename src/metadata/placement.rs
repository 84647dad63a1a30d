//! pure: the placement of a node's replicas in log directories, as reported to the controller (KIP-858).

use std::collections::BTreeMap;

use crate::base::ids::{BrokerId, PartitionIndex, Uuid};
use crate::metadata::image::{Image, Partition, Topic};
use crate::wire::message::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsRequestDirectoryData,
    AssignReplicasToDirsRequestPartitionData, AssignReplicasToDirsRequestTopicData,
};

/// Assignment of a replica of this node to a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub topic_id: Uuid,
    pub partition: PartitionIndex,
    pub directory: Uuid,
}

/// The request that reports assignments to the controller.
pub fn assign_request(
    broker_id: BrokerId,
    broker_epoch: i64,
    assignments: &[Assignment],
) -> AssignReplicasToDirsRequest {
    let mut directories: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionIndex>>> = BTreeMap::new();
    for one in assignments {
        let topics = directories.entry(one.directory).or_default();
        topics.entry(one.topic_id).or_default().push(one.partition);
    }
    let topic = |(topic_id, partitions): (Uuid, Vec<PartitionIndex>)| {
        let partitions = partitions.into_iter();
        AssignReplicasToDirsRequestTopicData {
            topic_id,
            partitions: partitions
                .map(|partition_index| AssignReplicasToDirsRequestPartitionData { partition_index })
                .collect(),
        }
    };
    let directory =
        |(id, topics): (Uuid, BTreeMap<_, _>)| AssignReplicasToDirsRequestDirectoryData {
            id,
            topics: topics.into_iter().map(topic).collect(),
        };
    AssignReplicasToDirsRequest {
        broker_id,
        broker_epoch,
        directories: directories.into_iter().map(directory).collect(),
    }
}

/// State of this node's replica of a partition when the node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The replica is in this log directory.
    In(Uuid),
    /// The replica is in this log directory, but may lack its last records because the node did not stop cleanly.
    Recovered(Uuid),
    /// The replica is in no directory; it may be created.
    Absent,
    /// The replica may be in a log directory that cannot be used.
    Unreachable,
}

/// States of a node's replicas of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTopic {
    pub topic_id: Uuid,
    pub replicas: Vec<(PartitionIndex, Standing)>,
}

/// States of all replicas that the metadata assign to a node, when the node starts.
pub fn found(
    image: &Image,
    node_id: BrokerId,
    standing: impl Fn(&Topic, PartitionIndex, &Partition) -> Standing,
) -> Vec<FoundTopic> {
    let mut all = Vec::new();
    for topic in image.topics.iter() {
        let own = (0..)
            .zip(&topic.partitions)
            .filter(|(_, partition)| partition.replicas.contains(&node_id));
        let replicas: Vec<_> = own
            .map(|(index, partition)| (index, standing(topic, index, partition)))
            .collect();
        if !replicas.is_empty() {
            all.push(FoundTopic {
                topic_id: topic.id,
                replicas,
            });
        }
    }
    all
}
