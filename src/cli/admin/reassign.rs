//! `kafka-reassign-partitions`. Kafka's `ReassignPartitionsCommand`.
//!
//! Moves replicas between brokers, and between log directories of a broker. Throttles are not supported; throttles that another
//! tool has set are cleared, as Kafka's tool does.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Cluster, Connection, Failure, WITHIN, accepted, name, run as run_work, text};
use super::configs;
use super::groups::Partition;
use super::partition_file::{entries, in_file, parsed};
use crate::base::plain::Plain;
use crate::peer::channel::Channel;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use crate::wire::message::describe_log_dirs::DescribeLogDirsRequest;
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
};

/// Move replicas between brokers and log directories
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("action").required(true).args(["generate", "execute", "verify", "cancel", "list"]),
    after_help = "Example:
  echo '{\"version\": 1, \"partitions\": [
    {\"topic\": \"orders\", \"partition\": 0, \"replicas\": [1], \"log_dirs\": [\"/data2\"]}]}' > moves.json
  monedula reassign-partitions --bootstrap-server localhost:9092 --execute --reassignment-json-file moves.json
  monedula reassign-partitions --bootstrap-server localhost:9092 --verify --reassignment-json-file moves.json"
)]
#[group(skip)]
pub struct ReassignPartitions {
    #[command(flatten)]
    connection: Connection,
    /// Print where partitions are, and a proposal for other brokers
    #[arg(long, help_heading = ACTION, requires_all = ["topics_to_move_json_file", "broker_list"])]
    generate: bool,
    /// Start the moves of a file
    #[arg(long, help_heading = ACTION, requires = "reassignment_json_file")]
    execute: bool,
    /// Print the state of the moves of a file
    #[arg(long, help_heading = ACTION, requires = "reassignment_json_file")]
    verify: bool,
    /// End the moves of a file
    #[arg(long, help_heading = ACTION, requires = "reassignment_json_file")]
    cancel: bool,
    /// Print the moves between brokers that are under way
    #[arg(long, help_heading = ACTION)]
    list: bool,
    /// A JSON file with the replicas of partitions, and their log directories
    #[arg(long, value_name = "FILE")]
    reassignment_json_file: Option<String>,
    /// A JSON file with topics (--generate)
    #[arg(long, value_name = "FILE")]
    topics_to_move_json_file: Option<String>,
    /// The brokers that get the partitions (--generate)
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    broker_list: Vec<i32>,
    /// Start the moves beside others that are under way (--execute)
    #[arg(long)]
    additional: bool,
    /// Refuse another number of replicas (--execute)
    #[arg(long)]
    disallow_replication_factor_change: bool,
    /// Leave the throttles of other tools as they are
    #[arg(long)]
    preserve_throttles: bool,
    /// How long to wait until moves between log directories have begun
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    timeout: u64,
    /// Racks are not looked at anyway
    #[arg(long, hide = true)]
    disable_rack_aware: bool,
}

const ACTION: &str = "Actions";
/// Value in a file that leaves the choice of the log directory to the broker.
const ANY: &str = "any";
const PAUSE: Duration = Duration::from_millis(100);

/// Target of a partition in a file.
#[derive(Debug)]
struct Move {
    partition: Partition,
    replicas: Vec<i32>,
    /// Log directories, one for each replica; or empty.
    dirs: Vec<String>,
}

/// A replica: a partition and the id of its broker.
type Replica = (Partition, i32);

impl Move {
    /// The replicas whose log directory is given, with the directory.
    fn placed(&self) -> impl Iterator<Item = (Replica, &str)> {
        let pairs = self.replicas.iter().zip(&self.dirs);
        pairs
            .filter(|(_, dir)| *dir != ANY)
            .map(|(broker, dir)| ((self.partition.clone(), *broker), dir.as_str()))
    }
}

/// Current log directory of a replica, and the directory that it is moving to.
#[derive(Clone, Debug, Default)]
struct Place {
    current: Option<String>,
    future: Option<String>,
}

