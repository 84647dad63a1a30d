//! A broker under test, used with single requests, and the observable state of its logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use compat_tests::exchange::{Answer, Connection, produce};
use compat_tests::programs::eventually;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::batch::record;
use monedula::wire::codec::Records;
use monedula::wire::message::Request;
use monedula::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::describe_log_dirs::DescribeLogDirsRequest;
use monedula::wire::message::describe_producers::{
    DescribeProducersRequest, ProducerState, TopicRequest,
};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};

use super::scenes::Scene;

pub const SOON: Duration = Duration::from_secs(60);
pub const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
pub const KEY: &[u8] = b"key";
/// Resource type and operation in requests that change settings.
const TOPIC: i8 = 2;
const SET: i8 = 0;

pub struct Broker {
    pub address: String,
    pub data: PathBuf,
    pub connection: Option<Connection>,
}

/// Observable state of a partition.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    /// Base offset and size of each segment.
    pub segments: Vec<(i64, u64)>,
    pub start: i64,
    pub end: i64,
    /// Offset and timestamp of the record with the maximum timestamp, from ListOffsets.
    pub newest: (i64, i64),
    /// Size from DescribeLogDirs, in bytes.
    pub size: i64,
    /// Offset, timestamp, key and value of each record.
    pub records: Vec<(i64, i64, Option<Bytes>, Option<Bytes>)>,
}

