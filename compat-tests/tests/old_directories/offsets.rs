//! ListOffsets with messages in the old formats: every timestamp with a special meaning, in every version that a broker has.
//! The present version of Apache Kafka is included: the old files are put into topics that it has created.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use compat_tests::apache::SETTINGS as NODE;
use compat_tests::apache::{Apache, PRESENT};
use compat_tests::exchange::{Answer, Connection};
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use monedula::wire::message::Request;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

use super::copy;

const SOON: Duration = Duration::from_secs(60);
const LATEST: i64 = -1;
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;

/// Timestamps to look up in each partition, by the name of the partition's directory.
pub type Times = BTreeMap<String, BTreeSet<i64>>;

/// Timestamps of some records of a dump and their neighbours, and the times at which segments were last modified.
pub fn times(data: &Path, dump: &[String]) -> Result<Times> {
    let mut found = Times::new();
    for line in dump {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["record", partition, _, _, at, ..] = words.as_slice() {
            let times = found.entry((*partition).to_owned()).or_default();
            times.insert(at.parse()?);
        }
    }
    for (partition, times) in &mut found {
        let step = times.len().div_ceil(7).max(1);
        let last = times.last().copied();
        let chosen: Vec<i64> = times.iter().copied().step_by(step).chain(last).collect();
        *times = chosen.iter().flat_map(|at| [at - 1, *at, at + 1]).collect();
        times.extend(-6..=1);
        times.extend([1_000_000_000_000, i64::MAX - 1, i64::MAX, -100]);
        let mut written = Vec::new();
        for entry in fs::read_dir(data.join(partition))? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|kind| kind == "log") {
                let at = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH)?;
                written.push(at.as_millis() as i64);
            }
        }
        written.sort_unstable();
        // The last segment is still being written.
        written.pop();
        let middle = written.get(written.len() / 2);
        times.extend(middle.into_iter().flat_map(|at| [at - 1, *at, at + 1]));
    }
    Ok(found)
}

/// One line per response, without the current leader epoch.
pub fn answers(address: &str, times: &Times) -> Result<BTreeSet<String>> {
    let mut connection = Connection::open(address)?;
    let versions = connection.versions()?;
    let key = ListOffsetsRequest::KEY;
    let Some(known) = versions.api_keys.iter().find(|api| api.api_key == key) else {
        bail!("{address} has no ListOffsets");
    };
    let newest = known.max_version.min(11);
    let mut lines = BTreeSet::new();
    for (partition, times) in times {
        let (topic, index) = partition.rsplit_once('-').unwrap_or_default();
        for version in known.min_version..=newest {
            for timestamp in times {
                for max_num_offsets in if version == 0 {
                    &[1, 3, 100][..]
                } else {
                    &[1][..]
                } {
                    let request = ListOffsetsRequest {
                        replica_id: -1,
                        topics: vec![ListOffsetsTopic {
                            name: topic.into(),
                            partitions: vec![ListOffsetsPartition {
                                partition_index: index.parse()?,
                                timestamp: *timestamp,
                                max_num_offsets: *max_num_offsets,
                                ..Default::default()
                            }],
                        }],
                        ..Default::default()
                    };
                    let Some(Answer::Response(answer)) = connection.ask(&request, version)? else {
                        bail!("{partition} {timestamp} v{version} was not answered");
                    };
                    let answer = &answer.topics[0].partitions[0];
                    let epoch = if *timestamp == LATEST {
                        -1
                    } else {
                        answer.leader_epoch
                    };
                    lines.insert(format!(
                        "v{version} {partition} {timestamp}: error {} offset {} at {} epoch {epoch}, of {max_num_offsets} {:?}",
                        answer.error_code, answer.offset, answer.timestamp, answer.old_style_offsets
                    ));
                }
            }
        }
    }
    Ok(lines)
}

/// Removes timestamps that only later versions of Apache Kafka give a special meaning; in version 0 they have none.
pub fn of_old_meaning(mut lines: BTreeSet<String>) -> BTreeSet<String> {
    lines.retain(|line| {
        let at = line.split([' ', ':']).nth(2).and_then(|at| at.parse().ok());
        line.starts_with("v0 ") || at.is_some_and(|at: i64| at >= -2)
    });
    lines
}

