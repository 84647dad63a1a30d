//! `kafka-topics`. Kafka calls this `TopicCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use regex::Regex;

use super::client::{Cluster, Failure, WITHIN, run as run_work, text};
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Options, Takes, parse};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::wire::message::delete_topics::DeleteTopicsRequest;
use crate::wire::message::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use crate::wire::message::metadata::MetadataResponseTopic;

const OPTIONS: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("command-config", Value),
    ("list", Nothing),
    ("create", Nothing),
    ("delete", Nothing),
    ("alter", Nothing),
    ("describe", Nothing),
    ("topic", Value),
    ("partitions", Value),
    ("replication-factor", Value),
    ("config", Value),
    ("if-exists", Nothing),
    ("if-not-exists", Nothing),
    ("exclude-internal", Nothing),
    ("under-replicated-partitions", Nothing),
    ("unavailable-partitions", Nothing),
    ("under-min-isr-partitions", Nothing),
    ("at-min-isr-partitions", Nothing),
    ("topics-with-overrides", Nothing),
    // ZooKeeper's address names no broker; without another one it is an error.
    ("zookeeper", Value),
];

const ACTIONS: &[&str] = &["list", "describe", "create", "alter", "delete"];
/// The kind of resource that a topic is, in DescribeConfigs.
pub(super) const TOPIC_RESOURCE: i8 = 2;
/// Where a value of DescribeConfigs comes from when nobody set it.
const FROM_DEFAULT: i8 = 5;
/// From the broker's own file: no override of the topic either.
const FROM_FILE: i8 = 4;
const INTERNAL: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

pub(super) fn run(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let mut actions = ACTIONS.iter().filter(|action| options.has(action));
        let (Some(action), None) = (actions.next(), actions.next()) else {
            return Err(
                "Command must include exactly one action: --list, --describe, --create, --alter or --delete".into(),
            );
        };
        if *action == "create" || *action == "alter" || *action == "delete" {
            options.required("topic")?;
        }
        let cluster = Cluster::connect(&options).await?;
        let done = match *action {
            "create" => create(&cluster, &options).await,
            "list" => list(&cluster, &options).await,
            "describe" => describe(&cluster, &options).await,
            "alter" => alter(&cluster, &options).await,
            _ => delete(&cluster, &options).await,
        };
        if let Err(Failure(text)) = done {
            println!("Error while executing topic command : {text}");
            return Err(Failure(String::new()));
        }
        Ok(())
    })
}

async fn create(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    let name = options.required("topic")?;
    if name.contains(['.', '_']) {
        println!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both."
        );
    }
    let configs = options
        .values("config")
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
            num_partitions: options.number("partitions")?.unwrap_or(-1),
            replication_factor: options.number("replication-factor")?.unwrap_or(-1),
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
        } else if !(exists && options.has("if-not-exists")) {
            return Err(text(topic.error_code, topic.error_message.as_deref()).into());
        }
    }
    Ok(())
}

async fn list(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    let names = topics.iter().map(|topic| topic.name.as_deref());
    let names: Vec<&str> = names.map(Option::unwrap_or_default).collect();
    // An empty line where there is none, as Kafka's tool does.
    println!("{}", names.join("\n"));
    Ok(())
}

/// Topics that `--topic` names, sorted; all of them without it.
async fn chosen(
    cluster: &Cluster,
    options: &Options,
) -> Result<Vec<MetadataResponseTopic>, Failure> {
    let wanted = options.value("topic").map(pattern).transpose()?;
    let mut topics = cluster.metadata(None).await?.topics;
    topics.retain(|topic| {
        let name = topic.name.as_deref().unwrap_or_default();
        let internal = INTERNAL.contains(&name) || topic.is_internal;
        !(internal && options.has("exclude-internal"))
            && wanted.as_ref().is_none_or(|wanted| wanted.is_match(name))
    });
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// Whole names by regular expressions with commas between them. Kafka's have what Java's have; of that, these lack the
/// looking around and back, which are refused.
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

fn missing(options: &Options) -> Failure {
    let name = options.value("topic").unwrap_or_default();
    Failure(format!("Topic '{name}' does not exist as expected"))
}

async fn describe(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() {
        if options.has("topic") && !options.has("if-exists") {
            return Err(missing(options));
        }
        return Ok(());
    }
    let configs = overrides(cluster, &topics).await?;
    let only_partitions = [
        "under-replicated-partitions",
        "unavailable-partitions",
        "under-min-isr-partitions",
        "at-min-isr-partitions",
    ]
    .iter()
    .any(|name| options.has(name));
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
        if options.has("topics-with-overrides") {
            continue;
        }
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        for partition in partitions {
            let behind = partition.isr_nodes.len() < partition.replica_nodes.len();
            let shown = !only_partitions
                || options.has("under-replicated-partitions") && behind
                || options.has("unavailable-partitions") && partition.leader_id < 0
                || options.has("under-min-isr-partitions") && partition.isr_nodes.len() < min_isr
                || options.has("at-min-isr-partitions") && partition.isr_nodes.len() == min_isr;
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

/// What topics have that is not a default, as `name=value,…`, and how many replicas each wants in sync.
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

async fn alter(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    if options.has("config") {
        return Err(
            "--config cannot be changed here; use kafka-configs --alter --entity-type topics"
                .into(),
        );
    }
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() && !options.has("if-exists") {
        return Err(missing(options));
    }
    let Some(count) = options.number("partitions")? else {
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
        if result.error_code != 0 {
            return Err(text(result.error_code, result.error_message.as_deref()).into());
        }
    }
    Ok(())
}

async fn delete(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    let topics = chosen(cluster, options).await?;
    if topics.is_empty() {
        return if options.has("if-exists") {
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
    // Names alone: version 6 has another form for them.
    let answer = cluster.any.call_up_to(&request, 5, WITHIN).await?;
    for result in answer.responses {
        if result.error_code != 0 {
            return Err(text(result.error_code, result.error_message.as_deref()).into());
        }
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
