//! `kafka-delete-records`. Kafka's `DeleteRecordsCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use super::client::{Connection, Failure, WITHIN, name, run as run_work};
use super::groups::Partition;
use super::partition_file::{entries, in_file};
use crate::base::plain::Plain;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};

/// Delete the records of partitions before given offsets
#[derive(Args, Debug)]
#[command(after_help = "Example:
  echo '{\"partitions\": [{\"topic\": \"orders\", \"partition\": 0, \"offset\": 100}], \"version\": 1}' > offsets.json
  monedula delete-records --bootstrap-server localhost:9092 --offset-json-file offsets.json")]
#[group(skip)]
pub struct DeleteRecords {
    #[command(flatten)]
    connection: Connection,
    /// A JSON file with an offset for each partition; -1 is the end
    #[arg(long, value_name = "FILE")]
    offset_json_file: String,
}

impl DeleteRecords {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let wanted = read(&self.offset_json_file)?;
            let cluster = self.connection.connect().await?;
            println!("Executing records delete operation");
            let partitions: Vec<Partition> = wanted.keys().cloned().collect();
            let (leaders, without) = cluster.leaders_where_known(&partitions).await?;
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            let mut done: BTreeMap<Partition, Result<i64, i16>> = BTreeMap::new();
            done.extend(
                without
                    .into_iter()
                    .map(|partition| (partition, Err(unknown))),
            );
            for (leader, partitions) in leaders {
                let mut topics: BTreeMap<String, Vec<DeleteRecordsPartition>> = BTreeMap::new();
                for partition in partitions {
                    let offset = wanted.get(&partition).copied().unwrap_or_default();
                    topics
                        .entry(partition.0)
                        .or_default()
                        .push(DeleteRecordsPartition {
                            partition_index: partition.1,
                            offset,
                        });
                }
                let request = DeleteRecordsRequest {
                    topics: topics
                        .into_iter()
                        .map(|(topic, partitions)| DeleteRecordsTopic {
                            name: topic.into(),
                            partitions,
                        })
                        .collect(),
                    timeout_ms: WITHIN.as_millis() as i32,
                };
                for topic in leader.call(&request, WITHIN).await?.topics {
                    for partition in topic.partitions {
                        let result = match partition.error_code {
                            0 => Ok(partition.low_watermark),
                            code => Err(code),
                        };
                        done.insert((topic.name.to_string(), partition.partition_index), result);
                    }
                }
            }
            println!("Records delete operation completed:");
            for ((topic, index), result) in done {
                match result {
                    Ok(offset) => println!("partition: {topic}-{index}\tlow_watermark: {offset}"),
                    Err(code) => {
                        println!("partition: {topic}-{index}\terror: {}", name(code));
                    }
                }
            }
            // As in Kafka's tool, errors of partitions are printed, but the exit status is 0.
            Ok(())
        })
    }
}

fn read(path: &str) -> Result<BTreeMap<Partition, i64>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {path}: {}", Plain(&error)))?;
    let found = entries(&text).map_err(in_file(path))?;
    let offsets = found.into_iter().map(|entry| {
        let offset = entry.more["offset"].as_i64();
        let offset = offset.ok_or_else(|| format!("{} has no \"offset\"", entry.more))?;
        Ok((entry.partition, offset))
    });
    offsets
        .collect::<Result<_, String>>()
        .map_err(in_file(path))
}
