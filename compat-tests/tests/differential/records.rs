//! Produce, Fetch and offsets.

use anyhow::Result;
use bytes::Bytes;
use bytestring::ByteString;
use compat_tests::exchange::Answer;
use monedula::base::ids::Uuid;
use monedula::host::clock::Clock;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header;
use monedula::wire::codec::Records;
use monedula::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use monedula::wire::message::describe_producers::{DescribeProducersRequest, TopicRequest};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::pair::{Broker, Pair};

pub fn play(pair: &mut Pair) -> Result<()> {
    produce(pair)?;
    fetch(pair)?;
    offsets(pair)
}

fn batch(count: i64) -> BatchBuilder {
    let mut batch = BatchBuilder::default();
    for index in 0..count {
        let value = format!("value-{index}");
        batch.push(now() + index, Some(b"key"), Some(value.as_bytes()));
    }
    batch
}

/// Start of the current day: brokers refuse timestamps too far in the future.
fn now() -> i64 {
    let today = Clock::default().now();
    today - today % 86_400_000
}

fn request(topic: &str, id: Uuid, index: i32, acks: i16, records: Option<Bytes>) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            topic_id: id,
            partition_data: vec![PartitionProduceData {
                index,
                records: records.map(Records::Bytes),
            }],
        }],
        ..Default::default()
    }
}

fn edited(edit: impl Fn(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch(2).build().to_vec();
    edit(&mut bytes);
    header::seal(&mut bytes);
    bytes.into()
}

fn produce(pair: &mut Pair) -> Result<()> {
    let good = batch(3).build();
    let keyless = {
        let mut keyless = BatchBuilder::default();
        keyless.push(now(), None, Some(b"v"));
        keyless.push(now(), Some(b"k"), Some(b"v"));
        keyless.build()
    };
    let dated = |time: i64| {
        let mut dated = BatchBuilder::default();
        dated.push(time, Some(b"k"), Some(b"v"));
        dated.build()
    };
    let mut packed = BatchBuilder::new(Compression::Zstd);
    packed.push(now(), Some(b"k"), Some(b"v"));
    let packed = packed.build();
    let followed = |rest: &[u8]| Some(Bytes::from([&good[..], rest].concat()));
    let of_length = |length: i32, cut: usize| {
        let mut bytes = good.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes.truncate(cut);
        bytes
    };
    let mut strange = good.to_vec();
    strange[16] = 9;
    let scenes: Vec<(&str, &str, i32, i16, Option<Bytes>)> = vec![
        (
            "a batch and one that is cut",
            "t",
            0,
            -1,
            followed(&good[..70]),
        ),
        (
            "a batch and the head of one",
            "t",
            0,
            -1,
            followed(&good[..16]),
        ),
        ("a batch and five bytes", "t", 0, -1, followed(b"12345")),
        ("a batch and zeros", "t", 0, -1, followed(&[0; 70])),
        (
            "a batch and one too small to be",
            "t",
            0,
            -1,
            followed(&of_length(13, 30)),
        ),
        (
            "a batch and a small one",
            "t",
            0,
            -1,
            followed(&of_length(14, 30)),
        ),
        (
            "a batch and one of a negative size",
            "t",
            0,
            -1,
            followed(&of_length(-1, 30)),
        ),
        (
            "a batch and the largest there is",
            "t",
            0,
            -1,
            followed(&of_length(i32::MAX, 30)),
        ),
        (
            "a batch and one of an unknown format, cut",
            "t",
            0,
            -1,
            followed(&strange[..70]),
        ),
        ("the smallest time", "t", 0, -1, Some(dated(i64::MIN))),
        (
            "the smallest time but one",
            "t",
            0,
            -1,
            Some(dated(i64::MIN + 1)),
        ),
        ("the largest time", "t", 0, -1, Some(dated(i64::MAX))),
        ("a time before all", "t", 0, -1, Some(dated(-2))),
        ("no time", "t", 0, -1, Some(dated(-1))),
        ("a batch", "t", 0, -1, Some(good.clone())),
        ("acks of one", "t", 0, 1, Some(good.clone())),
        ("unknown acks", "t", 0, 5, Some(good.clone())),
        ("an unknown topic", "nope", 0, -1, Some(good.clone())),
        ("an unknown partition", "t", 99, -1, Some(good.clone())),
        ("a negative partition", "t", -1, -1, Some(good.clone())),
        (
            "an internal topic",
            "__cluster_metadata",
            0,
            -1,
            Some(good.clone()),
        ),
        ("no keys on a compacted topic", "c", 0, -1, Some(keyless)),
        ("zstd", "t", 0, -1, Some(packed)),
        (
            "far in the future",
            "t",
            0,
            -1,
            Some(dated(now() + 10 * 86_400_000)),
        ),
        (
            "a checksum that is wrong",
            "t",
            0,
            -1,
            Some(
                edited(|_| {})
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at == 17 { !byte } else { *byte })
                    .collect(),
            ),
        ),
        (
            "two batches",
            "t",
            0,
            -1,
            Some([&good[..], &good[..]].concat().into()),
        ),
        (
            "an unknown format",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[16] = 3)),
        ),
        (
            "an old format",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[16] = 1)),
        ),
        (
            "a count that is too large",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[60] = 9)),
        ),
        (
            "a last offset that is too large",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[26] = 9)),
        ),
        (
            "a base offset",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[7] = 5)),
        ),
        (
            "a control batch",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[22] |= 0x20)),
        ),
        (
            "a transactional batch without a producer",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[22] |= 0x10)),
        ),
        (
            "an unknown codec",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[22] |= 7)),
        ),
        (
            "a time that the broker sets",
            "t",
            0,
            -1,
            Some(edited(|bytes| bytes[22] |= 8)),
        ),
        ("a batch that is cut", "t", 0, -1, Some(good.slice(..70))),
        (
            "garbage",
            "t",
            0,
            -1,
            Some(Bytes::from_static(b"garbage garbage garbage")),
        ),
        ("no bytes", "t", 0, -1, Some(Bytes::new())),
        ("a null in place of records", "t", 0, -1, None),
    ];
    for (name, topic, index, acks, records) in scenes {
        pair.expect_silence(records.is_none());
        for version in 3..=13 {
            pair.once(name, version, |broker| {
                let id = if topic == "nope" {
                    Uuid([3; 16])
                } else {
                    broker.id(topic)
                };
                request(topic, id, index, acks, records.clone())
            })?;
        }
    }
    pair.expect_silence(false);
    // Sequence numbers of a producer that the broker does not know yet.
    let sequenced = |id, epoch, sequence| {
        let mut batch = BatchBuilder::default().producer(id, epoch, sequence);
        batch.push(now(), Some(b"k"), Some(b"v"));
        batch.build()
    };
    for (name, records) in [
        (
            "an unknown producer's first sequence",
            sequenced(7_000, 0, 0),
        ),
        ("its repetition", sequenced(7_000, 0, 0)),
        ("the next", sequenced(7_000, 0, 1)),
        ("a gap", sequenced(7_000, 0, 5)),
        ("the next epoch, not from 0", sequenced(7_000, 1, 5)),
        ("the next epoch", sequenced(7_000, 1, 0)),
        ("an epoch that is over", sequenced(7_000, 0, 2)),
        (
            "an unknown producer's later sequence",
            sequenced(7_001, 0, 5),
        ),
        ("a negative sequence", sequenced(7_000, 1, -1)),
        ("a negative epoch", sequenced(7_002, -1, 0)),
    ] {
        pair.once(name, 9, |_| {
            request("t", Uuid::ZERO, 1, -1, Some(records.clone()))
        })?;
    }
    pair.scene("producers", |_| DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: "t".into(),
            partition_indexes: vec![1, 99],
        }],
    })?;
    pair.scene("of an unknown topic", |_| DescribeProducersRequest {
        topics: vec![TopicRequest {
            name: "nope".into(),
            partition_indexes: vec![0],
        }],
    })
}

