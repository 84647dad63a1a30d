//! Apache Kafka's tool for transactions prints the same with this broker as with Apache Kafka. Transactions in every state in a
//! data directory are finished by whichever of the two brokers opens it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::admin::{create, set_transaction_version};
use compat_tests::apache::{Apache, Run, tool, tools};
use compat_tests::exchange::Connection;
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use compat_tests::transactional::Transactional;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, FetchRequest, GroupId,
    ListTransactionsRequest, OffsetFetchRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use monedula::host::clock::Clock;

const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// Columns with times.
const TIMES: [&str; 4] = [
    "CurrentTransactionStartTimeMs",
    "Duration(min)",
    "TransactionDurationMs",
    "LastTimestamp",
];

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Either broker on a data directory.
enum Broker {
    Kafka(Apache),
    Monedula(Node),
}

impl Broker {
    fn start(kafka: bool, scratch: &Path) -> Result<Self> {
        let data = scratch.join("data");
        Ok(if kafka {
            Self::Kafka(Apache::start(scratch, &data)?)
        } else {
            Self::Monedula(Node::on(&data)?)
        })
    }

    fn address(&self) -> String {
        match self {
            Self::Kafka(broker) => broker.address(),
            Self::Monedula(node) => node.address(),
        }
    }

    fn stop(self) -> Result<()> {
        match self {
            Self::Kafka(broker) => broker.stop(),
            Self::Monedula(mut node) => node.stop(),
        }
    }
}

/// Output of the tool, run after run.
fn told(address: &str, runs: &[&[&str]], ids: &[i64]) -> Result<String> {
    let all: Vec<Run<'_>> = runs
        .iter()
        .map(|words| {
            let words = [&["--bootstrap-server", address], *words].concat();
            (TRANSACTIONS, words, "")
        })
        .collect();
    let said = tools(&all)?.into_iter().zip(runs);
    Ok(said
        .map(|((page, code), words)| printed(words, &page, code == 0, ids))
        .collect())
}

/// Output of one run without what depends on the time. Producer ids become letters in the order of `ids`.
fn printed(words: &[&str], page: &str, success: bool, ids: &[i64]) -> String {
    let mut header: Vec<String> = Vec::new();
    let mut lines = Vec::new();
    for line in page.lines() {
        let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if header.is_empty() {
            lines.push(cells.join(" "));
            header = cells;
            continue;
        }
        let cells: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(index, cell)| {
                let column = header.get(index).map_or("", String::as_str);
                let number: Option<i64> = cell.parse().ok();
                if TIMES.contains(&column) && number.is_some_and(|time| time >= 0) {
                    return "time".to_owned();
                }
                let letter = number.and_then(|id| ids.iter().position(|one| *one == id));
                match letter {
                    Some(index) if column == "ProducerId" => format!("producer {index}"),
                    _ => cell.clone(),
                }
            })
            .collect();
        lines.push(cells.join(" "));
    }
    // Rows come in the order of a hash table.
    if let Some(rows) = lines.get_mut(1..) {
        rows.sort();
    }
    format!(
        "$ {}\nsuccess {success}\n{}\n",
        words.join(" "),
        lines.join("\n")
    )
}

fn settled(address: &str, ids: &[&str]) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(ids.iter().map(|id| TransactionalId(text(id))).collect());
    let mut last = String::new();
    let done = eventually(SETTLE_LIMIT, || {
        let Ok(answer) = connection.call(0, &request) else {
            return false;
        };
        last = format!("{answer:?}");
        answer.transaction_states.iter().all(|one| {
            one.error_code == 0
                && !one.transaction_state.starts_with("Prepare")
                && &*one.transaction_state != "Ongoing"
        })
    });
    ensure!(done, "still under way: {last}");
    Ok(())
}

