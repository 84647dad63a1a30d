//! `kafka-log-dirs`. Kafka's `LogDirsCommand`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Connection, Failure, WITHIN, name, run as run_work};
use crate::wire::message::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResult};

/// Print the log directories of brokers and the sizes of partitions
#[derive(Args, Debug)]
#[command(after_help = "Example:
  monedula log-dirs --bootstrap-server localhost:9092 --describe --topic-list orders")]
#[group(skip)]
pub struct LogDirs {
    #[command(flatten)]
    connection: Connection,
    /// Accepted as by Kafka's tool: directories and partitions are printed in any case
    #[arg(long)]
    describe: bool,
    /// The topics; without this option, all topics
    #[arg(long, value_name = "NAME,...")]
    topic_list: Option<String>,
    /// The brokers; without this option, all brokers
    #[arg(long, value_name = "ID,...")]
    broker_list: Option<String>,
}

impl LogDirs {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let listed = |text: &Option<String>| -> Vec<String> {
                let words = text.as_deref().unwrap_or_default().split(',');
                let words = words.map(str::trim).filter(|word| !word.is_empty());
                words.map(str::to_owned).collect()
            };
            let topics = listed(&self.topic_list);
            let ids = listed(&self.broker_list)
                .iter()
                .map(|id| {
                    id.parse()
                        .map_err(|_| format!("{id} is not the id of a broker"))
                })
                .collect::<Result<Vec<i32>, _>>()?;
            let cluster = self.connection.connect().await?;
            let all = cluster.brokers(None).await?;
            let unknown: Vec<String> = ids
                .iter()
                .filter(|id| !all.iter().any(|(known, _)| known == *id))
                .map(i32::to_string)
                .collect();
            if !unknown.is_empty() {
                let known: Vec<String> = all.iter().map(|(id, _)| id.to_string()).collect();
                return Err(format!(
                    "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
                    unknown.join(","),
                    known.join(",")
                )
                .into());
            }
            println!("Querying brokers for log directories information");
            let mut brokers = Vec::new();
            let mut asked = Vec::new();
            for (id, broker) in all {
                if !ids.is_empty() && !ids.contains(&id) {
                    continue;
                }
                // All partitions are requested, because the request would have to name each partition of a topic.
                let request = DescribeLogDirsRequest { topics: None };
                let answer = broker.call(&request, WITHIN).await?;
                if answer.error_code != 0 {
                    return Err(Failure(name(answer.error_code)));
                }
                let dirs: Vec<Value> = answer
                    .results
                    .iter()
                    .map(|result| described(result, &topics))
                    .collect();
                asked.push(id.to_string());
                brokers.push(json!({"broker": id, "logDirs": dirs}));
            }
            println!(
                "Received log directory information from brokers {}",
                asked.join(",")
            );
            println!("{}", json!({"brokers": brokers, "version": 1}));
            Ok(())
        })
    }
}

fn described(dir: &DescribeLogDirsResult, wanted: &[String]) -> Value {
    let mut partitions = Vec::new();
    for topic in &dir.topics {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| *wanted == *topic.name) {
            continue;
        }
        for partition in &topic.partitions {
            partitions.push(json!({
                "partition": format!("{}-{}", topic.name, partition.partition_index),
                "size": partition.partition_size,
                "offsetLag": partition.offset_lag,
                "isFuture": partition.is_future_key,
            }));
        }
    }
    let error = match dir.error_code {
        0 => Value::Null,
        code => name(code).into(),
    };
    json!({"partitions": partitions, "error": error, "logDir": dir.log_dir.to_string()})
}
