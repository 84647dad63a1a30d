//! DescribeConfigs gives the same sources as Apache Kafka for the values of log settings: a topic, a broker, all brokers, the
//! file under any spelling of the setting, or the default. A running broker refuses the settings that Apache Kafka refuses.
//! Accepted settings take effect at once, also for existing logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use compat_tests::exchange::produce;
use compat_tests::programs::eventually;
use monedula::host::clock::Clock;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::delete_topics::DeleteTopicsRequest;
use monedula::wire::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use super::pair::Pair;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Time limit for work that brokers do in the background.
const SOON: Duration = Duration::from_secs(60);

/// Each setting in the coarsest of its spellings.
const COARSE: &str = "\
log.retention.hours=5
log.roll.hours=3
log.roll.jitter.hours=1
log.flush.scheduler.interval.ms=77777
log.cleanup.policy=delete, compact
log.retention.bytes=-1
log.retention.check.interval.ms=300
log.initial.task.delay.ms=300
log.flush.offset.checkpoint.interval.ms=300
";
/// Each setting in all of its spellings, with contradictory values.
const ALL: &str = "\
log.retention.ms=18000001
log.retention.minutes=600
log.retention.hours=-1
log.retention.bytes=123456789
log.roll.ms=10800001
log.roll.hours=2
log.roll.jitter.ms=7
log.roll.jitter.hours=1
log.flush.interval.messages=1000
log.flush.interval.ms=5000
log.flush.scheduler.interval.ms=2000
log.segment.bytes=2000000
log.segment.delete.delay.ms=3000
log.index.interval.bytes=5000
log.index.size.max.bytes=1000000
log.cleanup.policy=compact
log.message.timestamp.type=LogAppendTime
log.message.timestamp.before.max.ms=1000000
log.message.timestamp.after.max.ms=2000000
log.cleaner.backoff.ms=1000
log.cleaner.delete.retention.ms=5000
log.cleaner.min.cleanable.ratio=0.25
log.cleaner.min.compaction.lag.ms=10
log.cleaner.max.compaction.lag.ms=100000
log.cleaner.io.max.bytes.per.second=1e9
log.cleaner.io.buffer.load.factor=0.8
message.max.bytes=900000
log.preallocate=true
log.local.retention.ms=5000
log.local.retention.bytes=100000
unclean.leader.election.enable=true
min.insync.replicas=1
compression.type=lz4
compression.gzip.level=3
compression.lz4.level=4
compression.zstd.level=5
";

