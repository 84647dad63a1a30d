//! `kafka-configs`: settings, quotas and credentials. Kafka's `ConfigCommand`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{ArgAction, ArgMatches, Args};

use super::client::{Cluster, Connection, Failure, WITHIN, accepted, run as run_work};
use super::quotas::{self, Alteration};
use crate::base::plain::Plain;
use crate::peer::connection::CallError;
use crate::wire::message::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResult,
};
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::message::list_config_resources::ListConfigResourcesRequest;
use crate::wire::message::list_groups::ListGroupsRequest;

/// Describe and change settings of topics, brokers and groups, quotas, and SCRAM users
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula configs --bootstrap-server localhost:9092 --describe --topic orders
  monedula configs --bootstrap-server localhost:9092 --alter --topic orders --add-config retention.ms=60000
  monedula configs --bootstrap-server localhost:9092 --alter --user ann --add-config producer_byte_rate=1048576
  monedula configs --bootstrap-server localhost:9092 --alter --user ann --add-config 'SCRAM-SHA-256=[password=secret]'")]
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
    /// Describe every setting, not only those with a value of their own
    #[arg(long)]
    all: bool,
    /// topics, brokers, broker-loggers, groups, client-metrics, users, clients or ips; users and clients may be given together
    #[arg(long, value_name = "KIND")]
    entity_type: Vec<String>,
    /// The entity of the kind; all of the kind without a name. With two kinds, a name for each, in their order
    #[arg(long, value_name = "NAME")]
    entity_name: Vec<String>,
    /// The entities of the kind that have nothing of their own
    #[arg(long, num_args = 0, default_missing_value = "true", action = ArgAction::Append)]
    entity_default: Vec<bool>,
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
    /// Short for --entity-type clients --entity-name ID
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Short for --entity-type clients --entity-default
    #[arg(long)]
    client_defaults: bool,
    /// Short for --entity-type users --entity-name NAME
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Short for --entity-type users --entity-default
    #[arg(long)]
    user_defaults: bool,
    /// Short for --entity-type brokers --entity-name ID
    #[arg(long, value_name = "ID")]
    broker: Option<String>,
    /// Short for --entity-type brokers --entity-default
    #[arg(long)]
    broker_defaults: bool,
    /// Short for --entity-type broker-loggers --entity-name ID
    #[arg(long, value_name = "ID")]
    broker_logger: Option<String>,
    /// Short for --entity-type ips --entity-name ADDRESS
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Short for --entity-type ips --entity-default
    #[arg(long)]
    ip_defaults: bool,
    /// Short for --entity-type client-metrics --entity-name NAME
    #[arg(long, value_name = "NAME")]
    client_metrics: Option<String>,
    /// Short for --entity-type groups --entity-name NAME
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Taken for the sake of Kafka's tool; nothing is ever asked
    #[arg(long, hide = true)]
    force: bool,
    /// The arguments as they were typed, for messages
    #[arg(skip)]
    typed: String,
    /// What `--entity-name` and `--entity-default` give, in the order in which they were typed; empty for the default
    #[arg(skip)]
    names: Vec<String>,
}

const ACTION: &str = "Actions";

/// A kind of entity.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Plural name of the kind, as in `--entity-type`.
    pub(super) plural: &'static str,
    /// Number of the resource type in the protocol, for kinds that are resources.
    resource: Option<i8>,
}

impl Kind {
    /// Singular name of the kind, as in messages.
    fn singular(&self) -> &'static str {
        self.plural.strip_suffix('s').unwrap_or(self.plural)
    }
}

const KINDS: &[Kind] = &[
    kind("topics", Some(TOPIC)),
    kind(quotas::CLIENTS, None),
    kind(quotas::USERS, None),
    kind("brokers", Some(BROKER)),
    kind("broker-loggers", Some(BROKER_LOGGER)),
    kind(quotas::IPS, None),
    kind("client-metrics", Some(CLIENT_METRICS)),
    kind("groups", Some(GROUP)),
];
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;

const fn kind(plural: &'static str, resource: Option<i8>) -> Kind {
    Kind { plural, resource }
}

/// Names of the sources of values, by their number in the protocol.
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

/// An entity that the command applies to.
#[derive(Debug)]
pub(super) struct Entity {
    pub(super) kind: &'static Kind,
    /// Name of the entity: `None` for all entities of the kind, empty for the kind's default.
    pub(super) name: Option<String>,
}