/// Waits until the coordinators' partitions have been loaded, and the partitions of the topics have leaders.
fn loaded(address: &str, topics: &[&str]) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let producers = DescribeProducersRequest::default().with_topics(
        topics
            .iter()
            .map(|topic| {
                TopicRequest::default()
                    .with_name(TopicName(text(topic)))
                    .with_partition_indexes(vec![0, 1])
            })
            .collect(),
    );
    let mut last = String::new();
    let done = eventually(SETTLE_LIMIT, || {
        let listed = connection.call(1, &ListTransactionsRequest::default());
        let (Ok(listed), Ok(told)) = (listed, connection.call(0, &producers)) else {
            return false;
        };
        last = format!("{listed:?} {told:?}");
        let mut partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
        listed.error_code == 0 && partitions.all(|one| one.error_code == 0)
    });
    ensure!(done, "still loading: {last}");
    Ok(())
}

fn tool_story(kafka: bool) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let broker = Broker::start(kafka, scratch.path())?;
    let address = broker.address();
    create(&mut Connection::open(&address)?, &["t", "u"], 2)?;
    // Timestamps old enough for transactions to count as hanging, and recent enough for records not to be deleted.
    let open = |id: &str, timeout_ms| -> Result<Transactional> {
        let mut one = Transactional::open(&address, id, timeout_ms)?;
        one.timestamp = Clock::default().now() - 7_200_000;
        Ok(one)
    };
    let mut committed = open("committed", 60_000)?;
    committed.send("t", 0, "a")?;
    committed.commit_offset("g", "t", 1)?;
    committed.end(true)?;
    let mut aborted = open("aborted", 60_000)?;
    aborted.send("t", 1, "b")?;
    aborted.end(false)?;
    settled(&address, &["committed", "aborted"])?;
    let idle = open("idle", 50_000)?;
    let mut ongoing = open("open", 900_000)?;
    ongoing.send("t", 0, "c")?;
    ongoing.send("u", 1, "d")?;
    let mut hanging = open("hanging", 900_000)?;
    let start = hanging.send("u", 0, "e")?.to_string();
    let ids = [&committed, &aborted, &idle, &ongoing, &hanging].map(|one| one.producer_id);

    let before: &[&[&str]] = &[
        &["list"],
        &["list", "--duration-filter", "3600000"],
        &["list", "--transactional-id-pattern", "(open|idle)"],
        &["list", "--transactional-id-pattern", "("],
        &["describe", "--transactional-id", "committed"],
        &["describe", "--transactional-id", "open"],
        &["describe", "--transactional-id", "nobody"],
        &["describe-producers", "--topic", "t", "--partition", "0"],
        &["describe-producers", "--topic", "u", "--partition", "0"],
        &[
            "describe-producers",
            "--topic",
            "missing",
            "--partition",
            "0",
        ],
        &["find-hanging", "--topic", "u"],
        &["find-hanging", "--broker-id", "1"],
        &[
            "abort",
            "--topic",
            "u",
            "--partition",
            "0",
            "--start-offset",
            "77",
        ],
    ];
    let mut story = told(&address, before, &ids)?;
    broker.stop()?;

    // Removes the coordinator's log, so that nothing ends the open transactions.
    for dir in std::fs::read_dir(scratch.path().join("data"))? {
        let dir = dir?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("__transaction_state-") {
            for file in std::fs::read_dir(&dir)? {
                let file = file?.path();
                if !file.ends_with("partition.metadata") {
                    std::fs::remove_file(file)?;
                }
            }
        }
    }
    let broker = Broker::start(kafka, scratch.path())?;
    let address = broker.address();
    drop(Transactional::open(&address, "other", 60_000)?);
    loaded(&address, &["t", "u"])?;
    let after: &[&[&str]] = &[
        &["find-hanging", "--broker-id", "1"],
        &["find-hanging", "--topic", "u"],
        &["find-hanging", "--topic", "u", "--partition", "1"],
        &["find-hanging"],
        &[
            "abort",
            "--topic",
            "u",
            "--partition",
            "0",
            "--start-offset",
            &start,
        ],
        &["describe-producers", "--topic", "u", "--partition", "0"],
        &["find-hanging", "--broker-id", "1"],
    ];
    story += &told(&address, after, &ids)?;
    broker.stop()?;
    Ok(story)
}

