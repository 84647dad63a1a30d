//! More scenes of topics and settings: the order in which requests are checked, list operations, synonyms, documentation.

use anyhow::Result;
use monedula::base::ids::Uuid;
use monedula::wire::message::alter_configs::{self, AlterConfigsRequest};
use monedula::wire::message::api_versions::ApiVersionsRequest;
use monedula::wire::message::create_acls::{AclCreation, CreateAclsRequest};
use monedula::wire::message::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use monedula::wire::message::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::delete_acls::{DeleteAclsFilter, DeleteAclsRequest};
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::describe_acls::DescribeAclsRequest;
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::incremental_alter_configs::{self, IncrementalAlterConfigsRequest};
use monedula::wire::message::list_config_resources::ListConfigResourcesRequest;
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};

use super::pair::Pair;

/// Broker ids of each new partition.
type Assigned<'a> = Option<&'a [&'a [i32]]>;
/// An operation on a setting: its name, the operation, the value.
type Change<'a> = (&'a str, i8, Option<&'a str>);

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub fn play(pair: &mut Pair) -> Result<()> {
    create(pair)?;
    grow(pair)?;
    change(pair)?;
    describe(pair)?;
    find(pair)?;
    offsets(pair)?;
    acls(pair)
}

fn topic(name: &str, partitions: i32, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig {
                name: (*name).into(),
                value: value.map(Into::into),
            })
            .collect(),
        ..Default::default()
    }
}

fn assigned(name: &str, partitions: i32, replicas: i16, brokers: &[&[i32]]) -> CreatableTopic {
    CreatableTopic {
        num_partitions: partitions,
        replication_factor: replicas,
        assignments: (0..)
            .zip(brokers)
            .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: brokers.to_vec(),
            })
            .collect(),
        ..topic(name, -1, &[])
    }
}

