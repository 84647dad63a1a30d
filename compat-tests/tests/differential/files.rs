//! With the same `server.properties`, topics have the same settings as with Apache Kafka's broker, whichever spelling the file
//! uses. A file with which Apache Kafka does not start is refused here, too.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use compat_tests::apache::program;
use monedula::config::broker::check;
use monedula::config::parse::properties;
use monedula::config::topic::TopicSettings;
use monedula::config::topic_table::TOPIC_SETTINGS;

const NODE: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
controller.listener.names=CONTROLLER
";

/// Settings of logs, with values at the limits of what each accepts. Each value is a file of its own.
const EDGES: &[(&str, &[&str])] = &[
    ("log.retention.ms", &["-2", "-1", "0", "1", "x", ""]),
    (
        "log.retention.minutes",
        &["-2", "-1", "0", "1", "2147483647"],
    ),
    ("log.retention.hours", &["-2", "-1", "0", "1", "2147483647"]),
    ("log.retention.bytes", &["-2", "-1", "0", "5"]),
    ("log.retention.check.interval.ms", &["0", "1"]),
    ("log.roll.ms", &["-1", "0", "1"]),
    ("log.roll.hours", &["-1", "0", "1", "2147483647"]),
    ("log.roll.jitter.ms", &["-1", "0", "1"]),
    ("log.roll.jitter.hours", &["-1", "0", "1"]),
    ("log.flush.interval.messages", &["-1", "0", "1"]),
    ("log.flush.interval.ms", &["-2", "-1", "0", "1"]),
    ("log.flush.scheduler.interval.ms", &["-1", "0", "5"]),
    ("log.flush.offset.checkpoint.interval.ms", &["-1", "0"]),
    (
        "log.flush.start.offset.checkpoint.interval.ms",
        &["-1", "0"],
    ),
    (
        "log.segment.bytes",
        &["14", "1048575", "1048576", "2147483648"],
    ),
    ("log.segment.delete.delay.ms", &["-1", "0"]),
    ("log.index.size.max.bytes", &["3", "4"]),
    ("log.index.interval.bytes", &["-1", "0"]),
    (
        "log.cleanup.policy",
        &[
            "",
            "compact",
            "delete, compact",
            "delete,delete",
            "burn",
            "COMPACT",
            ",",
        ],
    ),
    (
        "log.message.timestamp.type",
        &["LogAppendTime", "logappendtime", ""],
    ),
    (
        "log.message.timestamp.before.max.ms",
        &["-1", "0", "9223372036854775807"],
    ),
    (
        "log.message.timestamp.after.max.ms",
        &["-1", "0", "9223372036854775807"],
    ),
    ("log.cleaner.backoff.ms", &["-1", "0"]),
    ("log.cleaner.delete.retention.ms", &["-1", "0"]),
    (
        "log.cleaner.min.cleanable.ratio",
        &["-0.1", "0", "1", "1.1", "NaN", "5e-1"],
    ),
    ("log.cleaner.min.compaction.lag.ms", &["-1", "0"]),
    ("log.cleaner.max.compaction.lag.ms", &["-1", "0", "1"]),
    ("log.cleaner.threads", &["-1", "0", "1"]),
    ("log.cleaner.io.buffer.size", &["-1", "0"]),
    ("log.cleaner.io.buffer.load.factor", &["0", "x"]),
    ("log.cleaner.io.max.bytes.per.second", &["-1", "0", "1e6"]),
    ("log.cleaner.dedupe.buffer.size", &["1048576", "1048577"]),
    ("log.cleaner.enable", &["false", "no"]),
    ("log.dir.failure.timeout.ms", &["0", "1"]),
    ("log.local.retention.ms", &["-3", "-2", "-1", "5"]),
    ("log.local.retention.bytes", &["-3", "-2", "-1", "5"]),
    ("log.preallocate", &["true", "TRUE", "1", ""]),
    ("message.max.bytes", &["-1", "0", "5"]),
    ("min.insync.replicas", &["0", "2"]),
    ("unclean.leader.election.enable", &["true", "yes"]),
    (
        "compression.type",
        &["none", "uncompressed", "GZIP", "gzip", ""],
    ),
    ("compression.gzip.level", &["-1", "0", "1", "9", "10"]),
    ("compression.lz4.level", &["0", "1", "17", "18"]),
    (
        "compression.zstd.level",
        &["-131073", "-131072", "22", "23"],
    ),
    ("num.recovery.threads.per.data.dir", &["0", "1"]),
    ("producer.id.expiration.ms", &["0", "1"]),
    ("transaction.partition.verification.enable", &["x", "false"]),
];

