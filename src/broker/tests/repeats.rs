//! Tests of requests that name something several times: the answer is the same as if it were named once, or the request is
//! refused.

use std::fmt::Debug;

use super::*;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Request;
use crate::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use crate::wire::message::alter_configs::{self, AlterConfigsRequest};
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use crate::wire::message::delete_groups::DeleteGroupsRequest;
use crate::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use crate::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::message::describe_groups::DescribeGroupsRequest;
use crate::wire::message::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use crate::wire::message::describe_producers::{self, DescribeProducersRequest};
use crate::wire::message::describe_topic_partitions::{self, DescribeTopicPartitionsRequest};
use crate::wire::message::describe_transactions::DescribeTransactionsRequest;
use crate::wire::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::wire::message::incremental_alter_configs::{self, IncrementalAlterConfigsRequest};
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::message::list_config_resources::ListConfigResourcesRequest;
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use crate::wire::message::list_transactions::ListTransactionsRequest;
use crate::wire::message::metadata::MetadataRequestTopic;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use crate::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use crate::wire::message::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn twice<T: Clone>(named: &[T]) -> Vec<T> {
    [named, named].concat()
}

fn named<T: Clone, const N: usize>(all: [T; N], often: usize) -> Vec<T> {
    std::iter::repeat_n(all, often).flatten().collect()
}

/// Sends the request that names everything once and the request that repeats names, and compares their answers. `request` makes
/// a request from a function for partition lists and the number of repetitions.
async fn check<R: Request>(
    client: &Channel,
    request: impl Fn(fn(&[i32]) -> Vec<i32>, usize) -> R,
) -> R::Response
where
    R::Response: Debug,
{
    let once = client.call(&request(<[i32]>::to_vec, 1), WITHIN).await;
    let once = once.unwrap();
    let often = client.call(&request(twice, 3), WITHIN).await.unwrap();
    assert_eq!(shown(&often), shown(&once));
    once
}

