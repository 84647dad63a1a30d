//! Requests that name one thing many times, and responses that are much larger than their requests.

use std::iter::repeat_n;

use anyhow::{Result, ensure};
use bytes::Bytes;
use monedula::host::clock::Clock;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::codec::Records;
use monedula::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::describe_producers::{DescribeProducersRequest, TopicRequest};
use monedula::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use monedula::wire::message::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::frames::frame;
use crate::stage::{GROUPS, MIB, Outcome, PATIENCE, Stage};

const TOPIC: &str = "t";
const GROUP: &str = "g";
/// Resource type of brokers in DescribeConfigs.
const BROKER: i8 = 4;
const HOUR_MS: i64 = 3_600_000;

fn produced(partitions: i32, records: &Bytes) -> ProduceRequest {
    let data = (0..partitions).map(|index| PartitionProduceData {
        index,
        records: Some(Records::Bytes(records.clone())),
    });
    ProduceRequest {
        acks: 1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: data.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn a_broker_described_often(stage: &mut Stage) -> Result<()> {
    let resource = DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: "1".into(),
        ..Default::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource; stage.size(4_000, 20_000)],
        include_synonyms: true,
        ..Default::default()
    };
    let request = frame(&request, 1)?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn producers_described_often(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let producers = stage.size(2_000, 10_000);
    let now = Clock::default().now();
    stage.attack(|crowd| {
        let mut client = crowd.attacker()?;
        for id in 0..producers {
            let mut batch = BatchBuilder::default().producer(id, 0, 0);
            batch.push(now, None, Some(b"v"));
            client.ask(&produced(1, &batch.build()), 7)?;
            // A limited number of responses is awaited at any time.
            if id >= 100 {
                client.answer(PATIENCE);
            }
        }
        for _ in 0..100 {
            client.answer(PATIENCE);
        }
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: TOPIC.into(),
                partition_indexes: vec![0; 2_000],
            }],
        };
        crowd.all_send(1, &frame(&request, 0)?).map(drop)
    })
}

pub fn offsets_fetched_often(stage: &mut Stage) -> Result<()> {
    const OFFSETS: i32 = 200;
    stage.create(TOPIC, OFFSETS, &[])?;
    stage.find_coordinator(GROUP, GROUPS)?;
    let partitions = (0..OFFSETS).map(|partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1,
        committed_metadata: Some("m".repeat(4_000).into()),
        ..Default::default()
    });
    let commit = OffsetCommitRequest {
        group_id: GROUP.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let done = stage.ask(&commit, 2)?;
    let mut answers = done.topics.iter().flat_map(|one| &one.partitions);
    ensure!(answers.all(|one| one.error_code == 0), "{done:?}");
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        ..Default::default()
    };
    let request = OffsetFetchRequest {
        groups: vec![group; stage.size(400, 1_000)],
        ..Default::default()
    };
    let request = frame(&request, 8)?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

/// A group with one member whose metadata is large.
pub fn a_group_described_often(stage: &mut Stage) -> Result<()> {
    stage.find_coordinator(GROUP, GROUPS)?;
    let size = stage.size(MIB / 4, MIB / 4 * 3);
    let join = JoinGroupRequest {
        group_id: GROUP.into(),
        session_timeout_ms: 300_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from(vec![0; size]),
        }],
        ..Default::default()
    };
    let joined = stage.ask(&join, 2)?;
    ensure!(joined.error_code == 0, "{}", joined.error_code);
    // The metadata of members is described once the group is stable.
    let sync = SyncGroupRequest {
        group_id: GROUP.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id,
            ..Default::default()
        }],
        ..Default::default()
    };
    let synced = stage.ask(&sync, 1)?;
    ensure!(synced.error_code == 0, "{}", synced.error_code);
    let request = DescribeGroupsRequest {
        groups: repeat_n(GROUP.into(), 1_000).collect(),
        ..Default::default()
    };
    let request = frame(&request, 1)?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

/// The response lists each record whose timestamp is out of range.
pub fn times_out_of_range(stage: &mut Stage) -> Result<()> {
    const RECORDS: usize = 10_000;
    let partitions = stage.size(200, 1_000);
    stage.create(TOPIC, partitions, &[])?;
    let late = Clock::default().now() + 100 * HOUR_MS;
    let mut batch = BatchBuilder::new(Compression::Zstd);
    for _ in 0..RECORDS {
        batch.push(late, None, Some(b"v"));
    }
    let request = frame(&produced(partitions, &batch.build()), 8)?;
    stage.attack(|crowd| {
        let outcomes = crowd.all_send(1, &request)?;
        ensure!(outcomes.iter().all(|one| *one != Outcome::Silence));
        Ok(())
    })
}
