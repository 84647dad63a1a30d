//! Cost of compaction in comparison with Apache Kafka, in one run: 1 GB of records of 100 bytes, once with ten million keys and
//! once with a tenth of that, with the default dedupe buffer. Prints a table; asserts nothing about time.
//!
//! `cargo test -p compat-tests --release --test compaction_bench -- --ignored --nocapture`

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::admin::create_with;
use compat_tests::exchange::Connection;
use compat_tests::measured::{Broker, Figures, print};
use compat_tests::produced::{Batch, send};
use compat_tests::programs::eventually;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::protocol::StrBytes;

const RECORDS: u64 = 10_000_000;
/// Size of a value, in bytes: a record has 100 bytes with the 12 bytes of its key and its other fields.
const VALUE_BYTES: usize = 80;
const RECORDS_PER_BATCH: u64 = 1_000;
const TOPIC: &str = "compacted";
const SETTINGS: [(&str, &str); 3] = [
    ("retention.ms", "-1"),
    ("segment.bytes", "104857600"),
    ("min.cleanable.dirty.ratio", "0.01"),
];
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

/// Compacts the topic; returns processor time in seconds, elapsed seconds, and the remaining megabytes.
fn compact(broker: &Broker, scratch: &Path, keys: u64) -> Result<[f64; 3]> {
    let mut connection = Connection::open(&broker.address())?;
    connection.be_patient(LIMIT)?;
    create_with(&mut connection, &[TOPIC], 1, &SETTINGS)?;
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

fn produce(connection: &mut Connection, first: u64, keys: u64) -> Result<()> {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    let records = (first..first + RECORDS_PER_BATCH).map(|number| {
        let key = format!("{:012}", number % keys);
        (Some(key.into()), value.clone())
    });
    send(connection, TOPIC, 0, Batch::default().of(records)?)
}

/// Base offset of the active segment.
fn closed_until(dir: &Path) -> Result<u64> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    let bases = names
        .iter()
        .filter_map(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
    bases.max().context("no segment")
}

/// The topic's offset in the cleaner's checkpoint.
fn cleaned_until(data: &Path) -> Option<u64> {
    let text = fs::read_to_string(data.join("cleaner-offset-checkpoint")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(TOPIC))?;
    line.split(' ').next_back()?.parse().ok()
}

/// Size of the partition's data files, in bytes.
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
