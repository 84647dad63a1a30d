//! Topics, their settings, and the cluster.

use anyhow::Result;
use monedula::base::ids::Uuid;
use monedula::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use monedula::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use monedula::wire::message::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use monedula::wire::message::describe_cluster::DescribeClusterRequest;
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
};
use monedula::wire::message::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, TopicRequest,
};
use monedula::wire::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use monedula::wire::message::incremental_alter_configs::{self, IncrementalAlterConfigsRequest};
use monedula::wire::message::list_config_resources::ListConfigResourcesRequest;
use monedula::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
use monedula::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

use super::pair::Pair;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

pub fn play(pair: &mut Pair) -> Result<()> {
    create(pair)?;
    look(pair)?;
    configure(pair)?;
    grow_and_move(pair)?;
    delete(pair)
}

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    }
}

fn with_config(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: key.into(),
            value: value.map(Into::into),
        }],
        ..topic(name, 1, 1)
    }
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    CreatableTopic {
        assignments: partitions
            .iter()
            .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index: *partition_index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..topic(name, -1, -1)
    }
}

fn create(pair: &mut Pair) -> Result<()> {
    let request = |topics: Vec<CreatableTopic>, validate_only| CreateTopicsRequest {
        topics,
        validate_only,
        ..Default::default()
    };
    let long = "x".repeat(250);
    let bad = [
        ("an empty name", topic("", 1, 1)),
        ("a dot", topic(".", 1, 1)),
        ("an illegal letter", topic("a/b", 1, 1)),
        ("a name that is too long", topic(&long, 1, 1)),
        ("no partitions", topic("n", 0, 1)),
        ("fewer than no partitions", topic("n", -2, 1)),
        ("no replicas", topic("n", 1, 0)),
        ("more replicas than brokers", topic("n", 1, 2)),
        ("an unknown setting", with_config("n", "no.such", Some("1"))),
        (
            "a bad value",
            with_config("n", "retention.ms", Some("soon")),
        ),
        (
            "a value below the smallest",
            with_config("n", "segment.bytes", Some("1")),
        ),
        (
            "a setting without a value",
            with_config("n", "retention.ms", None),
        ),
        (
            "a bad policy",
            with_config("n", "cleanup.policy", Some("burn")),
        ),
        (
            "min.insync.replicas of 0",
            with_config("n", "min.insync.replicas", Some("0")),
        ),
        ("an assignment to a stranger", assigned("n", &[(0, &[9])])),
        ("an assignment with a gap", assigned("n", &[(1, &[1])])),
        ("an assignment to nobody", assigned("n", &[(0, &[])])),
        (
            "an assignment that repeats a broker",
            assigned("n", &[(0, &[1, 1])]),
        ),
        (
            "an assignment that repeats a partition",
            assigned("n", &[(0, &[1]), (0, &[1])]),
        ),
        (
            "an assignment and a number of partitions",
            CreatableTopic {
                num_partitions: 1,
                replication_factor: 1,
                ..assigned("n", &[(0, &[1])])
            },
        ),
    ];
    for (name, bad) in bad {
        pair.scene(name, |_| request(vec![bad.clone()], false))?;
    }
    pair.scene("only to validate", |_| {
        request(vec![topic("v", 3, -1)], true)
    })?;
    pair.scene("the same topic twice", |_| {
        request(vec![topic("n", 1, 1), topic("n", 2, 1)], false)
    })?;
    pair.scene("no topics", |_| request(Vec::new(), false))?;
    pair.once("a good topic", 7, |_| {
        request(vec![topic("t", 2, 1)], false)
    })?;
    pair.once("a topic with a setting", 7, |_| {
        request(
            vec![with_config("c", "cleanup.policy", Some("compact"))],
            false,
        )
    })?;
    pair.once("an assigned topic", 5, |_| {
        request(vec![assigned("assigned", &[(0, &[1]), (1, &[1])])], false)
    })?;
    pair.once("defaults", 6, |_| {
        request(vec![topic("defaults", -1, -1)], false)
    })?;
    pair.scene("a topic that exists", |_| {
        request(vec![topic("t", 1, 1)], false)
    })?;
    pair.once("a name that collides", 7, |_| {
        request(vec![topic("a.b", 1, 1)], false)
    })?;
    pair.scene("a name that collides with it", |_| {
        request(vec![topic("a_b", 1, 1)], false)
    })?;
    pair.scene("the name of the metadata log", |_| {
        request(vec![topic("__cluster_metadata", 1, 1)], true)
    })
}

