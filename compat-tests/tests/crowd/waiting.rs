//! Requests that wait, and the memory that they hold meanwhile.

use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::exchange::{Answer, Connection};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::metadata::MetadataRequest;

use crate::frames::{frame, joining, padded};
use crate::stage::{GROUPS, HELD, MIB, Stage};

const TOPIC: &str = "t";
/// Maximum wait of a fetch: longer than the test.
const LONG_MS: i32 = 60_000;
/// Number of requests that a connection may have in flight.
const IN_FLIGHT: usize = 127;

fn waits(partitions: i32) -> FetchRequest {
    let partitions = (0..partitions).map(|partition| FetchPartition {
        partition,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    FetchRequest {
        max_wait_ms: LONG_MS,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: TOPIC.into(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn answers_behind_a_waiting_fetch(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(5_000, 9_999);
    stage.create(TOPIC, partitions, &[])?;
    let fetch = frame(&waits(1), 4)?;
    // Asks for all topics.
    let metadata = frame(&MetadataRequest::default(), 1)?;
    stage.attack(|crowd| {
        let mut attackers = Vec::new();
        for _ in 0..20 {
            let mut attacker = crowd.attacker()?;
            attacker.send(&fetch);
            for _ in 0..IN_FLIGHT {
                attacker.send(&metadata);
            }
            attackers.push(attacker);
        }
        thread::sleep(HELD);
        Ok(())
    })
}

pub fn padded_fetches_that_wait(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let fetch = padded(&frame(&waits(1), 12)?, stage.size(10, 50) * MIB)?;
    stage.attack(|crowd| {
        // One fetch per attacker: a connection's second fetch is read only after the first one has been answered.
        crowd.hold(20, &fetch)
    })
}

/// A node must keep a member's metadata, but not the unknown tagged fields of its request.
pub fn padded_joins(stage: &mut Stage) -> Result<()> {
    stage.find_coordinator("g", GROUPS)?;
    let said = stage.size(24, 50) * MIB;
    // In version 3 members do not have to join again with the id that they get.
    let small = frame(&joining(Bytes::from(vec![0; said / 2])), 3)?;
    let flexible = padded(&frame(&joining(Bytes::new()), 6)?, said / 2)?;
    stage.attack(|crowd| {
        let mut attackers = Vec::new();
        for _ in 0..10 {
            for join in [&small, &flexible] {
                let mut attacker = crowd.attacker()?;
                attacker.send(join);
                attackers.push(attacker);
            }
        }
        crowd.leaves(10 * small.len());
        thread::sleep(HELD);
        Ok(())
    })
}

/// All waiting fetches are woken by one record.
pub fn incremental_fetches_that_wait(stage: &mut Stage) -> Result<()> {
    const PARTITIONS: i32 = 1_000;
    stage.create(TOPIC, PARTITIONS, &[])?;
    let clients = stage.size(10, 40);
    let begin = FetchRequest {
        session_epoch: 0,
        max_wait_ms: 0,
        ..waits(PARTITIONS)
    };
    stage.attack(|crowd| {
        let mut waiting = Vec::new();
        for _ in 0..clients {
            let mut client = Connection::open(crowd.address())?;
            let answer = client.ask(&begin, 7)?.context("version 7")?;
            let Answer::Response(answer) = answer else {
                continue;
            };
            ensure!(answer.session_id != 0, "no session");
            for session_epoch in 1..=IN_FLIGHT as i32 {
                let next = FetchRequest {
                    session_id: answer.session_id,
                    session_epoch,
                    max_wait_ms: LONG_MS,
                    min_bytes: 1,
                    ..Default::default()
                };
                client.send(&next, 7)?;
                crowd.sent_elsewhere(frame(&next, 7)?.len());
            }
            waiting.push(client);
        }
        // One record for one of the partitions.
        let batch = compat_tests::produced::Batch::default().of([(None, Bytes::from("v"))])?;
        let mut client = Connection::open(crowd.address())?;
        compat_tests::produced::send(&mut client, TOPIC, 0, batch)?;
        thread::sleep(HELD);
        Ok(())
    })
}
