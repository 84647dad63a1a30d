//! Fetch sessions, and unusual Fetch requests that no client would send.

use anyhow::Result;
use bytes::Bytes;
use compat_tests::exchange::Answer;
use monedula::base::ids::Uuid;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::codec::Records;
use monedula::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::fetch::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, ReplicaState,
};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::pair::{Broker, Pair};

const TOPIC: &str = "fetched";
const BY_ID_SINCE: i16 = 13;
/// First versions with sessions, topic ids and a tagged replica state, among others.
const VERSIONS: [i16; 5] = [7, 12, 13, 15, 18];

pub fn play(pair: &mut Pair) -> Result<()> {
    fill(pair)?;
    sessions(pair)?;
    oddities(pair)?;
    sequences(pair)?;
    offsets(pair)
}

/// Creates a topic of two partitions, with three batches of two records each.
fn fill(pair: &mut Pair) -> Result<()> {
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: TOPIC.into(),
            num_partitions: 2,
            replication_factor: 1,
            // The records are old.
            configs: vec![CreatableTopicConfig {
                name: "retention.ms".into(),
                value: Some("-1".into()),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    pair.both(7, &create)?;
    let mut batch = BatchBuilder::default();
    batch.push(1_700_000_000_000, Some(b"a"), Some(b"1"));
    batch.push(1_700_000_000_005, Some(b"b"), Some(b"2"));
    let batch = batch.build();
    let filled = produce(&[(0, &batch), (1, &batch)]);
    for _ in 0..3 {
        pair.once("to be fetched", 9, |_| filled.clone())?;
    }
    Ok(())
}

fn of(broker: &mut Broker, version: i16, topic: &str, partitions: &[(i32, i64)]) -> FetchTopic {
    let partitions = partitions
        .iter()
        .map(|&(partition, fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: 100_000,
            ..Default::default()
        })
        .collect();
    FetchTopic {
        topic: topic.into(),
        topic_id: id(broker, version, topic),
        partitions,
    }
}

fn id(broker: &mut Broker, version: i16, topic: &str) -> Uuid {
    match broker.id(topic) {
        _ if version < BY_ID_SINCE => Uuid::ZERO,
        Uuid::ZERO => Uuid([3; 16]),
        id => id,
    }
}

fn forgotten(broker: &mut Broker, version: i16, topic: &str, partitions: &[i32]) -> ForgottenTopic {
    ForgottenTopic {
        topic: topic.into(),
        topic_id: id(broker, version, topic),
        partitions: partitions.to_vec(),
    }
}

fn next(session_id: i32, session_epoch: i32) -> FetchRequest {
    FetchRequest {
        session_id,
        session_epoch,
        max_bytes: 100_000,
        ..Default::default()
    }
}

/// Begins a session with both partitions of the topic, at offsets after their records; returns its id.
fn session(broker: &mut Broker, version: i16) -> i32 {
    let request = FetchRequest {
        topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1)])],
        ..next(0, 0)
    };
    match broker.ask(&request, version) {
        Ok(Some(Answer::Response(answer))) => answer.session_id,
        other => panic!("no session: {other:?}"),
    }
}

/// Begins a session and sends some more fetches in it; returns its id.
fn used(broker: &mut Broker, version: i16, requests: &[FetchRequest]) -> i32 {
    let id = session(broker, version);
    for request in requests {
        let request = FetchRequest {
            session_id: id,
            ..request.clone()
        };
        let answer = broker.ask(&request, version);
        assert!(
            matches!(answer, Ok(Some(Answer::Response(_)))),
            "{answer:?}"
        );
    }
    id
}