/// Name of a setting, quota or credential, and its new value; `None` deletes it.
pub(super) type Change = (String, Option<String>);

impl Configs {
    /// Keeps information that clap's structures lose: the arguments as typed, and the order of options.
    pub(in crate::cli) fn remember(&mut self, typed: &[String], matches: &ArgMatches) {
        self.typed = without_passwords(typed);
        let places = |id: &str| matches.indices_of(id).into_iter().flatten();
        let names = places("entity_name").zip(self.entity_name.iter().cloned());
        let defaults = places("entity_default").map(|place| (place, String::new()));
        let mut all: Vec<(usize, String)> = names.chain(defaults).collect();
        all.sort();
        self.names = all.into_iter().map(|(_, name)| name).collect();
    }

    pub fn run(&self) -> ExitCode {
        run_work(async {
            if self.alter == self.describe {
                return Err("Command must include exactly one action: --describe, --alter".into());
            }
            let entities = entities(self)?;
            let Some(entity) = entities.first() else {
                return Err("At least one entity type must be specified".into());
            };
            let of_quotas = entity.kind.resource.is_none();
            let work = match (self.alter, of_quotas) {
                (true, true) => match quotas::alteration(&entities, changes(self)?)? {
                    Alteration::Quotas(changes) => Work::AlterQuotas(changes),
                    Alteration::Credentials(credentials) => Work::AlterCredentials(credentials),
                },
                (true, false) => Work::Alter(changes(self)?),
                (false, true) => Work::DescribeQuotas,
                (false, false) => Work::Describe,
            };
            let cluster = self.connection.connect().await?;
            let done = match work {
                Work::Alter(changes) => alter(&cluster, entity, changes).await,
                Work::AlterQuotas(changes) => {
                    quotas::alter_quotas(&cluster, &entities, changes).await
                }
                Work::AlterCredentials(credentials) => {
                    quotas::alter_credentials(&cluster, &entities, credentials).await
                }
                Work::Describe => describe(&cluster, self, entity).await,
                Work::DescribeQuotas => quotas::describe(&cluster, &entities)
                    .await
                    .map(|lines| lines.iter().for_each(|line| println!("{line}"))),
            };
            done.map_err(|Failure(text)| {
                let typed = &self.typed;
                Failure(format!(
                    "Error while executing config command with args '{typed}'\n{text}"
                ))
            })?;
            if self.alter {
                match entity.name.as_deref().unwrap_or_default() {
                    "" => println!(
                        "Completed updating default config for {} in the cluster.",
                        entity.kind.plural
                    ),
                    name => println!(
                        "Completed updating config for {} {name}.",
                        entity.kind.singular()
                    ),
                }
            }
            Ok(())
        })
    }

    /// Kinds and names that short options give, in the order of Kafka's tool; an empty name is the default.
    fn shorts(&self) -> Vec<(&'static str, String)> {
        let named = [
            ("topics", &self.topic),
            (quotas::CLIENTS, &self.client),
            (quotas::USERS, &self.user),
            ("brokers", &self.broker),
            ("broker-loggers", &self.broker_logger),
            (quotas::IPS, &self.ip),
            ("client-metrics", &self.client_metrics),
            ("groups", &self.group),
        ];
        let defaults = [
            (quotas::CLIENTS, self.client_defaults),
            (quotas::USERS, self.user_defaults),
            ("brokers", self.broker_defaults),
            (quotas::IPS, self.ip_defaults),
        ];
        let named = named.into_iter();
        let named = named.filter_map(|(kind, name)| Some((kind, name.clone()?)));
        let defaults = defaults.into_iter().filter(|(_, given)| *given);
        named
            .chain(defaults.map(|(kind, _)| (kind, String::new())))
            .collect()
    }
}

/// Work that the options ask for.
enum Work {
    Alter(Vec<Change>),
    AlterQuotas(Vec<Change>),
    AlterCredentials(quotas::Credentials),
    Describe,
    DescribeQuotas,
}

/// Kinds that `--entity-default` may be used with.
const WITH_DEFAULTS: &[&str] = &[quotas::USERS, quotas::CLIENTS, quotas::IPS, "brokers"];