/// Type and name of a resource, a setting, and its new value; `None` removes the setting.
type Change = (i8, &'static str, &'static str, Option<&'static str>);

const CHANGES: &[Change] = &[
    (BROKER, "", "log.retention.ms", Some("1000001")),
    (BROKER, "1", "log.retention.ms", Some("1000002")),
    (TOPIC, "t", "retention.ms", Some("1000003")),
    (BROKER, "1", "log.retention.ms", None),
    (TOPIC, "t", "retention.ms", None),
    (BROKER, "", "log.retention.ms", Some("-1")),
    (BROKER, "", "log.retention.ms", None),
    (BROKER, "1", "log.roll.ms", Some("1000004")),
    (BROKER, "", "log.roll.ms", Some("1000005")),
    (BROKER, "1", "log.roll.ms", None),
    (BROKER, "", "log.roll.ms", None),
    (BROKER, "", "log.roll.jitter.ms", Some("6")),
    (BROKER, "", "log.roll.jitter.ms", None),
    (BROKER, "", "log.flush.interval.ms", Some("1000006")),
    (TOPIC, "t", "flush.ms", Some("1000007")),
    (BROKER, "", "log.flush.interval.ms", None),
    (TOPIC, "t", "flush.ms", None),
    (BROKER, "", "log.cleanup.policy", Some("delete")),
    (TOPIC, "t", "cleanup.policy", Some("compact,delete")),
    (BROKER, "", "log.cleanup.policy", None),
    (TOPIC, "t", "cleanup.policy", None),
    (BROKER, "", "compression.type", Some("zstd")),
    (BROKER, "1", "compression.type", Some("gzip")),
    (BROKER, "1", "compression.type", None),
    (BROKER, "", "compression.type", None),
    (BROKER, "", "unclean.leader.election.enable", Some("true")),
    (BROKER, "", "unclean.leader.election.enable", None),
    (
        BROKER,
        "1",
        "log.message.timestamp.type",
        Some("LogAppendTime"),
    ),
    (BROKER, "1", "log.message.timestamp.type", None),
];
/// Changes that are refused, and some that only look as if they were.
const LIMITS: &[Change] = &[
    (BROKER, "1", "log.retention.minutes", Some("5")),
    (BROKER, "1", "log.retention.hours", Some("5")),
    (BROKER, "", "log.retention.hours", Some("5")),
    (BROKER, "", "log.retention.ms", Some("0")),
    (BROKER, "1", "log.retention.ms", Some("0")),
    (BROKER, "", "log.retention.ms", Some("-2")),
    (BROKER, "", "log.retention.ms", Some("x")),
    (BROKER, "", "log.retention.bytes", Some("-2")),
    (BROKER, "", "log.retention.bytes", None),
    (BROKER, "1", "log.roll.ms", Some("0")),
    (BROKER, "", "log.roll.ms", Some("-1")),
    (BROKER, "1", "log.roll.hours", Some("1")),
    (BROKER, "", "log.roll.jitter.ms", Some("-1")),
    (BROKER, "", "log.flush.interval.messages", Some("0")),
    (BROKER, "", "log.flush.scheduler.interval.ms", Some("5")),
    (BROKER, "", "log.segment.bytes", Some("14")),
    (BROKER, "", "log.index.size.max.bytes", Some("3")),
    (BROKER, "", "log.cleanup.policy", Some("")),
    (BROKER, "", "log.cleanup.policy", Some("burn")),
    (BROKER, "", "log.message.timestamp.type", Some("x")),
    (BROKER, "", "log.preallocate", Some("x")),
    (BROKER, "", "message.max.bytes", Some("-1")),
    (BROKER, "", "compression.type", Some("none")),
    (BROKER, "", "compression.gzip.level", Some("0")),
    (BROKER, "", "log.cleaner.min.cleanable.ratio", Some("1.5")),
    (BROKER, "", "log.cleaner.max.compaction.lag.ms", Some("0")),
    (BROKER, "", "log.cleaner.min.compaction.lag.ms", Some("-1")),
    (BROKER, "1", "log.cleaner.enable", Some("false")),
    (BROKER, "1", "log.cleaner.threads", Some("0")),
    (BROKER, "1", "log.cleaner.threads", Some("3")),
    (BROKER, "1", "log.cleaner.threads", Some("2")),
    (BROKER, "1", "log.cleaner.threads", None),
    (BROKER, "1", "log.cleaner.dedupe.buffer.size", Some("1")),
    (
        BROKER,
        "",
        "log.cleaner.dedupe.buffer.size",
        Some("1048576"),
    ),
    (BROKER, "", "log.cleaner.io.buffer.size", Some("1")),
    (BROKER, "", "log.cleaner.io.buffer.size", None),
    (BROKER, "", "log.local.retention.ms", Some("-3")),
    (BROKER, "", "log.local.retention.ms", Some("99999999999")),
    (BROKER, "", "log.local.retention.ms", Some("-1")),
    (BROKER, "", "log.local.retention.ms", None),
    (
        BROKER,
        "",
        "log.local.retention.bytes",
        Some("999999999999"),
    ),
    (BROKER, "", "log.local.retention.bytes", None),
    (BROKER, "1", "num.recovery.threads.per.data.dir", Some("0")),
    (BROKER, "1", "num.recovery.threads.per.data.dir", Some("2")),
    (BROKER, "1", "num.recovery.threads.per.data.dir", None),
    (TOPIC, "t", "retention.ms", Some("0")),
    (TOPIC, "t", "retention.ms", None),
    (TOPIC, "t", "segment.ms", Some("0")),
    (TOPIC, "t", "min.compaction.lag.ms", Some("99999999999")),
    (TOPIC, "t", "min.compaction.lag.ms", None),
    (TOPIC, "t", "max.compaction.lag.ms", Some("5")),
    (TOPIC, "t", "max.compaction.lag.ms", None),
];

#[test]
#[ignore = "needs java and maven"]
fn settings_are_described_and_changed_as_apache_kafkas_are() -> Result<()> {
    let mut wrong = Vec::new();
    for (file, limits) in [(COARSE, &[][..]), (ALL, LIMITS)] {
        let mut pair = Pair::start_with(file)?;
        let name = file.lines().next().unwrap_or_default();
        pair.warm_up()?;
        create(&mut pair, "t", &[("index.interval.bytes", "4000")])?;
        compare(&mut pair, &format!("{name}: at first"), &mut wrong)?;
        for change in CHANGES.iter().chain(limits) {
            let what = format!("{name}: {change:?}");
            let errors = alter(&mut pair, change)?;
            if errors.0 != errors.1 {
                wrong.push(format!("{what}: ours {}, theirs {}", errors.0, errors.1));
            }
            if [errors.0, errors.1].contains(&0) {
                compare(&mut pair, &what, &mut wrong)?;
            }
        }
        compare(&mut pair, &format!("{name}: at last"), &mut wrong)?;
        if file == COARSE {
            disappear(&mut pair)?;
            feel(&mut pair)?;
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn create(pair: &mut Pair, name: &str, settings: &[(&str, &str)]) -> Result<()> {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    };
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs: settings.iter().map(config).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let (ours, theirs) = pair.both(7, &request)?;
    for answer in [ours, theirs] {
        ensure!(answer.topics[0].error_code == 0, "{answer:?}");
    }
    Ok(())
}

/// Error codes of both brokers for a change.
fn alter(pair: &mut Pair, change: &Change) -> Result<(i16, i16)> {
    let (kind, resource, setting, value) = *change;
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.into(),
            configs: vec![AlterableConfig {
                name: setting.into(),
                config_operation: if value.is_some() { SET } else { DELETE },
                value: value.map(Into::into),
            }],
        }],
        validate_only: false,
    };
    let (ours, theirs) = pair.both(1, &request)?;
    let (ours, theirs) = (&ours.responses[0], &theirs.responses[0]);
    Ok((ours.error_code, theirs.error_code))
}

