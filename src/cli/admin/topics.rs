//! `kafka-topics`. Kafka's `TopicCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use regex::Regex;

use super::client::{Cluster, Connection, Failure, WITHIN, accepted, run as run_work, text};
use crate::base::ids::Uuid;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::wire::message::delete_topics::DeleteTopicsRequest;
use crate::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::message::metadata::MetadataResponseTopic;

/// Create, change, describe and delete topics
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula topics --bootstrap-server localhost:9092 --create --topic orders --partitions 3
  monedula topics --bootstrap-server localhost:9092 --describe --topic orders
  monedula topics --bootstrap-server localhost:9092 --list")]
#[group(skip)]
pub struct Topics {
    #[command(flatten)]
    connection: Connection,
    /// Print the names of topics
    #[arg(long, help_heading = ACTION)]
    list: bool,
    /// Print partitions, leaders, replicas and settings of topics
    #[arg(long, help_heading = ACTION)]
    describe: bool,
    /// Create a topic
    #[arg(long, help_heading = ACTION)]
    create: bool,
    /// Change the number of partitions
    #[arg(long, help_heading = ACTION)]
    alter: bool,
    /// Delete topics
    #[arg(long, help_heading = ACTION)]
    delete: bool,
    /// The topic; a regular expression, unless the topic is created
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// The id of the topic to describe
    #[arg(long, value_name = "ID", conflicts_with = "topic")]
    topic_id: Option<String>,
    /// How many partitions the topic has (--create, --alter)
    #[arg(long, value_name = "COUNT")]
    partitions: Option<i32>,
    /// How many replicas each partition has (--create)
    #[arg(long, value_name = "COUNT")]
    replication_factor: Option<i16>,
    /// A setting of the new topic; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    config: Vec<String>,
    /// Succeed if the topic does not exist
    #[arg(long)]
    if_exists: bool,
    /// Succeed if the topic exists already
    #[arg(long)]
    if_not_exists: bool,
    /// Leave internal topics out
    #[arg(long)]
    exclude_internal: bool,
    /// Describe only partitions with replicas that are not in sync
    #[arg(long)]
    under_replicated_partitions: bool,
    /// Describe only partitions without a leader
    #[arg(long)]
    unavailable_partitions: bool,
    /// Describe only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long)]
    under_min_isr_partitions: bool,
    /// Describe only partitions with exactly min.insync.replicas replicas in sync
    #[arg(long)]
    at_min_isr_partitions: bool,
    /// Describe only topics with settings of their own, without their partitions
    #[arg(long)]
    topics_with_overrides: bool,
    /// ZooKeeper's address names no broker; without another one it is an error.
    #[arg(long, hide = true)]
    zookeeper: Option<String>,
}

const ACTION: &str = "Actions";
/// Number of the resource type topic in DescribeConfigs.
pub(super) const TOPIC_RESOURCE: i8 = 2;
/// Source of a value in DescribeConfigs: Kafka's default.
const FROM_DEFAULT: i8 = 5;
/// Source of a value in DescribeConfigs: the broker's file. The value is not an override of the topic.
const FROM_FILE: i8 = 4;
const INTERNAL: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

impl Topics {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let chosen = [
                self.list,
                self.describe,
                self.create,
                self.alter,
                self.delete,
            ];
            if chosen.into_iter().filter(|chosen| *chosen).count() != 1 {
                return Err(
                    "Command must include exactly one action: --list, --describe, --create, --alter or --delete".into(),
                );
            }
            if (self.create || self.alter || self.delete) && self.topic.is_none() {
                return Err("Missing required argument \"[topic]\"".into());
            }
            let cluster = self.connection.connect().await?;
            let done = match () {
                () if self.create => create(&cluster, self).await,
                () if self.list => list(&cluster, self).await,
                () if self.describe => describe(&cluster, self).await,
                () if self.alter => alter(&cluster, self).await,
                () => delete(&cluster, self).await,
            };
            if let Err(Failure(text)) = done {
                println!("Error while executing topic command : {text}");
                return Err(Failure(String::new()));
            }
            Ok(())
        })
    }
}

