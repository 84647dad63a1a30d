//! `kafka-leader-election`. Kafka's `LeaderElectionCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::client::{Connection, Failure, WITHIN, name, run as run_work, text};
use super::groups::Partition;
use super::partition_file::{entries, in_file};
use crate::base::plain::Plain;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::elect_leaders::{ElectLeadersRequest, TopicPartitions};

/// Elect leaders of partitions
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula leader-election --bootstrap-server localhost:9092 --election-type preferred --all-topic-partitions")]
#[group(skip)]
pub struct LeaderElection {
    #[command(flatten)]
    connection: Connection,
    /// preferred: the first replica; unclean: any replica, where there is no leader
    #[arg(long, value_name = "TYPE", ignore_case = true)]
    election_type: ElectionType,
    /// Every partition
    #[arg(long, conflicts_with_all = ["topic", "path_to_json_file"])]
    all_topic_partitions: bool,
    /// The topic
    #[arg(
        long,
        value_name = "NAME",
        requires = "partition",
        conflicts_with = "path_to_json_file"
    )]
    topic: Option<String>,
    /// The partition of the topic
    #[arg(long, value_name = "PARTITION", requires = "topic")]
    partition: Option<i32>,
    /// A JSON file that names partitions
    #[arg(long, value_name = "FILE",
        required_unless_present_any = ["all_topic_partitions", "topic"])]
    path_to_json_file: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ElectionType {
    Preferred,
    Unclean,
}

impl LeaderElection {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let wanted = self.partitions()?;
            let cluster = self.connection.connect().await?;
            let named = wanted.is_some();
            let request = ElectLeadersRequest {
                election_type: match self.election_type {
                    ElectionType::Preferred => 0,
                    ElectionType::Unclean => 1,
                },
                topic_partitions: wanted.map(|partitions| {
                    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
                    for (topic, index) in partitions {
                        topics.entry(topic).or_default().push(index);
                    }
                    topics
                        .into_iter()
                        .map(|(topic, partitions)| TopicPartitions {
                            topic: topic.into(),
                            partitions,
                        })
                        .collect()
                }),
                timeout_ms: WITHIN.as_millis() as i32,
            };
            let answer = cluster.call(&request).await?;
            if answer.error_code != 0 {
                return Err(Failure(name(answer.error_code)));
            }
            let (mut elected, mut unneeded, mut failed) = (Vec::new(), Vec::new(), Vec::new());
            for topic in answer.replica_election_results {
                for partition in topic.partition_result {
                    let place = format!("{}-{}", topic.topic, partition.partition_id);
                    let code = partition.error_code;
                    match ErrorCode::from_code(code) {
                        Some(ErrorCode::None) => elected.push(place),
                        Some(ErrorCode::ElectionNotNeeded) => unneeded.push(place),
                        _ => failed.push((place, text(code, partition.error_message.as_deref()))),
                    }
                }
            }
            let kind = match self.election_type {
                ElectionType::Preferred => "PREFERRED",
                ElectionType::Unclean => "UNCLEAN",
            };
            if !elected.is_empty() {
                println!(
                    "Successfully completed leader election ({kind}) for partitions {}",
                    elected.join(", ")
                );
            }
            if !unneeded.is_empty() && named {
                println!(
                    "Valid replica already elected for partitions {}",
                    unneeded.join(", ")
                );
            }
            for (place, why) in &failed {
                println!("Error completing leader election ({kind}) for partition: {place}: {why}");
            }
            match failed.len() {
                0 => Ok(()),
                count => Err(format!("{count} replica(s) could not be elected").into()),
            }
        })
    }

    /// The partitions that the options name; `None` for all partitions.
    fn partitions(&self) -> Result<Option<Vec<Partition>>, Failure> {
        if let (Some(topic), Some(partition)) = (&self.topic, self.partition) {
            return Ok(Some(vec![(topic.clone(), partition)]));
        }
        let Some(path) = &self.path_to_json_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {}", Plain(&error)))?;
        let found = entries(&text).map_err(in_file(path))?;
        Ok(Some(
            found.into_iter().map(|entry| entry.partition).collect(),
        ))
    }
}
