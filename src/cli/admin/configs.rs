//! `kafka-configs`, for topics, brokers and groups. Kafka calls this `ConfigCommand`.

use std::process::ExitCode;

use super::client::{Cluster, Failure, WITHIN, run as run_work, text};
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Options, Takes, parse};
use crate::wire::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

const OPTIONS: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("command-config", Value),
    ("alter", Nothing),
    ("describe", Nothing),
    ("all", Nothing),
    ("entity-type", Value),
    ("entity-name", Value),
    ("entity-default", Nothing),
    ("add-config", Value),
    ("add-config-file", Value),
    ("delete-config", Value),
    ("topic", Value),
    ("broker", Value),
    ("broker-defaults", Nothing),
    ("group", Value),
    ("force", Nothing),
];

/// Kinds of resources: as the tool calls several and one of them, and their number on the wire.
const KINDS: &[(&str, &str, i8)] = &[
    ("topics", "topic", 2),
    ("brokers", "broker", 4),
    ("groups", "group", 32),
];
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

pub(super) fn run(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        if options.has("alter") == options.has("describe") {
            return Err("Command must include exactly one action: --describe, --alter".into());
        }
        let entity = entity(&options)?;
        let cluster = Cluster::connect(&options).await?;
        if options.has("alter") {
            alter(&cluster, &options, &entity).await
        } else {
            describe(&cluster, &options, &entity).await
        }
    })
}

fn entity(options: &Options) -> Result<Entity, Failure> {
    for (plural, singular, kind) in KINDS {
        let short = options.value(singular);
        let defaults = *singular == "broker" && options.has("broker-defaults");
        let named = options
            .value("entity-type")
            .is_some_and(|given| given == *plural);
        if short.is_none() && !defaults && !named {
            continue;
        }
        let name = if defaults || options.has("entity-default") {
            Some(String::new())
        } else {
            short
                .or_else(|| options.value("entity-name"))
                .map(str::to_owned)
        };
        return Ok(Entity {
            singular,
            kind: *kind,
            name,
        });
    }
    Err(match options.value("entity-type") {
        Some(other) => {
            format!("--entity-type {other} is not supported yet: topics, brokers and groups are")
                .into()
        }
        None => "At least one entity type must be specified".into(),
    })
}

async fn alter(cluster: &Cluster, options: &Options, entity: &Entity) -> Result<(), Failure> {
    let Some(name) = &entity.name else {
        return Err("an entity-name or entity-default must be specified with --alter".into());
    };
    let mut pairs = Vec::new();
    for text in options.values("add-config") {
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
    if let Some(path) = options.value("add-config-file") {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {error}"))?;
        for property in crate::config::parse::properties(&text) {
            pairs.push((property.key, Some(property.value)));
        }
    }
    for text in options.values("delete-config") {
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
            return Err(format!(
                "Error while executing config command with args '{}'\n{}",
                "--alter",
                text(answer.error_code, answer.error_message.as_deref())
            )
            .into());
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

async fn describe(cluster: &Cluster, options: &Options, entity: &Entity) -> Result<(), Failure> {
    let names: Vec<String> = match &entity.name {
        Some(name) => vec![name.clone()],
        None => {
            let metadata = cluster.metadata(None).await?;
            match entity.singular {
                "topic" => metadata
                    .topics
                    .iter()
                    .filter_map(|topic| topic.name.as_ref().map(ToString::to_string))
                    .collect(),
                "broker" => metadata
                    .brokers
                    .iter()
                    .map(|broker| broker.node_id.to_string())
                    .chain([String::new()])
                    .collect(),
                _ => Vec::new(),
            }
        }
    };
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
        let all = options.has("all");
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