fn create(pair: &mut Pair) -> Result<()> {
    let longest = "y".repeat(249);
    let cases: Vec<(&str, Vec<CreatableTopic>)> = vec![
        ("two dots", vec![topic("..", 1, &[])]),
        ("the longest name", vec![topic(&longest, 1, &[])]),
        (
            "more partitions than one request may make",
            vec![topic("many", 10_001, &[])],
        ),
        (
            "as many partitions as there are numbers",
            vec![topic("many", i32::MAX, &[])],
        ),
        (
            "two that are too many together",
            vec![topic("many", 6_000, &[]), topic("more", 6_000, &[])],
        ),
        (
            "one that exists, with a bad setting",
            vec![topic("t", 1, &[("retention.ms", Some("x"))])],
        ),
        (
            "one that exists, without partitions",
            vec![topic("t", 0, &[])],
        ),
        (
            "a bad setting and no partitions",
            vec![topic("n", 0, &[("retention.ms", Some("x"))])],
        ),
        (
            "a name that collides, without partitions",
            vec![topic("a_b", 0, &[])],
        ),
        (
            "two names that collide",
            vec![topic("x.y", 1, &[]), topic("x_y", 1, &[])],
        ),
        (
            "one good and one bad",
            vec![topic("good", 1, &[]), topic("bad", 0, &[])],
        ),
        (
            "a setting twice",
            vec![topic(
                "n",
                1,
                &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
            )],
        ),
        (
            "a good setting and one without a value",
            vec![topic(
                "n",
                1,
                &[("flush.ms", Some("1")), ("retention.ms", None)],
            )],
        ),
        (
            "an unknown setting without a value",
            vec![topic("n", 1, &[("no.such", None)])],
        ),
        (
            "an assignment and a number of replicas",
            vec![assigned("n", -1, 1, &[&[1]])],
        ),
        (
            "an assignment of different sizes",
            vec![assigned("n", -1, -1, &[&[1], &[1, 2]])],
        ),
        ("a negative broker", vec![assigned("n", -1, -1, &[&[-1]])]),
    ];
    for (name, topics) in cases {
        for validate_only in [true, false] {
            // A topic that can be created must not exist the second time.
            let all_bad = !name.starts_with("the longest")
                && !name.starts_with("two names")
                && !name.starts_with("one good");
            if validate_only || all_bad {
                pair.scene(
                    &format!("{name}, only to validate: {validate_only}"),
                    |_| CreateTopicsRequest {
                        topics: topics.clone(),
                        validate_only,
                        ..Default::default()
                    },
                )?;
            }
        }
    }
    let values = [
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", " compact , delete "),
        ("cleanup.policy", ""),
        ("cleanup.policy", ","),
        ("cleanup.policy", "COMPACT"),
        ("compression.type", "uncompressed"),
        ("compression.type", "none"),
        ("compression.type", "brotli"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "-1"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "0"),
        ("compression.lz4.level", "18"),
        ("compression.zstd.level", "-131073"),
        ("compression.zstd.level", "22"),
        ("retention.ms", "-1"),
        ("retention.ms", "-2"),
        ("retention.ms", " 5 "),
        ("retention.ms", "1.5"),
        ("retention.ms", ""),
        ("retention.ms", "+5"),
        ("retention.ms", "9223372036854775808"),
        ("retention.bytes", "-2"),
        ("local.retention.ms", "5"),
        ("local.retention.bytes", "-3"),
        ("segment.bytes", "1048576"),
        ("segment.bytes", "1048575"),
        ("segment.bytes", "2147483648"),
        ("segment.ms", "0"),
        ("segment.jitter.ms", "-1"),
        ("segment.index.bytes", "3"),
        ("max.message.bytes", "-1"),
        ("min.cleanable.dirty.ratio", "1.1"),
        ("min.cleanable.dirty.ratio", "0x"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("max.compaction.lag.ms", "0"),
        ("unclean.leader.election.enable", "yes"),
        ("unclean.leader.election.enable", "TRUE"),
        ("preallocate", ""),
        ("message.timestamp.type", "createTime"),
        ("message.timestamp.before.max.ms", "-1"),
        ("message.format.version", "3.0"),
        ("message.downconversion.enable", "true"),
        ("remote.storage.enable", "true"),
        ("remote.log.copy.disable", "true"),
        ("remote.log.delete.on.disable", "true"),
        ("leader.replication.throttled.replicas", "0:1"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "x"),
        ("follower.replication.throttled.replicas", "0:1,1:1"),
        ("file.delete.delay.ms", "-1"),
        ("flush.messages", "0"),
        ("index.interval.bytes", "-1"),
        ("min.insync.replicas", "5"),
        ("internal.segment.bytes", "5"),
    ];
    for (key, value) in values {
        pair.once(&format!("{key}={value:?}"), 7, |_| CreateTopicsRequest {
            topics: vec![topic("n", 1, &[(key, Some(value))])],
            validate_only: true,
            ..Default::default()
        })?;
    }
    pair.once(
        "min.compaction.lag.ms above max.compaction.lag.ms",
        7,
        |_| {
            let lags = [
                ("min.compaction.lag.ms", Some("10")),
                ("max.compaction.lag.ms", Some("5")),
            ];
            CreateTopicsRequest {
                topics: vec![topic("n", 1, &lags)],
                validate_only: true,
                ..Default::default()
            }
        },
    )
}

fn grow(pair: &mut Pair) -> Result<()> {
    let grow = |name: &str, count, assignments: Assigned<'_>| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: assignments.map(|assignments| {
                assignments
                    .iter()
                    .map(|brokers| CreatePartitionsAssignment {
                        broker_ids: brokers.to_vec(),
                    })
                    .collect()
            }),
        }],
        timeout_ms: 10_000,
        validate_only: true,
    };
    let cases: [(&str, &str, i32, Assigned<'_>); 11] = [
        ("assigned", "t", 4, Some(&[&[1], &[1]])),
        ("assigned too few", "t", 4, Some(&[&[1]])),
        ("assigned too many", "t", 3, Some(&[&[1], &[1]])),
        ("assigned none", "t", 3, Some(&[])),
        ("assigned to nobody", "t", 3, Some(&[&[]])),
        ("assigned to a stranger", "t", 3, Some(&[&[9]])),
        ("assigned to one twice", "t", 3, Some(&[&[1, 1]])),
        ("assigned to a negative broker", "t", 3, Some(&[&[-1]])),
        ("fewer, assigned", "t", 1, Some(&[&[1]])),
        ("an unknown topic, assigned", "nope", 3, Some(&[&[1]])),
        ("too many", "t", 10_003, None),
    ];
    for (name, topic, count, assignments) in cases {
        pair.scene(name, |_| grow(topic, count, assignments))?;
    }
    pair.scene("an illegal name", |_| grow("a/b", 5, None))?;
    pair.scene("no name", |_| grow("", 5, None))?;
    pair.scene("no topics", |_| CreatePartitionsRequest::default())?;
    let cut = |topic: &str, partitions: &[(i32, i64)]| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.into(),
            partitions: partitions
                .iter()
                .map(|&(partition_index, offset)| DeleteRecordsPartition {
                    partition_index,
                    offset,
                })
                .collect(),
        }],
        timeout_ms: 5_000,
    };
    pair.scene("some known and some not", |_| {
        cut("t", &[(0, 0), (9, 0), (-1, 0)])
    })?;
    pair.scene("the same partition twice", |_| {
        cut("defaults", &[(0, 0), (0, -1)])
    })?;
    pair.scene("an empty log", |_| cut("defaults", &[(0, -1)]))?;
    pair.scene("beyond an empty log", |_| cut("defaults", &[(0, 1)]))?;
    pair.scene("an offset of -2", |_| cut("t", &[(0, -2)]))?;
    pair.scene("an illegal name", |_| cut("a/b", &[(0, 0)]))?;
    pair.scene("no partitions", |_| cut("t", &[]))?;
    pair.scene("offsets of groups", |_| {
        cut("__consumer_offsets", &[(0, 0)])
    })
}