async fn create(cluster: &Cluster, options: &Topics) -> Result<(), Failure> {
    let name = options.topic.as_deref().unwrap_or_default();
    if options.partitions.is_some_and(|count| count < 1) {
        return Err("The partitions must be greater than 0".into());
    }
    if options.replication_factor.is_some_and(|count| count < 1) {
        return Err("The replication factor must be between 1 and 32767 inclusive".into());
    }
    if name.contains(['.', '_']) {
        println!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both."
        );
    }
    let configs = options
        .config
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok(CreatableTopicConfig {
                name: name.trim().into(),
                value: Some(value.trim().into()),
            }),
            None => Err(Failure(format!("Invalid topic config: {text}"))),
        })
        .collect::<Result<_, _>>()?;
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: options.partitions.unwrap_or(-1),
            replication_factor: options.replication_factor.unwrap_or(-1),
            configs,
            ..Default::default()
        }],
        timeout_ms: WITHIN.as_millis() as i32,
        ..Default::default()
    };
    let answer = cluster.call(&request).await?;
    for topic in answer.topics {
        let exists = topic.error_code == ErrorCode::TopicAlreadyExists.code();
        if topic.error_code == 0 {
            println!("Created topic {}.", topic.name);
        } else if !(exists && options.if_not_exists) {
            return Err(text(topic.error_code, topic.error_message.as_deref()).into());
        }
    }
    Ok(())
}

async fn list(cluster: &Cluster, options: &Topics) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    let names = topics.iter().map(|topic| topic.name.as_deref());
    let names: Vec<&str> = names.map(Option::unwrap_or_default).collect();
    // Like Kafka's tool, prints an empty line if there is no topic.
    println!("{}", names.join("\n"));
    Ok(())
}

/// Topics that `--topic` matches, sorted; all topics if the option is not given.
async fn chosen(
    cluster: &Cluster,
    options: &Topics,
) -> Result<Vec<MetadataResponseTopic>, Failure> {
    let wanted = options.topic.as_deref().map(pattern).transpose()?;
    let id: Option<Uuid> = match options.topic_id.as_deref() {
        Some(text) => Some(
            text.parse()
                .map_err(|_| format!("{text} is not an id of a topic"))?,
        ),
        None => None,
    };
    let mut topics = cluster.metadata(None).await?.topics;
    topics.retain(|topic| {
        let name = topic.name.as_deref().unwrap_or_default();
        let internal = INTERNAL.contains(&name) || topic.is_internal;
        !(internal && options.exclude_internal)
            && wanted.as_ref().is_none_or(|wanted| wanted.is_match(name))
            && id.is_none_or(|id| topic.topic_id == id)
    });
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// Regular expression for whole names, from alternatives separated by commas. Kafka uses Java's regular expressions; of these,
/// look-around and backreferences are not supported and are refused.
fn pattern(text: &str) -> Result<Regex, Failure> {
    let quoted = |letter| letter == '"' || letter == '\'';
    let alternatives = text
        .trim()
        .trim_matches(quoted)
        .replace(' ', "")
        .replace(',', "|");
    Regex::new(&format!("^(?:{alternatives})$"))
        .map_err(|_| format!("{text} is an invalid regex.").into())
}

fn missing(options: &Topics) -> Failure {
    if let Some(id) = &options.topic_id {
        return Failure(format!("TopicId '{id}' does not exist as expected"));
    }
    let name = options.topic.as_deref().unwrap_or_default();
    Failure(format!("Topic '{name}' does not exist as expected"))
}

async fn describe(cluster: &Cluster, options: &Topics) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() {
        if (options.topic.is_some() || options.topic_id.is_some()) && !options.if_exists {
            return Err(missing(options));
        }
        return Ok(());
    }
    let configs = overrides(cluster, &topics).await?;
    let only_partitions = options.under_replicated_partitions
        || options.unavailable_partitions
        || options.under_min_isr_partitions
        || options.at_min_isr_partitions;
    for topic in topics {
        let name = topic.name.as_deref().unwrap_or_default();
        let (said, min_isr) = match configs.get(name) {
            Some((said, min_isr)) => (said.as_str(), *min_isr),
            None => ("", 1),
        };
        let factor = topic
            .partitions
            .first()
            .map_or(0, |first| first.replica_nodes.len());
        if !only_partitions {
            println!(
                "Topic: {name}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {said}",
                topic.topic_id,
                topic.partitions.len()
            );
        }
        if options.topics_with_overrides {
            continue;
        }
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        for partition in partitions {
            let behind = partition.isr_nodes.len() < partition.replica_nodes.len();
            let shown = !only_partitions
                || options.under_replicated_partitions && behind
                || options.unavailable_partitions && partition.leader_id < 0
                || options.under_min_isr_partitions && partition.isr_nodes.len() < min_isr
                || options.at_min_isr_partitions && partition.isr_nodes.len() == min_isr;
            if !shown {
                continue;
            }
            let leader = if partition.leader_id < 0 {
                "none".to_owned()
            } else {
                partition.leader_id.to_string()
            };
            println!(
                "\tTopic: {name}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: \tLastKnownElr: ",
                partition.partition_index,
                joined(&partition.replica_nodes),
                joined(&partition.isr_nodes),
            );
        }
    }
    Ok(())
}

