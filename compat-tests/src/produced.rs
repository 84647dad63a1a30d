//! Record batches and Produce requests, encoded by an implementation of the protocol that is not the broker's.

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use crate::exchange::Connection;

const TIMEOUT_MS: i32 = 60_000;

/// Properties of a batch that all of its records share.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub sequence: i32,
    pub transactional: bool,
    /// Timestamp of all records, in milliseconds.
    pub timestamp: i64,
}

impl Default for Batch {
    /// A batch of a producer without an id.
    fn default() -> Self {
        Self {
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            sequence: NO_SEQUENCE,
            transactional: false,
            timestamp: 1_700_000_000_000,
        }
    }
}

impl Batch {
    /// An uncompressed batch of these keys and values.
    pub fn of(self, records: impl IntoIterator<Item = (Option<Bytes>, Bytes)>) -> Result<Bytes> {
        let records = records.into_iter().enumerate();
        let records = records.map(|(index, (key, value))| Record {
            transactional: self.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: index as i64,
            // The encoder starts a new batch where sequence numbers are not consecutive, even without a producer id.
            sequence: self.sequence + index as i32,
            timestamp: self.timestamp,
            key,
            value: Some(value),
            headers: Default::default(),
        });
        let records: Vec<Record> = records.collect();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &options)?;
        Ok(bytes.freeze())
    }
}

/// Request to append a batch to a partition, acknowledged by all replicas.
pub fn request(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(batch));
    let data = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(vec![data])
}

/// Appends a batch to a partition.
pub fn send(connection: &mut Connection, topic: &str, partition: i32, batch: Bytes) -> Result<()> {
    let answer = connection.call(9, &request(topic, partition, batch))?;
    let error = answer.responses[0].partition_responses[0].error_code;
    ensure!(error == 0, "{topic}-{partition} refused a batch: {error}");
    Ok(())
}