fn look(pair: &mut Pair) -> Result<()> {
    let named = |names: &[&str]| MetadataRequest {
        topics: Some(
            names
                .iter()
                .map(|name| MetadataRequestTopic {
                    name: Some((*name).into()),
                    ..Default::default()
                })
                .collect(),
        ),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    pair.scene("a topic", |_| named(&["t"]))?;
    pair.scene("a topic twice", |_| named(&["t", "t"]))?;
    pair.scene("unknown and illegal topics", |_| {
        named(&["nope", "a/b", ""])
    })?;
    pair.scene("no topics", |_| named(&[]))?;
    pair.scene("authorized operations", |_| MetadataRequest {
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..named(&["t"])
    })?;
    let by_id = |id: Uuid| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: id,
            name: None,
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    pair.scene("a topic by its id", |broker| by_id(broker.id("t")))?;
    pair.scene("an unknown id", |_| by_id(Uuid([7; 16])))?;
    pair.scene("neither name nor id", |_| by_id(Uuid::ZERO))?;

    let partitions = |topics: &[&str], limit, cursor| DescribeTopicPartitionsRequest {
        topics: topics
            .iter()
            .map(|name| TopicRequest {
                name: (*name).into(),
            })
            .collect(),
        response_partition_limit: limit,
        cursor,
    };
    pair.scene("topics", |_| partitions(&["t", "c", "nope"], 2000, None))?;
    pair.scene("one partition at a time", |_| {
        partitions(&["c", "t"], 1, None)
    })?;
    pair.scene("from a cursor on", |_| {
        let cursor = Cursor {
            topic_name: "t".into(),
            partition_index: 1,
        };
        partitions(&["c", "t"], 1, Some(cursor))
    })?;
    pair.scene("a cursor before all", |_| {
        let cursor = Cursor {
            topic_name: "t".into(),
            partition_index: -1,
        };
        partitions(&["t"], 10, Some(cursor))
    })?;

    for (name, endpoint_type) in [("brokers", 1), ("an unknown kind of endpoint", 9)] {
        pair.scene(name, |_| DescribeClusterRequest {
            endpoint_type,
            include_cluster_authorized_operations: true,
            ..Default::default()
        })?;
    }
    let quorum = |topic: &str, partition| DescribeQuorumRequest {
        topics: vec![DescribeQuorumRequestTopicData {
            topic_name: topic.into(),
            partitions: vec![DescribeQuorumRequestPartitionData {
                partition_index: partition,
            }],
        }],
    };
    pair.scene("another topic", |_| quorum("t", 0))?;
    pair.scene("another partition", |_| quorum("__cluster_metadata", 1))?;
    let features = |updates: &[(&str, i16, i8)], validate_only| UpdateFeaturesRequest {
        feature_updates: updates
            .iter()
            .map(|(feature, level, kind)| FeatureUpdateKey {
                feature: (*feature).into(),
                max_version_level: *level,
                upgrade_type: *kind,
                ..Default::default()
            })
            .collect(),
        validate_only,
        ..Default::default()
    };
    pair.scene("an unknown feature", |_| features(&[("nope", 1, 1)], true))?;
    pair.scene("a level that is too high", |_| {
        features(&[("transaction.version", 99, 1)], true)
    })?;
    pair.scene("a lower level as an upgrade", |_| {
        features(&[("transaction.version", 1, 1)], true)
    })?;
    pair.scene("a negative level", |_| {
        features(&[("transaction.version", -1, 1)], true)
    })?;
    pair.scene("the level that it has", |_| {
        features(&[("transaction.version", 2, 1)], true)
    })?;
    pair.scene("a feature of a capability that we lack", |_| {
        features(&[("streams.version", 1, 1)], true)
    })?;
    for (name, level, kind) in [
        ("the level of the metadata that it has", 33, 1),
        ("a level of the metadata that is too low", 6, 2),
        ("a level of the metadata that is too high", 34, 1),
        ("the level of the metadata before, safely", 32, 2),
        ("the level of the metadata before, unsafely", 32, 3),
        ("an old level of the metadata, safely", 25, 2),
        ("an old level of the metadata, unsafely", 25, 3),
        ("the oldest level of the metadata, safely", 7, 2),
        ("the oldest level of the metadata, unsafely", 7, 3),
    ] {
        pair.scene(name, |_| {
            features(&[("metadata.version", level, kind)], true)
        })?;
    }
    pair.scene("the quorum's level that it has", |_| {
        features(&[("kraft.version", 0, 1)], true)
    })?;
    pair.scene("a higher level of the quorum", |_| {
        features(&[("kraft.version", 1, 1)], true)
    })?;
    pair.scene("a feature that others need, disabled", |_| {
        features(&[("eligible.leader.replicas.version", 0, 2)], true)
    })
}

fn configure(pair: &mut Pair) -> Result<()> {
    let describe = |kind: i8, name: &str, keys: Option<&[&str]>| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
        }],
        include_synonyms: true,
        include_documentation: false,
    };
    pair.scene("a topic", |_| describe(TOPIC, "c", None))?;
    pair.scene("some keys of a topic", |_| {
        describe(TOPIC, "t", Some(&["retention.ms", "no.such"]))
    })?;
    pair.scene("an unknown topic", |_| describe(TOPIC, "nope", None))?;
    pair.scene("an empty topic", |_| describe(TOPIC, "", None))?;
    pair.scene("some keys of the broker", |_| {
        describe(
            BROKER,
            "1",
            Some(&["num.io.threads", "log.retention.ms", "log.dirs", "node.id"]),
        )
    })?;
    pair.scene("the cluster's default of brokers", |_| {
        describe(BROKER, "", None)
    })?;
    pair.scene("another broker", |_| describe(BROKER, "7", None))?;
    pair.scene("a broker by a word", |_| describe(BROKER, "x", None))?;
    pair.scene("an unknown kind", |_| describe(77, "x", None))?;
    pair.scene("a group", |_| describe(32, "g", None))?;

    let change = |kind: i8, name: &str, key: &str, operation: i8, value: Option<&str>, only| {
        IncrementalAlterConfigsRequest {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: kind,
                resource_name: name.into(),
                configs: vec![incremental_alter_configs::AlterableConfig {
                    name: key.into(),
                    config_operation: operation,
                    value: value.map(Into::into),
                }],
            }],
            validate_only: only,
        }
    };
    let scenes = [
        ("set", TOPIC, "t", "retention.ms", 0, Some("100000"), false),
        (
            "only to validate",
            TOPIC,
            "t",
            "retention.ms",
            0,
            Some("5"),
            true,
        ),
        (
            "a bad value",
            TOPIC,
            "t",
            "retention.ms",
            0,
            Some("x"),
            false,
        ),
        ("no value", TOPIC, "t", "retention.ms", 0, None, false),
        (
            "an unknown setting",
            TOPIC,
            "t",
            "no.such",
            0,
            Some("1"),
            false,
        ),
        (
            "an unknown topic",
            TOPIC,
            "nope",
            "retention.ms",
            0,
            Some("1"),
            false,
        ),
        (
            "append to what is no list",
            TOPIC,
            "t",
            "retention.ms",
            2,
            Some("1"),
            false,
        ),
        (
            "append",
            TOPIC,
            "t",
            "cleanup.policy",
            2,
            Some("compact"),
            false,
        ),
        (
            "subtract",
            TOPIC,
            "t",
            "cleanup.policy",
            3,
            Some("compact"),
            false,
        ),
        ("delete", TOPIC, "t", "retention.ms", 1, None, false),
        (
            "an unknown operation",
            TOPIC,
            "t",
            "retention.ms",
            9,
            Some("1"),
            false,
        ),
        (
            "a setting of the broker",
            BROKER,
            "1",
            "log.retention.ms",
            0,
            Some("99999999"),
            false,
        ),
        (
            "that cannot change",
            BROKER,
            "1",
            "node.id",
            0,
            Some("5"),
            false,
        ),
        (
            "another broker",
            BROKER,
            "7",
            "log.retention.ms",
            0,
            Some("5"),
            false,
        ),
        (
            "back again",
            BROKER,
            "1",
            "log.retention.ms",
            1,
            None,
            false,
        ),
        (
            "all brokers",
            BROKER,
            "",
            "log.retention.ms",
            0,
            Some("99999999"),
            true,
        ),
        ("an unknown kind", 77, "x", "y", 0, Some("5"), false),
        ("no name", TOPIC, "", "retention.ms", 0, Some("5"), false),
    ];
    for (name, kind, resource, key, operation, value, only) in scenes {
        pair.scene(name, |_| {
            change(kind, resource, key, operation, value, only)
        })?;
    }
    pair.scene("the same resource twice", |_| {
        let mut twice = change(TOPIC, "t", "retention.ms", 0, Some("5"), true);
        twice.resources.push(twice.resources[0].clone());
        twice
    })?;
    pair.scene("the same setting twice", |_| {
        let mut twice = change(TOPIC, "t", "retention.ms", 0, Some("5"), true);
        let again = twice.resources[0].configs[0].clone();
        twice.resources[0].configs.push(again);
        twice
    })?;

    let replace = |name: &str, configs: &[(&str, Option<&str>)]| {
        super::settings::replace(TOPIC, name, configs, false)
    };
    pair.scene("other settings", |_| {
        replace("defaults", &[("retention.ms", Some("777"))])
    })?;
    pair.scene("a bad value", |_| {
        replace("defaults", &[("retention.ms", Some("x"))])
    })?;
    pair.scene("a null value", |_| {
        replace("defaults", &[("retention.ms", None)])
    })?;
    pair.scene("an unknown topic", |_| {
        replace("nope", &[("retention.ms", Some("1"))])
    })?;
    pair.scene("none", |_| replace("defaults", &[]))?;
    for (name, types) in [
        ("all", &[][..]),
        ("topics", &[2]),
        ("an unknown kind", &[77]),
    ] {
        pair.scene(name, |_| ListConfigResourcesRequest {
            resource_types: types.to_vec(),
        })?;
    }
    Ok(())
}