fn incremental(kind: i8, name: &str, changes: &[Change<'_>]) -> IncrementalAlterConfigsRequest {
    IncrementalAlterConfigsRequest {
        resources: vec![incremental_alter_configs::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: changes
                .iter()
                .map(
                    |(name, operation, value)| incremental_alter_configs::AlterableConfig {
                        name: (*name).into(),
                        config_operation: *operation,
                        value: value.map(Into::into),
                    },
                )
                .collect(),
        }],
        validate_only: false,
    }
}

fn change(pair: &mut Pair) -> Result<()> {
    let policy = "cleanup.policy";
    let throttled = "leader.replication.throttled.replicas";
    let changes: Vec<(&str, i8, &str, Vec<Change<'_>>)> = vec![
        (
            "append what is there",
            TOPIC,
            "defaults",
            vec![(policy, APPEND, Some("delete"))],
        ),
        (
            "append two",
            TOPIC,
            "defaults",
            vec![(policy, APPEND, Some("compact,delete"))],
        ),
        (
            "append the same twice",
            TOPIC,
            "defaults",
            vec![(throttled, APPEND, Some("0:1,0:1"))],
        ),
        (
            "append more",
            TOPIC,
            "defaults",
            vec![(throttled, APPEND, Some("1:1"))],
        ),
        (
            "append nothing",
            TOPIC,
            "defaults",
            vec![(throttled, APPEND, Some(""))],
        ),
        (
            "append a null",
            TOPIC,
            "defaults",
            vec![(policy, APPEND, None)],
        ),
        (
            "append a bad value",
            TOPIC,
            "defaults",
            vec![(policy, APPEND, Some("burn"))],
        ),
        (
            "subtract one of two",
            TOPIC,
            "defaults",
            vec![(throttled, SUBTRACT, Some("0:1"))],
        ),
        (
            "subtract the other",
            TOPIC,
            "defaults",
            vec![(throttled, SUBTRACT, Some("1:1"))],
        ),
        (
            "subtract what is not there",
            TOPIC,
            "defaults",
            vec![(throttled, SUBTRACT, Some("7:7"))],
        ),
        (
            "subtract a null",
            TOPIC,
            "defaults",
            vec![(policy, SUBTRACT, None)],
        ),
        (
            "subtract all",
            TOPIC,
            "defaults",
            vec![(policy, SUBTRACT, Some("compact,delete"))],
        ),
        (
            "subtract from what is no list",
            TOPIC,
            "t",
            vec![("retention.ms", SUBTRACT, Some("1"))],
        ),
        (
            "delete with a value",
            TOPIC,
            "defaults",
            vec![(policy, DELETE, Some("x"))],
        ),
        (
            "delete what is not there",
            TOPIC,
            "defaults",
            vec![("flush.ms", DELETE, None)],
        ),
        (
            "delete what is unknown",
            TOPIC,
            "defaults",
            vec![("no.such", DELETE, None)],
        ),
        (
            "two, one of them bad",
            TOPIC,
            "defaults",
            vec![
                ("flush.ms", SET, Some("5")),
                ("retention.ms", SET, Some("x")),
            ],
        ),
        ("no changes", TOPIC, "defaults", vec![]),
        ("no changes of an unknown topic", TOPIC, "nope", vec![]),
        (
            "no setting's name",
            TOPIC,
            "defaults",
            vec![("", SET, Some("5"))],
        ),
        (
            "an illegal topic",
            TOPIC,
            "a/b",
            vec![("flush.ms", SET, Some("5"))],
        ),
        (
            "a list of the broker",
            BROKER,
            "1",
            vec![("log.cleanup.policy", APPEND, Some("compact"))],
        ),
        (
            "from a list of the broker",
            BROKER,
            "1",
            vec![("log.cleanup.policy", SUBTRACT, Some("compact"))],
        ),
        (
            "no value of the broker",
            BROKER,
            "1",
            vec![("log.cleanup.policy", SET, None)],
        ),
        (
            "the broker's list anew",
            BROKER,
            "1",
            vec![("log.cleanup.policy", DELETE, None)],
        ),
        (
            "an unknown setting of the broker",
            BROKER,
            "1",
            vec![("no.such", SET, Some("1"))],
        ),
        ("its removal", BROKER, "1", vec![("no.such", DELETE, None)]),
        (
            "a bad value of the broker",
            BROKER,
            "1",
            vec![("num.io.threads", SET, Some("0"))],
        ),
        (
            "many more threads",
            BROKER,
            "1",
            vec![("num.io.threads", SET, Some("1000"))],
        ),
        (
            "a broker by a word",
            BROKER,
            "x",
            vec![("log.retention.ms", SET, Some("5"))],
        ),
        (
            "min.insync.replicas of one",
            BROKER,
            "1",
            vec![("min.insync.replicas", SET, Some("1"))],
        ),
        (
            "min.insync.replicas of all",
            BROKER,
            "",
            vec![("min.insync.replicas", SET, Some("1"))],
        ),
        (
            "no min.insync.replicas of all",
            BROKER,
            "",
            vec![("min.insync.replicas", DELETE, None)],
        ),
        (
            "a setting of one for all brokers",
            BROKER,
            "",
            vec![("listeners", SET, Some("X://y:1"))],
        ),
        (
            "a read-only one for all brokers",
            BROKER,
            "",
            vec![("log.dirs", SET, Some("/x"))],
        ),
        (
            "a group",
            32,
            "g",
            vec![("consumer.session.timeout.ms", SET, Some("50000"))],
        ),
        (
            "a group without a name",
            32,
            "",
            vec![("consumer.session.timeout.ms", SET, Some("50000"))],
        ),
        (
            "a logger",
            8,
            "1",
            vec![("kafka.server", SET, Some("INFO"))],
        ),
        (
            "a logger of another broker",
            8,
            "7",
            vec![("kafka.server", SET, Some("INFO"))],
        ),
        (
            "a logger's bad level",
            8,
            "1",
            vec![("kafka.server", SET, Some("LOUD"))],
        ),
    ];
    for (name, kind, resource, changes) in changes {
        pair.scene(name, |_| incremental(kind, resource, &changes))?;
        if kind == TOPIC && resource == "defaults" {
            pair.once(&format!("after: {name}"), 4, |_| {
                asked(
                    TOPIC,
                    "defaults",
                    Some(&[policy, throttled, "flush.ms"]),
                    false,
                )
            })?;
        }
    }
    let long = vec!["0:1"; 9_000].join(",");
    pair.scene("a very long list", |_| {
        incremental(TOPIC, "t", &[(throttled, SET, Some(&long))])
    })?;
    pair.scene("the broker's", |_| {
        replace(BROKER, "1", &[("log.retention.ms", Some("99999999"))], true)
    })?;
    pair.scene("all brokers'", |_| {
        replace(BROKER, "", &[("log.retention.ms", Some("99999999"))], true)
    })?;
    pair.scene("a stranger's", |_| {
        replace(BROKER, "9", &[("log.retention.ms", Some("99999999"))], true)
    })?;
    pair.scene("a setting twice", |_| {
        replace(
            TOPIC,
            "t",
            &[("flush.ms", Some("1")), ("flush.ms", Some("2"))],
            true,
        )
    })?;
    pair.scene("a resource twice", |_| {
        let mut twice = replace(TOPIC, "t", &[("flush.ms", Some("1"))], true);
        twice.resources.push(twice.resources[0].clone());
        twice
    })?;
    pair.scene("an unknown kind", |_| {
        replace(77, "t", &[("x", Some("1"))], true)
    })?;
    pair.scene("a logger", |_| {
        replace(8, "1", &[("kafka.server", Some("INFO"))], true)
    })
}