fn fetch(pair: &mut Pair) -> Result<()> {
    let ask = |id: Uuid, topic: &str, partition: FetchPartition| FetchRequest {
        max_bytes: 100_000,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            topic_id: id,
            partitions: vec![partition],
        }],
        ..Default::default()
    };
    let from = |partition, fetch_offset| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 100_000,
        ..Default::default()
    };
    let scenes = [
        ("from the beginning", "t", from(0, 0)),
        ("from the middle of a batch", "t", from(0, 1)),
        ("beyond the end", "t", from(0, 99_999)),
        ("before the beginning", "t", from(0, -5)),
        ("an unknown partition", "t", from(99, 0)),
        ("an unknown topic", "nope", from(0, 0)),
        (
            "an epoch that is not yet",
            "t",
            FetchPartition {
                current_leader_epoch: 99,
                ..from(0, 0)
            },
        ),
        (
            "an epoch that ended elsewhere",
            "t",
            FetchPartition {
                last_fetched_epoch: 5,
                ..from(0, 0)
            },
        ),
        (
            "one byte",
            "t",
            FetchPartition {
                partition_max_bytes: 1,
                ..from(0, 0)
            },
        ),
        (
            "a negative size",
            "t",
            FetchPartition {
                partition_max_bytes: -1,
                ..from(0, 0)
            },
        ),
    ];
    for (name, topic, partition) in scenes {
        for isolation_level in [0, 1] {
            let name = format!("{name}, isolation {isolation_level}");
            pair.scene(&name, |broker| {
                let id = if topic == "nope" {
                    Uuid([3; 16])
                } else {
                    broker.id(topic)
                };
                FetchRequest {
                    isolation_level,
                    ..ask(id, topic, partition.clone())
                }
            })?;
        }
    }
    pair.scene("a session that is not", |broker| {
        let id = broker.id("t");
        FetchRequest {
            session_id: 5,
            session_epoch: 3,
            ..ask(id, "t", from(0, 0))
        }
    })?;
    pair.scene("nothing", |_| FetchRequest {
        session_epoch: -1,
        ..Default::default()
    })
}

