//! Tests of the log cleaner's task: when it works and when it waits.

use std::fs;
use std::path::Path;

use super::listeners::alter;
use super::*;
use crate::broker::Broker;
use crate::broker::boot::Options;
use crate::config::broker::standalone;
use crate::config::parse::Property;
use crate::wire::error_code::ErrorCode;

const BATCHES: i64 = 4;
/// Number of keys in each batch, far above the capacity of the smallest map.
const KEYS: i64 = 50_000;

async fn start(dir: &Path, more: &[(&str, &str)]) -> Broker {
    let data = dir.display().to_string();
    let own = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", &data),
        ("log.segment.bytes", "1048576"),
        ("log.cleanup.policy", "compact"),
        ("log.cleaner.min.cleanable.ratio", "0.01"),
    ];
    let overrides = own
        .iter()
        .chain(more)
        .map(|(key, value)| Property::given(key, value));
    let overrides: Vec<_> = overrides.collect();
    let config = standalone(&overrides).unwrap().config;
    Broker::start(config, Options::default()).await.unwrap()
}

fn cleaned_until(dir: &Path) -> Option<i64> {
    let text = fs::read_to_string(dir.join("cleaner-offset-checkpoint")).ok()?;
    let line = text.lines().find(|line| line.starts_with("t 0 "))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Fills the directory of a stopped broker with a log of `batches` batches, each in a segment of its own. The last segment is
/// the active one.
async fn filled(dir: &Path, batches: i64) {
    let broker = start(dir, &[("log.cleaner.enable", "false")]).await;
    let address = broker.addresses()[0].to_string();
    let client = Channel::new(&Host::default(), &address, Identity::new("test"));
    let topic = create(&client, &["t".to_owned()]).await[0];
    for batch in 0..batches {
        let mut records = BatchBuilder::new(Compression::None);
        for key in batch * KEYS..(batch + 1) * KEYS {
            records.push(1, Some(&key.to_be_bytes()), Some(b"v"));
        }
        let request = production(topic, 0, records);
        let answer = client.call(&request, WITHIN).await.unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    broker.shutdown().await;
}

async fn clean_up_to(dir: &Path, offset: i64) {
    let end = Instant::now() + WITHIN;
    while cleaned_until(dir) != Some(offset) {
        assert!(Instant::now() < end, "{:?}", cleaned_until(dir));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_more_keys_than_the_map_takes_is_compacted_without_a_pause() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    filled(&dir, BATCHES).await;
    // A pause of an hour between two passes would let the test time out.
    let settings = [
        ("log.cleaner.backoff.ms", "3600000"),
        ("log.cleaner.dedupe.buffer.size", "1048577"),
        ("log.cleaner.io.buffer.load.factor", "0.4"),
    ];
    let broker = start(&dir, &settings).await;
    clean_up_to(&dir, (BATCHES - 1) * KEYS).await;
    broker.shutdown().await;
}

/// A round that would take most of an hour at its first rate completes after the rate is raised, but not faster than the new
/// rate allows.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_is_as_fast_as_it_may_be_from_one_moment_to_the_next() {
    const SLOW: f64 = 1_000.0;
    const RAISED: f64 = 2_500_000.0;
    let name = "log.cleaner.io.max.bytes.per.second";
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    filled(&dir, 2).await;
    let segment = dir.join("t-0").join(format!("{:020}.log", 0));
    // The segment is read twice, for the keys and for the copy, and written once.
    let bytes = 3.0 * fs::metadata(segment).unwrap().len() as f64;

    let begun = Instant::now();
    let broker = start(&dir, &[(name, &SLOW.to_string())]).await;
    let client = Channel::new(
        &Host::default(),
        broker.addresses()[0].to_string(),
        Identity::new("test"),
    );
    // Values that the cleaner cannot work with are refused, as by Apache Kafka.
    for (name, value) in [
        ("log.cleaner.threads", "0"),
        ("log.cleaner.threads", "3"),
        ("log.cleaner.dedupe.buffer.size", "1048576"),
        ("log.cleaner.enable", "false"),
    ] {
        let refused = alter(&client, &[(name, Some(value))]).await;
        assert_eq!(refused, ErrorCode::InvalidRequest.code(), "{name}={value}");
    }
    assert_eq!(cleaned_until(&dir), None);
    let raised = Instant::now();
    let paid = SLOW * raised.duration_since(begun).as_secs_f64();
    let value = RAISED.to_string();
    assert_eq!(alter(&client, &[(name, Some(&value))]).await, 0);
    clean_up_to(&dir, KEYS).await;
    let least = Duration::from_secs_f64(0.9 * (bytes - paid) / RAISED);
    assert!(
        raised.elapsed() >= least,
        "{bytes} bytes in {:?}",
        raised.elapsed()
    );
    broker.shutdown().await;
}