/// An AlterConfigs request that replaces all settings of a resource.
pub fn replace(
    kind: i8,
    name: &str,
    configs: &[(&str, Option<&str>)],
    validate_only: bool,
) -> AlterConfigsRequest {
    AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs
                .iter()
                .map(|(name, value)| alter_configs::AlterableConfig {
                    name: (*name).into(),
                    value: value.map(Into::into),
                })
                .collect(),
        }],
        validate_only,
    }
}

fn asked(kind: i8, name: &str, keys: Option<&[&str]>, documented: bool) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
        }],
        include_synonyms: !documented,
        include_documentation: documented,
    }
}

fn describe(pair: &mut Pair) -> Result<()> {
    pair.scene("no keys", |_| asked(TOPIC, "t", Some(&[]), false))?;
    pair.scene("a key twice", |_| {
        asked(TOPIC, "t", Some(&["flush.ms", "flush.ms"]), false)
    })?;
    pair.scene("documentation", |_| {
        asked(TOPIC, "t", Some(&["flush.ms", "cleanup.policy"]), true)
    })?;
    pair.scene("documentation of the broker", |_| {
        asked(
            BROKER,
            "1",
            Some(&["num.io.threads", "log.retention.ms"]),
            true,
        )
    })?;
    pair.scene("a resource twice", |_| {
        let mut twice = asked(TOPIC, "t", Some(&["flush.ms"]), false);
        twice.resources.push(twice.resources[0].clone());
        twice
    })?;
    pair.scene("an illegal topic", |_| asked(TOPIC, "a/b", None, false))?;
    pair.scene("unknown keys of the broker", |_| {
        asked(BROKER, "1", Some(&["no.such"]), false)
    })?;
    pair.scene("synonyms of the broker", |_| {
        let keys = [
            "log.retention.ms",
            "log.retention.minutes",
            "log.retention.hours",
            "log.roll.ms",
            "log.flush.interval.ms",
            "log.flush.scheduler.interval.ms",
            "log.cleanup.policy",
            "min.insync.replicas",
            "message.max.bytes",
            "listener.security.protocol.map",
            "ssl.keystore.password",
            "advertised.listeners",
        ];
        asked(BROKER, "1", Some(&keys), false)
    })?;
    pair.scene("synonyms of a topic", |_| {
        let keys = [
            "retention.ms",
            "segment.ms",
            "flush.ms",
            "flush.messages",
            "max.message.bytes",
            "min.insync.replicas",
            "segment.bytes",
            "local.retention.ms",
        ];
        asked(TOPIC, "t", Some(&keys), false)
    })?;
    pair.scene("settings that are empty by default", |_| {
        let keys = [
            "authorizer.class.name",
            "config.providers",
            "controller.listener.names",
            "controller.quorum.bootstrap.servers",
            "cordoned.log.dirs",
            "kafka.metrics.reporters",
            "max.connections.per.ip.overrides",
            "process.roles",
            "sasl.oauthbearer.expected.audience",
            "ssl.cipher.suites",
        ];
        asked(BROKER, "1", Some(&keys), false)
    })?;
    let rates = [
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ];
    pair.scene("rates that nobody set", |_| {
        asked(BROKER, "1", Some(&rates), false)
    })?;
    pair.scene("a rate to be set", |_| {
        incremental(BROKER, "1", &[(rates[2], SET, Some("1000000"))])
    })?;
    pair.scene("a rate that is set", |_| {
        asked(BROKER, "1", Some(&rates), false)
    })?;
    pair.scene("a rate to be forgotten", |_| {
        incremental(BROKER, "1", &[(rates[2], DELETE, None)])
    })?;
    pair.scene("a logger", |_| asked(8, "1", Some(&["kafka.none"]), false))?;
    pair.scene("a logger of another broker", |_| asked(8, "7", None, false))?;
    pair.scene("client metrics", |_| asked(16, "m", None, false))?;
    pair.scene("client metrics without a name", |_| {
        asked(16, "", None, false)
    })?;
    for (name, of, changes) in [
        (
            "client metrics, all settings",
            "m",
            &[
                ("interval.ms", SET, Some("1000")),
                ("metrics", SET, Some("org.apache.kafka.producer.,*")),
                ("match", SET, Some("client_id=a.*")),
            ][..],
        ),
        (
            "client metrics, more of a list",
            "m",
            &[("metrics", APPEND, Some("b."))],
        ),
        (
            "client metrics, less of a list",
            "m",
            &[("metrics", SUBTRACT, Some("*"))],
        ),
        (
            "client metrics, a default",
            "n",
            &[("interval.ms", SET, Some("300000"))],
        ),
        (
            "client metrics, one setting back",
            "n",
            &[("interval.ms", DELETE, None)],
        ),
        (
            "client metrics, no name",
            "",
            &[("interval.ms", SET, Some("1000"))],
        ),
        (
            "client metrics, too often",
            "n",
            &[("interval.ms", SET, Some("99"))],
        ),
        (
            "client metrics, too seldom",
            "n",
            &[("interval.ms", SET, Some("3600001"))],
        ),
        (
            "client metrics, no number",
            "n",
            &[("interval.ms", SET, Some("x"))],
        ),
        (
            "client metrics, an unknown setting",
            "n",
            &[("no.such", SET, Some("x"))],
        ),
        (
            "client metrics, no pattern",
            "n",
            &[("match", SET, Some("client_id"))],
        ),
        (
            "client metrics, an unknown selector",
            "n",
            &[("match", SET, Some("who=a"))],
        ),
        (
            "client metrics, a bad pattern",
            "n",
            &[("match", SET, Some("client_id=("))],
        ),
        (
            "client metrics, an empty pattern",
            "n",
            &[("match", SET, Some(""))],
        ),
        (
            "a group's settings",
            "g of settings",
            &[
                ("consumer.session.timeout.ms", SET, Some("50000")),
                ("share.auto.offset.reset", SET, Some("earliest")),
            ],
        ),
    ] {
        let kind = if of.starts_with("g ") {
            GROUP
        } else {
            CLIENT_METRICS
        };
        pair.scene(name, |_| incremental(kind, of, changes))?;
        pair.scene(&format!("after {name}"), |_| asked(kind, of, None, false))?;
    }
    for kind in [CLIENT_METRICS, GROUP] {
        pair.scene(&format!("what there is of kind {kind}"), |_| {
            ListConfigResourcesRequest {
                resource_types: vec![kind],
            }
        })?;
    }
    for (of, name) in [("m", "interval.ms"), ("m", "metrics"), ("m", "match")] {
        pair.scene(&format!("client metrics, {name} back"), |_| {
            incremental(CLIENT_METRICS, of, &[(name, DELETE, None)])
        })?;
    }
    pair.scene("what there is of no kind", |_| ListConfigResourcesRequest {
        resource_types: vec![1],
    })?;
    pair.scene("client metrics that are gone", |_| {
        ListConfigResourcesRequest {
            resource_types: vec![CLIENT_METRICS],
        }
    })
}