/// The entities that the options name.
fn entities(options: &Configs) -> Result<Vec<Entity>, Failure> {
    let shorts = options.shorts();
    let mut kinds: Vec<&str> = options.entity_type.iter().map(String::as_str).collect();
    kinds.extend(shorts.iter().map(|(kind, _)| *kind));
    let mut names = options.names.clone();
    names.extend(shorts.iter().map(|(_, name)| name.clone()));

    let mut seen = BTreeSet::new();
    if let Some(twice) = kinds.iter().find(|kind| !seen.insert(**kind)) {
        return Err(format!("Duplicate entity type(s) specified: {twice}").into());
    }
    let mut found = Vec::new();
    for name in &kinds {
        let kind = KINDS.iter().find(|kind| kind.plural == *name);
        let known = || KINDS.iter().map(|kind| kind.plural).collect::<Vec<_>>();
        found.push(kind.ok_or_else(|| {
            let known = known().join(", ");
            format!("Invalid entity type {name}, the entity type must be one of {known}")
        })?);
    }
    if kinds.is_empty() {
        return Err("At least one entity type must be specified".into());
    }
    if kinds.len() > 1 && seen != BTreeSet::from([quotas::USERS, quotas::CLIENTS]) {
        return Err("Only 'users' and 'clients' entity types may be specified together".into());
    }
    let has_long = !options.entity_type.is_empty() || !options.names.is_empty();
    if has_long && !shorts.is_empty() {
        return Err(
            "--entity-type, --entity-name and --entity-default cannot be used with --topic, --user and the like"
                .into(),
        );
    }
    if names.len() > kinds.len() {
        return Err("More entity names specified than entity types".into());
    }
    if options.alter && names.len() < kinds.len() {
        return Err("An entity name must be specified for every entity type".into());
    }
    for (kind, name) in found.iter().zip(&names) {
        let of_broker = matches!(kind.resource, Some(BROKER | BROKER_LOGGER));
        if of_broker && !name.is_empty() && name.parse::<i32>().is_err() {
            return Err(format!(
                "The entity name for {} must be a valid integer broker id, but it is: {name}",
                kind.plural
            )
            .into());
        }
        if name.is_empty() && !WITH_DEFAULTS.contains(&kind.plural) {
            return Err(format!(
                "{} have no defaults: name one with --entity-name",
                kind.plural
            )
            .into());
        }
    }
    let mut names = names.into_iter();
    Ok(found
        .into_iter()
        .map(|kind| Entity {
            kind,
            name: names.next(),
        })
        .collect())
}

/// The changes in `--add-config`, `--add-config-file` and `--delete-config`.
fn changes(options: &Configs) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for text in &options.add_config {
        for part in split(text) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("Invalid entity config: all configs to be added must be in the format \"key=val\" or \"key=[val1,val2]\", not {part}"))?;
            let value = value
                .trim()
                .strip_prefix('[')
                .and_then(|value| value.strip_suffix(']'))
                .unwrap_or(value);
            changes.push((name.trim().to_owned(), Some(value.trim().to_owned())));
        }
    }
    if let Some(path) = &options.add_config_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {path}: {}", Plain(&error)))?;
        for property in crate::config::parse::properties(&text) {
            changes.push((property.key, Some(property.value)));
        }
    }
    for text in &options.delete_config {
        for name in text.split(',') {
            changes.push((name.trim().to_owned(), None));
        }
    }
    if changes.is_empty() {
        return Err("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".into());
    }
    Ok(changes)
}