/// Checks that the lines of versions that both brokers have are the same.
pub fn same(what: &str, ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> Result<()> {
    let version = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let versions =
        |lines: &BTreeSet<String>| -> BTreeSet<String> { lines.iter().map(version).collect() };
    let both: BTreeSet<String> = versions(ours)
        .intersection(&versions(theirs))
        .cloned()
        .collect();
    let of_both = |line: &&String| both.contains(&version(line));
    // A broker that is configured to write v0 looks up no timestamps at all, whatever format the records have.
    let refused = format!(": error {UNSUPPORTED_FOR_MESSAGE_FORMAT} ");
    let asked = |line: &String| line.split(": error").next().unwrap_or_default().to_owned();
    let not_looked_up: BTreeSet<String> = theirs
        .iter()
        .filter(|line| line.contains(&refused))
        .map(asked)
        .collect();
    let counts = |line: &&String| of_both(line) && !not_looked_up.contains(&asked(line));
    let ours: BTreeSet<&String> = ours.iter().filter(counts).collect();
    let theirs: BTreeSet<&String> = theirs.iter().filter(counts).collect();
    let wrong: Vec<_> = ours.difference(&theirs).take(25).collect();
    let right: Vec<_> = theirs.difference(&ours).take(25).collect();
    ensure!(ours == theirs, "{what}: ours {wrong:#?}, theirs {right:#?}");
    ensure!(ours.len() > 300, "{what}: only {} answers", ours.len());
    Ok(())
}

/// Compares the present version of Apache Kafka with monedula on the same old files.
pub fn of_today(home: &Path, old: &Path, times: &Times) -> Result<()> {
    let (data, copied) = (home.join("today"), home.join("copied"));
    let kafka = Apache::start_with(PRESENT, NODE, home, &data)?;
    let mut topics: BTreeMap<&str, i32> = BTreeMap::new();
    for partition in times.keys() {
        let (topic, index) = partition.rsplit_once('-').unwrap_or_default();
        let count = topics.entry(topic).or_default();
        *count = (*count).max(index.parse::<i32>()? + 1);
    }
    let request = CreateTopicsRequest {
        topics: topics
            .iter()
            .map(|(name, count)| CreatableTopic {
                name: (*name).into(),
                num_partitions: *count,
                replication_factor: 1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let mut connection = Connection::open(&kafka.address())?;
    let created = eventually(SOON, || {
        let answer = connection.ask(&request, 7);
        matches!(answer, Ok(Some(Answer::Response(answer))) if answer.topics.iter().all(|one| [0, 36].contains(&one.error_code)))
    });
    let made = eventually(SOON, || {
        times
            .keys()
            .all(|name| data.join(name).join("partition.metadata").exists())
    });
    ensure!(created && made, "the topics are not there");
    kafka.stop()?;
    for name in times.keys() {
        let id = fs::read(data.join(name).join("partition.metadata"))?;
        fs::remove_dir_all(data.join(name))?;
        copy(&old.join(name), &data.join(name))?;
        fs::write(data.join(name).join("partition.metadata"), id)?;
    }
    fs::remove_file(data.join(".kafka_cleanshutdown"))?;
    copy(&data, &copied)?;
    let kafka = Apache::start_with(PRESENT, NODE, home, &data)?;
    let theirs = settled(&kafka.address(), times)?;
    drop(kafka);
    let node = Node::on(&copied)?;
    let ours = settled(&node.address(), times)?;
    same("as today's Apache Kafka", &ours, &theirs)
}

/// The responses, once each partition has a leader.
fn settled(address: &str, times: &Times) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let led = eventually(SOON, || {
        found = answers(address, times).unwrap_or_default();
        !found.is_empty() && !found.iter().any(|line| line.contains(": error 6 "))
    });
    ensure!(led, "{address} does not lead");
    Ok(found)
}