/// Text of an answer without the free disk space, which other programs change, too.
fn shown(answer: &impl Debug) -> String {
    let lines = format!("{answer:#?}");
    let lines = lines.lines();
    let kept = lines.filter(|line| !line.trim_start().starts_with("usable_bytes"));
    kept.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table: one entry for each API")]
async fn what_is_named_often_is_answered_once() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let client = client(&broker);
    let ids = create(&client, &["t".to_owned(), "u".to_owned()]).await;
    for _ in 0..3 {
        produce(&client, &ids, None).await;
    }
    find_coordinator(&client, 0).await;
    find_coordinator(&client, 1).await;
    let begin = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let end = Instant::now() + WITHIN;
    let producer = loop {
        let begun = client.call(&begin, WITHIN).await.unwrap();
        if begun.error_code == 0 {
            break begun;
        }
        assert!(Instant::now() < end, "no producer id");
    };
    let (producer_id, producer_epoch) = (producer.producer_id, producer.producer_epoch);

    // Partition 0 exists; partition 7 and the second topic do not.
    macro_rules! topics {
        ($often:expr, $topic:expr) => {{ named(["t", "none"].map($topic), $often) }};
    }

    check(&client, |_, often| MetadataRequest {
        topics: Some(topics!(often, |name: &str| MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        })),
        ..Default::default()
    })
    .await;
    check(&client, |_, often| DescribeTopicPartitionsRequest {
        topics: topics!(often, |name: &str| {
            describe_topic_partitions::TopicRequest { name: name.into() }
        }),
        response_partition_limit: 10,
        ..Default::default()
    })
    .await;
    check(&client, |_, often| DescribeConfigsRequest {
        resources: named(
            [(TOPIC, "t"), (TOPIC, "none"), (BROKER, "1"), (BROKER, "")].map(
                |(resource_type, name)| DescribeConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    configuration_keys: Some(vec!["retention.ms".into(); often]),
                },
            ),
            often,
        ),
        ..Default::default()
    })
    .await;
    check(&client, |_, often| ListConfigResourcesRequest {
        resource_types: vec![TOPIC; often],
    })
    .await;
    check(&client, |list, often| DescribeProducersRequest {
        topics: topics!(often, |name: &str| describe_producers::TopicRequest {
            name: name.into(),
            partition_indexes: list(&[0, 7]),
        }),
    })
    .await;
    check(&client, |list, often| DescribeLogDirsRequest {
        topics: Some(topics!(often, |name: &str| DescribableLogDirTopic {
            topic: name.into(),
            partitions: list(&[0, 7]),
        })),
    })
    .await;
    check(&client, |list, often| AlterReplicaLogDirsRequest {
        dirs: vec![
            AlterReplicaLogDir {
                path: "/nowhere".into(),
                topics: topics!(often, |name: &str| AlterReplicaLogDirTopic {
                    name: name.into(),
                    partitions: list(&[0, 7]),
                }),
            };
            often
        ],
    })
    .await;
    check(&client, |list, often| OffsetForLeaderEpochRequest {
        topics: topics!(often, |name: &str| OffsetForLeaderTopic {
            topic: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition| OffsetForLeaderPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
        }),
        ..Default::default()
    })
    .await;
    check(&client, |list, often| ElectLeadersRequest {
        topic_partitions: Some(topics!(often, |name: &str| TopicPartitions {
            topic: name.into(),
            partitions: list(&[0, 7]),
        })),
        ..Default::default()
    })
    .await;
    check(&client, |list, often| AlterPartitionReassignmentsRequest {
        topics: topics!(often, |name: &str| ReassignableTopic {
            name: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition_index| ReassignablePartition {
                    partition_index,
                    ..Default::default()
                })
                .collect(),
        }),
        ..Default::default()
    })
    .await;
    check(&client, |list, often| ListPartitionReassignmentsRequest {
        topics: Some(topics!(often, |name: &str| {
            ListPartitionReassignmentsTopics {
                name: name.into(),
                partition_indexes: list(&[0, 7]),
            }
        })),
        ..Default::default()
    })
    .await;
    check(&client, |list, often| DescribeQuorumRequest {
        topics: topics!(often, |name: &str| DescribeQuorumRequestTopicData {
            topic_name: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition_index| DescribeQuorumRequestPartitionData { partition_index })
                .collect(),
        }),
    })
    .await;
    check(&client, |_, often| UpdateFeaturesRequest {
        feature_updates: vec![
            FeatureUpdateKey {
                feature: "no.such".into(),
                max_version_level: 1,
                ..Default::default()
            };
            often
        ],
        ..Default::default()
    })
    .await;

    // Groups and their offsets. Topics are named by id, as in the newest versions.
    let id = ids[0];
    check(&client, |_, often| FindCoordinatorRequest {
        coordinator_keys: named(["x", "y"].map(Into::into), often),
        ..Default::default()
    })
    .await;
    check(&client, |list, often| OffsetCommitRequest {
        group_id: "x".into(),
        generation_id_or_member_epoch: -1,
        topics: named(
            [id, Uuid([9; 16])].map(|topic_id| OffsetCommitRequestTopic {
                topic_id,
                partitions: list(&[0, 7])
                    .into_iter()
                    .map(|partition_index| OffsetCommitRequestPartition {
                        partition_index,
                        committed_offset: 5,
                        committed_metadata: Some("m".into()),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }),
            often,
        ),
        ..Default::default()
    })
    .await;
    let fetched = check(&client, |list, often| OffsetFetchRequest {
        groups: named(
            ["x", "none"].map(|group| OffsetFetchRequestGroup {
                group_id: group.into(),
                topics: Some(named(
                    [id, Uuid([9; 16])].map(|topic_id| OffsetFetchRequestTopics {
                        topic_id,
                        partition_indexes: list(&[0, 7]),
                        ..Default::default()
                    }),
                    often,
                )),
                ..Default::default()
            }),
            often,
        ),
        ..Default::default()
    })
    .await;
    assert_eq!(fetched.groups.len(), 2);
    check(&client, |_, often| DescribeGroupsRequest {
        groups: named(["x", "none"].map(Into::into), often),
        ..Default::default()
    })
    .await;
    check(&client, |_, often| LeaveGroupRequest {
        group_id: "x".into(),
        members: vec![
            MemberIdentity {
                member_id: "m".into(),
                ..Default::default()
            };
            often
        ],
        ..Default::default()
    })
    .await;
    check(&client, |_, often| ListGroupsRequest {
        states_filter: named(["Empty", "Odd"].map(Into::into), often),
        types_filter: vec!["Classic".into(); often],
    })
    .await;

    // Transactions.
    let added = |verify_only| {
        move |list: fn(&[i32]) -> Vec<i32>, often| AddPartitionsToTxnRequest {
            transactions: vec![
                AddPartitionsToTxnTransaction {
                    transactional_id: "x".into(),
                    producer_id,
                    producer_epoch,
                    verify_only,
                    topics: named(
                        ["t", "u"].map(|name| AddPartitionsToTxnTopic {
                            name: name.into(),
                            partitions: list(&[0]),
                        }),
                        often
                    ),
                };
                often
            ],
            ..Default::default()
        }
    };
    check(&client, added(false)).await;
    check(&client, added(true)).await;
    check(&client, |_, often| DescribeTransactionsRequest {
        transactional_ids: named(["x", "none"].map(Into::into), often),
    })
    .await;
    check(&client, |_, often| ListTransactionsRequest {
        state_filters: named(["Ongoing", "Odd"].map(Into::into), often),
        producer_id_filters: vec![producer_id; often],
        ..Default::default()
    })
    .await;
    check(&client, |list, often| TxnOffsetCommitRequest {
        transactional_id: "x".into(),
        group_id: "x".into(),
        producer_id,
        producer_epoch,
        topics: topics!(often, |name: &str| TxnOffsetCommitRequestTopic {
            name: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition_index| TxnOffsetCommitRequestPartition {
                    partition_index,
                    committed_offset: 6,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }),
        ..Default::default()
    })
    .await;
    // The marker for a partition is written once, so each of the two requests advances the end of the log by one.
    let before = offset(&client, "u", LATEST).await;
    check(&client, |list, often| WriteTxnMarkersRequest {
        markers: vec![
            WritableTxnMarker {
                producer_id: 777_777,
                topics: named(
                    ["u", "none"].map(|name| WritableTxnMarkerTopic {
                        name: name.into(),
                        partition_indexes: list(&[0, 7]),
                    }),
                    often
                ),
                ..Default::default()
            };
            often
        ],
    })
    .await;
    assert_eq!(offset(&client, "u", LATEST).await, before + 2);

    // Records.
    check(&client, |list, often| FetchRequest {
        max_bytes: 1 << 20,
        topics: vec![
            FetchTopic {
                topic_id: id,
                partitions: list(&[0, 7])
                    .into_iter()
                    .map(|partition| FetchPartition {
                        partition,
                        partition_max_bytes: 1 << 20,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            often
        ],
        session_epoch: -1,
        ..Default::default()
    })
    .await;
    check(&client, |list, often| DeleteRecordsRequest {
        topics: topics!(often, |name: &str| DeleteRecordsTopic {
            name: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition_index| DeleteRecordsPartition {
                    partition_index,
                    offset: 1,
                })
                .collect(),
        }),
        timeout_ms: 10_000,
    })
    .await;

    // Requests that Kafka refuses for a repeated name.
    let refused = ErrorCode::InvalidRequest.code();
    let asked = ListOffsetsRequest {
        topics: topics!(2, |name: &str| ListOffsetsTopic {
            name: name.into(),
            partitions: twice(&[ListOffsetsPartition {
                timestamp: LATEST,
                ..Default::default()
            }]),
        }),
        ..Default::default()
    };
    let answer = client.call(&asked, WITHIN).await.unwrap();
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
    assert_eq!(codes, [refused, refused]);
    let asked = IncrementalAlterConfigsRequest {
        resources: vec![
            incremental_alter_configs::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: "t".into(),
                ..Default::default()
            };
            3
        ],
        ..Default::default()
    };
    let answer = client.call(&asked, WITHIN).await.unwrap();
    let codes: Vec<i16> = answer.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [refused]);
    let asked = AlterConfigsRequest {
        resources: vec![
            alter_configs::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: "t".into(),
                ..Default::default()
            };
            3
        ],
        ..Default::default()
    };
    let answer = client.call(&asked, WITHIN).await.unwrap();
    let codes: Vec<i16> = answer.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [refused]);

    // Deletions.
    check(&client, |list, often| OffsetDeleteRequest {
        group_id: "x".into(),
        topics: topics!(often, |name: &str| OffsetDeleteRequestTopic {
            name: name.into(),
            partitions: list(&[0, 7])
                .into_iter()
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        }),
    })
    .await;
    let asked = DeleteGroupsRequest {
        groups_names: vec!["none".into(); 3],
    };
    let answer = client.call(&asked, WITHIN).await.unwrap();
    assert_eq!(answer.results.len(), 1);
}
