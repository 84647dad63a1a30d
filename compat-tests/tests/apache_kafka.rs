//! Apache Kafka's own tools work with this broker, Apache Kafka's broker opens our data directories, and we open its.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use compat_tests::apache::{Apache, tool};
use compat_tests::node::{Node, binary};
use compat_tests::programs::{eventually, run};

const DUMP_LIMIT: Duration = Duration::from_secs(120);
const CONSUME_LIMIT: Duration = Duration::from_secs(120);

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "org.apache.kafka.tools.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const DUMP_LOG: &str = "org.apache.kafka.tools.DumpLogSegments";

fn use_tool(address: &str, class: &str, arguments: &[&str], input: &str) -> String {
    let mut all = vec!["--bootstrap-server", address];
    all.extend_from_slice(arguments);
    let finished = tool(class, &all, input).unwrap();
    assert!(
        finished.success,
        "{class} {arguments:?}: {}{}",
        finished.stdout, finished.stderr
    );
    finished.stdout
}

/// Reads on as a group from its committed offsets, until there are `count` records. The console consumer exits with an error
/// when no record came for some seconds, which may also happen early on a busy machine: then it is started again.
fn consume(address: &str, topic: &str, group: &str, count: usize) -> Vec<String> {
    let arguments = [
        "--bootstrap-server",
        address,
        "--topic",
        topic,
        "--group",
        group,
        "--from-beginning",
        "--timeout-ms",
        "5000",
    ];
    let mut lines: Vec<String> = Vec::new();
    eventually(CONSUME_LIMIT, || {
        let said = tool(CONSUMER, &arguments, "").unwrap();
        lines.extend(said.stdout.lines().map(str::to_owned));
        lines.len() >= count
    });
    lines.sort();
    lines
}

fn numbers(range: std::ops::Range<usize>) -> (String, Vec<String>) {
    let lines: Vec<String> = range.map(|n| format!("{n:05}")).collect();
    (lines.join("\n") + "\n", lines)
}

#[test]
#[ignore = "needs java and maven"]
fn the_tools_do_on_us_what_they_do_on_kafka() {
    let node = Node::start().unwrap();
    let address = node.address();
    let made = use_tool(
        &address,
        TOPICS,
        &["--create", "--topic", "t", "--partitions", "3"],
        "",
    );
    assert!(made.contains("Created topic t."), "{made}");
    let described = use_tool(&address, TOPICS, &["--describe", "--topic", "t"], "");
    assert!(
        described.contains("PartitionCount: 3\tReplicationFactor: 1"),
        "{described}"
    );
    use_tool(
        &address,
        CONFIGS,
        &[
            "--alter",
            "--topic",
            "t",
            "--add-config",
            "retention.ms=12345",
        ],
        "",
    );
    let configs = use_tool(&address, CONFIGS, &["--describe", "--topic", "t"], "");
    assert!(configs.contains("retention.ms=12345"), "{configs}");
    let (input, sent) = numbers(0..300);
    use_tool(&address, PRODUCER, &["--topic", "t"], &input);
    assert_eq!(consume(&address, "t", "g", sent.len()), sent);
    let groups = use_tool(&address, GROUPS, &["--describe", "--group", "g"], "");
    assert_eq!(
        groups.lines().filter(|line| line.starts_with("g ")).count(),
        3,
        "{groups}"
    );
    let offsets = use_tool(&address, OFFSETS, &["--topic", "t"], "");
    let total: i64 = offsets
        .lines()
        .filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok())
        .sum();
    assert_eq!(total, 300, "{offsets}");
    use_tool(&address, GROUPS, &["--delete", "--group", "g"], "");
    use_tool(&address, TOPICS, &["--delete", "--topic", "t"], "");
    assert!(
        !use_tool(&address, TOPICS, &["--list"], "")
            .lines()
            .any(|line| line == "t")
    );
}

#[test]
#[ignore = "needs java and maven"]
fn a_directory_goes_to_kafka_and_comes_back() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let (first, expected) = numbers(0..200);
    let mut node = Node::on(&data).unwrap();
    use_tool(
        &node.address(),
        TOPICS,
        &["--create", "--topic", "t", "--partitions", "2"],
        "",
    );
    use_tool(&node.address(), PRODUCER, &["--topic", "t"], &first);
    assert_eq!(consume(&node.address(), "t", "g", 200), expected);
    node.stop().unwrap();

    every_file_is_decoded(&data);
    let kafka = Apache::start(scratch.path(), &data).unwrap();
    assert_eq!(consume(&kafka.address(), "t", "other", 200), expected);
    // Offsets that were committed to this broker are valid in Apache Kafka: nothing is read twice.
    assert_eq!(consume(&kafka.address(), "t", "g", 0), [""; 0]);
    let (second, more) = numbers(200..300);
    use_tool(&kafka.address(), PRODUCER, &["--topic", "t"], &second);
    use_tool(
        &kafka.address(),
        PERFORMANCE,
        &[
            "--topic",
            "t",
            "--num-records",
            "100",
            "--record-size",
            "10",
            "--throughput",
            "-1",
            "--transactional-id",
            "tx",
            "--transaction-duration-ms",
            "1",
        ],
        "",
    );
    kafka.stop().unwrap();
    every_file_is_decoded(&data);

    let mut node = Node::on(&data).unwrap();
    let after = consume(&node.address(), "t", "g", 200);
    assert_eq!((after.len(), expected.len()), (200, 200));
    assert!(more.iter().all(|record| after.contains(record)));
    let all = consume(&node.address(), "t", "third", 400);
    assert!(all.len() == 400 && expected.iter().all(|record| all.contains(record)));
    node.stop().unwrap();
}

/// The non-empty files of a data directory, by the option of the tool that decodes them.
fn files(data: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for dir in std::fs::read_dir(data).unwrap() {
        let dir = dir.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        let topic = dir.file_name().unwrap().to_string_lossy().into_owned();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let kind = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let filled = path.metadata().unwrap().len() > 0;
            let decoder = match kind.as_str() {
                "log" if topic.starts_with("__consumer_offsets") => "--offsets-decoder",
                "log" if topic.starts_with("__transaction_state") => "--transaction-log-decoder",
                "log" | "checkpoint" if topic.starts_with("__cluster_metadata") => {
                    "--cluster-metadata-decoder"
                }
                "log" | "index" | "timeindex" | "txnindex" | "snapshot" => "--print-data-log",
                _ => continue,
            };
            if filled {
                found
                    .entry(decoder)
                    .or_default()
                    .push(path.display().to_string());
            }
        }
    }
    found
}

/// Checks that Apache Kafka's reader of logs and indexes reports no error, and that ours prints the same.
fn every_file_is_decoded(data: &Path) {
    let files = files(data);
    assert!(
        files.values().map(Vec::len).sum::<usize>() >= 6,
        "{files:?}"
    );
    for (decoder, files) in files {
        let words = ["--deep-iteration", decoder, "--files", &files.join(",")];
        let theirs = tool(DUMP_LOG, &words, "").unwrap();
        assert!(theirs.success, "{}{}", theirs.stdout, theirs.stderr);
        for complaint in ["isvalid: false", "mismatch", "Exception", "non-consecutive"] {
            assert!(!theirs.stdout.contains(complaint), "{}", theirs.stdout);
        }
        let mut command = Command::new(binary());
        let ours = run(command.arg("dump-log").args(words), "", DUMP_LIMIT).unwrap();
        assert!(ours.success, "{}", ours.stderr);
        for (ours, theirs) in ours.stdout.lines().zip(theirs.stdout.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.stdout.lines().count(), theirs.stdout.lines().count());
    }
}
