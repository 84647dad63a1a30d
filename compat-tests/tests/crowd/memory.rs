//! Memory beside what requests hold: half-read requests, codecs, the cleaner, and state that stays.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use compat_tests::exchange::{Answer, Connection};
use compat_tests::produced::Batch;
use compat_tests::programs::eventually;
use monedula::wire::codec::Records;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
use monedula::wire::message::metadata::MetadataRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::frames::{UNPACKED, WINDOW, bomb, frame, padded};
use crate::stage::{MIB, PATIENCE, Stage};

const TOPIC: &str = "t";
const HELD: Duration = Duration::from_secs(1);
/// The widest window that zstd's decoder takes without being told to.
const WIDE_WINDOW: u8 = 27;
/// So long the cleaner may take for its first round.
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

/// What is much but honest is served, also in a small container.
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
    stage.attack(|crowd| {
        let mut attackers = Vec::new();
        for _ in 0..20 {
            let mut attacker = crowd.attacker()?;
            // What the node does not take now it need not take at all.
            if !attacker.send(&begun) {
                break;
            }
            attackers.push(attacker);
        }
        thread::sleep(HELD);
        Ok(())
    })
}

/// Of each the node has one byte to keep.
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
        // Clients of level 22 write such windows: one at a time is unpacked where the machine has the memory.
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

/// A commit makes a group, which stays for a week.
pub fn groups_made_by_commits(stage: &mut Stage) -> Result<()> {
    const CLIENTS: usize = 8;
    const IN_FLIGHT: usize = 50;
    stage.create(TOPIC, 1, &[])?;
    let find = FindCoordinatorRequest {
        key: "g".into(),
        ..Default::default()
    };
    stage.ask(&find, 1)?;
    let groups = stage.size(20_000, 100_000) / CLIENTS;
    stage.attack(|crowd| {
        thread::scope(|scope| {
            let clients = (0..CLIENTS).map(|client| {
                scope.spawn(move || {
                    let mut attacker = crowd.attacker()?;
                    for group in 0..groups + IN_FLIGHT {
                        if group < groups {
                            attacker.ask(&commit(&format!("g{client}-{group}")), 2)?;
                        }
                        if group >= IN_FLIGHT {
                            attacker.answer(PATIENCE);
                        }
                    }
                    Ok(())
                })
            });
            let clients: Vec<_> = clients.collect();
            for client in clients {
                let ended: Result<()> = client.join().unwrap_or(Ok(()));
                ended?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        // A kilobyte for each, with its names.
        crowd.leaves((groups * CLIENTS) << 10);
        Ok(())
    })?;
    ensure!(stage.node().ended().is_none(), "the node ended");
    Ok(())
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