#[test]
#[ignore = "needs java and maven"]
fn the_tool_prints_the_same() -> Result<()> {
    let theirs = tool_story(true)?;
    let ours = tool_story(false)?;
    if std::env::var_os("STORIES").is_some() {
        println!("{theirs}");
    }
    ensure!(theirs == ours, "Kafka:\n{theirs}\nwe:\n{ours}");
    Ok(())
}

fn read(address: &str, topic: &str, level: &str, patience_ms: &str) -> Result<Vec<String>> {
    let arguments = [
        "--bootstrap-server",
        address,
        "--topic",
        topic,
        "--from-beginning",
        "--isolation-level",
        level,
        "--timeout-ms",
        patience_ms,
    ];
    let mut lines: Vec<String> = tool(CONSUMER, &arguments, "")?
        .stdout
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    lines.sort();
    Ok(lines)
}

/// Waits until the tool reads exactly `expected`. The tool waits only shortly for more records, and starts late on a busy
/// machine. If nothing is expected, a short wait would succeed too early.
fn reads(address: &str, topic: &str, level: &str, expected: &[impl AsRef<str>]) -> Result<()> {
    let patience_ms = if expected.is_empty() { "5000" } else { "2000" };
    let mut found = Vec::new();
    let same = eventually(SETTLE_LIMIT, || {
        found = read(address, topic, level, patience_ms).unwrap_or_default();
        found.iter().eq(expected.iter().map(AsRef::as_ref))
    });
    ensure!(same, "{level} in {topic}: {found:?}");
    Ok(())
}

fn offset(address: &str, group: &str) -> Result<i64> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(TopicName(text("t")))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_require_stable(true)
        .with_groups(vec![
            OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(Some(vec![topic])),
        ]);
    let mut connection = Connection::open(address)?;
    let mut found = None;
    let mut last = String::new();
    // The group's coordinator may still be loading.
    eventually(SETTLE_LIMIT, || {
        if let Ok(answer) = connection.call(8, &request) {
            let topic = answer.groups[0].topics.first();
            found = topic
                .map(|topic| &topic.partitions[0])
                .filter(|one| one.error_code == 0)
                .map(|one| one.committed_offset);
            last = format!("{answer:?}");
        }
        found.is_some()
    });
    found.with_context(|| format!("no stable offset: {last}"))
}

/// High watermark, last stable offset, and first offsets of the aborted transactions.
fn stable(address: &str, topic: &str, partition: i32) -> Result<(i64, i64, Vec<i64>)> {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(text(topic)))
        .with_partitions(vec![wanted]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    let mut connection = Connection::open(address)?;
    let mut found = None;
    let led = eventually(SETTLE_LIMIT, || {
        let answer = connection.call(11, &request).ok();
        found =
            answer.and_then(|answer| Some(answer.responses.first()?.partitions.first()?.clone()));
        found.as_ref().is_some_and(|one| one.error_code == 0)
    });
    ensure!(led, "nobody leads {found:?}");
    let one = found.context("no answer")?;
    let mut aborted: Vec<i64> = one
        .aborted_transactions
        .iter()
        .flatten()
        .map(|aborted| aborted.first_offset)
        .collect();
    aborted.sort_unstable();
    Ok((one.high_watermark, one.last_stable_offset, aborted))
}

/// Removes the newest batch from a partition's log, as if it had never been written.
fn cut_last_batch(dir: &Path) -> Result<()> {
    let path = dir.join("00000000000000000000.log");
    let bytes = std::fs::read(&path)?;
    let (mut start, mut next) = (0, 0);
    while let Some(size) = bytes.get(next + 8..next + 12) {
        let size = u32::from_be_bytes(size.try_into()?) as usize;
        // The rest of the file was preallocated and never written.
        if size == 0 {
            break;
        }
        (start, next) = (next, next + 12 + size);
    }
    ensure!(next > 0, "{} is empty", path.display());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)?
        .set_len(start as u64)?;
    Ok(())
}

