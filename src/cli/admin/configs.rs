//! `kafka-configs`, for topics, brokers and groups. Kafka calls this `ConfigCommand`.

use std::process::ExitCode;

use clap::Args;

use super::client::{Cluster, Connection, Failure, WITHIN, run as run_work, text};
use crate::wire::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::message::list_groups::ListGroupsRequest;

/// Describe and change settings of topics, brokers and groups
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula configs --bootstrap-server localhost:9092 --describe --topic orders
  monedula configs --bootstrap-server localhost:9092 --alter --topic orders --add-config retention.ms=60000")]
#[group(skip)]
pub struct Configs {
    #[command(flatten)]
    connection: Connection,
    /// Print settings
    #[arg(long, help_heading = ACTION)]
    describe: bool,
    /// Change settings
    #[arg(long, help_heading = ACTION)]
    alter: bool,
    /// Describe every setting, not only those that somebody has set
    #[arg(long)]
    all: bool,
    /// topics, brokers, groups or client-metrics
    #[arg(long, value_name = "KIND")]
    entity_type: Option<String>,
    /// The topic, broker or group; of all of the kind without it
    #[arg(long, value_name = "NAME")]
    entity_name: Option<String>,
    /// What holds for every entity without a setting of its own
    #[arg(long)]
    entity_default: bool,
    /// Settings to change; a value with commas stands in brackets
    #[arg(long, value_name = "NAME=VALUE,...")]
    add_config: Vec<String>,
    /// A file of settings to change
    #[arg(long, value_name = "FILE")]
    add_config_file: Option<String>,
    /// Settings to set back to their defaults
    #[arg(long, value_name = "NAME,...")]
    delete_config: Vec<String>,
    /// Short for --entity-type topics --entity-name NAME
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Short for --entity-type brokers --entity-name ID
    #[arg(long, value_name = "ID")]
    broker: Option<String>,
    /// Short for --entity-type brokers --entity-default
    #[arg(long)]
    broker_defaults: bool,
    /// Short for --entity-type groups --entity-name NAME
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Short for --entity-type client-metrics --entity-name NAME
    #[arg(long, value_name = "NAME")]
    client_metrics: Option<String>,
    /// Taken for the sake of Kafka's tool; nothing is ever asked
    #[arg(long, hide = true)]
    force: bool,
    /// The arguments as they were typed, for messages
    #[arg(skip)]
    pub typed: String,
}

const ACTION: &str = "Actions";

/// Kinds of resources: as the tool calls several and one of them, and their number on the wire.
const KINDS: &[(&str, &str, i8)] = &[
    ("topics", "topic", TOPIC),
    ("brokers", "broker", BROKER),
    ("groups", "group", GROUP),
    ("client-metrics", "client-metric", CLIENT_METRICS),
];
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// Names of where a value comes from, by their number on the wire.
const SOURCES: &[&str] = &[
    "UNKNOWN",
    "DYNAMIC_TOPIC_CONFIG",
    "DYNAMIC_BROKER_CONFIG",
    "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "STATIC_BROKER_CONFIG",
    "DEFAULT_CONFIG",
    "DYNAMIC_BROKER_LOGGER_CONFIG",
    "DYNAMIC_CLIENT_METRICS_CONFIG",
    "DYNAMIC_GROUP_CONFIG",
];

struct Entity {
    singular: &'static str,
    kind: i8,
    /// Empty for the default of all brokers.
    name: Option<String>,
}

impl Configs {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            if self.alter == self.describe {
                return Err("Command must include exactly one action: --describe, --alter".into());
            }
            let entity = entity(self)?;
            let cluster = self.connection.connect().await?;
            let done = if self.alter {
                alter(&cluster, self, &entity).await
            } else {
                describe(&cluster, self, &entity).await
            };
            done.map_err(|Failure(text)| {
                let typed = &self.typed;
                Failure(format!(
                    "Error while executing config command with args '{typed}'\n{text}"
                ))
            })
        })
    }

    /// The name that the short option of a kind gives.
    fn short(&self, kind: i8) -> Option<&str> {
        let given = match kind {
            TOPIC => &self.topic,
            BROKER => &self.broker,
            CLIENT_METRICS => &self.client_metrics,
            _ => &self.group,
        };
        given.as_deref()
    }
}

fn entity(options: &Configs) -> Result<Entity, Failure> {
    for (plural, singular, kind) in KINDS {
        let short = options.short(*kind);
        let defaults = *kind == BROKER && options.broker_defaults;
        let named = options
            .entity_type
            .as_deref()
            .is_some_and(|given| given == *plural);
        if short.is_none() && !defaults && !named {
            continue;
        }
        let name = if defaults || options.entity_default {
            Some(String::new())
        } else {
            short.or(options.entity_name.as_deref()).map(str::to_owned)
        };
        return Ok(Entity {
            singular,
            kind: *kind,
            name,
        });
    }
    Err(match options.entity_type.as_deref() {
        Some(other) => {
            let known: Vec<&str> = KINDS.iter().map(|(plural, ..)| *plural).collect();
            format!(
                "--entity-type {other} is not supported; {} are",
                known.join(", ")
            )
            .into()
        }
        None => "At least one entity type must be specified".into(),
    })
}

