//! Requests that name things several times. Kafka mostly answers each occurrence, as far as its memory suffices; monedula
//! answers once.

use anyhow::Result;
use monedula::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use monedula::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use monedula::wire::message::describe_producers::{self, DescribeProducersRequest};
use monedula::wire::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
};
use monedula::wire::message::describe_transactions::DescribeTransactionsRequest;
use monedula::wire::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use monedula::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use monedula::wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use monedula::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

use super::pair::Pair;

const NAME: &str = "named twice";
const TOPIC: i8 = 2;
const STRANGER: i64 = 535_353;

/// The topic twice, each time with partition 0 twice and with a partition that does not exist.
fn topics<T: Clone, P>(partition: impl Fn(i32) -> P, topic: impl Fn(Vec<P>) -> T) -> Vec<T> {
    vec![topic([0, 0, 7].map(partition).into_iter().collect()); 2]
}

pub fn play(pair: &mut Pair) -> Result<()> {
    records(pair)?;
    groups(pair)?;
    cluster(pair)
}

fn records(pair: &mut Pair) -> Result<()> {
    pair.scene(NAME, |_| ListOffsetsRequest {
        replica_id: -1,
        topics: topics(
            |partition_index| ListOffsetsPartition {
                partition_index,
                timestamp: -1,
                ..Default::default()
            },
            |partitions| ListOffsetsTopic {
                name: "t".into(),
                partitions,
            },
        ),
        ..Default::default()
    })?;
    pair.scene(NAME, |_| OffsetForLeaderEpochRequest {
        topics: topics(
            |partition| OffsetForLeaderPartition {
                partition,
                ..Default::default()
            },
            |partitions| OffsetForLeaderTopic {
                topic: "t".into(),
                partitions,
            },
        ),
        ..Default::default()
    })?;
    pair.scene(NAME, |_| DescribeProducersRequest {
        topics: topics(
            |index| index,
            |partition_indexes| describe_producers::TopicRequest {
                name: "c".into(),
                partition_indexes,
            },
        ),
    })?;
    pair.scene(NAME, |_| DeleteRecordsRequest {
        topics: topics(
            |partition_index| DeleteRecordsPartition {
                partition_index,
                offset: 0,
            },
            |partitions| DeleteRecordsTopic {
                name: "t".into(),
                partitions,
            },
        ),
        timeout_ms: 30_000,
    })?;
    pair.expect_silence(true);
    pair.scene(NAME, |_| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: STRANGER,
            topics: vec![WritableTxnMarkerTopic {
                name: "t".into(),
                partition_indexes: vec![0, 0],
            }],
            ..Default::default()
        }],
    })?;
    pair.expect_silence(false);
    Ok(())
}

fn groups(pair: &mut Pair) -> Result<()> {
    pair.scene(NAME, |_| FindCoordinatorRequest {
        coordinator_keys: vec!["g".into(); 2],
        ..Default::default()
    })?;
    pair.scene(NAME, |_| OffsetFetchRequest {
        groups: vec![
            OffsetFetchRequestGroup {
                group_id: "nobody".into(),
                topics: Some(topics(
                    |index| index,
                    |partition_indexes| OffsetFetchRequestTopics {
                        name: "t".into(),
                        partition_indexes,
                        ..Default::default()
                    },
                )),
                ..Default::default()
            };
            2
        ],
        ..Default::default()
    })?;
    pair.scene(NAME, |_| DescribeGroupsRequest {
        groups: vec!["nobody".into(); 2],
        ..Default::default()
    })?;
    pair.scene(NAME, |_| OffsetDeleteRequest {
        group_id: "nobody".into(),
        topics: topics(
            |partition_index| OffsetDeleteRequestPartition { partition_index },
            |partitions| OffsetDeleteRequestTopic {
                name: "t".into(),
                partitions,
            },
        ),
    })?;
    pair.scene(NAME, |_| DescribeTransactionsRequest {
        transactional_ids: vec!["nobody".into(); 2],
    })?;
    pair.scene(NAME, |_| DeleteGroupsRequest {
        groups_names: vec!["nobody".into(); 2],
    })
}

fn cluster(pair: &mut Pair) -> Result<()> {
    pair.scene(NAME, |_| DescribeConfigsRequest {
        resources: vec![
            DescribeConfigsResource {
                resource_type: TOPIC,
                resource_name: "t".into(),
                configuration_keys: Some(vec!["retention.ms".into()]),
            };
            2
        ],
        ..Default::default()
    })?;
    pair.scene(NAME, |_| DescribeLogDirsRequest {
        topics: Some(topics(
            |index| index,
            |partitions| DescribableLogDirTopic {
                topic: "c".into(),
                partitions,
            },
        )),
    })?;
    pair.scene(NAME, |_| AlterReplicaLogDirsRequest {
        dirs: vec![
            AlterReplicaLogDir {
                path: "/nowhere".into(),
                topics: topics(
                    |index| index,
                    |partitions| AlterReplicaLogDirTopic {
                        name: "t".into(),
                        partitions,
                    },
                ),
            };
            2
        ],
    })?;
    pair.scene(NAME, |_| ElectLeadersRequest {
        topic_partitions: Some(topics(
            |index| index,
            |partitions| TopicPartitions {
                topic: "t".into(),
                partitions,
            },
        )),
        ..Default::default()
    })?;
    pair.scene(NAME, |_| AlterPartitionReassignmentsRequest {
        topics: topics(
            |partition_index| ReassignablePartition {
                partition_index,
                replicas: None,
            },
            |partitions| ReassignableTopic {
                name: "t".into(),
                partitions,
            },
        ),
        ..Default::default()
    })?;
    pair.scene(NAME, |_| DescribeQuorumRequest {
        topics: topics(
            |partition_index| DescribeQuorumRequestPartitionData { partition_index },
            |partitions| DescribeQuorumRequestTopicData {
                topic_name: "t".into(),
                partitions,
            },
        ),
    })
}