/// Leaves the logs as after a crash: without recovery points.
fn forget_the_clean_stop(data: &Path) -> Result<()> {
    for name in [
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        std::fs::remove_file(data.join(name)).with_context(|| format!("remove {name}"))?;
    }
    Ok(())
}

/// Partitions whose markers are missing on disk for a transaction whose outcome is on disk. The coordinator's final record is
/// always missing. A broker that stops between two of the writes that end a transaction leaves one of these states.
const MISSING: [&[&str]; 4] = [&[], &["u"], &["t", "u"], &["t", "u", "offsets"]];

/// Transactions with a decided outcome that are not yet complete.
fn halves_are_finished(from_kafka: bool, to_kafka: bool, version: i16) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let broker = Broker::start(from_kafka, scratch.path())?;
    let address = broker.address();
    let mut connection = Connection::open(&address)?;
    set_transaction_version(&mut connection, version)?;
    create(
        &mut connection,
        &["t", "u", "more"],
        2 * MISSING.len() as i32,
    )?;
    let data = scratch.path().join("data");
    let mut halves = Vec::new();
    for (index, commit) in [true, false].into_iter().enumerate() {
        for (number, missing) in MISSING.into_iter().enumerate() {
            // Names with consecutive hash values, so that each has a partition of its own in the coordinators' topics.
            let partition = index * MISSING.len() + number;
            let (id, group) = (format!("half-{partition}"), format!("g-{partition}"));
            let mut one = Transactional::open_as(version, &address, &id, 600_000)?;
            one.timestamp = Clock::default().now();
            for topic in ["t", "u"] {
                one.send(topic, partition as i32, &id)?;
            }
            one.commit_offset(&group, "t", 20)?;
            one.end(commit)?;
            settled(&address, &[&id])?;
            halves.push((id, group, commit, missing));
        }
    }
    match broker {
        Broker::Kafka(broker) => drop(broker),
        // If the metadata name Apache Kafka 4.3.1 as the leader, as they do after a crash, its coordinators send markers at
        // once. The broker then loses its partitions when it registers, and takes partitions without a leader for deleted ones:
        // it completes the transaction without its markers (KAFKA-20734), also on its own directories. So the metadata here are
        // those of an Apache Kafka that was stopped, in which no partition has a leader. Everything else in the directory is
        // monedula's.
        Broker::Monedula(mut node) if to_kafka => {
            node.stop()?;
            let kafka = Broker::start(true, scratch.path())?;
            let ids: Vec<&str> = halves.iter().map(|(id, ..)| id.as_str()).collect();
            settled(&kafka.address(), &ids)?;
            kafka.stop()?;
            forget_the_clean_stop(&data)?;
        }
        Broker::Monedula(mut node) => node.kill()?,
    }
    for (partition, (id, group, _, missing)) in halves.iter().enumerate() {
        let coordinator = java_hash(id) % 50;
        cut_last_batch(&data.join(format!("__transaction_state-{coordinator}")))?;
        for kind in *missing {
            let dir = match *kind {
                "offsets" => format!("__consumer_offsets-{}", java_hash(group) % 50),
                topic => format!("{topic}-{partition}"),
            };
            cut_last_batch(&data.join(dir))?;
        }
    }

    let mut broker = Broker::start(to_kafka, scratch.path())?;
    let ids: Vec<&str> = halves.iter().map(|(id, ..)| id.as_str()).collect();
    // A finished transaction stays finished, also when the other broker opens the directory again.
    for kafka in [to_kafka, from_kafka] {
        let address = broker.address();
        settled(&address, &ids)?;
        let mut expected = Vec::new();
        for (partition, (id, group, commit, _)) in halves.iter().enumerate() {
            let wanted = if *commit { 20 } else { -1 };
            let found = offset(&address, group)?;
            ensure!(found == wanted, "the offset of {group} is {found}");
            expected.extend(commit.then(|| id.clone()));
            for topic in ["t", "u"] {
                let (high_watermark, last_stable, aborted) =
                    stable(&address, topic, partition as i32)?;
                ensure!(
                    high_watermark == last_stable,
                    "{topic}-{partition} is open at {last_stable} of {high_watermark}"
                );
                let wanted: &[i64] = if *commit { &[] } else { &[0] };
                ensure!(
                    aborted == wanted,
                    "{topic}-{partition}: aborted {aborted:?}"
                );
            }
        }
        for topic in ["t", "u"] {
            reads(&address, topic, "read_committed", &expected)?;
        }
        // Producers with these transactional ids can continue.
        let id = &halves[0].0;
        let mut next = Transactional::open_as(version, &address, id, 600_000)?;
        next.timestamp = Clock::default().now();
        next.send("more", 0, "next")?;
        next.end(false)?;
        settled(&address, &ids)?;
        broker.stop()?;
        if kafka == from_kafka {
            break;
        }
        broker = Broker::start(from_kafka, scratch.path())?;
    }
    Ok(())
}

