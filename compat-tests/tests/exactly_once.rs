//! The guarantees of transactions hold when any process is killed at any moment. Copiers move records from one topic to
//! another, a few per transaction, while they and the broker are killed. Afterwards, a consumer of committed records sees the
//! input, each record once.
//!
//! `EXACTLY_ONCE_SECONDS` sets how long each test kills processes (30), `EXACTLY_ONCE_SEED` which processes it kills and when.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use compat_tests::admin::set_transaction_version;
use compat_tests::apache::{PRESENT, jars, tool};
use compat_tests::chance::{Chance, seed};
use compat_tests::exchange::Connection;
use compat_tests::java::class_path;
use compat_tests::node::Node;
use compat_tests::packages::{cargo, packages, program};
use compat_tests::produced::{Batch, send};
use compat_tests::programs::eventually;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
/// Time limit for the copiers to finish after the last kill.
const REST_LIMIT: Duration = Duration::from_secs(300);
/// Time limit for the completion of transactions whose ends were acknowledged.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const BATCH: usize = 500;
/// Number of records per partition and round.
const ROUND: usize = 3_000;

/// Command of a copier, which may be killed: it copies all records of one partition and exits.
type Program = Box<dyn Fn(&str, usize) -> Command>;

fn duration() -> Duration {
    let seconds = std::env::var("EXACTLY_ONCE_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(30))
}

fn folder() -> PathBuf {
    program("exactly-once")
}

fn create(node: &Node, topics: &[&str], partitions: usize) -> Result<()> {
    let mut connection = Connection::open(&node.address())?;
    compat_tests::admin::create(&mut connection, topics, partitions as i32).map(drop)
}

/// Appends one record per value to a partition.
fn fill(node: &Node, topic: &str, partition: usize, values: &[String]) -> Result<()> {
    let mut connection = Connection::open(&node.address())?;
    for values in values.chunks(BATCH) {
        let records = values
            .iter()
            .map(|value| (None, Bytes::from(value.clone())));
        let batch = Batch::default().of(records)?;
        send(&mut connection, topic, partition as i32, batch)?;
    }
    Ok(())
}

/// Records that a consumer of committed records reads.
fn committed(node: &Node, topic: &str, more: &[&str]) -> Result<Vec<String>> {
    let address = node.address();
    let mut arguments = vec![
        "--bootstrap-server",
        &address,
        "--topic",
        topic,
        "--from-beginning",
    ];
    arguments.extend([
        "--isolation-level",
        "read_committed",
        "--timeout-ms",
        "8000",
    ]);
    arguments.extend_from_slice(more);
    // The tool exits with an error when its time is over; its output counts.
    let said = tool(CONSUMER, &arguments, "")?;
    Ok(said.stdout.lines().map(str::to_owned).collect())
}

/// The node and the copiers, which are killed.
struct Stage {
    node: Node,
    programs: Vec<Program>,
    running: Vec<Option<Child>>,
    chance: Chance,
    logs: tempfile::TempDir,
    kills: [usize; 2],
    failures: usize,
    /// Number of times that all copiers had exited successfully although records were left.
    again: usize,
}

impl Stage {
    fn new(programs: Vec<Program>) -> Result<Self> {
        let seed = seed("EXACTLY_ONCE_SEED");
        println!("EXACTLY_ONCE_SEED={seed}");
        Ok(Self {
            node: Node::start()?,
            running: programs.iter().map(|_| None).collect(),
            programs,
            chance: Chance::new(seed),
            logs: tempfile::tempdir()?,
            kills: [0; 2],
            failures: 0,
            again: 0,
        })
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let log = self.logs.path().join(index.to_string());
        let child = self.programs[index](&self.node.address(), index)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log)?)
            .spawn()
            .context("a copier cannot be started")?;
        self.running[index] = Some(child);
        Ok(())
    }

    fn kill_one(&mut self) -> Result<()> {
        let victim = self.chance.below(self.programs.len() + 1);
        match self.running.get_mut(victim) {
            Some(Some(child)) => {
                child.kill()?;
                child.wait()?;
                self.kills[0] += 1;
                self.launch(victim)?;
            }
            Some(None) => {}
            None => {
                self.node.kill()?;
                sleep(Duration::from_millis(self.chance.below(500) as u64));
                self.node.resume()?;
                self.kills[1] += 1;
            }
        }
        Ok(())
    }

    /// Runs the copiers until nothing is left to copy. All copiers of a group may exit successfully before that: a copier that
    /// gets no partition, because a killed member still counts as one, takes that for the end.
    fn copy(&mut self, calm: Instant) -> Result<()> {
        loop {
            self.run_all(calm)?;
            if eventually(SETTLE_LIMIT, || self.left().is_ok_and(|left| left == 0)) {
                return Ok(());
            }
            self.again += 1;
            ensure!(
                Instant::now() < calm + REST_LIMIT,
                "{} records are left, though all copiers ended well",
                self.left()?
            );
        }
    }

    /// Number of input records above the group's committed offsets.
    fn left(&self) -> Result<i64> {
        let mut connection = Connection::open(&self.node.address())?;
        let partitions = 0..self.programs.len() as i32;
        let input = TopicName(StrBytes::from_static_str("input"));
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("copiers")))
            .with_require_stable(true)
            .with_topics(Some(vec![
                OffsetFetchRequestTopic::default()
                    .with_name(input.clone())
                    .with_partition_indexes(partitions.clone().collect()),
            ]));
        let committed = connection.call(7, &request)?;
        ensure!(committed.error_code == 0, "{committed:?}");
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![
                ListOffsetsTopic::default()
                    .with_name(input)
                    .with_partitions(
                        partitions
                            .map(|partition| {
                                ListOffsetsPartition::default()
                                    .with_partition_index(partition)
                                    .with_timestamp(-1)
                            })
                            .collect(),
                    ),
            ]);
        let ends = connection.call(7, &request)?;
        let ends = ends.topics.iter().flat_map(|topic| &topic.partitions);
        let committed = committed.topics.iter().flat_map(|topic| &topic.partitions);
        let (ends, committed): (Vec<_>, Vec<_>) = (ends.collect(), committed.collect());
        let mut left = 0;
        for end in ends {
            ensure!(end.error_code == 0, "{end:?}");
            let offset = committed
                .iter()
                .find(|one| one.partition_index == end.partition_index)
                .context("a partition without an answer")?;
            ensure!(offset.error_code == 0, "{offset:?}");
            left += end.offset - offset.committed_offset.max(0);
        }
        Ok(left)
    }

    /// Runs all copiers until each has exited successfully. Until `calm`, processes are killed now and then.
    fn run_all(&mut self, calm: Instant) -> Result<()> {
        for index in 0..self.programs.len() {
            self.launch(index)?;
        }
        let mut next_kill = Instant::now() + Duration::from_millis(1_500);
        while self.running.iter().any(Option::is_some) {
            sleep(Duration::from_millis(20));
            for index in 0..self.running.len() {
                let ended = match &mut self.running[index] {
                    Some(child) => child.try_wait()?,
                    None => None,
                };
                match ended {
                    Some(status) if status.success() => self.running[index] = None,
                    Some(_) => {
                        self.failures += 1;
                        self.launch(index)?;
                    }
                    None => {}
                }
            }
            let now = Instant::now();
            if now < calm && now >= next_kill {
                self.kill_one()?;
                next_kill = now + Duration::from_millis(500 + self.chance.below(2_500) as u64);
            }
            if now > calm + REST_LIMIT {
                let logs: Vec<String> = (0..self.running.len())
                    .filter(|index| self.running[*index].is_some())
                    .map(|index| {
                        let log = std::fs::read_to_string(self.logs.path().join(index.to_string()));
                        format!("{index}: {}", log.unwrap_or_default())
                    })
                    .collect();
                bail!(
                    "not done after {REST_LIMIT:?} without kills\n{}",
                    logs.join("\n")
                );
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs the copiers, one partition each, for the whole time, and compares output and input.
fn copies_are_exact(version: i16, programs: Vec<Program>) -> Result<()> {
    let mut stage = Stage::new(programs)?;
    compare_copies(version, &mut stage).map_err(|error| {
        let kept = stage.node.keep();
        let words = stage.node.last_words();
        error.context(format!(
            "the node's files and log are kept in {kept:?}; its log ends so:\n{words}"
        ))
    })
}

fn compare_copies(version: i16, stage: &mut Stage) -> Result<()> {
    let partitions = stage.programs.len();
    create(&stage.node, &["input", "output"], partitions)?;
    set_transaction_version(&mut Connection::open(&stage.node.address())?, version)?;
    let calm = Instant::now() + duration();
    let mut expected = Vec::new();
    let mut round = 0;
    while round == 0 || Instant::now() < calm {
        for partition in 0..partitions {
            let values: Vec<String> = (0..ROUND)
                .map(|n| format!("{partition}-{round}-{n:05}"))
                .collect();
            fill(&stage.node, "input", partition, &values)?;
            expected.extend(values);
        }
        stage.copy(calm)?;
        round += 1;
    }
    expected.sort();
    let mut seen = Vec::new();
    // The tool exits when no record comes for some seconds, which may also happen on a busy machine.
    eventually(REST_LIMIT, || {
        seen = committed(&stage.node, "output", &[]).unwrap_or_default();
        seen.sort();
        seen == expected
    });
    println!(
        "{} records, {} kills of copiers, {} of the broker, {} failures, {} times not all was copied",
        expected.len(),
        stage.kills[0],
        stage.kills[1],
        stage.failures,
        stage.again
    );
    ensure!(stage.kills[0] + stage.kills[1] > 0, "nobody was killed");
    if seen != expected {
        let mut count: BTreeMap<&String, i64> = BTreeMap::new();
        for one in &expected {
            *count.entry(one).or_default() -= 1;
        }
        for one in &seen {
            *count.entry(one).or_default() += 1;
        }
        count.retain(|_, times| *times != 0);
        let some: Vec<_> = count.iter().take(20).collect();
        bail!(
            "{} records differ (less than 0: lost, more: twice): {some:?}",
            count.len()
        );
    }
    Ok(())
}

fn apaches(more: &'static [&'static str]) -> Result<Vec<Program>> {
    let class_path = format!("{}/*", jars()?.display());
    Ok((0..3)
        .map(|_| {
            let class_path = class_path.clone();
            let program: Program = Box::new(move |address, index| {
                let mut command = Command::new("java");
                command
                    .args([
                        "-Xmx128m",
                        "-XX:TieredStopAtLevel=1",
                        "-cp",
                        &class_path,
                        COPIER,
                    ])
                    .args(["--broker-list", address, "--input-topic", "input"])
                    .args(["--output-topic", "output", "--consumer-group", "copiers"])
                    .args(["--input-partition", &index.to_string()])
                    .args(["--transactional-id", &format!("copier-{index}")])
                    .args(["--transaction-size", "50", "--enable-random-aborts"])
                    .args(more);
                command
            });
            program
        })
        .collect())
}

#[test]
#[ignore = "needs java and maven"]
fn apaches_message_copier() -> Result<()> {
    copies_are_exact(2, apaches(&["--use-group-metadata"])?)
}

#[test]
#[ignore = "needs java and maven"]
fn apaches_message_copier_that_shares_partitions() -> Result<()> {
    copies_are_exact(2, apaches(&["--group-mode", "--use-group-metadata"])?)
}

/// Copiers with four versions of kafka-clients and with librdkafka, each with a partition of its own.
fn clients_of_all_times() -> Result<Vec<Program>> {
    let pom = program("java/pom.xml");
    let mut programs: Vec<Program> = Vec::new();
    for version in ["0.11.0.3", "2.8.2", "3.9.1", PRESENT] {
        let class_path = class_path(
            &format!("copier-{version}"),
            &pom,
            version,
            &[folder().join("Copier.java")],
        )?;
        programs.push(Box::new(move |address, index| {
            let mut command = Command::new("java");
            command
                .args([
                    "-Xmx128m",
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    &class_path,
                    "Copier",
                ])
                .args([address, &index.to_string(), &format!("copier-{index}")]);
            command
        }));
    }
    let binaries = cargo(&packages("exactly-once")?, &folder().join("rust"))?;
    programs.push(Box::new(move |address, index| {
        let mut command = Command::new(binaries.join("copier"));
        command.args([address, &index.to_string(), &format!("copier-{index}")]);
        command
    }));
    Ok(programs)
}

#[test]
#[ignore = "needs java, maven, cargo and a C compiler"]
fn clients_of_all_times_with_version_0() -> Result<()> {
    copies_are_exact(0, clients_of_all_times()?)
}

#[test]
#[ignore = "needs java, maven, cargo and a C compiler"]
fn clients_of_all_times_with_version_1() -> Result<()> {
    copies_are_exact(1, clients_of_all_times()?)
}

#[test]
#[ignore = "needs java, maven, cargo and a C compiler"]
fn clients_of_all_times_with_version_2() -> Result<()> {
    copies_are_exact(2, clients_of_all_times()?)
}

/// Every word is counted 1, 2, 3, ... up to its number of occurrences, without a gap or a repetition.
#[test]
#[ignore = "needs java and maven"]
fn a_word_count_of_kafka_streams() -> Result<()> {
    const WORDS: usize = 10;
    const LINES: usize = 200;
    let pom = program("programs/streams/pom.xml");
    let class_path = class_path("word-count", &pom, "", &[folder().join("WordCount.java")])?;
    let state = tempfile::tempdir()?;
    let programs = (0..2).map(|_| {
        let (class_path, state) = (class_path.clone(), state.path().to_owned());
        let program: Program = Box::new(move |address, index| {
            let mut command = Command::new("java");
            command
                .args([
                    "-Xmx192m",
                    "-XX:TieredStopAtLevel=1",
                    "-cp",
                    &class_path,
                    "WordCount",
                ])
                .arg(address)
                .arg(state.join(index.to_string()));
            command
        });
        program
    });
    let mut stage = Stage::new(programs.collect())?;
    create(&stage.node, &["lines", "counts"], 2)?;
    for index in 0..stage.programs.len() {
        stage.launch(index)?;
    }
    let calm = Instant::now() + duration();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < calm {
        for partition in 0..2 {
            let lines: Vec<String> = (0..LINES)
                .map(|n| format!("w{} w{}", n % WORDS, (n + 1) % WORDS))
                .collect();
            fill(&stage.node, "lines", partition, &lines)?;
        }
        rounds += 1;
        sleep(Duration::from_millis(
            1_000 + stage.chance.below(3_000) as u64,
        ));
        stage.kill_one()?;
    }
    let times = rounds * 2 * LINES * 2 / WORDS;
    let mut wrong = String::new();
    let done = eventually(REST_LIMIT, || {
        let more = [
            "--property",
            "print.key=true",
            "--value-deserializer",
            "org.apache.kafka.common.serialization.LongDeserializer",
        ];
        let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for line in committed(&stage.node, "counts", &more).unwrap_or_default() {
            if let Some((word, count)) = line.split_once('\t')
                && let Ok(count) = count.parse()
            {
                counts.entry(word.to_owned()).or_default().push(count);
            }
        }
        wrong = counts
            .iter()
            .filter(|(_, seen)| !seen.iter().copied().eq(1..=times))
            .map(|(word, seen)| format!("{word}: {} counts, last {:?}\n", seen.len(), seen.last()))
            .collect();
        counts.len() == WORDS && wrong.is_empty()
    });
    println!(
        "{rounds} rounds, {} kills of programs, {} of the broker",
        stage.kills[0], stage.kills[1]
    );
    ensure!(done, "expected {times} of each word\n{wrong}");
    Ok(())
}