fn find(pair: &mut Pair) -> Result<()> {
    let topics = |topics: &[(Option<&str>, Uuid)], allow_auto_topic_creation| MetadataRequest {
        topics: Some(
            topics
                .iter()
                .map(|(name, topic_id)| MetadataRequestTopic {
                    topic_id: *topic_id,
                    name: name.map(Into::into),
                })
                .collect(),
        ),
        allow_auto_topic_creation,
        ..Default::default()
    };
    for version in 4..=13 {
        pair.once("made at once: bad names", version, |_| {
            topics(
                &[("a/b", Uuid::ZERO), ("", Uuid::ZERO), ("..", Uuid::ZERO)]
                    .map(|(name, id)| (Some(name), id)),
                true,
            )
        })?;
    }
    for version in 10..=13 {
        let strange = Uuid([7; 16]);
        pair.once("ids, one of them twice", version, |broker| {
            let id = broker.id("t");
            topics(&[(None, id), (None, id), (None, strange)], true)
        })?;
        pair.once("an id with a name", version, |broker| {
            let id = broker.id("t");
            topics(&[(Some("t"), id)], true)
        })?;
        pair.once("an id with another name", version, |broker| {
            let id = broker.id("t");
            topics(&[(Some("c"), id)], true)
        })?;
        pair.once("a name and an id", version, |broker| {
            let id = broker.id("t");
            topics(&[(Some("c"), Uuid::ZERO), (None, id)], true)
        })?;
    }
    for (name, software, number) in [
        ("a client without a name", "", "1.0"),
        ("a client without a version", "client", ""),
        ("a client with a bad name", "-client", "1.0"),
        ("a client with a space", "my client", "1.0"),
        ("a client with a bad version", "client", "1.0/"),
    ] {
        for version in 3..=5 {
            pair.once(name, version, |_| ApiVersionsRequest {
                client_software_name: software.into(),
                client_software_version: number.into(),
                ..Default::default()
            })?;
        }
    }
    Ok(())
}

