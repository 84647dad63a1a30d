//! Requests that take long: compressed records, quadratic work, and arrays of the smallest elements.

use anyhow::{Result, ensure};
use bytes::Bytes;
use monedula::wire::codec::Records;
use monedula::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

use crate::frames::{UNPACKED, WINDOW, bomb, frame, string, swollen, wrappers};
use crate::stage::{GROUPS, MIB, PATIENCE, Stage, TRANSACTIONS};

/// Topic with batches of zeros, whose records are looked up.
const TOPIC: &str = "t";
const LISTED: i16 = 1;
/// Keys and versions of requests that encode array lengths as four bytes.
const FETCH: (i16, i16) = (1, 2);
const LIST_OFFSETS: (i16, i16) = (2, 1);
const METADATA: (i16, i16) = (3, 4);
const OFFSET_COMMIT: (i16, i16) = (8, 2);
const WRITE_TXN_MARKERS: (i16, i16) = (27, 0);

/// A Produce request with the same records for each of some partitions.
pub fn produced(partitions: i32, records: Bytes) -> ProduceRequest {
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

/// Produces a bomb to each partition, in separate requests, because the decompressed size per request is limited.
fn armed(stage: &Stage, partitions: i32) -> Result<()> {
    stage.create(TOPIC, partitions, &[])?;
    let mut request = produced(1, bomb(UNPACKED, None, WINDOW));
    for index in 0..partitions {
        request.topic_data[0].partition_data[0].index = index;
        let answer = stage.ask(&request, 7)?;
        let partition = &answer.responses[0].partition_responses[0];
        ensure!(partition.error_code == 0, "{partition:?}");
    }
    Ok(())
}

/// A ListOffsets request for the first record of partitions, each in a topic entry of its own.
fn first_records(partitions: impl Iterator<Item = i32>) -> ListOffsetsRequest {
    let topics = partitions.map(|partition_index| ListOffsetsTopic {
        name: TOPIC.into(),
        partitions: vec![ListOffsetsPartition {
            partition_index,
            ..Default::default()
        }],
    });
    ListOffsetsRequest {
        replica_id: -1,
        topics: topics.collect(),
        ..Default::default()
    }
}

pub fn a_bomb_looked_up_often(stage: &mut Stage) -> Result<()> {
    armed(stage, 1)?;
    let request = frame(&first_records([0; 15].into_iter()), LISTED)?;
    stage.attack(|crowd| crowd.all_send(2, &request).map(drop))
}

pub fn many_bombs_looked_up(stage: &mut Stage) -> Result<()> {
    armed(stage, 15)?;
    let request = frame(&first_records(0..15), LISTED)?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn old_wrappers_that_unpack_to_much(stage: &mut Stage) -> Result<()> {
    const PARTITIONS: i32 = 3;
    stage.create(TOPIC, PARTITIONS, &[])?;
    let set = wrappers(stage.size(4, 10))?;
    let request = frame(&produced(PARTITIONS, set.into()), 2)?;
    stage.attack(|crowd| crowd.all_send(2, &request).map(drop))
}

pub fn bombs_produced(stage: &mut Stage) -> Result<()> {
    let partitions = 30;
    stage.create(TOPIC, partitions, &[])?;
    let request = frame(&produced(partitions, bomb(UNPACKED, None, WINDOW)), 7)?;
    stage.attack(|crowd| crowd.all_send(2, &request).map(drop))
}

pub fn bombs_compressed_anew(stage: &mut Stage) -> Result<()> {
    let partitions = stage.size(1, 8);
    stage.create(TOPIC, partitions, &[("compression.type", "gzip")])?;
    let request = frame(&produced(partitions, bomb(UNPACKED, None, WINDOW)), 7)?;
    stage.attack(|crowd| crowd.all_send(2, &request).map(drop))
}

/// Brokers send this request to verify that a transaction has a partition.
pub fn a_partition_verified_often(stage: &mut Stage) -> Result<()> {
    const PARTITIONS: i32 = 2_000;
    stage.create(TOPIC, PARTITIONS, &[])?;
    stage.find_coordinator("x", TRANSACTIONS)?;
    let names = stage.size(700_000, 1_000_000);
    let request = AddPartitionsToTxnRequest {
        transactions: vec![AddPartitionsToTxnTransaction {
            transactional_id: "x".into(),
            producer_id: 1,
            producer_epoch: 0,
            verify_only: true,
            topics: vec![AddPartitionsToTxnTopic {
                name: TOPIC.into(),
                partitions: (0..names).map(|index| index % PARTITIONS).collect(),
            }],
        }],
        ..Default::default()
    };
    let request = frame(&request, 4)?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn metadata_of_empty_names(stage: &mut Stage) -> Result<()> {
    let names = stage.size(10, 99) * MIB / 2;
    let request = swollen(METADATA, &[], names, |_| vec![0, 0], &[0])?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

/// The bytes of a request before the partitions of its one topic.
fn one_topic(before: &[i32]) -> Vec<u8> {
    let before = before.iter().chain(&[1]);
    let mut out: Vec<u8> = before.flat_map(|number| number.to_be_bytes()).collect();
    out.extend(string(TOPIC));
    out
}

fn numbers(index: usize, rest: &[u8]) -> Vec<u8> {
    [&(index as i32).to_be_bytes()[..], rest].concat()
}

pub fn tiny_elements_of_fetch(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let count = stage.size(8, 90) * MIB / 16;
    let element = |index| numbers(index, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let request = swollen(FETCH, &one_topic(&[-1, 0, 0]), count, element, &[])?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn tiny_elements_of_list_offsets(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let count = stage.size(8, 90) * MIB / 12;
    let element = |index| numbers(index, &[0xff; 8]);
    let request = swollen(LIST_OFFSETS, &one_topic(&[-1]), count, element, &[])?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn tiny_elements_of_markers(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    let count = stage.size(1, 4) * MIB / 4;
    let mut before = 1_i32.to_be_bytes().to_vec();
    before.extend(5_i64.to_be_bytes());
    before.extend([0, 0, 1]);
    before.extend(one_topic(&[]));
    let request = swollen(
        WRITE_TXN_MARKERS,
        &before,
        count,
        |_| numbers(0, &[]),
        &[0; 4],
    )?;
    stage.attack(|crowd| crowd.all_send(1, &request).map(drop))
}

pub fn tiny_elements_of_commit(stage: &mut Stage) -> Result<()> {
    stage.create(TOPIC, 1, &[])?;
    stage.find_coordinator("g", GROUPS)?;
    let count = stage.size(8, 35) * MIB / 14;
    let mut before = string("g");
    before.extend((-1_i32).to_be_bytes());
    before.extend(string(""));
    before.extend((-1_i64).to_be_bytes());
    before.extend(one_topic(&[]));
    let element = |_| numbers(0, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    let request = swollen(OFFSET_COMMIT, &before, count, element, &[])?;
    stage.attack(|crowd| {
        let mut attacker = crowd.attacker()?;
        attacker.send(&request);
        println!("{:?}", attacker.answer(PATIENCE));
        Ok(())
    })
}
