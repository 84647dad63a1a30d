//! Compaction loses no key, invents no record and assigns no offset twice, at whatever moment the process is killed.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat_tests::chance::{Chance, from_environment, seed};
use compat_tests::node::{Node, binary};
use compat_tests::programs::{eventually, run};

/// The cleaner runs as often as it can, considers every closed segment dirty, and gets two segments of the smallest size per
/// round.
const SETTINGS: &str = "\
listeners=PLAINTEXT://localhost:{port}
log.dirs={dir}
log.segment.bytes=1048576
log.cleanup.policy=compact
log.cleaner.backoff.ms=1
log.cleaner.min.cleanable.ratio=0.0
log.segment.delete.delay.ms=1000
num.partitions=1
";
const TOPIC: &str = "compacted";
const ROUNDS: u64 = 20;
const KEYS: usize = 2_000;
/// Number of records per round: about three segments.
const RECORDS: usize = 12_000;
const PADDING: usize = 250;
/// Time limit per round for the cleaner to reach the state in which the process is killed.
const CLEANER_LIMIT: Duration = Duration::from_secs(20);
const CLIENT_LIMIT: Duration = Duration::from_secs(600);

/// Numbers of the records that were produced for each key, in order.
type Produced = HashMap<String, Vec<u64>>;
/// Timestamp of each record when it was first seen, by the record's number.
type Times = HashMap<u64, i64>;

#[test]
#[ignore = "needs kcat"]
fn no_key_is_lost_when_the_process_is_killed_during_compaction() -> Result<()> {
    let mut node = Node::with_settings(SETTINGS)?;
    let seed = seed("COMPACTION_SEED");
    let mut chance = Chance::new(seed);
    let told = story(&mut node, &mut chance);
    if told.is_err() {
        println!("COMPACTION_SEED={seed}; files in {:?}", node.keep());
    }
    told
}

fn story(node: &mut Node, chance: &mut Chance) -> Result<()> {
    let mut produced = Produced::new();
    let (mut number, mut times) = (0, Times::new());
    let mut struck = BTreeMap::new();
    let rounds = from_environment("COMPACTION_ROUNDS").unwrap_or(ROUNDS);
    for round in 0..rounds {
        let mut input = String::new();
        for _ in 0..RECORDS {
            number += 1;
            let key = format!("k{}", chance.below(KEYS));
            input.push_str(&format!("{key}:{number}-{}\n", "x".repeat(PADDING)));
            produced.entry(key).or_default().push(number);
        }
        let address = node.address();
        let producer = thread::spawn(move || produce(&address, &input, round));
        let place = chance.one_of(&[None, Some(".cleaned"), Some(".cleaned"), Some(".swap")]);
        let met = wait_for(&partition_dir(node), place, chance);
        node.kill()?;
        *struck.entry(met.unwrap_or("anywhere")).or_insert(0) += 1;
        // Leftover files are allowed, damaged ones are not.
        verify(node.dir(), &[0, 1])?;
        node.resume()?;
        producer
            .join()
            .map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        check(node, &produced, &mut times)
            .with_context(|| format!("round {round}, killed at {met:?}"))?;
    }
    let (records, mut kept) = (number, 0);
    // The cleaner may have been killed in the last round, too, and is given time to finish.
    eventually(CLIENT_LIMIT, || {
        kept = consume(node).map_or(usize::MAX, |read| read.len());
        kept < records as usize / 2
    });
    println!("{rounds} rounds, killed at {struck:?}; {kept} of {records} records are left");
    ensure!(
        kept < records as usize / 2,
        "{kept} of {records} are left: that is no compaction"
    );
    let amidst = struck.get(".cleaned").copied().unwrap_or(0);
    ensure!(rounds < ROUNDS || amidst >= 3, "killed at {struck:?}");
    node.stop()?;
    verify(node.dir(), &[0])
}

fn partition_dir(node: &Node) -> PathBuf {
    node.dir().join(format!("{TOPIC}-0"))
}