fn sessions(pair: &mut Pair) -> Result<()> {
    for version in VERSIONS {
        let mut scene = |name: &str, request: &dyn Fn(&mut Broker) -> FetchRequest| {
            pair.once(name, version, request)
        };
        scene("a new session", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1)])],
            ..next(0, 0)
        })?;
        scene("a new session of nothing", &|_| next(0, 0))?;
        scene("a session's next", &|broker| {
            next(session(broker, version), 1)
        })?;
        scene("a session's next but one", &|broker| {
            next(used(broker, version, &[next(0, 1)]), 2)
        })?;
        scene("an epoch twice", &|broker| {
            next(used(broker, version, &[next(0, 1)]), 1)
        })?;
        scene("an epoch too early", &|broker| {
            next(session(broker, version), 2)
        })?;
        scene("a session that forgets one", &|broker| FetchRequest {
            forgotten_topics_data: vec![forgotten(broker, version, TOPIC, &[0])],
            ..next(session(broker, version), 1)
        })?;
        scene("a session that forgets all", &|broker| FetchRequest {
            forgotten_topics_data: vec![forgotten(broker, version, TOPIC, &[0, 1])],
            ..next(session(broker, version), 1)
        })?;
        scene("a session that forgot all", &|broker| {
            let request = FetchRequest {
                forgotten_topics_data: vec![forgotten(broker, version, TOPIC, &[0, 1])],
                ..next(0, 1)
            };
            next(used(broker, version, &[request]), 2)
        })?;
        scene("a session that forgets what it has not", &|broker| {
            FetchRequest {
                forgotten_topics_data: vec![
                    forgotten(broker, version, TOPIC, &[7]),
                    forgotten(broker, version, "nope", &[0]),
                ],
                ..next(session(broker, version), 1)
            }
        })?;
        scene("a session that forgets and asks anew", &|broker| {
            FetchRequest {
                forgotten_topics_data: vec![forgotten(broker, version, TOPIC, &[0, 1])],
                topics: vec![of(broker, version, TOPIC, &[(0, 4)])],
                ..next(session(broker, version), 1)
            }
        })?;
        scene("a session that grows", &|broker| FetchRequest {
            topics: vec![of(broker, version, "c", &[(0, 0)])],
            ..next(session(broker, version), 1)
        })?;
        scene("a session that asks for what is not", &|broker| {
            FetchRequest {
                topics: vec![
                    of(broker, version, "nope", &[(0, 0)]),
                    of(broker, version, TOPIC, &[(99, 0)]),
                ],
                ..next(session(broker, version), 1)
            }
        })?;
        scene("a session that asked for what is not", &|broker| {
            let request = FetchRequest {
                // Forgets one of the two partitions, because each broker chooses by itself which partition comes first in the
                // next response.
                forgotten_topics_data: vec![forgotten(broker, version, TOPIC, &[1])],
                topics: vec![of(broker, version, "nope", &[(0, 0)])],
                ..next(0, 1)
            };
            next(used(broker, version, &[request]), 2)
        })?;
        scene("a session that forgets what is not", &|broker| {
            let request = FetchRequest {
                topics: vec![of(broker, version, "nope", &[(0, 0)])],
                ..next(0, 1)
            };
            let id = used(broker, version, &[request]);
            FetchRequest {
                forgotten_topics_data: vec![forgotten(broker, version, "nope", &[0])],
                ..next(id, 2)
            }
        })?;
        scene("a session that is closed", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 3)])],
            ..next(session(broker, version), -1)
        })?;
        scene("a session that was closed", &|broker| {
            next(used(broker, version, &[next(0, -1)]), 1)
        })?;
        scene("a session in place of another", &|broker| {
            let old = session(broker, version);
            FetchRequest {
                topics: vec![of(broker, version, TOPIC, &[(1, 4)])],
                ..next(old, 0)
            }
        })?;
        scene("a session that was replaced", &|broker| {
            next(used(broker, version, &[next(0, 0)]), 1)
        })?;
        scene("a session of the other kind", &|broker| {
            let other = if version < BY_ID_SINCE { 13 } else { 12 };
            next(session(broker, other), 1)
        })?;
        scene("an epoch without a session", &|_| next(0, 5))?;
        scene("a negative epoch", &|broker| {
            next(session(broker, version), -2)
        })?;
    }
    Ok(())
}

