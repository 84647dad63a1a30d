//! monedula's command line tools print what Apache Kafka's own tools print, with the same exit codes.

use std::process::Command;
use std::time::Duration;

use compat_tests::admin::{create, load_coordinators};
use compat_tests::apache::{Run, tools};
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, binary, free_port, listens};
use compat_tests::programs::{eventually, run};
use monedula::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use regex::Regex;

const LIMIT: Duration = Duration::from_secs(120);

/// Our tool, Apache Kafka's class, arguments, standard input. The runs use a fresh node in this order.
const SCRIPT: &[(&str, &str, &str, &str)] = &[
    ("topics", TOPICS, "--create --topic a --partitions 2", ""),
    ("topics", TOPICS, "--create --topic a", ""),
    ("topics", TOPICS, "--create --if-not-exists --topic a", ""),
    (
        "topics",
        TOPICS,
        "--create --topic a_b --config retention.ms=1000 --replication-factor 1",
        "",
    ),
    ("topics", TOPICS, "--list", ""),
    ("topics", TOPICS, "--describe --topic a", ""),
    ("topics", TOPICS, "--describe --topic nope", ""),
    ("topics", TOPICS, "--list --topic a.|x", ""),
    ("topics", TOPICS, "--list --topic a_.|x", ""),
    (
        "topics",
        TOPICS,
        "--describe --at-min-isr-partitions --topic a",
        "",
    ),
    (
        "console-producer",
        PRODUCER,
        "--topic a --reader-property parse.key=true --reader-property key.separator=:",
        "k1:v1\nk2:v2\n",
    ),
    ("get-offsets", OFFSETS, "--topic a", ""),
    ("get-offsets", OFFSETS, "--topic a --time -2", ""),
    (
        "console-consumer",
        CONSUMER,
        "--topic a --from-beginning --max-messages 2 --group g --formatter-property print.key=true --formatter-property print.partition=true --formatter-property print.offset=true --formatter-property print.headers=true",
        "",
    ),
    ("consumer-groups", GROUPS, "--list", ""),
    ("consumer-groups", GROUPS, "--describe --group g", ""),
    (
        "consumer-groups",
        GROUPS,
        "--describe --group g --members",
        "",
    ),
    ("consumer-groups", GROUPS, "--describe --group nope", ""),
    (
        "consumer-groups",
        GROUPS,
        "--group g --topic a --reset-offsets --to-earliest --execute",
        "",
    ),
    (
        "consumer-groups",
        GROUPS,
        "--group g --topic a --reset-offsets --to-datetime 2020-01-01T00:00:00.000 --dry-run --export",
        "",
    ),
    ("consumer-groups", GROUPS, "--list --state Empty", ""),
    (
        "consumer-groups",
        GROUPS,
        "--group g --topic a --delete-offsets",
        "",
    ),
    ("consumer-groups", GROUPS, "--delete --group g", ""),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type topics --entity-name a --add-config retention.ms=5000,cleanup.policy=[compact,delete]",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type topics --entity-name a",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type topics --entity-name a --delete-config retention.ms",
        "",
    ),
    ("configs", CONFIGS, "--describe --entity-type brokers", ""),
    ("topics", TOPICS, "--alter --topic a --partitions 4", ""),
    ("topics", TOPICS, "--alter --topic a --partitions 3", ""),
    ("topics", TOPICS, "--delete --topic a", ""),
    ("topics", TOPICS, "--delete --topic a", ""),
    ("topics", TOPICS, "--delete --topic a --if-exists", ""),
    (
        "console-producer",
        PRODUCER,
        "--topic m --reader-property parse.headers=true --reader-property parse.key=true --reader-property key.separator=,",
        "h:1,i:2\tk3,v3\n",
    ),
    (
        "console-consumer",
        CONSUMER,
        "--topic m --from-beginning --max-messages 1 --formatter-property print.key=true --formatter-property key.separator=, --formatter-property print.headers=true",
        "",
    ),
    ("console-producer", PRODUCER, "--topic n", "12345678\n"),
    (
        "console-consumer",
        CONSUMER,
        "--topic n --from-beginning --max-messages 1 --formatter-property value.deserializer=org.apache.kafka.common.serialization.LongDeserializer",
        "",
    ),
    ("topics", TOPICS, "--create --topic none --partitions 0", ""),
    (
        "topics",
        TOPICS,
        "--create --topic none --replication-factor 0",
        "",
    ),
    (
        "topics",
        TOPICS,
        "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ",
        "",
    ),
    (
        "console-consumer",
        CONSUMER,
        "--include [mx] --from-beginning --max-messages 1",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type client-metrics",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type brokers --entity-name 9",
        "",
    ),
    ("configs", CONFIGS, "--describe --topic nope", ""),
    ("configs", CONFIGS, "--describe --group nope", ""),
    (
        "configs",
        CONFIGS,
        "--alter --topic m --add-config retention.ms=x",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type users --entity-name ann --add-config producer_byte_rate=1024",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type users --entity-name ann --add-config SCRAM-SHA-256=[iterations=8192,password=secret]",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user bob --add-config SCRAM-SHA-512=[password=secret]",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --client shop --add-config request_percentage=12.5",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type users --entity-name ann --entity-type clients --entity-default --add-config controller_mutation_rate=5",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --client-defaults --add-config consumer_byte_rate=10000000",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type users --entity-default --add-config consumer_byte_rate=100000000",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --entity-type ips --entity-name 127.0.0.1 --add-config connection_creation_rate=5000",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --ip-defaults --add-config connection_creation_rate=7000",
        "",
    ),
    ("configs", CONFIGS, "--describe --entity-type users", ""),
    ("configs", CONFIGS, "--describe --user ann", ""),
    ("configs", CONFIGS, "--describe --user nobody", ""),
    ("configs", CONFIGS, "--describe --user-defaults", ""),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type users --entity-name ann --entity-type clients",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type users --entity-type clients",
        "",
    ),
    ("configs", CONFIGS, "--describe --entity-type clients", ""),
    ("configs", CONFIGS, "--describe --entity-type ips", ""),
    ("configs", CONFIGS, "--describe --ip-defaults", ""),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --delete-config producer_byte_rate",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --delete-config producer_byte_rate",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --delete-config SCRAM-SHA-256",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --delete-config SCRAM-SHA-256",
        "",
    ),
    ("configs", CONFIGS, "--describe --user ann", ""),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --add-config no.such=1",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --add-config producer_byte_rate=x",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --add-config producer_byte_rate=-1",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user-defaults --add-config SCRAM-SHA-256=[password=secret]",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --user ann --add-config SCRAM-SHA-256=[iterations=1,password=secret]",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type users --entity-type ips",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type users --entity-name a --entity-name b",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --topic m --entity-name m",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --client-metrics m --add-config interval.ms=1000,metrics=[a.,b.]",
        "",
    ),
    ("configs", CONFIGS, "--describe --client-metrics m", ""),
    (
        "configs",
        CONFIGS,
        "--describe --client-metrics m --all",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--describe --entity-type client-metrics",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --client-metrics m --add-config interval.ms=1",
        "",
    ),
    (
        "configs",
        CONFIGS,
        "--alter --group g2 --add-config consumer.session.timeout.ms=50000",
        "",
    ),
    ("configs", CONFIGS, "--describe --group g2", ""),
    (
        "configs",
        CONFIGS,
        // One group is named, because without a name Kafka's tool would also list the groups that its consumers have left.
        "--describe --entity-type groups --entity-name g2",
        "",
    ),
    ("configs", CONFIGS, "--describe --broker-logger 7", ""),
    (
        "configs",
        CONFIGS,
        "--alter --topic m --delete-config retention.ms",
        "",
    ),
    ("features", FEATURES, "describe", ""),
    (
        "features",
        FEATURES,
        "upgrade --feature group.version=1 --dry-run",
        "",
    ),
    (
        "features",
        FEATURES,
        "version-mapping --release-version 4.0",
        "",
    ),
    (
        "features",
        FEATURES,
        "version-mapping --release-version 3.3-IV3",
        "",
    ),
    ("features", FEATURES, "version-mapping", ""),
    (
        "features",
        FEATURES,
        "version-mapping --release-version 9.9",
        "",
    ),
    (
        "features",
        FEATURES,
        "feature-dependencies --feature group.version=1",
        "",
    ),
    (
        "features",
        FEATURES,
        "feature-dependencies --feature transaction.version=2 --feature eligible.leader.replicas.version=1 --feature kraft.version=1",
        "",
    ),
    (
        "features",
        FEATURES,
        "feature-dependencies --feature metadata.version=33",
        "",
    ),
    (
        "features",
        FEATURES,
        "feature-dependencies --feature no.such=1",
        "",
    ),
    (
        "features",
        FEATURES,
        "feature-dependencies --feature group.version=9",
        "",
    ),
    (
        "features",
        FEATURES,
        "upgrade --feature transaction.version=2 --dry-run",
        "",
    ),
    (
        "features",
        FEATURES,
        "upgrade --feature no.such=1 --dry-run",
        "",
    ),
    ("features", FEATURES, "upgrade --metadata 9.9 --dry-run", ""),
    ("features", FEATURES, "upgrade --metadata 4.4 --dry-run", ""),
    (
        "features",
        FEATURES,
        "downgrade --feature transaction.version=1 --dry-run",
        "",
    ),
    (
        "features",
        FEATURES,
        "disable --feature transaction.version --dry-run",
        "",
    ),
    ("features", FEATURES, "upgrade --dry-run", ""),
    ("transactions", TRANSACTIONS, "list", ""),
    (
        "transactions",
        TRANSACTIONS,
        "describe --transactional-id nope",
        "",
    ),
    (
        "transactions",
        TRANSACTIONS,
        "describe-producers --topic nope --partition 0",
        "",
    ),
    ("transactions", TRANSACTIONS, "find-hanging", ""),
    (
        "transactions",
        TRANSACTIONS,
        "find-hanging --broker-id 1",
        "",
    ),
    (
        "transactions",
        TRANSACTIONS,
        "abort --topic m --partition 0 --start-offset 0",
        "",
    ),
    (
        "leader-election",
        ELECTION,
        "--election-type preferred --all-topic-partitions",
        "",
    ),
    (
        "leader-election",
        ELECTION,
        "--election-type unclean --topic m --partition 0",
        "",
    ),
    ("reassign-partitions", REASSIGNMENT, "--list", ""),
    ("log-dirs", LOG_DIRS, "--describe --broker-list 7", ""),
    (
        "producer-perf-test",
        PRODUCING,
        "--topic m --num-records 20 --record-size 10 --throughput 1000",
        "",
    ),
    (
        "consumer-perf-test",
        CONSUMING,
        "--topic m --messages 20",
        "",
    ),
];

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "org.apache.kafka.tools.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const REASSIGNMENT: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const PRODUCING: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMING: &str = "org.apache.kafka.tools.ConsumerPerformance";