impl Broker {
    pub fn new(address: String, data: &Path) -> Self {
        Self {
            address,
            data: data.to_owned(),
            connection: None,
        }
    }

    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(&self.address)?,
        };
        match connection.ask(request, version)? {
            Some(Answer::Response(response)) => {
                self.connection = Some(connection);
                Ok(response)
            }
            _ => bail!("{} v{version} was not answered", R::NAME),
        }
    }

    pub fn create(&mut self, scene: &Scene) -> Result<()> {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: scene.name.into(),
                num_partitions: 1,
                replication_factor: 1,
                configs: scene.settings.iter().map(config).collect(),
                ..Default::default()
            }],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let answer = self.ask(&request, 7)?;
        ensure!(answer.topics[0].error_code == 0, "{answer:?}");
        let led = eventually(SOON, || {
            self.offset(scene.name, -1).is_ok_and(|end| end.0 == 0)
        });
        ensure!(led, "{} is not there", scene.name);
        Ok(())
    }

    pub fn produce(&mut self, topic: &str, batch: Bytes) -> Result<()> {
        let answer = self.ask(&produce(topic, 0, batch), 9)?;
        let answer = &answer.responses[0].partition_responses[0];
        ensure!(answer.error_code == 0, "{answer:?}");
        Ok(())
    }

    /// Appends one record in a batch of its own.
    pub fn put(&mut self, topic: &str, at: i64, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.produce(topic, batch(Compression::None, at, key, value))
    }

    pub fn delete_before(&mut self, topic: &str, offset: i64) -> Result<()> {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: 0,
                    offset,
                }],
            }],
            timeout_ms: 10_000,
        };
        let answer = self.ask(&request, 2)?;
        ensure!(answer.topics[0].partitions[0].error_code == 0, "{answer:?}");
        Ok(())
    }

    /// Waits until a producer has no open transaction.
    pub fn await_no_transaction(&mut self, topic: &str, producer_id: i64) -> Result<()> {
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: topic.into(),
                partition_indexes: vec![0],
            }],
        };
        let over = eventually(SOON, || {
            self.ask(&request, 0).is_ok_and(|answer| {
                let producers = &answer.topics[0].partitions[0].active_producers;
                let is_open = |one: &ProducerState| {
                    one.producer_id == producer_id && one.current_txn_start_offset >= 0
                };
                !producers.iter().any(is_open)
            })
        });
        ensure!(over, "{topic}: a transaction does not end");
        Ok(())
    }

    /// Sets one of a topic's settings.
    pub fn configure(&mut self, topic: &str, name: &str, value: &str) -> Result<()> {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: topic.into(),
                configs: vec![AlterableConfig {
                    name: name.into(),
                    config_operation: SET,
                    value: Some(value.into()),
                }],
            }],
            validate_only: false,
        };
        let answer = self.ask(&request, 1)?;
        ensure!(answer.responses[0].error_code == 0, "{answer:?}");
        Ok(())
    }

    fn list_offsets(
        &mut self,
        topic: &str,
        timestamp: i64,
        version: i16,
    ) -> Result<ListOffsetsPartitionResponse> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let mut answer = self.ask(&request, version)?;
        Ok(answer.topics.remove(0).partitions.remove(0))
    }

    /// Error code, offset and timestamp from ListOffsets.
    pub fn offset(&mut self, topic: &str, timestamp: i64) -> Result<(i16, i64, i64)> {
        let answer = self.list_offsets(topic, timestamp, 7)?;
        Ok((answer.error_code, answer.offset, answer.timestamp))
    }

    /// Responses of ListOffsets to every special timestamp, in every version that both brokers have. Timestamps in the
    /// responses are left out.
    pub fn special_offsets(&mut self, topic: &str) -> Result<Vec<String>> {
        let mut answers = Vec::new();
        for version in 1..=11 {
            for timestamp in -7..=0 {
                let answer = self.list_offsets(topic, timestamp, version)?;
                answers.push(format!(
                    "v{version} {timestamp}: error {} offset {} epoch {} with a time: {}",
                    answer.error_code,
                    answer.offset,
                    answer.leader_epoch,
                    answer.timestamp >= 0
                ));
            }
        }
        Ok(answers)
    }

    pub fn records(&mut self, topic: &str, from: i64, end: i64) -> Result<Vec<Record>> {
        let (mut found, mut next) = (Vec::new(), from);
        while next < end {
            let request = FetchRequest {
                replica_id: -1,
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 1 << 24,
                session_epoch: -1,
                topics: vec![FetchTopic {
                    topic: topic.into(),
                    partitions: vec![FetchPartition {
                        fetch_offset: next,
                        partition_max_bytes: 1 << 24,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = self.ask(&request, 12)?;
            let answer = &answer.responses[0].partitions[0];
            ensure!(answer.error_code == 0, "{answer:?}");
            let Some(Records::Bytes(bytes)) = &answer.records else {
                break;
            };
            let (mut rest, from) = (bytes.clone(), next);
            while let Ok(header) = BatchHeader::parse(&rest)
                && header.size() <= rest.len()
            {
                let batch = rest.split_to(header.size());
                header.verify(&batch)?;
                let body = record::decompressed(&header, &batch, 1 << 24)?;
                for record in record::records(&header, &body) {
                    let record = record?;
                    let own = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
                    if record.offset >= next {
                        found.push((
                            record.offset,
                            record.timestamp,
                            own(record.key),
                            own(record.value),
                        ));
                    }
                }
                next = next.max(header.next_offset());
            }
            // Compaction may have removed all records up to the end.
            if next == from {
                break;
            }
        }
        Ok(found)
    }

    /// Whether files of a topic wait for their deletion.
    pub fn is_tidying(&self, topic: &str) -> bool {
        let entries = fs::read_dir(self.data.join(format!("{topic}-0")));
        entries.into_iter().flatten().flatten().any(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|kind| kind == "deleted")
        })
    }

    pub fn look(&mut self, topic: &str) -> Result<Seen> {
        let dir = self.data.join(format!("{topic}-0"));
        let mut segments = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if let Some(base) = entry.file_name().to_string_lossy().strip_suffix(".log") {
                segments.push((base.parse()?, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        let described = self.ask(&DescribeLogDirsRequest::default(), 4)?;
        let size = described
            .results
            .iter()
            .flat_map(|dir| dir.topics.iter().filter(|one| *one.name == *topic))
            .flat_map(|one| &one.partitions)
            .map(|one| one.partition_size)
            .sum();
        let (_, start, _) = self.offset(topic, -2)?;
        let (_, end, _) = self.offset(topic, -1)?;
        let newest = match self.offset(topic, -3)? {
            // For records without timestamps Apache Kafka returns the first one after a restart, and none before.
            (_, _, -1) => (-1, -1),
            (_, offset, at) => (offset, at),
        };
        Ok(Seen {
            segments,
            start,
            end,
            newest,
            size,
            records: self.records(topic, start, end)?,
        })
    }
}

pub type Record = (i64, i64, Option<Bytes>, Option<Bytes>);

pub fn batch(codec: Compression, at: i64, key: &[u8], value: Option<&[u8]>) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.push(at, Some(key), value);
    builder.build()
}