/// A command line for messages: in each argument the text after `password=` is hidden.
fn without_passwords(typed: &[String]) -> String {
    const MARK: &str = "password=";
    let shown = typed.iter().map(|word| match word.split_once(MARK) {
        Some((before, _)) => format!("{before}{MARK}[hidden]"),
        None => word.clone(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Changes settings of one resource.
async fn alter(cluster: &Cluster, entity: &Entity, changes: Vec<Change>) -> Result<(), Failure> {
    let (Some(name), Some(kind)) = (&entity.name, entity.kind.resource) else {
        return Err("An entity name must be specified for every entity type".into());
    };
    if kind == BROKER_LOGGER {
        let loggers = described(cluster, kind, std::slice::from_ref(name), false).await?;
        let known = |name: &str| {
            let mut loggers = loggers.iter().flat_map(|result| &result.configs);
            loggers.any(|logger| *logger.name == *name)
        };
        let names = changes.iter().map(|(name, _)| name.as_str());
        let unknown: Vec<&str> = names.filter(|name| !known(name)).collect();
        if !unknown.is_empty() {
            return Err(format!("Invalid broker logger(s): {}", unknown.join(",")).into());
        }
    }
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.as_str().into(),
            configs: changes
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
    let answers = cluster.call(&request).await?.responses;
    answers
        .iter()
        .try_for_each(|answer| accepted(answer.error_code, answer.error_message.as_deref()))
}

/// Deletes settings of some entities.
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
    answers
        .iter()
        .try_for_each(|answer| accepted(answer.error_code, answer.error_message.as_deref()))
}

/// Splits a text at commas outside of brackets.
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
    let Some(kind) = entity.kind.resource else {
        return Ok(());
    };
    let singular = entity.kind.singular();
    if kind == BROKER_LOGGER && entity.name.is_none() {
        return Err("An entity name must be specified with --describe of broker-loggers".into());
    }
    let present = present(cluster, kind).await?;
    let names: Vec<String> = match &entity.name {
        Some(name) => {
            // Kafka's tool prints the same message and succeeds.
            if !options.all && !name.is_empty() && !present.contains(name) {
                println!("The {singular} '{name}' doesn't exist and doesn't have dynamic config.");
                return Ok(());
            }
            vec![name.clone()]
        }
        None if kind == BROKER => present.into_iter().chain([String::new()]).collect(),
        None => present.into_iter().collect(),
    };
    if names.is_empty() {
        return Ok(());
    }
    for result in described(cluster, kind, &names, true).await? {
        let all = options.all;
        let title = match (result.resource_name.is_empty(), all) {
            (true, _) => format!(
                "Default configs for {} in the cluster are:",
                entity.kind.plural
            ),
            (false, true) => format!("All configs for {singular} {} are:", result.resource_name),
            (false, false) => {
                format!(
                    "Dynamic configs for {singular} {} are:",
                    result.resource_name
                )
            }
        };
        println!("{title}");
        let mut configs = result.configs;
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        for config in configs {
            if all || config.config_source == own_source(kind, &result.resource_name) {
                println!("  {}", shown(&config));
            }
        }
    }
    Ok(())
}

/// Settings of resources of a kind.
async fn described(
    cluster: &Cluster,
    kind: i8,
    names: &[String],
    include_synonyms: bool,
) -> Result<Vec<DescribeConfigsResult>, Failure> {
    let request = DescribeConfigsRequest {
        resources: names
            .iter()
            .map(|name| DescribeConfigsResource {
                resource_type: kind,
                resource_name: name.as_str().into(),
                configuration_keys: None,
            })
            .collect(),
        include_synonyms,
        ..Default::default()
    };
    let results = cluster.any.call(&request, WITHIN).await?.results;
    for result in &results {
        accepted(result.error_code, result.error_message.as_deref())?;
    }
    Ok(results)
}

/// Names of the existing entities of a kind. For groups and client metrics this includes names that only have settings.
async fn present(cluster: &Cluster, kind: i8) -> Result<BTreeSet<String>, Failure> {
    let mut names: BTreeSet<String> = match kind {
        TOPIC => cluster
            .metadata(None)
            .await?
            .topics
            .iter()
            .filter_map(|topic| topic.name.as_ref().map(ToString::to_string))
            .collect(),
        BROKER | BROKER_LOGGER => cluster
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
        _ => BTreeSet::new(),
    };
    if matches!(kind, GROUP | CLIENT_METRICS) {
        let request = ListConfigResourcesRequest {
            resource_types: vec![kind],
        };
        match cluster.any.call(&request, WITHIN).await {
            Ok(answer) => {
                let resources = answer.config_resources.into_iter();
                names.extend(resources.map(|resource| resource.resource_name.to_string()));
            }
            // Brokers before 4.1 do not support the request.
            Err(CallError::NoVersion { .. } | CallError::Encode(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}

/// Number of the source of values that are set for this resource itself.
fn own_source(kind: i8, name: &str) -> i8 {
    match (kind, name.is_empty()) {
        (TOPIC, _) => 1,
        (BROKER, false) => 2,
        (BROKER, true) => 3,
        (BROKER_LOGGER, _) => 6,
        (CLIENT_METRICS, _) => 7,
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

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    /// Entities from text: `kind=name kind`, with an empty name for the default.
    pub(in crate::cli::admin) fn named(text: &str) -> Vec<Entity> {
        let entities = text.split(' ').map(|part| {
            let (plural, name) = match part.split_once('=') {
                Some((plural, name)) => (plural, Some(name.to_owned())),
                None => (part, None),
            };
            let kind = KINDS.iter().find(|kind| kind.plural == plural).unwrap();
            Entity { kind, name }
        });
        entities.collect()
    }

    /// Changes from text: `name=value`, or `-name` to delete, separated by commas. Only values of credentials may have commas.
    pub(in crate::cli::admin) fn split_changes(text: &str) -> Vec<Change> {
        let pairs = match text.starts_with("SCRAM") && !text.contains("byte_rate") {
            true => vec![text],
            false => text.split(',').collect(),
        };
        let changes = pairs.into_iter().map(|pair| match pair.strip_prefix('-') {
            Some(name) => (name.to_owned(), None),
            None => {
                let (name, value) = pair.split_once('=').unwrap();
                (name.to_owned(), Some(value.to_owned()))
            }
        });
        changes.collect()
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        configs: Configs,
    }

    /// The entities of a command line in the form that [`named`] reads, or the error.
    fn told(line: &str) -> String {
        let words = std::iter::once("configs").chain(line.split(' '));
        let command = <Line as clap::CommandFactory>::command().args_override_self(true);
        let matches = command.try_get_matches_from(words).unwrap();
        let mut line = <Line as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        line.configs.remember(&[], &matches);
        match entities(&line.configs) {
            Err(Failure(text)) => text,
            Ok(entities) => {
                let shown = entities.iter().map(|entity| match &entity.name {
                    Some(name) => format!("{}={name}", entity.kind.plural),
                    None => entity.kind.plural.to_owned(),
                });
                shown.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn entities_are_named_in_kafkas_ways() {
        for (line, expected) in [
            ("--describe --entity-type users", "users"),
            ("--describe --entity-type users --entity-name a", "users=a"),
            ("--describe --entity-type users --entity-default", "users="),
            (
                "--alter --entity-type users --entity-default --entity-type clients --entity-name c",
                "users= clients=c",
            ),
            (
                "--alter --entity-type clients --entity-type users --entity-name c --entity-default",
                "clients=c users=",
            ),
            (
                "--alter --entity-type users --entity-type clients --entity-default --entity-default",
                "users= clients=",
            ),
            ("--alter --user a --client c", "clients=c users=a"),
            ("--alter --user a --client-defaults", "users=a clients="),
            ("--describe --broker-defaults", "brokers="),
            ("--describe --broker-logger 1", "broker-loggers=1"),
            ("--describe --ip ::1", "ips=::1"),
            ("--describe --topic a --all", "topics=a"),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
        for (line, expected) in [
            ("--describe", "At least one entity type"),
            (
                "--describe --entity-type topic",
                "Invalid entity type topic",
            ),
            (
                "--describe --entity-type users --entity-type users",
                "Duplicate entity type(s)",
            ),
            (
                "--describe --entity-type users --entity-type ips",
                "Only 'users' and 'clients'",
            ),
            (
                "--describe --topic a --entity-name b",
                "cannot be used with --topic",
            ),
            (
                "--describe --entity-type users --entity-name a --entity-name b",
                "More entity names",
            ),
            (
                "--alter --entity-type users --entity-type clients --entity-name a",
                "An entity name must be specified for every",
            ),
            ("--alter --broker x", "must be a valid integer broker id"),
            (
                "--describe --entity-type topics --entity-default",
                "topics have no defaults",
            ),
        ] {
            let found = told(line);
            assert!(found.contains(expected), "{line}: {found}");
        }
    }

    #[test]
    fn passwords_are_not_repeated_in_messages() {
        let shown = |line: &[&str]| {
            let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            without_passwords(&words)
        };
        assert_eq!(
            shown(&[
                "--add-config",
                "SCRAM-SHA-256=[iterations=8192,password=se cret]",
                "--user",
                "a"
            ]),
            "--add-config SCRAM-SHA-256=[iterations=8192,password=[hidden] --user a"
        );
        assert_eq!(shown(&["--topic", "a"]), "--topic a");
    }
}