/// Produces one record with a timestamp of `age` milliseconds ago.
fn put(pair: &mut Pair, topic: &str, age: i64, value: &[u8]) -> Result<()> {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(Clock::default().now() - age, Some(b"key"), Some(value));
    let request = produce(topic, 0, batch.build());
    pair.both_until(9, &request, |answer| {
        answer.responses[0].partition_responses[0].error_code == 0
    })
}

fn await_start(pair: &mut Pair, topic: &str, start: i64) -> Result<()> {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: -2,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    pair.both_until(7, &request, |answer| {
        answer.topics[0].partitions[0].offset == start
    })
}

/// Names of the files in the directories whose names start with `beginning`, with ids masked.
fn names(data: &Path, beginning: &str) -> Vec<String> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for dir in entries(data) {
        let name = dir.file_name().to_string_lossy().into_owned();
        if !name.starts_with(beginning) {
            continue;
        }
        let shown = match name.split_once('.') {
            Some((partition, id)) => {
                let kind = id.trim_start_matches(|one: char| one.is_ascii_hexdigit());
                format!("{partition}.{}{kind}", id.len() - kind.len())
            }
            None => name,
        };
        let files = entries(&dir.path()).map(|file| file.file_name());
        found.extend(files.map(|file| format!("{shown}/{}", file.to_string_lossy())));
    }
    found.sort();
    found
}

/// Waits until both brokers have the same files, with `one` among them.
fn await_names(pair: &Pair, beginning: &str, one: &str) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let same = eventually(SOON, || {
        [ours, theirs] = pair.directories().map(|data| names(&data, beginning));
        ours == theirs && ours.iter().any(|name| name == one)
    });
    ensure!(same, "no {one} in both: ours {ours:#?}, theirs {theirs:#?}");
    Ok(())
}