impl ReassignPartitions {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let moves = match &self.reassignment_json_file {
                Some(path) => read(path)?,
                None => Vec::new(),
            };
            let cluster = self.connection.connect().await?;
            match () {
                () if self.generate => self.generate(&cluster).await,
                () if self.execute => self.execute(&cluster, &moves).await,
                () if self.verify => self.verify(&cluster, &moves).await,
                () if self.cancel => self.cancel(&cluster, &moves).await,
                () => list(&cluster).await,
            }
        })
    }

    async fn generate(&self, cluster: &Cluster) -> Result<(), Failure> {
        let path = self.topics_to_move_json_file.as_deref().unwrap_or_default();
        let topics = topics(path)?;
        let known = cluster.brokers(None).await?;
        if let Some(unknown) = self
            .broker_list
            .iter()
            .find(|id| !known.iter().any(|(known, _)| known == *id))
        {
            return Err(format!("Unknown broker id {unknown}").into());
        }
        let current = assignments(cluster, Some(&topics)).await?;
        let places = places(cluster).await?;
        println!("Current partition replica assignment");
        println!("{}\n", shown(&current, &places));
        let mut proposed = current.clone();
        for (turn, replicas) in proposed.values_mut().enumerate() {
            let brokers = &self.broker_list;
            if replicas.len() > brokers.len() {
                return Err(format!(
                    "the partitions have {} replicas, --broker-list has {} brokers",
                    replicas.len(),
                    brokers.len()
                )
                .into());
            }
            let chosen = brokers.iter().cycle().skip(turn % brokers.len());
            *replicas = chosen.take(replicas.len()).copied().collect();
        }
        println!("Proposed partition reassignment configuration");
        println!("{}", shown(&proposed, &BTreeMap::new()));
        Ok(())
    }

    async fn execute(&self, cluster: &Cluster, moves: &[Move]) -> Result<(), Failure> {
        let ongoing = ongoing(cluster).await?;
        if !self.additional && !ongoing.is_empty() {
            return Err("Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new partition assignment in addition to the existing one.".into());
        }
        let wanted: Vec<String> = moves.iter().map(|one| one.partition.0.clone()).collect();
        let mut current = assignments(cluster, Some(&wanted)).await?;
        let named: BTreeSet<&Partition> = moves.iter().map(|one| &one.partition).collect();
        current.retain(|partition, _| named.contains(partition));
        println!("Current partition replica assignment\n");
        println!("{}\n", shown(&current, &places(cluster).await?));
        println!("Save this to use as the --reassignment-json-file option during rollback");
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: WITHIN.as_millis() as i32,
            allow_replication_factor_change: !self.disallow_replication_factor_change,
            topics: by_topic(moves.iter().map(|one| {
                let partition = ReassignablePartition {
                    partition_index: one.partition.1,
                    replicas: Some(one.replicas.clone()),
                };
                (one.partition.0.clone(), partition)
            })),
        };
        alter(cluster, &request).await?;
        let names: Vec<String> = moves.iter().map(|one| place(&one.partition)).collect();
        println!(
            "Successfully started partition reassignment{} for {}",
            plural(names.len()),
            names.join(",")
        );
        let placed: BTreeMap<Replica, &str> = moves.iter().flat_map(Move::placed).collect();
        if placed.is_empty() {
            return Ok(());
        }
        self.place(cluster, &placed).await
    }

    /// Makes brokers move replicas to log directories. A replica that is still moving to its broker may not exist there yet, so
    /// requests are repeated.
    async fn place(
        &self,
        cluster: &Cluster,
        placed: &BTreeMap<Replica, &str>,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(self.timeout);
        let mut left: BTreeMap<Replica, String> = placed
            .iter()
            .map(|(replica, dir)| (replica.clone(), (*dir).to_owned()))
            .collect();
        loop {
            let started = move_replicas(cluster, &left).await?;
            if !started.is_empty() {
                let names: Vec<String> = started.iter().map(replica_name).collect();
                println!(
                    "Successfully started log directory move{} for: {}",
                    plural(names.len()),
                    names.join(",")
                );
            }
            left.retain(|replica, _| !started.contains(replica));
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let names: Vec<String> = left.keys().map(replica_name).collect();
                return Err(format!(
                    "Timed out waiting for log directory move{} to begin for {}",
                    plural(names.len()),
                    names.join(",")
                )
                .into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn verify(&self, cluster: &Cluster, moves: &[Move]) -> Result<(), Failure> {
        let ongoing = ongoing(cluster).await?;
        let wanted: Vec<String> = moves.iter().map(|one| one.partition.0.clone()).collect();
        let current = assignments(cluster, Some(&wanted)).await?;
        let mut done = true;
        println!("Status of partition reassignment:");
        for one in moves {
            let name = place(&one.partition);
            let now = current.get(&one.partition);
            if ongoing.contains_key(&one.partition) {
                println!("Reassignment of partition {name} is still in progress.");
                done = false;
            } else if now == Some(&one.replicas) {
                println!("Reassignment of partition {name} is completed.");
            } else {
                println!(
                    "There is no active reassignment of partition {name}, but replica set is {} rather than {}.",
                    ids(now.map_or(&[], Vec::as_slice)),
                    ids(&one.replicas)
                );
            }
        }
        let places = places(cluster).await?;
        for (replica, dir) in moves.iter().flat_map(Move::placed) {
            let name = replica_name(&replica);
            let found = places.get(&replica).cloned().unwrap_or_default();
            match (found.current, found.future) {
                (_, Some(future)) if future == dir => {
                    println!("Reassignment of replica {name} is still in progress.");
                    done = false;
                }
                (Some(current), None) if current == dir => {
                    println!("Reassignment of replica {name} completed successfully.");
                }
                (Some(_), Some(future)) => println!(
                    "Partition {} on broker {} is being moved to log dir {future} instead of {dir}.",
                    place(&replica.0),
                    replica.1
                ),
                (Some(current), None) => println!(
                    "Partition {} on broker {} is not being moved from log dir {current} to {dir}.",
                    place(&replica.0),
                    replica.1
                ),
                (None, _) => println!(
                    "Partition {} cannot be found in any live log directory on broker {}.",
                    place(&replica.0),
                    replica.1
                ),
            }
        }
        if done && !self.preserve_throttles {
            println!();
            clear_throttles(cluster, moves).await?;
        }
        Ok(())
    }

    async fn cancel(&self, cluster: &Cluster, moves: &[Move]) -> Result<(), Failure> {
        let ongoing = ongoing(cluster).await?;
        let active: Vec<&Partition> = moves
            .iter()
            .map(|one| &one.partition)
            .filter(|partition| ongoing.contains_key(*partition))
            .collect();
        if active.is_empty() {
            println!("None of the specified partition reassignments are active.");
        } else {
            let request = AlterPartitionReassignmentsRequest {
                timeout_ms: WITHIN.as_millis() as i32,
                topics: by_topic(active.iter().map(|partition| {
                    let cancelled = ReassignablePartition {
                        partition_index: partition.1,
                        replicas: None,
                    };
                    (partition.0.clone(), cancelled)
                })),
                ..Default::default()
            };
            alter(cluster, &request).await?;
            let names: Vec<String> = active.iter().map(|partition| place(partition)).collect();
            println!(
                "Successfully cancelled partition reassignment{} for: {}",
                plural(names.len()),
                names.join(",")
            );
        }
        let places = places(cluster).await?;
        // A move is cancelled by requesting the replica's current directory.
        let back: BTreeMap<Replica, String> = moves
            .iter()
            .flat_map(Move::placed)
            .filter_map(|(replica, dir)| {
                let found = places.get(&replica)?;
                let moving = found.future.as_deref() == Some(dir);
                let current = found.current.clone().filter(|_| moving)?;
                Some((replica, current))
            })
            .collect();
        if back.is_empty() {
            println!("None of the specified partition moves are active.");
        } else {
            let ended = move_replicas(cluster, &back).await?;
            let names: Vec<String> = ended.iter().map(replica_name).collect();
            println!(
                "Successfully cancelled log directory move{} for: {}",
                plural(names.len()),
                names.join(",")
            );
        }
        if !self.preserve_throttles {
            clear_throttles(cluster, moves).await?;
        }
        Ok(())
    }
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let ongoing = ongoing(cluster).await?;
    if ongoing.is_empty() {
        println!("No partition reassignments found.");
        return Ok(());
    }
    println!("Current partition reassignments:");
    for (partition, found) in ongoing {
        let more = |title: &str, brokers: &[i32]| match brokers.is_empty() {
            true => String::new(),
            false => format!(" {title}: {}.", ids(brokers)),
        };
        println!(
            "{}: replicas: {}.{}{}",
            place(&partition),
            ids(&found.replicas),
            more("adding", &found.adding_replicas),
            more("removing", &found.removing_replicas)
        );
    }
    Ok(())
}

fn plural(count: usize) -> &'static str {
    match count {
        1 => "",
        _ => "s",
    }
}

fn place((topic, index): &Partition) -> String {
    format!("{topic}-{index}")
}

fn replica_name((partition, broker): &Replica) -> String {
    format!("{}-{broker}", place(partition))
}

fn ids(brokers: &[i32]) -> String {
    let brokers: Vec<String> = brokers.iter().map(i32::to_string).collect();
    brokers.join(",")
}

fn read_text(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {path}: {}", Plain(&error)).into())
}

/// The moves in a `--reassignment-json-file`.
fn read(path: &str) -> Result<Vec<Move>, Failure> {
    moves(&read_text(path)?).map_err(in_file(path))
}

fn moves(text: &str) -> Result<Vec<Move>, String> {
    let found = entries(text)?;
    if found.is_empty() {
        return Err("it names no partition".to_owned());
    }
    let moves = found.into_iter().map(|entry| {
        let name = place(&entry.partition);
        let replicas = entry.more["replicas"].as_array().and_then(|replicas| {
            let ids = replicas.iter().map(|id| i32::try_from(id.as_i64()?).ok());
            ids.collect::<Option<Vec<i32>>>()
        });
        let replicas = replicas
            .filter(|replicas| !replicas.is_empty())
            .ok_or_else(|| format!("{name} has no list \"replicas\" of brokers"))?;
        let dirs = match &entry.more["log_dirs"] {
            Value::Null => Vec::new(),
            dirs => dirs
                .as_array()
                .and_then(|dirs| {
                    let dirs = dirs.iter().map(|dir| dir.as_str().map(str::to_owned));
                    dirs.collect::<Option<Vec<String>>>()
                })
                .ok_or_else(|| format!("\"log_dirs\" of {name} is not a list of directories"))?,
        };
        if !dirs.is_empty() && dirs.len() != replicas.len() {
            return Err(format!(
                "{name} has {} replicas and {} log_dirs",
                replicas.len(),
                dirs.len()
            ));
        }
        Ok(Move {
            partition: entry.partition,
            replicas,
            dirs,
        })
    });
    moves.collect()
}

/// The topics in a `--topics-to-move-json-file`.
fn topics(path: &str) -> Result<Vec<String>, Failure> {
    let whole = parsed(&read_text(path)?).map_err(in_file(path))?;
    let topics = whole["topics"].as_array().and_then(|topics| {
        let names = topics
            .iter()
            .map(|one| one["topic"].as_str().map(str::to_owned));
        names.collect::<Option<Vec<String>>>()
    });
    topics.ok_or_else(|| in_file(path)("it has no list \"topics\"".to_owned()))
}

/// The replicas of each partition of the topics.
async fn assignments(
    cluster: &Cluster,
    topics: Option<&[String]>,
) -> Result<BTreeMap<Partition, Vec<i32>>, Failure> {
    let topics = topics.map(|names| {
        let names: BTreeSet<&String> = names.iter().collect();
        names.into_iter().cloned().collect::<Vec<_>>()
    });
    let mut found = BTreeMap::new();
    for topic in cluster.metadata(topics.as_deref()).await?.topics {
        let name = topic.name.as_deref().unwrap_or_default().to_owned();
        if topic.error_code != 0 {
            return Err(format!("Topic {name} not found.").into());
        }
        for partition in topic.partitions {
            let place = (name.clone(), partition.partition_index);
            found.insert(place, partition.replica_nodes);
        }
    }
    Ok(found)
}

/// The log directories of each replica.
async fn places(cluster: &Cluster) -> Result<BTreeMap<Replica, Place>, Failure> {
    let mut found: BTreeMap<Replica, Place> = BTreeMap::new();
    for (id, broker) in cluster.brokers(None).await? {
        let request = DescribeLogDirsRequest { topics: None };
        for dir in broker.call(&request, WITHIN).await?.results {
            for topic in dir.topics {
                for partition in topic.partitions {
                    let replica = ((topic.name.to_string(), partition.partition_index), id);
                    let place = found.entry(replica).or_default();
                    match partition.is_future_key {
                        true => place.future = Some(dir.log_dir.to_string()),
                        false => place.current = Some(dir.log_dir.to_string()),
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Assignments in the format of the files; unknown directories are `any`.
fn shown(assignments: &BTreeMap<Partition, Vec<i32>>, places: &BTreeMap<Replica, Place>) -> Value {
    let partitions: Vec<Value> = assignments
        .iter()
        .map(|(partition, replicas)| {
            let dirs: Vec<&str> = replicas
                .iter()
                .map(|broker| {
                    let place = places.get(&(partition.clone(), *broker));
                    place
                        .and_then(|place| place.current.as_deref())
                        .unwrap_or(ANY)
                })
                .collect();
            json!({
                "topic": partition.0,
                "partition": partition.1,
                "replicas": replicas,
                "log_dirs": dirs,
            })
        })
        .collect();
    json!({"version": 1, "partitions": partitions})
}

/// Reassignments between brokers that are in progress.
async fn ongoing(
    cluster: &Cluster,
) -> Result<BTreeMap<Partition, OngoingPartitionReassignment>, Failure> {
    let request = ListPartitionReassignmentsRequest {
        timeout_ms: WITHIN.as_millis() as i32,
        topics: None,
    };
    let answer = cluster.call(&request).await?;
    accepted(answer.error_code, answer.error_message.as_deref())?;
    let mut found = BTreeMap::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            found.insert(
                (topic.name.to_string(), partition.partition_index),
                partition,
            );
        }
    }
    Ok(found)
}

fn by_topic(
    partitions: impl Iterator<Item = (String, ReassignablePartition)>,
) -> Vec<ReassignableTopic> {
    let mut topics: BTreeMap<String, Vec<ReassignablePartition>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic {
            name: name.into(),
            partitions,
        });
    topics.collect()
}

async fn alter(
    cluster: &Cluster,
    request: &AlterPartitionReassignmentsRequest,
) -> Result<(), Failure> {
    let answer = cluster.call(request).await?;
    accepted(answer.error_code, answer.error_message.as_deref())?;
    let mut faults = Vec::new();
    for topic in answer.responses {
        for partition in topic.partitions {
            if partition.error_code != 0 {
                let why = text(partition.error_code, partition.error_message.as_deref());
                faults.push(format!(
                    "{}-{}: {why}",
                    topic.name, partition.partition_index
                ));
            }
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(format!("Error reassigning partition(s):\n{}", faults.join("\n")).into()),
    }
}

/// Makes brokers move replicas to log directories; returns the replicas whose move was accepted. A replica that its broker does
/// not have yet may be moved later.
async fn move_replicas(
    cluster: &Cluster,
    wanted: &BTreeMap<Replica, String>,
) -> Result<BTreeSet<Replica>, Failure> {
    let brokers: BTreeMap<i32, Channel> = cluster.brokers(None).await?.into_iter().collect();
    let mut by_broker: BTreeMap<i32, BTreeMap<&str, BTreeMap<&str, Vec<i32>>>> = BTreeMap::new();
    for (((topic, index), broker), dir) in wanted {
        let dirs = by_broker.entry(*broker).or_default();
        let topics = dirs.entry(dir).or_default();
        topics.entry(topic).or_default().push(*index);
    }
    let mut started = BTreeSet::new();
    for (id, dirs) in by_broker {
        let broker = brokers
            .get(&id)
            .ok_or_else(|| format!("broker {id} is not in the cluster"))?;
        let request = AlterReplicaLogDirsRequest {
            dirs: dirs
                .into_iter()
                .map(|(path, topics)| AlterReplicaLogDir {
                    path: path.into(),
                    topics: topics
                        .into_iter()
                        .map(|(topic, partitions)| AlterReplicaLogDirTopic {
                            name: topic.into(),
                            partitions,
                        })
                        .collect(),
                })
                .collect(),
        };
        for topic in broker.call(&request, WITHIN).await?.results {
            for partition in topic.partitions {
                let replica = (
                    (topic.topic_name.to_string(), partition.partition_index),
                    id,
                );
                match ErrorCode::from_code(partition.error_code) {
                    Some(ErrorCode::None) => drop(started.insert(replica)),
                    Some(ErrorCode::ReplicaNotAvailable) => {}
                    _ => {
                        return Err(format!(
                            "{}: {}",
                            replica_name(&replica),
                            name(partition.error_code)
                        )
                        .into());
                    }
                }
            }
        }
    }
    Ok(started)
}

/// Settings that throttle moves of a broker's replicas and of a topic's replicas.
const BROKER_THROTTLES: &[&str] = &[
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
const TOPIC_THROTTLES: &[&str] = &[
    "leader.replication.throttled.replicas",
    "follower.replication.throttled.replicas",
];

async fn clear_throttles(cluster: &Cluster, moves: &[Move]) -> Result<(), Failure> {
    let brokers: Vec<String> = cluster
        .brokers(None)
        .await?
        .iter()
        .map(|(id, _)| id.to_string())
        .collect();
    println!(
        "Clearing broker-level throttles on broker{} {}",
        plural(brokers.len()),
        brokers.join(",")
    );
    let topics: BTreeSet<String> = moves.iter().map(|one| one.partition.0.clone()).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    configs::clear(cluster, configs::BROKER, &brokers, BROKER_THROTTLES).await?;
    println!(
        "Clearing topic-level throttles on topic{} {}",
        plural(topics.len()),
        topics.join(",")
    );
    configs::clear(cluster, configs::TOPIC, &topics, TOPIC_THROTTLES).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_a_file_of_moves_are_named() {
        let check = |more: &str, expected: &str| {
            let text = format!(r#"{{"partitions":[{{"topic":"a","partition":0{more}}}]}}"#);
            assert_eq!(moves(&text).unwrap_err(), expected);
        };
        check("", "a-0 has no list \"replicas\" of brokers");
        check(
            r#","replicas":["x"]"#,
            "a-0 has no list \"replicas\" of brokers",
        );
        check(
            r#","replicas":[1],"log_dirs":["/a","/b"]"#,
            "a-0 has 1 replicas and 2 log_dirs",
        );
        check(
            r#","replicas":[1],"log_dirs":7"#,
            "\"log_dirs\" of a-0 is not a list of directories",
        );
        assert_eq!(
            moves(r#"{"partitions":[]}"#).unwrap_err(),
            "it names no partition"
        );
        let text = r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}"#;
        let found = moves(text).unwrap();
        let placed: Vec<_> = found[0].placed().collect();
        assert_eq!(placed, [((("a".to_owned(), 0), 2), "/d")]);
    }
}