/// Absolute value of Java's hash code of a string, from which the coordinators' partitions are derived.
fn java_hash(name: &str) -> u32 {
    name.bytes()
        .fold(0i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        })
        .unsigned_abs()
}

/// One broker writes transactions in every state; the other one opens its directory and finishes them.
fn handed_over(from_kafka: bool, to_kafka: bool) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let broker = Broker::start(from_kafka, scratch.path())?;
    let address = broker.address();
    create(&mut Connection::open(&address)?, &["t", "u"], 2)?;
    let open = |id: &str, timeout_ms| -> Result<Transactional> {
        let mut one = Transactional::open(&address, id, timeout_ms)?;
        one.timestamp = Clock::default().now();
        Ok(one)
    };
    let mut committed = open("committed", 60_000)?;
    committed.send("t", 0, "committed")?;
    committed.commit_offset("g", "t", 17)?;
    committed.end(true)?;
    settled(&address, &["committed"])?;
    let mut aborted = open("aborted", 60_000)?;
    aborted.send("t", 0, "aborted")?;
    aborted.commit_offset("g", "t", 18)?;
    aborted.end(false)?;
    settled(&address, &["aborted"])?;
    // Open transactions: one is continued by its producer at the other broker, the others end by their timeout or by a new
    // producer.
    let mut goes_on = open("goes-on", 600_000)?;
    goes_on.send("t", 1, "first half")?;
    goes_on.commit_offset("other", "t", 19)?;
    let mut left = open("left", 3_000)?;
    left.send("t", 0, "left")?;
    let mut fenced = open("fenced", 600_000)?;
    fenced.send("u", 0, "fenced")?;
    let mut halves = Vec::new();
    for index in 0..8 {
        let mut half = open(&format!("half-{index}"), 600_000)?;
        for partition in 0..2 {
            half.send("u", partition, &format!("half {index}"))?;
        }
        half.commit_offset(&format!("half-{index}"), "t", 20)?;
        halves.push(half);
    }
    for (index, half) in halves.iter_mut().enumerate() {
        half.end(index % 2 == 0)?;
        settled(&address, &[&format!("half-{index}")])?;
    }
    match broker {
        Broker::Kafka(broker) => drop(broker),
        Broker::Monedula(mut node) => node.kill()?,
    }
    // Of the last two transactions, one committed and one aborted, only the outcome and half of the markers are on disk. Not
    // with Apache Kafka after a kill; see `halves_are_finished`.
    let data = scratch.path().join("data");
    for index in (6..8).filter(|_| !to_kafka) {
        cut_last_batch(&data.join("u-1"))?;
        let partition = java_hash(&format!("half-{index}")) % 50;
        cut_last_batch(&data.join(format!("__transaction_state-{partition}")))?;
    }

    let broker = Broker::start(to_kafka, scratch.path())?;
    let address = broker.address();
    let (id, epoch) = (goes_on.producer_id, goes_on.epoch);
    goes_on.reconnect(&address)?;
    goes_on.send("t", 1, "second half")?;
    goes_on.end(true)?;
    ensure!(goes_on.producer_id == id && goes_on.epoch == epoch + 1);
    let mut successor = Transactional::open(&address, "fenced", 600_000)?;
    ensure!(successor.producer_id == fenced.producer_id && successor.epoch > fenced.epoch);
    fenced.reconnect(&address)?;
    ensure!(fenced.send("u", 0, "too late").is_err());
    successor.timestamp = Clock::default().now();
    successor.send("u", 0, "successor")?;
    successor.end(true)?;
    let halves: Vec<String> = (0..8).map(|index| format!("half-{index}")).collect();
    let mut all = vec!["committed", "aborted", "goes-on", "left", "fenced"];
    all.extend(halves.iter().map(String::as_str));
    settled(&address, &all)?;

    let mut expected = vec!["committed", "first half", "second half"];
    reads(&address, "t", "read_committed", &expected)?;
    expected.extend(["aborted", "left"]);
    expected.sort_unstable();
    reads(&address, "t", "read_uncommitted", &expected)?;
    let mut expected: Vec<String> = (0..8)
        .step_by(2)
        .flat_map(|index| [format!("half {index}"), format!("half {index}")])
        .collect();
    expected.push("successor".to_owned());
    expected.sort_unstable();
    reads(&address, "u", "read_committed", &expected)?;
    ensure!(offset(&address, "g")? == 17 && offset(&address, "other")? == 19);
    for (index, half) in halves.iter().enumerate() {
        let wanted = if index % 2 == 0 { 20 } else { -1 };
        ensure!(offset(&address, half)? == wanted, "offset of {half}");
    }
    for topic in ["t", "u"] {
        for partition in 0..2 {
            let (high_watermark, last_stable, _) = stable(&address, topic, partition)?;
            ensure!(
                high_watermark == last_stable,
                "{topic}-{partition} is open at {last_stable} of {high_watermark}"
            );
        }
    }
    let aborted = stable(&address, "t", 0)?.2;
    ensure!(aborted == [2, 4], "aborted {aborted:?}");
    broker.stop()?;

    // Back at the first broker, everything that the other one finished stays finished.
    let broker = Broker::start(from_kafka, scratch.path())?;
    let address = broker.address();
    settled(&address, &all)?;
    reads(&address, "u", "read_committed", &expected)?;
    ensure!(stable(&address, "t", 0)?.2 == aborted);
    ensure!(offset(&address, "other")? == 19);
    broker.stop()
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_finishes_what_we_began() -> Result<()> {
    handed_over(false, true)
}

#[test]
#[ignore = "needs java and maven"]
fn we_finish_what_kafka_began() -> Result<()> {
    handed_over(true, false)
}

#[test]
#[ignore = "needs java and maven"]
fn we_finish_what_we_began() -> Result<()> {
    handed_over(false, false)
}

fn halves_are_finished_in_all_versions(from_kafka: bool, to_kafka: bool) -> Result<()> {
    for version in [0, 1, 2] {
        halves_are_finished(from_kafka, to_kafka, version)
            .with_context(|| format!("transaction.version {version}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_carries_out_what_we_decided() -> Result<()> {
    halves_are_finished_in_all_versions(false, true)
}

#[test]
#[ignore = "needs java and maven"]
fn we_carry_out_what_kafka_decided() -> Result<()> {
    halves_are_finished_in_all_versions(true, false)
}

#[test]
#[ignore = "needs java and maven"]
fn we_carry_out_what_we_decided() -> Result<()> {
    halves_are_finished_in_all_versions(false, false)
}
