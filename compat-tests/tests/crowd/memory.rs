//! Memory beside that of requests: half-read requests, codecs, the log cleaner, and state that stays.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use compat_tests::exchange::{Answer, Connection};
use compat_tests::produced::Batch;
use compat_tests::programs::eventually;
use monedula::host::clock::Clock;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::codec::Records;
use monedula::wire::message::init_producer_id::InitProducerIdRequest;
use monedula::wire::message::metadata::MetadataRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::frames::{UNPACKED, WINDOW, bomb, frame, joining, padded};
use crate::stage::{GROUPS, HELD, MIB, PATIENCE, Stage, TRANSACTIONS};

const TOPIC: &str = "t";
/// Base-2 logarithm of the largest window that zstd's decoder accepts by default.
const WIDE_WINDOW: u8 = 27;
/// Time limit for the cleaner's first round.
const CLEANED_WITHIN: Duration = Duration::from_secs(20);

fn produced(records: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks: 1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::Bytes(records)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Large but legitimate load is served, even in a small container.
pub fn honest_load(stage: &mut Stage) -> Result<()> {
    const PARTITIONS: i32 = 10;
    stage.create(TOPIC, PARTITIONS, &[])?;
    let batch = Batch::default().of([(None, vec![b'v'; 900_000].into())])?;
    let data = (0..PARTITIONS).map(|index| PartitionProduceData {
        index,
        records: Some(Records::Bytes(batch.clone())),
    });
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: data.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let requests = stage.size(10, 40);
    let address = stage.node().address();
    stage.attack(|crowd| {
        let mut client = Connection::open(&address)?;
        client.be_patient(PATIENCE)?;
        for _ in 0..requests {
            let answer = client.ask(&request, 7)?;
            let Some(Answer::Response(answer)) = answer else {
                bail!("answered by {answer:?}");
            };
            let mut answers = answer
                .responses
                .iter()
                .flat_map(|one| &one.partition_responses);
            ensure!(answers.all(|one| one.error_code == 0), "{answer:?}");
            crowd.sent_elsewhere(batch.len() * PARTITIONS as usize);
        }
        Ok(())
    })
}

pub fn half_sent_requests(stage: &mut Stage) -> Result<()> {
    let mut begun = 10_000_000_u32.to_be_bytes().to_vec();
    begun.resize(5_000_000, 0);
    stage.attack(|crowd| crowd.hold(20, &begun))
}

/// Each attacker has a long request answered, then sends one byte of the next request. The buffer of the long request must not
/// stay allocated for that byte.
pub fn a_byte_behind_each_long_request(stage: &mut Stage) -> Result<()> {
    let asked = padded(&frame(&MetadataRequest::default(), 12)?, 8 * MIB)?;
    stage.attack(|crowd| {
        let mut attackers = Vec::new();
        for _ in 0..20 {
            let mut attacker = crowd.attacker()?;
            if attacker.send(&asked) {
                attacker.answer(PATIENCE);
                attacker.send(&[0]);
            }
            attackers.push(attacker);
        }
        thread::sleep(HELD);
        Ok(())
    })
}

pub fn wide_windows_of_zstd(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let request = frame(&produced(bomb(300 * MIB, None, WIDE_WINDOW)), 7)?;
    stage.attack(|crowd| {
        // Clients write such windows at level 22. One batch at a time may be decompressed on a machine that has the memory.
        crowd.may_take(1 << WIDE_WINDOW);
        crowd.all_send(8, &request).map(drop)
    })
}

pub fn bombs_compacted(stage: &mut Stage) -> Result<()> {
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("segment.ms", "1000"),
        ("max.compaction.lag.ms", "1000"),
    ];
    stage.create(TOPIC, 1, &settings)?;
    let checkpoint = stage.node().dir().join("cleaner-offset-checkpoint");
    let cleaned = move || {
        let text = fs::read_to_string(&checkpoint).unwrap_or_default();
        text.lines().any(|line| line.starts_with("t 0 "))
    };
    stage.attack(|crowd| {
        let mut attacker = crowd.attacker()?;
        for index in 0..4 {
            let key = format!("k{}", index % 2);
            attacker.ask(&produced(bomb(UNPACKED, Some(key.as_bytes()), WINDOW)), 7)?;
            attacker.answer(PATIENCE);
            thread::sleep(Duration::from_millis(1_200));
        }
        // A node may also refuse to compact such a log.
        println!("cleaned: {}", eventually(CLEANED_WITHIN, cleaned));
        Ok(())
    })
}

/// Number of connections that send requests with lasting effects.
const KEEPERS: usize = 8;
/// Number of unanswered requests of each connection.
const IN_FLIGHT: usize = 50;

/// Sends `things` requests. Each of them leaves something that may take `bytes` bytes of the node's memory.
pub fn kept(
    stage: &mut Stage,
    things: usize,
    bytes: usize,
    request: impl Fn(usize) -> Result<Vec<u8>> + Sync,
) -> Result<()> {
    let each = things / KEEPERS;
    let request = &request;
    stage.attack(|crowd| {
        thread::scope(|scope| {
            let keepers = (0..KEEPERS).map(|keeper| {
                scope.spawn(move || {
                    let mut attacker = crowd.attacker()?;
                    for number in 0..each + IN_FLIGHT {
                        if number < each {
                            attacker.send(&request(keeper * each + number)?);
                        }
                        if number >= IN_FLIGHT {
                            attacker.answer(PATIENCE);
                        }
                    }
                    Ok::<_, anyhow::Error>(())
                })
            });
            let keepers: Vec<_> = keepers.collect();
            for keeper in keepers {
                keeper.join().map_err(|_| anyhow!("a keeper panicked"))??;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        crowd.leaves(each * KEEPERS * bytes);
        Ok(())
    })?;
    ensure!(stage.node().ended().is_none(), "the node ended");
    Ok(())
}

/// A commit creates a group, which is kept for a week.
pub fn groups_made_by_commits(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    stage.find_coordinator("g", GROUPS)?;
    let groups = stage.size(20_000, 100_000);
    kept(stage, groups, 1 << 10, |number| {
        frame(&commit(&format!("g{number}")), 2)
    })
}

/// A JoinGroup without a member id gets an id (KIP-394). The coordinator keeps such a member, which never returns here, until
/// its session timeout.
pub fn members_that_never_come_back(stage: &mut Stage) -> Result<()> {
    stage.find_coordinator("g", GROUPS)?;
    let members = stage.size(20_000, 100_000);
    let join = frame(&joining(Bytes::new()), 4)?;
    kept(stage, members, 1 << 10, |_| Ok(join.clone()))
}

/// A partition's state of a producer, which prevents duplicates, is kept for a day.
pub fn producers_that_write_once(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[("retention.ms", "-1")])?;
    let producers = stage.size(20_000, 100_000);
    let now = Clock::default().now();
    kept(stage, producers, 512, |number| {
        let mut batch = BatchBuilder::default().producer(number as i64, 0, 0);
        batch.push(now, None, Some(b"v"));
        frame(&produced(batch.build()), 7)
    })
}

/// A transactional id is kept for a week (`transactional.id.expiration.ms`).
pub fn transactional_ids_of_a_moment(stage: &mut Stage) -> Result<()> {
    stage.find_coordinator("x", TRANSACTIONS)?;
    let ids = stage.size(20_000, 100_000);
    kept(stage, ids, 512, |number| {
        let init = InitProducerIdRequest {
            transactional_id: Some(format!("x{number}").into()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        frame(&init, 1)
    })
}

fn commit(group: &str) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
