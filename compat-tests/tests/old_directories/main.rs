//! A directory of Apache Kafka 2.8 or later, with message formats v0 to v2, with ZooKeeper or KRaft, after a clean stop or a
//! crash, is served record for record as before, and the old broker continues with what monedula has appended. Compaction of
//! such logs makes the same files as Apache Kafka's cleaner, and consumers get what the old broker served, as far as it
//! remains.

mod compacted;
mod offsets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use compat_tests::apache::{Apache, BEFORE, PRESENT, program};
use compat_tests::compaction::copy;
use compat_tests::node::Node;
use compat_tests::old_apache::OldApache;

/// Segments small enough that there are many, a cleaner that starts at once, few partitions of `__consumer_offsets`.
const SETTINGS: &str = "log.segment.bytes=2500\noffsets.topic.num.partitions=3\nlog.cleaner.backoff.ms=200\n\
    log.cleaner.dedupe.buffer.size=2000000\nlog.index.size.max.bytes=100000\n\
    log.flush.start.offset.checkpoint.interval.ms=100";

const OLDEST: &str = "2.8.2";

fn directory(words: &[&str]) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/directories/Directory.java");
    let finished = program(&file, words)?;
    ensure!(
        finished.success,
        "{words:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout)
}

/// What a broker serves. Of a compacted topic only what compaction must keep, because the cleaner may have continued meanwhile.
fn served(address: &str) -> Result<Vec<String>> {
    let dump = directory(&["dump", address])?;
    let mut lines = Vec::new();
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    for line in dump.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["record", "compacted-0", _, _, _, key, value, ..] => {
                newest.insert((*key).to_owned(), (*value).to_owned());
            }
            ["lookup", "compacted-0", ..] => {}
            _ => lines.push(line.to_owned()),
        }
    }
    newest.retain(|_, value| value != "null");
    lines.extend(
        newest
            .into_iter()
            .map(|(key, value)| format!("newest {key} {value}")),
    );
    Ok(lines)
}

fn same(what: &str, expected: &[String], found: &[String]) -> Result<()> {
    let missing: Vec<_> = expected
        .iter()
        .filter(|line| !found.contains(line))
        .take(10)
        .collect();
    let new: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(line))
        .take(10)
        .collect();
    ensure!(
        expected == found,
        "{what}: missing {missing:#?}, instead {new:#?}"
    );
    ensure!(
        expected.len() > 800,
        "{what}: only {} lines",
        expected.len()
    );
    Ok(())
}

/// Fills an old broker, kills it, restarts and stops it. Serves both states, then lets the old broker continue with monedula's
/// data.
fn of_zookeeper(version: &str, format: &str, kind: &str) -> Result<()> {
    let home = tempfile::tempdir()?;
    let (old, crashed): (PathBuf, PathBuf) = (home.path().join("old"), home.path().join("crashed"));
    let settings = format!("{SETTINGS}\n{format}");
    let kafka = OldApache::start(version, &old, &settings)?;
    directory(&["fill", &kafka.address(), kind])?;
    kafka.kill();
    copy(&old.join("data"), &crashed)?;
    // The reference is what the old broker itself serves after the crash.
    let kafka = OldApache::start(version, &old, &settings)?;
    let before = served(&kafka.address())?;
    let data = old.join("data");
    let times = match kind {
        "old" => offsets::times(&data, &before)?,
        _ => offsets::Times::new(),
    };
    let theirs = offsets::answers(&kafka.address(), &times)?;
    ensure!(
        compacted::has_begun(&data),
        "the old broker compacts nothing"
    );
    kafka.stop()?;
    if !times.is_empty() {
        offsets::of_today(home.path(), &data, &times)?;
    }
    if version == OLDEST {
        let states = [(&*crashed, false), (&*data, true)];
        let copies = compacted::alike(home.path(), states, &before)?;
        compacted::served(home.path(), &data, &copies, &before)?;
    }

    let node = Node::on(&crashed).context("after a crash")?;
    same("after a crash", &before, &served(&node.address())?)?;
    drop(node);

    let mut node = Node::on(&data).context("after a clean stop")?;
    same("after a clean stop", &before, &served(&node.address())?)?;
    if !times.is_empty() {
        let ours = offsets::answers(&node.address(), &times)?;
        let [ours, theirs] = [ours, theirs].map(offsets::of_old_meaning);
        offsets::same("of the old files", &ours, &theirs)?;
    }
    directory(&["more", &node.address(), kind])?;
    let after = served(&node.address())?;
    ensure!(after.len() > before.len(), "nothing was appended");
    node.stop()?;

    // A broker that is configured to write v0 looks up no timestamps at all, whatever format the records have.
    let timeless = |lines: Vec<String>| -> Vec<String> {
        let is_lookup = |line: &String| line.starts_with("lookup ");
        lines.into_iter().filter(|line| !is_lookup(line)).collect()
    };
    let kafka = OldApache::start(version, &old, &settings)?;
    let back = served(&kafka.address())?;
    same("back again", &timeless(after), &timeless(back))?;
    // The old broker also knows monedula's transactions: each of these ids can start a new one.
    directory(&["more", &kafka.address(), kind]).map(drop)
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_2_8_with_message_format_v0() -> Result<()> {
    of_zookeeper(OLDEST, "log.message.format.version=0.9.0", "old")
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_2_8_with_message_format_v1() -> Result<()> {
    of_zookeeper(OLDEST, "log.message.format.version=0.10.2", "old")
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_2_8_with_batches_and_transactions() -> Result<()> {
    of_zookeeper(OLDEST, "", "new")
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_3_9_with_zookeeper() -> Result<()> {
    of_zookeeper("3.9.1", "", "new")
}

/// Like [`of_zookeeper`], with a broker whose metadata is in its data directory.
fn of_kraft(version: &str, kind: &str) -> Result<()> {
    let home = tempfile::tempdir()?;
    let (data, crashed) = (home.path().join("data"), home.path().join("crashed"));
    let kafka = Apache::start_version(version, home.path(), &data)?;
    directory(&["fill", &kafka.address(), kind])?;
    drop(kafka);
    copy(&data, &crashed)?;
    let kafka = Apache::start_version(version, home.path(), &data)?;
    let before = served(&kafka.address())?;
    kafka.stop()?;
    let node = Node::on(&crashed).context("after a crash")?;
    same("after a crash", &before, &served(&node.address())?)?;
    drop(node);

    let mut node = Node::on(&data).context("after a clean stop")?;
    same("after a clean stop", &before, &served(&node.address())?)?;
    directory(&["more", &node.address(), kind])?;
    let after = served(&node.address())?;
    ensure!(after.len() > before.len(), "nothing was appended");
    node.stop()?;

    let kafka = Apache::start_version(version, home.path(), &data)?;
    same("back again", &after, &served(&kafka.address())?)
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_3_9_with_kraft() -> Result<()> {
    of_kraft("3.9.1", "new")
}

#[test]
#[ignore = "needs java and maven"]
fn the_kafka_before_the_present_one() -> Result<()> {
    of_kraft(BEFORE, "newest")
}

#[test]
#[ignore = "needs java and maven"]
fn the_present_kafka() -> Result<()> {
    of_kraft(PRESENT, "newest")
}

#[test]
#[ignore = "needs java and maven"]
fn kafka_3_3_with_kraft() -> Result<()> {
    of_kraft("3.3.2", "new")
}