async fn alter(cluster: &Cluster, options: &Configs, entity: &Entity) -> Result<(), Failure> {
    let Some(name) = &entity.name else {
        return Err("an entity-name or entity-default must be specified with --alter".into());
    };
    let mut pairs = Vec::new();
    for text in &options.add_config {
        for part in split(text) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("Invalid entity config: all configs to be added must be in the format \"key=val\", not {part}"))?;
            let value = value
                .strip_prefix('[')
                .and_then(|value| value.strip_suffix(']'))
                .unwrap_or(value);
            pairs.push((name.trim().to_owned(), Some(value.to_owned())));
        }
    }
    if let Some(path) = &options.add_config_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        for property in crate::config::parse::properties(&text) {
            pairs.push((property.key, Some(property.value)));
        }
    }
    for text in &options.delete_config {
        for name in text.split(',') {
            pairs.push((name.trim().to_owned(), None));
        }
    }
    if pairs.is_empty() {
        return Err("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".into());
    }
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: entity.kind,
            resource_name: name.as_str().into(),
            configs: pairs
                .into_iter()
                .map(|(name, value)| AlterableConfig {
                    name: name.into(),
                    config_operation: if value.is_some() { SET } else { DELETE },
                    value: value.map(Into::into),
                })
                .collect(),
        }],
        ..Default::default()
    };
    for answer in cluster.call(&request).await?.responses {
        if answer.error_code != 0 {
            return Err(text(answer.error_code, answer.error_message.as_deref()).into());
        }
    }
    if name.is_empty() {
        println!(
            "Completed updating default config for {}s in the cluster.",
            entity.singular
        );
    } else {
        println!("Completed updating config for {} {name}.", entity.singular);
    }
    Ok(())
}

/// Sets settings of some entities back.
pub(super) async fn clear(
    cluster: &Cluster,
    kind: i8,
    entities: &[String],
    settings: &[&str],
) -> Result<(), Failure> {
    let request = IncrementalAlterConfigsRequest {
        resources: entities
            .iter()
            .map(|name| AlterConfigsResource {
                resource_type: kind,
                resource_name: name.as_str().into(),
                configs: settings
                    .iter()
                    .map(|setting| AlterableConfig {
                        name: (*setting).into(),
                        config_operation: DELETE,
                        value: None,
                    })
                    .collect(),
            })
            .collect(),
        ..Default::default()
    };
    let answers = cluster.call(&request).await?.responses;
    match answers.iter().find(|answer| answer.error_code != 0) {
        None => Ok(()),
        Some(refused) => Err(text(refused.error_code, refused.error_message.as_deref()).into()),
    }
}

/// Splits at commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts.retain(|part| !part.trim().is_empty());
    parts
}

async fn describe(cluster: &Cluster, options: &Configs, entity: &Entity) -> Result<(), Failure> {
    let present = present(cluster, entity.kind).await?;
    let names: Vec<String> = match &entity.name {
        Some(name) => {
            // Kafka's tool says so too, and ends well.
            if !options.all && !name.is_empty() && !present.contains(name) {
                println!(
                    "The {} '{name}' doesn't exist and doesn't have dynamic config.",
                    entity.singular
                );
                return Ok(());
            }
            vec![name.clone()]
        }
        None if entity.kind == BROKER => present.into_iter().chain([String::new()]).collect(),
        None => present,
    };
    if names.is_empty() {
        return Ok(());
    }
    let request = DescribeConfigsRequest {
        resources: names
            .iter()
            .map(|name| DescribeConfigsResource {
                resource_type: entity.kind,
                resource_name: name.as_str().into(),
                configuration_keys: None,
            })
            .collect(),
        include_synonyms: true,
        ..Default::default()
    };
    let answer = cluster.any.call(&request, WITHIN).await?;
    for result in answer.results {
        if result.error_code != 0 {
            return Err(text(result.error_code, result.error_message.as_deref()).into());
        }
        let kind = entity.singular;
        let all = options.all;
        let title = match (result.resource_name.is_empty(), all) {
            (true, _) => format!("Default configs for {kind}s in the cluster are:"),
            (false, true) => format!("All configs for {kind} {} are:", result.resource_name),
            (false, false) => format!("Dynamic configs for {kind} {} are:", result.resource_name),
        };
        println!("{title}");
        let mut configs = result.configs;
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        for config in configs {
            if all || config.config_source == own_source(entity, &result.resource_name) {
                println!("  {}", shown(&config));
            }
        }
    }
    Ok(())
}

/// What there is of a kind. There are no metrics of clients.
async fn present(cluster: &Cluster, kind: i8) -> Result<Vec<String>, Failure> {
    let names = match kind {
        TOPIC => cluster
            .metadata(None)
            .await?
            .topics
            .iter()
            .filter_map(|topic| topic.name.as_ref().map(ToString::to_string))
            .collect(),
        BROKER => cluster
            .metadata(Some(&[]))
            .await?
            .brokers
            .iter()
            .map(|broker| broker.node_id.to_string())
            .collect(),
        GROUP => cluster
            .call(&ListGroupsRequest::default())
            .await?
            .groups
            .iter()
            .map(|group| group.group_id.to_string())
            .collect(),
        _ => Vec::new(),
    };
    Ok(names)
}

/// The source of values that somebody set for this very resource.
fn own_source(entity: &Entity, name: &str) -> i8 {
    match (entity.singular, name.is_empty()) {
        ("topic", _) => 1,
        ("broker", false) => 2,
        ("broker", true) => 3,
        _ => 8,
    }
}

fn shown(config: &DescribeConfigsResourceResult) -> String {
    let value = |value: Option<&str>| value.unwrap_or("null").to_owned();
    let synonyms: Vec<String> = config
        .synonyms
        .iter()
        .map(|synonym| {
            let source = usize::try_from(synonym.source)
                .ok()
                .and_then(|source| SOURCES.get(source))
                .unwrap_or(&"UNKNOWN");
            format!(
                "{source}:{}={}",
                synonym.name,
                value(synonym.value.as_deref())
            )
        })
        .collect();
    format!(
        "{}={} sensitive={} synonyms={{{}}}",
        config.name,
        value(config.value.as_deref()),
        config.is_sensitive,
        synonyms.join(", ")
    )
}
