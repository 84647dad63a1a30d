//! Attacks with the APIs of share groups (KIP-932): share sessions of groups without members, states of many groups, and long lists
//! of acknowledgements and of batches.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::exchange::Connection;
use monedula::base::ids::Uuid;
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
use monedula::wire::message::share_fetch::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest,
};
use monedula::wire::message::share_group_heartbeat::ShareGroupHeartbeatRequest;
use monedula::wire::message::write_share_group_state::{
    PartitionData, StateBatch, WriteShareGroupStateRequest, WriteStateData,
};

use crate::frames::frame;
use crate::memory::kept;
use crate::stage::{GROUPS, HELD, PATIENCE, Stage};

const TOPIC: &str = "t";
/// Maximum wait of a fetch: longer than the test.
const LONG_MS: i32 = 60_000;
const VERSION: i16 = 2;
/// Time within which a group gets its first assignment.
const ASSIGNED_WITHIN: Duration = Duration::from_secs(60);

fn topic_id(stage: &Stage) -> Result<Uuid> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(TOPIC.into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let answer = stage.ask(&request, 12)?;
    let topic = answer.topics.first().context("the topic")?;
    Ok(topic.topic_id)
}

fn beat(group: &str, member: &str) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        ..Default::default()
    }
}

/// Makes the topics of both coordinators, and waits until a member of "g" has an assignment.
fn joined(stage: &Stage) -> Result<()> {
    stage.find_coordinator("g", GROUPS)?;
    let mut beat = beat("g", "honest");
    let began = Instant::now();
    loop {
        let answer = stage.ask(&beat, 1)?;
        if answer
            .assignment
            .is_some_and(|some| !some.topic_partitions.is_empty())
        {
            return Ok(());
        }
        if answer.error_code == 0 {
            beat.member_epoch = answer.member_epoch;
            beat.subscribed_topic_names = None;
        }
        ensure!(began.elapsed() < ASSIGNED_WITHIN, "nothing was assigned");
        thread::sleep(Duration::from_millis(20));
    }
}

fn fetch(group: &str, member: &str, epoch: i32, topic: Uuid, partitions: i32) -> ShareFetchRequest {
    let partitions = (0..partitions).map(|partition_index| FetchPartition {
        partition_index,
        ..Default::default()
    });
    ShareFetchRequest {
        group_id: Some(group.into()),
        member_id: Some(member.into()),
        share_session_epoch: epoch,
        max_wait_ms: LONG_MS,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 500,
        batch_size: 500,
        topics: vec![FetchTopic {
            topic_id: topic,
            partitions: partitions.collect(),
        }],
        ..Default::default()
    }
}

/// Nobody needs to be a member to fetch. Each group has a state for each partition in memory, which is read from the share
/// coordinator; there is none, and the fetch waits.
pub fn share_sessions_of_invented_groups(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(500, 1_000);
    stage.create(TOPIC, partitions, &[])?;
    joined(stage)?;
    let topic = topic_id(stage)?;
    let sessions = stage.size(200, 1_500);
    stage.attack(|crowd| {
        let mut waiting = Vec::new();
        for number in 0..sessions {
            let mut attacker = crowd.attacker()?;
            attacker.ask(
                &fetch(&format!("x{number}"), "m", 0, topic, partitions),
                VERSION,
            )?;
            waiting.push(attacker);
        }
        // Partitions in use take a quarter of the limit of memory at most. In 64 MiB that is less than these would take.
        crowd.leaves(sessions * partitions as usize * 2_000);
        // States that are not there are read again and again.
        thread::sleep(5 * HELD);
        Ok(())
    })
}

/// A share group has a state in each partition of the topics that one of its members names, and keeps it when the member has
/// gone.
pub fn states_of_many_share_groups(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(500, 1_000);
    stage.create(TOPIC, partitions, &[])?;
    joined(stage)?;
    let groups = stage.size(400, 2_000);
    kept(stage, groups, partitions as usize * 100, |number| {
        frame(&beat(&format!("x{number}"), "m"), 1)
    })
}

/// Each batch is put before all others. The share coordinator of all groups does it.
pub fn batches_of_share_states_in_falling_order(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    joined(stage)?;
    let topic_id = topic_id(stage)?;
    let batches: i64 = stage.size(100_000, 450_000);
    let batch = |offset| StateBatch {
        first_offset: 2 * offset,
        last_offset: 2 * offset,
        delivery_state: 2,
        delivery_count: 1,
    };
    let request = WriteShareGroupStateRequest {
        group_id: "g".into(),
        topics: vec![WriteStateData {
            topic_id,
            partitions: vec![PartitionData {
                state_epoch: 100,
                leader_epoch: 100,
                state_batches: (0..batches).rev().map(batch).collect(),
                ..Default::default()
            }],
        }],
    };
    let request = frame(&request, 1)?;
    stage.attack(|crowd| crowd.all_send(2, &request).map(drop))
}