fn offsets(pair: &mut Pair) -> Result<()> {
    let commit = |group: &str, topic: &str, id: Uuid, partitions: &[i32]| OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            topic_id: id,
            partitions: partitions
                .iter()
                .map(|partition_index| OffsetCommitRequestPartition {
                    partition_index: *partition_index,
                    committed_offset: 3,
                    ..Default::default()
                })
                .collect(),
        }],
        ..Default::default()
    };
    for (name, id) in [
        ("a strange id", Uuid([5; 16])),
        ("an id of zero", Uuid::ZERO),
    ] {
        pair.once(name, 10, |_| commit("ids", "", id, &[0]))?;
    }
    pair.once("an id", 10, |broker| {
        let id = broker.id("t");
        commit("ids", "", id, &[0, 99, -1])
    })?;
    for version in 2..=9 {
        pair.once("a partition twice", version, |_| {
            commit("names", "t", Uuid::ZERO, &[0, 0, 1])
        })?;
        pair.once("no partitions", version, |_| {
            commit("names", "t", Uuid::ZERO, &[])
        })?;
        pair.once("illegal names", version, |_| {
            commit("names", "a/b", Uuid::ZERO, &[0])
        })?;
    }
    let ask = |group: &str, topics: Option<Vec<(&str, Uuid)>>, partitions: &[i32]| {
        OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|(name, topic_id)| OffsetFetchRequestTopics {
                        name: name.into(),
                        topic_id,
                        partition_indexes: partitions.to_vec(),
                    })
                    .collect()
            }),
            ..Default::default()
        }
    };
    for version in 8..=10 {
        let mut scene = |name: &str, groups: &dyn Fn(Uuid) -> Vec<OffsetFetchRequestGroup>| {
            pair.once(name, version, |broker| {
                let id = broker.id("t");
                OffsetFetchRequest {
                    groups: groups(id),
                    ..Default::default()
                }
            })
        };
        scene("several groups", &|id| {
            vec![
                ask("ids", Some(vec![("t", id)]), &[0, 1, 99]),
                ask("names", None, &[]),
                ask("none", None, &[]),
                ask("", None, &[]),
            ]
        })?;
        scene("no groups", &|_| Vec::new())?;
        scene("a group twice", &|id| {
            vec![
                ask("ids", Some(vec![("t", id)]), &[0]),
                ask("ids", Some(vec![("t", id)]), &[1]),
            ]
        })?;
        scene("a topic twice", &|id| {
            vec![ask("ids", Some(vec![("t", id), ("t", id)]), &[0, 0])]
        })?;
        scene("no topics", &|_| vec![ask("ids", Some(Vec::new()), &[])])?;
        scene("no partitions", &|id| {
            vec![ask("ids", Some(vec![("t", id)]), &[])]
        })?;
        scene("strange topics", &|_| {
            vec![ask(
                "ids",
                Some(vec![("nope", Uuid([5; 16])), ("", Uuid::ZERO)]),
                &[0],
            )]
        })?;
        scene("a member's epoch", &|id| {
            vec![OffsetFetchRequestGroup {
                member_id: Some("m".into()),
                member_epoch: 5,
                ..ask("ids", Some(vec![("t", id)]), &[0])
            }]
        })?;
    }
    Ok(())
}

/// Requests about ACLs; neither broker has an authorizer.
fn acls(pair: &mut Pair) -> Result<()> {
    pair.scene("any", |_| DescribeAclsRequest {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    })?;
    pair.scene("of no kind that there is", |_| DescribeAclsRequest {
        resource_type_filter: 99,
        ..Default::default()
    })?;
    let creation = AclCreation {
        resource_type: TOPIC,
        resource_name: "t".into(),
        principal: "User:a".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    let senseless = AclCreation {
        resource_name: "".into(),
        principal: "nobody".into(),
        ..creation.clone()
    };
    for (name, creations) in [
        ("none", Vec::new()),
        ("one", vec![creation.clone()]),
        ("two, one of them senseless", vec![creation, senseless]),
    ] {
        pair.scene(name, |_| CreateAclsRequest {
            creations: creations.clone(),
        })?;
    }
    let filter = DeleteAclsFilter {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    for count in 0..=2 {
        pair.scene(&format!("{count} filters"), |_| DeleteAclsRequest {
            filters: vec![filter.clone(); count],
        })?;
    }
    Ok(())
}
