//! Apache Kafka's own tools print the same with this broker as with Apache Kafka, and have the same exit codes.
//!
//! One script is run with both brokers, all of its tools in one Java process per broker. The outputs are compared after
//! addresses, ids, times and paths have been masked.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use compat_tests::apache::{Apache, Run, SETTINGS, tools};
use compat_tests::node::{Node, free_port};
use regex::Regex;

/// Number of runs with Kafka; only what differs from all of them counts as a difference.
const ROUNDS: usize = 3;

/// Short names of the tools' classes.
const TOOLS: &[(&str, &str)] = &[
    ("topics", "org.apache.kafka.tools.TopicCommand"),
    ("configs", "org.apache.kafka.tools.ConfigCommand"),
    (
        "groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    ("producer", "org.apache.kafka.tools.ConsoleProducer"),
    (
        "consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
    ("offsets", "org.apache.kafka.tools.GetOffsetShell"),
    (
        "delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
    ),
    ("log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("quorum", "org.apache.kafka.tools.MetadataQuorumCommand"),
    ("features", "org.apache.kafka.tools.FeatureCommand"),
    (
        "versions",
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
    ),
    ("cluster", "org.apache.kafka.tools.ClusterTool"),
    ("election", "org.apache.kafka.tools.LeaderElectionCommand"),
    (
        "reassign",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    ),
    ("all-groups", "org.apache.kafka.tools.GroupsCommand"),
    ("transactions", "org.apache.kafka.tools.TransactionsCommand"),
    (
        "verifiable-producer",
        "org.apache.kafka.tools.VerifiableProducer",
    ),
    (
        "verifiable-consumer",
        "org.apache.kafka.tools.VerifiableConsumer",
    ),
];

/// One run per line: tool and arguments; `<` starts the standard input. Every tool also gets the broker's address.
///
/// Topic `single` has one record: which one of two has the maximum timestamp would depend on the clock.
const SCRIPT: &str = "
topics --create --topic t --partitions 3
topics --create --topic t
topics --create --topic c --config cleanup.policy=compact --config min.cleanable.dirty.ratio=0.1
topics --create --topic bad/name
topics --create --topic r --replication-factor 3
topics --create --topic x --config no.such=1
topics --create --topic assigned --replica-assignment 1,1
topics --list
topics --list --exclude-internal
topics --describe --topic t
topics --describe --topic c
topics --describe --topic nope
topics --describe --topic t --under-replicated-partitions
topics --describe --topics-with-overrides --topic c
topics --alter --topic t --partitions 4
topics --alter --topic t --partitions 2
topics --alter --topic nope --partitions 2
producer --topic t --command-property linger.ms=0 --reader-property parse.key=true --reader-property key.separator=: <a:1|b:2|c:3|d:4|e:5|
producer --topic c <keyless|
consumer --topic t --partition 0 --offset earliest --timeout-ms 3000
consumer --topic t --group g --from-beginning --max-messages 5 --timeout-ms 15000 --formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true
groups --list
groups --list --state
groups --describe --group g
groups --describe --group g --members --verbose
groups --describe --group g --state
groups --describe --group nope
groups --describe --all-groups --offsets
groups --reset-offsets --group g --topic t --to-earliest --dry-run
groups --reset-offsets --group g --topic t:0 --shift-by -1 --execute
groups --reset-offsets --group g --topic t --to-offset 1 --execute
groups --describe --group g
groups --delete-offsets --group g --topic t
groups --delete --group nope
groups --delete --group g
all-groups --list
all-groups --list --group-type classic
offsets --topic t
offsets --topic t --time earliest
offsets --topic t --time -1 --partitions 0,1
topics --create --topic single
producer --topic single <once|
offsets --topic single --time max-timestamp
offsets --topic nope
delete-records --offset-json-file {dir}/delete.json
offsets --topic t --time earliest
log-dirs --describe --topic-list t,c
log-dirs --describe --broker-list 9
configs --describe --topic t
configs --describe --topic c --all
configs --alter --topic t --add-config retention.ms=1000,segment.bytes=2000000
configs --describe --topic t
configs --alter --topic t --delete-config retention.ms
configs --alter --topic t --add-config retention.ms=soon
configs --alter --topic t --add-config no.such=1
configs --alter --topic nope --add-config retention.ms=1
configs --describe --broker 1
configs --alter --broker 1 --add-config log.retention.ms=12345
configs --describe --broker 1
configs --alter --broker-defaults --add-config log.cleaner.threads=1
configs --describe --broker-defaults
configs --alter --broker 1 --delete-config log.retention.ms
configs --alter --broker 1 --add-config node.id=5
configs --describe --entity-type groups --entity-name g --all
configs --describe --entity-type topics
cluster cluster-id
cluster list-endpoints
quorum describe --status
features describe
versions
election --election-type preferred --topic t --partition 0
election --election-type unclean --topic t --partition 0
election --election-type preferred --topic nope --partition 0
reassign --list
reassign --generate --topics-to-move-json-file {dir}/move.json --broker-list 1
transactions list
transactions describe --transactional-id nope
transactions describe-producers --topic t --partition 0
transactions find-hanging --topic t
verifiable-producer --topic v --max-messages 5
verifiable-consumer --topic v --group-id vg --max-messages 5
topics --delete --topic t
topics --delete --topic nope
topics --list
";

/// Class, arguments and input of a line of the script. Some tools expect the address before their subcommand.
fn parsed(line: &str, address: &str, dir: &Path) -> (&'static str, Vec<String>, String) {
    let (words, input) = line.split_once(" <").unwrap_or((line, ""));
    let mut words = words.split(' ');
    let name = words.next().unwrap_or_default();
    let class = TOOLS
        .iter()
        .find(|(tool, _)| *tool == name)
        .map_or("", |(_, class)| class);
    let rest = words.map(|word| word.replace("{dir}", &dir.display().to_string()));
    let address = ["--bootstrap-server".to_owned(), address.to_owned()].into_iter();
    let all = match ["quorum", "features", "transactions"].contains(&name) {
        true => address.chain(rest).collect(),
        false => rest.chain(address).collect(),
    };
    (class, all, input.replace('|', "\n"))
}

/// Output of each run, with values that differ masked.
fn play(address: &str, dir: &Path) -> Result<Vec<String>> {
    let script: Vec<_> = SCRIPT
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| parsed(line, address, dir))
        .collect();
    let runs: Vec<Run<'_>> = script
        .iter()
        .map(|(class, words, input)| {
            let words = words.iter().map(String::as_str).collect();
            (*class, words, input.as_str())
        })
        .collect();
    let printed = tools(&runs)?;
    let masks = [
        (r"(127\.0\.0\.1|localhost):\d+", "ADDRESS"),
        (r"\b1[78]\d{11}\b", "TIME"),
        (r"(TopicId|topicId): \S+", "TOPIC-ID"),
        (r"Cluster ID: \S+|ClusterId: +\S+", "CLUSTER-ID"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r#""logDir":"[^"]*""#, "LOG-DIR"),
        (r#""log_dirs":\["/[^"]*"\]"#, "LOG-DIRS"),
        (r#""size":\d+"#, "SIZE"),
        (r"127\.0\.0\.1 \d+", "ADDRESS"),
        (r"^\d+ +\t", "PRODUCER\t"),
        // Kafka applies a setting some time after its response.
        (
            r"log\.retention\.ms=null sensitive",
            "log.retention.ms=12345 sensitive",
        ),
        (
            r"(LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs): +-?\d+",
            "$1: N",
        ),
        (r#""directoryId": "[^"]*""#, "DIRECTORY"),
        (r"Epoch: \d+", "Epoch: N"),
        (r"\d+(\.\d+)? (records|MB)/sec", "SPEED"),
        (r#""avg_throughput":[0-9.]+"#, "SPEED"),
    ];
    let masks: Vec<(Regex, &str)> = masks
        .into_iter()
        .map(|(mask, name)| Ok((Regex::new(mask)?, name)))
        .collect::<Result<_>>()?;
    let masked = |(page, code): (String, i32)| {
        let mut out = String::new();
        for line in page.lines() {
            let mut line = line.to_owned();
            for (mask, name) in &masks {
                line = mask.replace_all(&line, *name).into_owned();
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = writeln!(out, "== {code}");
        out
    };
    Ok(printed.into_iter().map(masked).collect())
}

/// The lines of an output, sorted if the tool prints them in the order of a hash table. Of `versions` and `features` only what
/// both brokers offer; the README lists the rest.
fn comparable(words: &str, page: &str, other: &str) -> Vec<String> {
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    if words.starts_with("versions") {
        // Each API has a line "name(key): versions".
        let api = |line: &str| line.trim().split('(').next().unwrap_or_default().to_owned();
        let there: Vec<String> = other
            .lines()
            .filter(|line| !line.contains("UNSUPPORTED"))
            .map(api)
            .collect();
        lines.retain(|line| !line.contains("UNSUPPORTED") && there.contains(&api(line)));
        for line in &mut lines {
            // Removes the old versions that Kafka dropped, and the end of the list.
            *line = line
                .split(" to ")
                .last()
                .unwrap_or_default()
                .trim_end_matches(',')
                .to_owned();
        }
    }
    if words.starts_with("features") {
        let feature = |line: &str| {
            line.split_whitespace()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let there: Vec<String> = other.lines().map(feature).collect();
        lines.retain(|line| there.contains(&feature(line)));
    }
    if words.starts_with("verifiable") {
        // The first of the two producers still prints during the second run, and the order of fields is random.
        lines.retain(|line| !line.contains("producer_send_success"));
        for line in &mut lines {
            let mut fields: Vec<&str> = line.split(',').collect();
            fields.sort_unstable();
            *line = fields.join(",");
        }
    }
    lines.sort();
    lines
}

#[test]
#[ignore = "needs java and maven"]
fn apaches_tools_print_on_us_what_they_print_on_kafka() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(
        dir.path().join("delete.json"),
        r#"{"version":1,"partitions":[{"topic":"t","partition":0,"offset":0},{"topic":"c","partition":0,"offset":0}]}"#,
    )?;
    std::fs::write(
        dir.path().join("move.json"),
        r#"{"version":1,"topics":[{"topic":"c"}]}"#,
    )?;
    let settings = SETTINGS.replace("{controller}", &free_port()?.to_string());
    let node = Node::with_settings(&settings)?;
    let ours = play(
        &node.address().replace("localhost", "127.0.0.1"),
        dir.path(),
    )?;

    // Kafka's broker applies a change some time after its controller has responded, so that a request right after it may still
    // see the old state. Our output counts as different if no run with Kafka printed it.
    let mut different: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let data = dir.path().join(format!("apache-{round}"));
        let apache = Apache::start(dir.path(), &data)?;
        let theirs = play(&apache.address(), dir.path())?;
        apache.stop()?;
        let script = SCRIPT.lines().filter(|words| !words.is_empty());
        let mut now = Vec::new();
        for ((words, ours), theirs) in script.zip(&ours).zip(&theirs) {
            if comparable(words, ours, theirs) != comparable(words, theirs, ours) {
                println!("{words}\n--- on us\n{ours}--- on Kafka\n{theirs}");
                now.push(words.to_owned());
            }
        }
        if round > 0 {
            now.retain(|words| different.contains(words));
        }
        different = now;
        if different.is_empty() {
            break;
        }
    }
    ensure!(different.is_empty(), "{different:?} print something else");
    Ok(())
}