fn oddities(pair: &mut Pair) -> Result<()> {
    for version in 4..=18 {
        let mut scene = |name: &str, request: &dyn Fn(&mut Broker) -> FetchRequest| {
            pair.once(name, version, request)
        };
        let plain = FetchRequest {
            max_bytes: 100_000,
            ..Default::default()
        };
        scene("the same partition twice", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1), (0, 4)])],
            ..plain.clone()
        })?;
        scene("the same topic twice", &|broker| FetchRequest {
            topics: vec![
                of(broker, version, TOPIC, &[(0, 3)]),
                of(broker, version, TOPIC, &[(0, 2), (1, 1)]),
            ],
            ..plain.clone()
        })?;
        scene("no bytes at most", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1)])],
            max_bytes: 0,
            ..plain.clone()
        })?;
        scene("fewer than no bytes at most", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1)])],
            max_bytes: -1,
            ..plain.clone()
        })?;
        scene("little for both", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 2), (1, 1)])],
            max_bytes: 150,
            ..plain.clone()
        })?;
        scene("more at least than at most", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[(0, 3)])],
            max_bytes: 10,
            min_bytes: 1_000_000,
            max_wait_ms: 300,
            ..plain.clone()
        })?;
        scene("no bytes of the partition", &|broker| {
            let mut topic = of(broker, version, TOPIC, &[(0, 2), (1, 1)]);
            topic.partitions[0].partition_max_bytes = 0;
            FetchRequest {
                topics: vec![topic],
                ..plain.clone()
            }
        })?;
        scene("a topic without partitions", &|broker| FetchRequest {
            topics: vec![of(broker, version, TOPIC, &[])],
            ..plain.clone()
        })?;
        for replica_id in [1, 7, -2] {
            scene(&format!("as replica {replica_id}"), &|broker| {
                FetchRequest {
                    topics: vec![of(broker, version, TOPIC, &[(0, 3)])],
                    replica_id: if version < 15 { replica_id } else { -1 },
                    replica_state: if version < 15 {
                        ReplicaState::default()
                    } else {
                        ReplicaState {
                            replica_id,
                            replica_epoch: -1,
                        }
                    },
                    ..plain.clone()
                }
            })?;
        }
    }
    for version in [13, 18] {
        pair.once("a topic id of zero", version, |_| FetchRequest {
            topics: vec![FetchTopic {
                partitions: vec![FetchPartition::default()],
                ..Default::default()
            }],
            max_bytes: 1_000,
            ..Default::default()
        })?;
    }
    Ok(())
}

