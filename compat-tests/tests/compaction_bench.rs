//! What compaction costs, beside Apache Kafka in one run: 1 GB of records of 100 bytes, once with ten million keys and once
//! with a tenth of those, with the default dedupe buffer. Prints a table; asserts nothing about time.
//!
//! `cargo test -p compat-tests --release --test compaction_bench -- --ignored --nocapture`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use compat_tests::admin::led;
use compat_tests::exchange::Connection;
use compat_tests::measured::{Broker, Figures, print};
use compat_tests::programs::eventually;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, IncrementalAlterConfigsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const RECORDS: u64 = 10_000_000;
/// With the 12 bytes of its key and what a record has around them: 100 bytes.
const VALUE_BYTES: usize = 80;
const RECORDS_PER_BATCH: u64 = 1_000;
const SEGMENT_BYTES: &str = "104857600";
const TOPIC: &str = "compacted";
const TOPIC_RESOURCE: i8 = 2;
const LIMIT: Duration = Duration::from_secs(600);

#[test]
#[ignore = "needs java and maven, and an idle machine"]
fn how_fast_is_compaction() -> Result<()> {
    let ours = measure(false)?;
    let theirs = measure(true)?;
    print(&theirs, &ours);
    Ok(())
}

fn measure(kafka: bool) -> Result<Figures> {
    let mut figures = Figures::new();
    let titles = [
        [
            "10 million keys, CPU, s",
            "the same, time, s",
            "the same, MB left",
        ],
        [
            "1 million keys, CPU, s",
            "the same, time, s",
            "the same, MB left",
        ],
    ];
    for (keys, titles) in [RECORDS, RECORDS / 10].into_iter().zip(titles) {
        let scratch = tempfile::tempdir()?;
        let broker = Broker::start(kafka, scratch.path())?;
        let measured = compact(&broker, scratch.path(), keys)?;
        figures.extend(titles.into_iter().zip(measured));
        broker.stop()?;
    }
    Ok(figures)
}

/// Seconds of processor, seconds, and the megabytes that are left.
fn compact(broker: &Broker, scratch: &Path, keys: u64) -> Result<[f64; 3]> {
    let mut connection = Connection::open(&broker.address())?;
    connection.be_patient(LIMIT)?;
    create(&mut connection)?;
    for first in (0..RECORDS).step_by(RECORDS_PER_BATCH as usize) {
        produce(&mut connection, first, keys)?;
    }
    let data = scratch.join("data");
    let dirty = closed_until(&data.join(format!("{TOPIC}-0")))?;
    let (began, cpu) = (Instant::now(), broker.cpu()?);
    let compacted = AlterableConfig::default()
        .with_name(text("cleanup.policy"))
        .with_value(Some(text("compact")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(TOPIC))
        .with_configs(vec![compacted]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let altered = connection.call(1, &request)?;
    ensure!(
        altered.responses.iter().all(|one| one.error_code == 0),
        "{altered:?}"
    );
    let done = eventually(LIMIT, || cleaned_until(&data) == Some(dirty));
    ensure!(done, "cleaned until {:?} of {dirty}", cleaned_until(&data));
    let used = [broker.cpu()? - cpu, began.elapsed().as_secs_f64()];
    Ok([
        used[0],
        used[1],
        size(&data.join(format!("{TOPIC}-0")))? / 1e6,
    ])
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn create(connection: &mut Connection) -> Result<()> {
    let settings = [
        ("retention.ms", "-1"),
        ("segment.bytes", SEGMENT_BYTES),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    let settings = settings.map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(TopicName(text(TOPIC)))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(settings.to_vec());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(60_000);
    let made = connection.call(7, &request)?;
    ensure!(
        made.topics.iter().all(|one| one.error_code == 0),
        "{made:?}"
    );
    led(connection, &[TOPIC], 1)
}

fn produce(connection: &mut Connection, first: u64, keys: u64) -> Result<()> {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let records = (0..RECORDS_PER_BATCH).map(|index| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        // The encoder begins a batch where a sequence is not the next one.
        sequence: index as i32 - 1,
        timestamp: 1_700_000_000_000,
        key: Some(format!("{:012}", (first + index) % keys).into()),
        value: Some(value.clone()),
        headers: Default::default(),
    });
    let records: Vec<Record> = records.collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options)?;
    let data = PartitionProduceData::default().with_records(Some(bytes.freeze()));
    let data = TopicProduceData::default()
        .with_name(TopicName(text(TOPIC)))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(60_000)
        .with_topic_data(vec![data]);
    let done = connection.call(9, &request)?;
    let errors = done
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    ensure!(
        errors.into_iter().all(|one| one.error_code == 0),
        "{done:?}"
    );
    Ok(())
}

/// The first offset of the segment that is still written to.
fn closed_until(dir: &Path) -> Result<u64> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    let bases = names
        .iter()
        .filter_map(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
    bases.max().context("no segment")
}

/// What the cleaner has written down of the topic.
fn cleaned_until(data: &Path) -> Option<u64> {
    let text = fs::read_to_string(data.join("cleaner-offset-checkpoint")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(TOPIC))?;
    line.split(' ').next_back()?.parse().ok()
}

/// Bytes of its records.
fn size(dir: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            bytes += fs::metadata(path)?.len();
        }
    }
    Ok(bytes as f64)
}