/// Produces the input. When the function returns, all records are acknowledged by all replicas, even if the broker was
/// restarted.
fn produce(address: &str, input: &str, round: u64) -> Result<()> {
    let mut command = Command::new("kcat");
    command.args(["-P", "-E", "-b", address, "-t", TOPIC, "-p", "0", "-K:"]);
    command.args(["-H", &format!("round={round}")]);
    for setting in [
        "acks=all",
        "enable.idempotence=true",
        "linger.ms=2",
        "batch.num.messages=200",
        "reconnect.backoff.max.ms=200",
        "message.timeout.ms=300000",
    ] {
        command.args(["-X", setting]);
    }
    let finished = run(&mut command, input, CLIENT_LIMIT)?;
    let failed = finished.stderr.contains("Delivery failed");
    ensure!(finished.success && !failed, "{}", finished.stderr);
    Ok(())
}

/// Waits until the cleaner has a file of this kind; without a kind, for a random time.
fn wait_for(dir: &Path, kind: Option<&'static str>, chance: &mut Chance) -> Option<&'static str> {
    let Some(kind) = kind else {
        thread::sleep(Duration::from_millis(chance.below(2_500) as u64));
        return None;
    };
    let deadline = Instant::now() + CLEANER_LIMIT;
    while Instant::now() < deadline {
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name());
        if names.any(|name| name.to_string_lossy().ends_with(kind)) {
            thread::sleep(Duration::from_micros(chance.below(3_000) as u64));
            return Some(kind);
        }
        thread::sleep(Duration::from_micros(100));
    }
    None
}

/// A record as a consumer receives it.
struct Found {
    offset: u64,
    timestamp: i64,
    headers: String,
    key: String,
    number: u64,
}

fn consume(node: &Node) -> Result<Vec<Found>> {
    let read = node.kcat(
        &[
            "-C",
            "-t",
            TOPIC,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-f",
            "%o %T %h %k %s\n",
        ],
        "",
    )?;
    ensure!(read.success, "{}", read.stderr);
    let mut found = Vec::new();
    for line in read.stdout.lines() {
        let mut fields = line.split(' ');
        let mut field = || {
            fields
                .next()
                .with_context(|| format!("what is this: {line}"))
        };
        let (offset, timestamp, headers) = (field()?, field()?, field()?);
        let (key, value) = (field()?, field()?);
        let (number, padding) = value.split_once('-').context("no number")?;
        ensure!(padding.len() == PADDING, "a value was cut: {line}");
        found.push(Found {
            offset: offset.parse()?,
            timestamp: timestamp.parse()?,
            headers: headers.to_owned(),
            key: key.to_owned(),
            number: number.parse()?,
        });
    }
    Ok(found)
}

fn check(node: &Node, produced: &Produced, times: &mut Times) -> Result<()> {
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut before = None;
    for found in consume(node)? {
        let Found {
            offset,
            timestamp,
            headers,
            key,
            number,
        } = found;
        let round = (number - 1) / RECORDS as u64;
        ensure!(
            headers == format!("round={round}"),
            "{number} at {offset} has the headers {headers:?}"
        );
        let first = *times.entry(number).or_insert(timestamp);
        ensure!(
            timestamp == first && timestamp > 0,
            "{number} at {offset} has the timestamp {timestamp}, and had {first}"
        );
        ensure!(before < Some(offset), "offset {offset} after {before:?}");
        before = Some(offset);
        let known = produced.get(&key);
        ensure!(
            known.is_some_and(|numbers| numbers.binary_search(&number).is_ok()),
            "nobody wrote {number} under {key}"
        );
        let older = last.insert(key.clone(), number);
        ensure!(
            older < Some(number),
            "{key}: {number} at {offset} after {older:?}"
        );
    }
    for (key, numbers) in produced {
        let (expected, found) = (numbers.last(), last.get(key));
        ensure!(expected == found, "{key}: {found:?}, not {expected:?}");
    }
    Ok(())
}

/// Runs `verify-log` on a data directory; its exit code must be one of `allowed`.
fn verify(dir: &Path, allowed: &[i32]) -> Result<()> {
    let output = Command::new(binary()).arg("verify-log").arg(dir).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let torn = text.lines().filter(|line| line.contains("recovery cuts"));
    // One incomplete write is expected, from the moment in which the process was killed.
    ensure!(torn.count() <= 1, "{text}");
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| allowed.contains(&code)),
        "{}: {text}",
        output.status
    );
    Ok(())
}