/// The output with its measured numbers masked.
fn measured(text: &str) -> String {
    let number = Regex::new("[0-9]+([.:][0-9]+)*").expect("a regular expression");
    number.replace_all(text, "#").into_owned()
}

/// The output without what may differ: ids, and the order of rows that Apache Kafka takes from hash tables.
fn steady(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("TopicId: ") {
            Some((before, after)) => {
                let rest = after.split_once('\t').map_or("", |(_, rest)| rest);
                format!("{before}TopicId: ?\t{rest}")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "needs java and maven"]
fn the_front_ends_print_what_apache_kafkas_tools_print() {
    let (theirs, ours) = (Node::start().unwrap(), Node::start().unwrap());
    let (their_address, our_address) = (theirs.address(), ours.address());
    let runs: Vec<Run<'_>> = SCRIPT
        .iter()
        .map(|(_, class, arguments, input)| {
            let mut words = vec!["--bootstrap-server", &their_address];
            words.extend(arguments.split_whitespace());
            (*class, words, *input)
        })
        .collect();
    let printed = tools(&runs).unwrap();
    for ((name, _, arguments, input), (page, code)) in SCRIPT.iter().zip(printed) {
        let mut command = Command::new(binary());
        command
            .arg(name)
            .args(["--bootstrap-server", &our_address])
            .args(arguments.split_whitespace());
        let found = run(&mut command, input, LIMIT).unwrap();
        let shown = |text: &str| match name.ends_with("-perf-test") {
            true => steady(&measured(text)),
            false => steady(text),
        };
        assert_eq!(
            (found.success, shown(&found.stdout)),
            (code == 0, shown(&page)),
            "{name} {arguments}: {}",
            found.stderr
        );
    }
}

/// A run without failures logs no warnings or errors, even if clients ask for things that do not exist.
#[test]
#[ignore = "needs the broker's binary"]
fn a_quiet_run_logs_no_warning() -> anyhow::Result<()> {
    let mut node = Node::start()?;
    for (name, _, arguments, input) in SCRIPT {
        let mut command = Command::new(binary());
        command
            .arg(name)
            .args(["--bootstrap-server", &node.address()])
            .args(arguments.split_whitespace());
        run(&mut command, input, LIMIT)?;
    }
    node.stop()?;
    node.resume()?;
    node.stop()?;
    let lines = node.log()?;
    anyhow::ensure!(lines.iter().any(|line| line.contains("] INFO ")), "no log");
    let loud: Vec<_> = lines
        .iter()
        .filter(|line| {
            ["] WARN ", "] ERROR "]
                .iter()
                .any(|level| line.contains(level))
        })
        .collect();
    anyhow::ensure!(loud.is_empty(), "{loud:#?}");
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_listener_opened_by_a_tool_is_there_again_after_a_restart() -> anyhow::Result<()> {
    let mut node = Node::start()?;
    let port = free_port()?;
    let said = run(
        Command::new(binary())
            .args(["configs", "--bootstrap-server", &node.address(), "--alter"])
            .args(["--entity-type", "brokers", "--entity-name", "1"])
            .args([
                "--add-config",
                &format!(
                    "listeners=[PLAINTEXT://{},EXTRA://127.0.0.1:{port}],\
                    listener.security.protocol.map=[PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT]",
                    node.address()
                ),
            ]),
        "",
        LIMIT,
    )?;
    anyhow::ensure!(said.success, "{}{}", said.stdout, said.stderr);
    let open = || listens(port);
    anyhow::ensure!(eventually(LIMIT, open), "not opened");
    node.stop()?;
    anyhow::ensure!(!open(), "still open");
    node.resume()?;
    anyhow::ensure!(eventually(LIMIT, open), "forgotten");
    Ok(())
}

/// Descriptions and resets of groups that use the consumer protocol.
const DESCRIPTIONS: [&str; 14] = [
    "--describe --group shared",
    "--describe --group shared --offsets --verbose",
    "--describe --group shared --members",
    "--describe --group shared --members --verbose",
    "--describe --group shared --state",
    "--describe --group shared --state --verbose",
    "--describe --group unsettled --members --verbose",
    "--describe --group unsettled --state --verbose",
    "--describe --group left",
    "--describe --group left --members --verbose",
    "--describe --group left --state --verbose",
    "--list --state",
    "--group shared --topic t --reset-offsets --to-earliest --dry-run",
    "--group left --topic t --reset-offsets --to-latest --dry-run",
];

/// A heartbeat of a member of the consumer protocol, whose rebalance timeout is ten minutes.
fn member(group: &str, member: &str, instance: Option<&str>) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        instance_id: instance.map(Into::into),
        rebalance_timeout_ms: 600_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// Creates a group whose members share three partitions, one of them with an instance id; a group in which one of the members
/// waits; and a group that has only offsets.
fn groups_of_the_consumer_protocol(address: &str) -> anyhow::Result<()> {
    let mut connection = Connection::open(address)?;
    create(&mut connection, &["t"], 3)?;
    load_coordinators(&mut connection)?;
    let members = [
        member("shared", "m-1", Some("till")),
        member("unsettled", "m-2", None),
        member("unsettled", "m-3", None),
        member("left", "m-4", None),
    ];
    for joins in &members {
        let joined = connection.answered(joins, 1)?;
        anyhow::ensure!(joined.error_code == 0, "{joined:?}");
    }
    for (group, member_id, epoch) in [("shared", "m-1", 2), ("left", "m-4", 2)] {
        let commits = OffsetCommitRequest {
            group_id: group.into(),
            member_id: member_id.into(),
            generation_id_or_member_epoch: epoch,
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: 1,
                    committed_offset: 0,
                    committed_leader_epoch: 0,
                    committed_metadata: Some("".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = connection.answered(&commits, 9)?;
        anyhow::ensure!(answer.topics[0].partitions[0].error_code == 0, "{answer:?}");
    }
    let leaves = ConsumerGroupHeartbeatRequest {
        member_epoch: -1,
        ..member("left", "m-4", None)
    };
    connection.answered(&leaves, 1)?;
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn groups_of_the_consumer_protocol_are_shown_as_apache_kafkas_tool_shows_them() -> anyhow::Result<()>
{
    let settings = "listeners=PLAINTEXT://localhost:{port}\nlog.dirs={dir}\n\
        offsets.topic.replication.factor=1\n\
        transaction.state.log.replication.factor=1\n\
        group.consumer.max.session.timeout.ms=600000\n\
        group.consumer.session.timeout.ms=600000";
    let node = Node::with_settings(settings)?;
    let address = node.address();
    groups_of_the_consumer_protocol(&address)?;
    let runs: Vec<Run<'_>> = DESCRIPTIONS
        .iter()
        .map(|arguments| {
            let mut words = vec!["--bootstrap-server", &*address];
            words.extend(arguments.split_whitespace());
            (GROUPS, words, "")
        })
        .collect();
    let printed = tools(&runs)?;
    for (arguments, (page, code)) in DESCRIPTIONS.iter().zip(printed) {
        let mut command = Command::new(binary());
        command
            .arg("consumer-groups")
            .args(["--bootstrap-server", &address])
            .args(arguments.split_whitespace());
        let found = run(&mut command, "", LIMIT)?;
        anyhow::ensure!(
            (found.success, steady(&found.stdout)) == (code == 0, steady(&page)),
            "{arguments}\nours:\n{}\n{}\ntheirs:\n{page}",
            found.stdout,
            found.stderr
        );
    }
    Ok(())
}