/// Dynamic broker settings take effect for a log without overrides, just as the settings of the file did before.
fn feel(pair: &mut Pair) -> Result<()> {
    const HOUR: i64 = 3_600_000;
    let topic = "felt";
    // monedula may have flushed a little more when a segment was rolled.
    let flushed = |pair: &Pair, least: i64| -> Result<()> {
        for data in pair.directories() {
            let file = data.join("recovery-point-offset-checkpoint");
            let mut point = None;
            let there = eventually(SOON, || {
                let text = fs::read_to_string(&file).unwrap_or_default();
                let mut lines = text.lines();
                point = lines.find_map(|line| line.strip_prefix("felt 0 ")?.parse().ok());
                point.is_some_and(|point: i64| point >= least)
            });
            ensure!(there, "{}: {point:?}, not {least}", file.display());
        }
        Ok(())
    };
    create(pair, topic, &[("cleanup.policy", "delete")])?;
    // The first record is younger than log.retention.hours and, even compared with the next record, than log.roll.hours.
    put(pair, topic, HOUR, b"1")?;
    alter(pair, &(BROKER, "", "log.roll.jitter.ms", Some("0")))?;
    alter(pair, &(BROKER, "1", "log.roll.ms", Some("1800000")))?;
    put(pair, topic, 0, b"2")?;
    await_names(pair, "felt-", "felt-0/00000000000000000001.log")?;
    flushed(pair, 1)?;
    await_start(pair, topic, 0)?;
    // The older record exceeds this retention time.
    alter(pair, &(BROKER, "", "log.retention.ms", Some("1800000")))?;
    await_start(pair, topic, 1)?;
    alter(
        pair,
        &(BROKER, "1", "log.flush.interval.messages", Some("1")),
    )?;
    put(pair, topic, 0, b"3")?;
    flushed(pair, 3)?;
    for (resource, setting) in [
        ("", "log.roll.jitter.ms"),
        ("1", "log.roll.ms"),
        ("", "log.retention.ms"),
        ("1", "log.flush.interval.messages"),
    ] {
        alter(pair, &(BROKER, resource, setting, None))?;
    }
    Ok(())
}

/// Names of files that wait for deletion, and names of deleted topics' directories.
fn disappear(pair: &mut Pair) -> Result<()> {
    let large = vec![b'x'; 600_000];
    for topic in ["cut", "gone"] {
        let settings = [("segment.bytes", "1048576"), ("cleanup.policy", "delete")];
        create(pair, topic, &settings)?;
        for _ in 0..3 {
            put(pair, topic, 0, &large)?;
        }
    }
    let cut = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "cut".into(),
            partitions: vec![DeleteRecordsPartition {
                partition_index: 0,
                offset: 2,
            }],
        }],
        timeout_ms: 10_000,
    };
    pair.both(2, &cut)?;
    let gone = DeleteTopicsRequest {
        topic_names: vec!["gone".into()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    pair.both(5, &gone)?;
    await_names(pair, "cut-", "cut-0/00000000000000000001.log.deleted")?;
    await_names(pair, "gone-", "gone-0.32-delete/00000000000000000002.log")
}

/// Compares both brokers' descriptions of the topic, of the broker and of all brokers.
fn compare(pair: &mut Pair, when: &str, wrong: &mut Vec<String>) -> Result<()> {
    let resource = |resource_type, name: &str| DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![
            resource(TOPIC, "t"),
            resource(BROKER, "1"),
            resource(BROKER, ""),
        ],
        include_synonyms: true,
        include_documentation: false,
    };
    let (ours, theirs) = pair.both(4, &request)?;
    for (ours, theirs) in ours.results.iter().zip(&theirs.results) {
        let by_name = |configs: &[DescribeConfigsResourceResult]| -> BTreeMap<String, String> {
            configs
                .iter()
                .map(|one| (one.name.to_string(), pair.mask(&format!("{one:?}"))))
                .collect()
        };
        let (own, other) = (by_name(&ours.configs), by_name(&theirs.configs));
        let mut names: Vec<&String> = own.keys().chain(other.keys()).collect();
        names.sort();
        names.dedup();
        // This setting exists for Kafka's own tests.
        names.retain(|name| *name != "log.initial.task.delay.ms");
        for name in names {
            if own.get(name) != other.get(name) {
                wrong.push(format!(
                    "{when}: {:?} {name}:\n  ours   {:?}\n  theirs {:?}",
                    ours.resource_name,
                    own.get(name),
                    other.get(name)
                ));
            }
        }
    }
    Ok(())
}