fn grow_and_move(pair: &mut Pair) -> Result<()> {
    let grow = |name: &str, count, validate_only| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        }],
        timeout_ms: 10_000,
        validate_only,
    };
    for (name, topic, count) in [
        ("an unknown topic", "nope", 5),
        ("fewer", "t", 1),
        ("as many", "t", 2),
        ("none", "t", 0),
        ("a negative number", "t", -5),
    ] {
        pair.scene(name, |_| grow(topic, count, false))?;
    }
    pair.scene("only to validate", |_| grow("t", 5, true))?;
    pair.once("more", 3, |_| grow("assigned", 4, false))?;
    pair.scene("the same topic twice", |_| {
        let mut twice = grow("t", 5, true);
        twice.topics.push(twice.topics[0].clone());
        twice
    })?;

    let elect = |topic: Option<&str>, partitions: &[i32], election_type| ElectLeadersRequest {
        election_type,
        topic_partitions: topic.map(|topic| {
            vec![TopicPartitions {
                topic: topic.into(),
                partitions: partitions.to_vec(),
            }]
        }),
        timeout_ms: 10_000,
    };
    pair.scene("the preferred leader", |_| elect(Some("t"), &[0, 9], 0))?;
    pair.scene("an unclean leader", |_| elect(Some("t"), &[0], 1))?;
    pair.scene("an unknown kind", |_| elect(Some("t"), &[0], 9))?;
    pair.scene("an unknown topic", |_| elect(Some("nope"), &[0], 0))?;
    pair.scene("everywhere", |_| elect(None, &[], 0))?;
    pair.scene("all", |_| ListPartitionReassignmentsRequest::default())?;
    pair.scene("some", |_| ListPartitionReassignmentsRequest {
        topics: Some(vec![ListPartitionReassignmentsTopics {
            name: "t".into(),
            partition_indexes: vec![0, 9],
        }]),
        ..Default::default()
    })?;
    let reassign = |topic: &str, partition_index, replicas: Option<&[i32]>| {
        AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: topic.into(),
                partitions: vec![ReassignablePartition {
                    partition_index,
                    replicas: replicas.map(<[i32]>::to_vec),
                }],
            }],
            ..Default::default()
        }
    };
    pair.scene("to where it is", |_| reassign("t", 0, Some(&[1])))?;
    pair.scene("to a stranger", |_| reassign("t", 0, Some(&[5])))?;
    pair.scene("to nobody", |_| reassign("t", 0, Some(&[])))?;
    pair.scene("to one twice", |_| reassign("t", 0, Some(&[1, 1])))?;
    pair.scene("to a negative broker", |_| reassign("t", 0, Some(&[-1])))?;
    pair.scene("none to cancel", |_| reassign("t", 0, None))?;
    pair.scene("an unknown partition", |_| reassign("t", 9, Some(&[1])))?;
    pair.scene("an unknown topic", |_| reassign("nope", 0, Some(&[1])))
}

fn delete(pair: &mut Pair) -> Result<()> {
    let delete = |name: Option<&str>, topic_id| DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: name.map(Into::into),
            topic_id,
        }],
        topic_names: Vec::new(),
        timeout_ms: 10_000,
    };
    let by_names = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| (*name).into()).collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    for version in 1..=5 {
        pair.once("unknown topics", version, |_| by_names(&["nope", ""]))?;
    }
    pair.once("the same topic twice", 5, |_| by_names(&["nope", "nope"]))?;
    pair.once("an unknown name", 6, |_| delete(Some("nope"), Uuid::ZERO))?;
    pair.once("an unknown id", 6, |_| delete(None, Uuid([9; 16])))?;
    pair.once("neither name nor id", 6, |_| delete(None, Uuid::ZERO))?;
    pair.once("both name and id", 6, |broker| {
        delete(Some("t"), broker.id("t"))
    })?;
    pair.once("a topic", 5, |_| by_names(&["assigned"]))?;
    pair.once("a topic by its id", 6, |broker| {
        let id = broker.id("a.b");
        delete(None, id)
    })
}