fn offsets(pair: &mut Pair) -> Result<()> {
    let ask = |topic: &str, partition_index, timestamp, current_leader_epoch| ListOffsetsRequest {
        replica_id: -1,
        isolation_level: 0,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                partition_index,
                current_leader_epoch,
                timestamp,
                ..Default::default()
            }],
        }],
        timeout_ms: 5_000,
    };
    for (name, topic, partition, time) in [
        ("the latest", "t", 0, -1),
        ("the earliest", "t", 0, -2),
        ("the newest", "t", 0, -3),
        ("the earliest here", "t", 0, -4),
        ("the latest elsewhere", "t", 0, -5),
        ("the earliest to go elsewhere", "t", 0, -6),
        ("an unknown wish", "t", 0, -7),
        ("by time", "t", 0, now() + 1),
        ("by a time before all", "t", 0, 0),
        ("by a time after all", "t", 0, now() + 900_000_000),
        ("of an unknown partition", "t", 99, -1),
        ("of an unknown topic", "nope", 0, -1),
        ("of an empty log", "defaults", 0, -3),
    ] {
        pair.scene(name, |_| ask(topic, partition, time, -1))?;
    }
    pair.scene("an epoch that is not yet", |_| ask("t", 0, -1, 9))?;
    pair.scene("the same partition twice", |_| {
        let mut twice = ask("t", 0, -1, -1);
        let again = twice.topics[0].partitions[0].clone();
        twice.topics[0].partitions.push(again);
        twice
    })?;

    let epoch =
        |topic: &str, partition, leader_epoch, current_leader_epoch| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: topic.into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch,
                    leader_epoch,
                }],
            }],
            ..Default::default()
        };
    pair.scene("the epoch", |_| epoch("t", 0, 0, -1))?;
    pair.scene("a later epoch", |_| epoch("t", 0, 7, -1))?;
    pair.scene("no epoch", |_| epoch("t", 0, -1, -1))?;
    pair.scene("a leader that is not yet", |_| epoch("t", 0, 0, 7))?;
    pair.scene("an unknown partition", |_| epoch("t", 99, 0, -1))?;
    pair.scene("an unknown topic", |_| epoch("nope", 0, 0, -1))?;

    let dirs = |topics: Option<&[&str]>| DescribeLogDirsRequest {
        topics: topics.map(|topics| {
            topics
                .iter()
                .map(|topic| DescribableLogDirTopic {
                    topic: (*topic).into(),
                    partitions: vec![0, 99],
                })
                .collect()
        }),
    };
    pair.scene("some", |_| dirs(Some(&["t", "nope"])))?;
    pair.scene("none", |_| dirs(Some(&[])))?;

    // Each broker has a log directory of its own.
    let own = |broker: &mut Broker| match broker.ask(&dirs(None), 4) {
        Ok(Some(Answer::Response(answer))) => answer.results[0].log_dir.clone(),
        _ => "/none".into(),
    };
    let alter = |path: ByteString, topic: &str, partitions: &[i32]| AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path,
            topics: vec![AlterReplicaLogDirTopic {
                name: topic.into(),
                partitions: partitions.to_vec(),
            }],
        }],
    };
    let long = "x".repeat(249);
    pair.scene("to where it is", |broker| alter(own(broker), "t", &[0]))?;
    pair.scene("partitions that are not there", |broker| {
        alter(own(broker), "t", &[99, -1])
    })?;
    pair.scene("a topic that is not there", |broker| {
        alter(own(broker), "no-such", &[0])
    })?;
    pair.scene("a topic with too long a name", |broker| {
        alter(own(broker), &long, &[0])
    })?;
    pair.scene("an unknown directory", |_| {
        alter("/nope".into(), "t", &[0, 1])
    })?;
    pair.scene("a relative directory", |_| alter("data".into(), "t", &[0]))?;
    pair.scene("nothing", |_| AlterReplicaLogDirsRequest::default())?;

    let cut = |topic: &str, partition_index, offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: topic.into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index,
                offset,
            }],
        }],
        timeout_ms: 5_000,
    };
    for (name, topic, partition, offset) in [
        ("up to 2", "t", 0, 2),
        ("up to 1, which is gone", "t", 0, 1),
        ("beyond the end", "t", 0, 99_999),
        ("a negative offset", "t", 0, -9),
        ("of an unknown partition", "t", 99, 0),
        ("of an unknown topic", "nope", 0, 0),
        ("of a compacted topic", "c", 0, 0),
        ("everything", "t", 1, -1),
    ] {
        pair.scene(name, |_| cut(topic, partition, offset))?;
    }
    pair.scene("the earliest after that", |_| ask("t", 0, -2, -1))
}