/// A session of as many partitions as it may have, named by several requests. Then each of many short requests fetches from
/// all of them, and long ones forget and name them again.
pub fn share_sessions_of_many_partitions(stage: &mut Stage) -> Result<()> {
    const NAMED: i32 = 50_000;
    stage.create(TOPIC, 1, &[])?;
    joined(stage)?;
    let topic_id = topic_id(stage)?;
    let (clients, rounds) = (stage.size(2, 8), stage.size(20, 100));
    stage.attack(|crowd| {
        thread::scope(|scope| {
            for client in 0..clients {
                scope.spawn(move || {
                    let member = format!("m{client}");
                    let at_once = |epoch, partitions| ShareFetchRequest {
                        max_wait_ms: 0,
                        ..fetch("x", &member, epoch, topic_id, partitions)
                    };
                    let mut attacker = crowd.attacker()?;
                    for epoch in 0..rounds {
                        let request = match epoch % 5 {
                            0 => at_once(epoch, NAMED),
                            4 => ShareFetchRequest {
                                forgotten_topics_data: vec![ForgottenTopic {
                                    topic_id,
                                    partitions: (0..NAMED).collect(),
                                }],
                                ..at_once(epoch, 0)
                            },
                            _ => at_once(epoch, 0),
                        };
                        attacker.ask(&request, VERSION)?;
                        attacker.answer(PATIENCE);
                    }
                    Ok::<_, anyhow::Error>(())
                });
            }
        });
        Ok(())
    })
}

/// Acknowledgements of offsets that were never delivered, each of them a batch of its own.
pub fn long_lists_of_acknowledgements(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    joined(stage)?;
    let topic_id = topic_id(stage)?;
    let batches: i64 = stage.size(100_000, 400_000);
    let said = (0..batches).map(|offset| AcknowledgementBatch {
        first_offset: offset,
        last_offset: offset,
        acknowledge_types: vec![1 + (offset % 3) as i8],
    });
    let mut request = fetch("g", "honest", 1, topic_id, 1);
    request.topics[0].partitions[0].acknowledgement_batches = said.collect();
    let begin = ShareFetchRequest {
        max_wait_ms: 0,
        ..fetch("g", "honest", 0, topic_id, 1)
    };
    let request = frame(&request, VERSION)?;
    stage.attack(|crowd| {
        for _ in 0..4 {
            let mut attacker = crowd.attacker()?;
            attacker.ask(&begin, VERSION)?;
            attacker.answer(PATIENCE);
            attacker.send(&request);
            attacker.answer(Duration::from_secs(5));
        }
        Ok(())
    })
}

/// Sessions of one connection end together when it closes: each member's records in all partitions of the group are released.
pub fn many_share_sessions_of_one_connection(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(500, 1_000);
    stage.create(TOPIC, partitions, &[])?;
    joined(stage)?;
    let topic = topic_id(stage)?;
    let sessions = stage.size(200, 1_900);
    stage.attack(|crowd| {
        for _ in 0..2 {
            let mut client = Connection::open(crowd.address())?;
            client.be_patient(PATIENCE)?;
            for number in 0..sessions {
                let named = if number == 0 { partitions } else { 1 };
                let request = ShareFetchRequest {
                    max_wait_ms: 0,
                    ..fetch("g", &format!("m{number}"), 0, topic, named)
                };
                client.answered(&request, VERSION)?;
                crowd.sent_elsewhere(frame(&request, VERSION)?.len());
            }
            drop(client);
            thread::sleep(HELD);
        }
        Ok(())
    })
}

/// A group of as many members as it may have, each of which is assigned anew when one comes or goes.
pub fn a_share_group_of_many_members(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(1_000, 5_000);
    stage.create(TOPIC, partitions, &[])?;
    joined(stage)?;
    let beats = stage.size(400, 2_000);
    kept(stage, beats, partitions as usize * 10, |number| {
        // Every second heartbeat has the member leave.
        let mut beat = beat("g", &format!("m{}", number / 2 % 150));
        if number % 2 == 1 {
            beat.member_epoch = -1;
            beat.subscribed_topic_names = None;
        }
        frame(&beat, 1)
    })
}
