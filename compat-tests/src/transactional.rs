//! A transactional producer made of single requests, which a test can stop between any two of them.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest,
    GroupId, InitProducerIdRequest, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::exchange::Connection;
use crate::produced::{Batch, request};

const LIMIT: Duration = Duration::from_secs(120);
/// CONCURRENT_TRANSACTIONS, and the errors of a coordinator or partition that is not ready.
const TRY_AGAIN: [i16; 7] = [51, 14, 15, 16, 3, 5, 6];

/// A transactional producer.
#[derive(Debug)]
pub struct Transactional {
    connection: Connection,
    id: String,
    /// The client's `transaction.version`. Before 2 it adds partitions to the transaction with requests of its own.
    version: i16,
    pub producer_id: i64,
    pub epoch: i16,
    sequences: BTreeMap<(String, i32), i32>,
    /// Timestamp of the records, in milliseconds.
    pub timestamp: i64,
    /// Key of the records.
    pub key: Option<Bytes>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Repeats a request until its error is none of `TRY_AGAIN`.
fn patiently(mut ask: impl FnMut() -> Result<i16>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let error = ask()?;
        if error == 0 {
            return Ok(());
        }
        ensure!(
            TRY_AGAIN.contains(&error) && Instant::now() < deadline,
            "error {error}"
        );
        sleep(Duration::from_millis(20));
    }
}

impl Transactional {
    /// Opens a producer like a client of `transaction.version` 2.
    pub fn open(address: &str, id: &str, timeout_ms: i32) -> Result<Self> {
        Self::open_as(2, address, id, timeout_ms)
    }

    /// Opens a producer like a client of any `transaction.version`.
    pub fn open_as(version: i16, address: &str, id: &str, timeout_ms: i32) -> Result<Self> {
        let mut this = Self {
            connection: Connection::open(address)?,
            id: id.to_owned(),
            version,
            producer_id: -1,
            epoch: -1,
            sequences: BTreeMap::new(),
            timestamp: 1_700_000_000_000,
            key: None,
        };
        for (key_type, key) in [(0, "g"), (1, id)] {
            let find = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![text(key)]);
            patiently(|| Ok(this.connection.call(4, &find)?.coordinators[0].error_code))?;
        }
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout_ms);
        patiently(|| {
            let answer = this.connection.call(4, &init)?;
            this.producer_id = answer.producer_id.0;
            this.epoch = answer.producer_epoch;
            Ok(answer.error_code)
        })?;
        Ok(this)
    }

    /// Continues with a connection to another address.
    pub fn reconnect(&mut self, address: &str) -> Result<()> {
        self.connection = Connection::open(address)?;
        Ok(())
    }

    /// Sends one record; returns its offset.
    pub fn send(&mut self, topic: &str, partition: i32, value: &str) -> Result<i64> {
        self.send_many(topic, partition, value, 1)
    }

    /// Sends a batch of equal records; returns the offset of the first.
    pub fn send_many(
        &mut self,
        topic: &str,
        partition: i32,
        value: &str,
        count: usize,
    ) -> Result<i64> {
        self.add(topic, partition)?;
        let sequence = self
            .sequences
            .entry((topic.to_owned(), partition))
            .or_default();
        let batch = Batch {
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            sequence: *sequence,
            transactional: true,
            timestamp: self.timestamp,
        };
        let value = Bytes::from(value.to_owned());
        let batch = batch.of((0..count).map(|_| (self.key.clone(), value.clone())))?;
        let request = request(topic, partition, batch)
            .with_transactional_id(Some(TransactionalId(text(&self.id))));
        let mut offset = -1;
        patiently(|| {
            let version = if self.version >= 2 { 12 } else { 11 };
            let answer = self.connection.call(version, &request)?;
            let one = &answer.responses[0].partition_responses[0];
            offset = one.base_offset;
            Ok(one.error_code)
        })?;
        *sequence += count as i32;
        Ok(offset)
    }

    fn add(&mut self, topic: &str, partition: i32) -> Result<()> {
        if self.version >= 2 {
            return Ok(());
        }
        let topics = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&self.id)))
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topics]);
        patiently(|| {
            let answer = self.connection.call(3, &request)?;
            let one = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
            Ok(one.partition_error_code)
        })
    }

    fn add_offsets(&mut self, group: &str) -> Result<()> {
        if self.version >= 2 {
            return Ok(());
        }
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_group_id(GroupId(text(group)));
        patiently(|| Ok(self.connection.call(3, &request)?.error_code))
    }

    pub fn commit_offset(&mut self, group: &str, topic: &str, offset: i64) -> Result<()> {
        self.add_offsets(group)?;
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_topics(vec![
                TxnOffsetCommitRequestTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(vec![
                        TxnOffsetCommitRequestPartition::default().with_committed_offset(offset),
                    ]),
            ]);
        patiently(|| {
            let version = if self.version >= 2 { 5 } else { 3 };
            let answer = self.connection.call(version, &request)?;
            Ok(answer.topics[0].partitions[0].error_code)
        })
    }

    /// Ends the transaction. Its markers may not have been written yet.
    pub fn end(&mut self, commit: bool) -> Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(&self.id)))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        patiently(|| {
            let version = if self.version >= 2 { 5 } else { 3 };
            let answer = self.connection.call(version, &request)?;
            // Before `transaction.version` 2, epoch and sequence numbers continue.
            if answer.error_code == 0 && version >= 5 {
                self.producer_id = answer.producer_id.0;
                self.epoch = answer.producer_epoch;
                self.sequences.clear();
            }
            Ok(answer.error_code)
        })
    }
}