fn produce(partitions: &[(i32, &Bytes)]) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 5_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: partitions
                .iter()
                .map(|&(index, records)| PartitionProduceData {
                    index,
                    records: Some(Records::Bytes(records.clone())),
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Batches of idempotent producers with more than one record: more than the five remembered batches, and sequence numbers
/// around the largest one.
fn sequences(pair: &mut Pair) -> Result<()> {
    let batch = |id, epoch, sequence, count| {
        let mut batch = BatchBuilder::default().producer(id, epoch, sequence);
        for _ in 0..count {
            batch.push(1_700_000_000_000, Some(b"k"), Some(b"v"));
        }
        batch.build()
    };
    let mut steps = Vec::new();
    // Two records each: sequence numbers 0-1, 2-3, and so on.
    steps.extend((0..7).map(|at| (format!("batch {at}"), batch(8_000, 0, at * 2, 2))));
    steps.extend((0..7).map(|at| (format!("batch {at} again"), batch(8_000, 0, at * 2, 2))));
    steps.push(("half of the last batch".into(), batch(8_000, 0, 12, 1)));
    steps.push(("its other half".into(), batch(8_000, 0, 13, 1)));
    steps.push(("the last batch and more".into(), batch(8_000, 0, 12, 4)));
    steps.push(("the next but one".into(), batch(8_000, 0, 15, 1)));
    steps.push(("the new epoch".into(), batch(8_000, 3, 0, 2)));
    steps.push(("the old epoch's last".into(), batch(8_000, 0, 12, 2)));
    steps.push(("the old epoch's next".into(), batch(8_000, 0, 14, 2)));
    steps.push(("the new epoch again".into(), batch(8_000, 3, 0, 2)));
    steps.push(("an epoch between".into(), batch(8_000, 2, 0, 2)));
    let last = i32::MAX;
    steps.push(("up to the largest".into(), batch(8_001, 0, last - 1, 2)));
    steps.push(("after the largest".into(), batch(8_001, 0, 0, 2)));
    steps.push((
        "up to the largest again".into(),
        batch(8_001, 0, last - 1, 2),
    ));
    steps.push(("over the largest".into(), batch(8_002, 0, last - 1, 5)));
    steps.push(("after that".into(), batch(8_002, 0, 3, 1)));
    steps.push((
        "over the largest again".into(),
        batch(8_002, 0, last - 1, 5),
    ));
    steps.push(("an epoch without a producer".into(), batch(-1, 5, 0, 1)));
    steps.push(("a sequence without a producer".into(), batch(-1, -1, 9, 1)));
    for (name, records) in &steps {
        pair.once(&format!("sequences: {name}"), 9, |_| {
            produce(&[(0, records)])
        })?;
    }
    let (one, other) = (batch(-1, -1, -1, 1), batch(-1, -1, -1, 3));
    pair.once("the same partition twice", 9, |_| {
        produce(&[(1, &one), (1, &other)])
    })?;
    pair.once("the same topic twice", 9, |_| {
        let mut request = produce(&[(1, &one)]);
        request
            .topic_data
            .extend(produce(&[(1, &other), (0, &one)]).topic_data);
        request
    })?;
    pair.once("no partitions", 9, |_| produce(&[]))?;
    pair.once("no topics", 9, |_| ProduceRequest {
        acks: -1,
        ..Default::default()
    })
}

fn offsets(pair: &mut Pair) -> Result<()> {
    for timestamp in [
        -1,
        -2,
        -3,
        -4,
        -5,
        -6,
        -7,
        0,
        1_700_000_000_000,
        4_000_000_000_000,
    ] {
        for (topic, index) in [(TOPIC, 0), (TOPIC, 1), ("defaults", 0)] {
            for isolation_level in [0, 1] {
                let name = format!("{timestamp} of {topic}-{index}, isolation {isolation_level}");
                pair.scene(&name, |_| ListOffsetsRequest {
                    replica_id: -1,
                    isolation_level,
                    topics: vec![ListOffsetsTopic {
                        name: topic.into(),
                        partitions: vec![ListOffsetsPartition {
                            partition_index: index,
                            timestamp,
                            ..Default::default()
                        }],
                    }],
                    timeout_ms: 5_000,
                })?;
            }
        }
    }
    for (topic, leader_epoch) in [("defaults", 0), ("defaults", 5), (TOPIC, 0)] {
        pair.scene(&format!("epoch {leader_epoch} of {topic}"), |_| {
            OffsetForLeaderEpochRequest {
                topics: vec![OffsetForLeaderTopic {
                    topic: topic.into(),
                    partitions: vec![OffsetForLeaderPartition {
                        leader_epoch,
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            }
        })?;
    }
    for replica_id in [1, 7, -2] {
        pair.scene(&format!("as replica {replica_id}"), |_| {
            ListOffsetsRequest {
                replica_id,
                isolation_level: 0,
                topics: vec![ListOffsetsTopic {
                    name: TOPIC.into(),
                    partitions: vec![ListOffsetsPartition {
                        timestamp: -1,
                        ..Default::default()
                    }],
                }],
                timeout_ms: 5_000,
            }
        })?;
    }
    Ok(())
}