fn joined(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// Overrides of topics as `name=value,…`, and the value of `min.insync.replicas`.
async fn overrides(
    cluster: &Cluster,
    topics: &[MetadataResponseTopic],
) -> Result<BTreeMap<String, (String, usize)>, Failure> {
    let request = DescribeConfigsRequest {
        resources: topics
            .iter()
            .map(|topic| DescribeConfigsResource {
                resource_type: TOPIC_RESOURCE,
                resource_name: topic.name.clone().unwrap_or_default(),
                configuration_keys: None,
            })
            .collect(),
        ..Default::default()
    };
    let answer = cluster.call(&request).await?;
    let found = answer.results.into_iter().map(|result| {
        let said: Vec<String> = result
            .configs
            .iter()
            .filter(|config| {
                config.config_source != FROM_DEFAULT && config.config_source != FROM_FILE
            })
            .map(|config| {
                format!(
                    "{}={}",
                    config.name,
                    config.value.as_deref().unwrap_or_default()
                )
            })
            .collect();
        let min_isr = result.configs.iter();
        let min_isr = min_isr
            .filter(|config| &*config.name == "min.insync.replicas")
            .find_map(|config| config.value.as_deref()?.parse().ok());
        let name = result.resource_name.to_string();
        (name, (said.join(","), min_isr.unwrap_or(1)))
    });
    Ok(found.collect())
}

async fn alter(cluster: &Cluster, options: &Topics) -> Result<(), Failure> {
    if !options.config.is_empty() {
        return Err(
            "--config cannot be changed here; use kafka-configs --alter --entity-type topics"
                .into(),
        );
    }
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() && !options.if_exists {
        return Err(missing(options));
    }
    let Some(count) = options.partitions else {
        return Ok(());
    };
    let request = CreatePartitionsRequest {
        topics: topics
            .iter()
            .map(|topic| CreatePartitionsTopic {
                name: topic.name.clone().unwrap_or_default(),
                count,
                ..Default::default()
            })
            .collect(),
        timeout_ms: WITHIN.as_millis() as i32,
        ..Default::default()
    };
    for result in cluster.call(&request).await?.results {
        accepted(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

async fn delete(cluster: &Cluster, options: &Topics) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() {
        return if options.if_exists {
            Ok(())
        } else {
            Err(missing(options))
        };
    }
    let request = DeleteTopicsRequest {
        topic_names: topics
            .iter()
            .filter_map(|topic| topic.name.clone())
            .collect(),
        timeout_ms: WITHIN.as_millis() as i32,
        ..Default::default()
    };
    // Version 6 and later of DeleteTopics have another form for names.
    let answer = cluster.any.call_up_to(&request, 5, WITHIN).await?;
    for result in answer.responses {
        accepted(result.error_code, result.error_message.as_deref())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_by_regular_expressions() {
        let check = |text: &str, expected: &[&str]| {
            let found = pattern(text).unwrap();
            let names = ["orders", "orders-dlq", "payments", "p"];
            let chosen: Vec<&str> = names
                .into_iter()
                .filter(|name| found.is_match(name))
                .collect();
            assert_eq!(chosen, expected, "{text}");
        };
        check("orders", &["orders"]);
        check("orders.*", &["orders", "orders-dlq"]);
        check("orders|p", &["orders", "p"]);
        check("orders, payments", &["orders", "payments"]);
        assert!(pattern("(?!o).*").is_err());
    }
}