/// Files with several settings.
const TOGETHER: &[&str] = &[
    "log.retention.ms=5000\nlog.retention.minutes=6\nlog.retention.hours=7",
    "log.retention.minutes=6\nlog.retention.hours=7",
    "log.retention.ms=-1\nlog.retention.minutes=6\nlog.retention.hours=7",
    "log.retention.minutes=-1\nlog.retention.hours=7",
    "log.retention.ms=0\nlog.retention.hours=7",
    "log.retention.ms=7\nlog.retention.hours=0",
    "log.retention.ms=7\nlog.retention.minutes=-5\nlog.retention.hours=-9",
    "log.roll.ms=5000\nlog.roll.hours=7\nlog.roll.jitter.ms=10\nlog.roll.jitter.hours=1",
    "log.roll.hours=7\nlog.roll.jitter.hours=1",
    "log.roll.ms=5000\nlog.roll.hours=0",
    "log.flush.interval.ms=5000\nlog.flush.scheduler.interval.ms=6000",
    "log.flush.scheduler.interval.ms=6000",
    "log.cleaner.min.compaction.lag.ms=10\nlog.cleaner.max.compaction.lag.ms=5",
    "log.cleaner.min.compaction.lag.ms=5\nlog.cleaner.max.compaction.lag.ms=5",
    "log.cleaner.dedupe.buffer.size=4000000\nlog.cleaner.threads=4",
    "log.cleaner.dedupe.buffer.size=1\nlog.cleaner.enable=false",
    "log.retention.ms=1000\nlog.local.retention.ms=2000",
    "log.retention.bytes=1000\nlog.local.retention.bytes=2000",
    "log.retention.ms= 5000 \nlog.segment.bytes=\\u0031048576",
    "log.retention.ms=5\nlog.retention.ms=6",
    "log.segment.bytes=2000000\nsegment.bytes=3000000\nretention.ms=7",
    "default.replication.factor=0",
    "default.replication.factor=2\nmin.insync.replicas=3",
    "num.partitions=0",
    "offsets.topic.segment.bytes=0",
    "log.dirs=\nlog.dir=/tmp/x",
    "log.dirs=/tmp/x,/tmp/x",
    "replica.fetch.max.bytes=5\nmessage.max.bytes=6",
    "message.max.bytes=2147483647\nlog.segment.bytes=1048576",
];

/// Settings of a topic, or the reason why the broker does not start.
type Topic = Result<BTreeMap<String, String>, String>;

/// Topic settings as Apache Kafka understands the files, in one JVM.
fn theirs(files: &[String]) -> Result<Vec<Topic>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/settings/Settings.java");
    let words: Vec<&str> = files.iter().map(String::as_str).collect();
    let finished = program(&source, &words)?;
    ensure!(finished.success, "{}\n{}", finished.stdout, finished.stderr);
    let topic = |said: &str| match said.strip_prefix("refused: ") {
        Some(why) => Err(why.trim().to_owned()),
        None => {
            let lines = said.lines().filter_map(|line| line.split_once('='));
            Ok(lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect())
        }
    };
    let mut answers: Vec<Topic> = finished.stdout.split("--\n").map(topic).collect();
    answers.truncate(files.len());
    Ok(answers)
}

fn ours(file: &str) -> Topic {
    let checked = check("", &properties(file)).map_err(|faults| faults.join("; "))?;
    let topic = TopicSettings {
        own: None,
        broker: &checked.config.settings,
    };
    let values = TOPIC_SETTINGS
        .iter()
        .map(|one| (one.name.to_owned(), topic.get(one.name).unwrap_or_default()));
    Ok(values.collect())
}

#[test]
#[ignore = "needs java and maven"]
fn a_file_means_what_it_means_to_apache_kafka() -> Result<()> {
    let edges = EDGES
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")));
    let cases: Vec<String> = edges
        .chain(TOGETHER.iter().map(|case| (*case).to_owned()))
        .collect();
    let files: Vec<String> = cases.iter().map(|case| format!("{NODE}{case}\n")).collect();
    let theirs = theirs(&files)?;
    ensure!(
        theirs.len() == files.len(),
        "{} answers to {} files",
        theirs.len(),
        files.len()
    );
    let mut wrong = Vec::new();
    for ((case, file), theirs) in cases.iter().zip(&files).zip(&theirs) {
        let case = case.replace('\n', " ");
        match (ours(file), theirs) {
            (Ok(ours), Ok(theirs)) => {
                for (name, value) in ours {
                    let other = theirs.get(&name);
                    if other != Some(&value) {
                        wrong.push(format!("{case}: {name} is {value:?}, theirs {other:?}"));
                    }
                }
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(why)) => wrong.push(format!("{case}: only Apache Kafka refuses it: {why}")),
            (Err(why), Ok(_)) => wrong.push(format!("{case}: only we refuse it: {why}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
