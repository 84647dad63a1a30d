//! pure: changes of settings of topics, brokers and groups, and of features. Kafka's `ConfigurationControlManager`.

use std::collections::BTreeSet;

use bytestring::ByteString;

use super::{Context, Decision, repeated};
use crate::base::ids::BrokerId;
use crate::config::broker::{
    BrokerSettings, CONNECTIONS_PER_IP, connections_per_ip, kept_locally, running_listeners,
    together,
};
use crate::config::broker_table::BROKER_SETTINGS;
use crate::config::client_metrics::{self, Fault};
use crate::config::group;
use crate::config::group_table::GROUP_SETTINGS;
use crate::config::sasl;
use crate::config::setting::{Kind, Scope, Setting, Valid, find, list};
use crate::config::tls::{STORE_SETTINGS, of_one_listener};
use crate::config::topic::{self, Overrides};
use crate::config::topic_table::TOPIC_SETTINGS;
use crate::metadata::bootstrap::{SERVED_FEATURES, SUPPORTED_FEATURES};
use crate::metadata::features;
use crate::metadata::image::{
    BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, Image,
    TOPIC_RESOURCE,
};
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, FeatureLevelRecord};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResourceResponse as IncrementalResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::wire::message::update_features::{
    UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

type Refusal = (ErrorCode, String);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// The setting with the addresses that clients are told; changes apply to new connections.
pub const ADVERTISED_LISTENERS: &str = "advertised.listeners";
/// Settings whose change opens, closes or renames listeners of a running broker.
pub const LISTENER_SETTINGS: [&str; 3] = [
    "listeners",
    ADVERTISED_LISTENERS,
    "listener.security.protocol.map",
];

/// Numbers of threads that can be changed while a broker runs.
const THREADS: [&str; 10] = [
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "num.recovery.threads.per.data.dir",
    "background.threads",
    "log.cleaner.threads",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
];
const REPORTERS: &str = "metric.reporters";
const CORDONED: &str = "cordoned.log.dirs";
/// Limits of connections. A running broker refuses values that would shut all clients out.
const CONNECTIONS: [&str; 3] = [
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
];

/// Limits of the changes that one request may make: their number, as in Apache Kafka, and their size in bytes, because
/// appending a word to a long list makes a record of the whole list. All changes of a request are one batch of the metadata
/// log, and nothing else is decided until it is written.
const CHANGES_MAX: usize = 10_000;
const CHANGES_BYTES_MAX: usize = 8 << 20;

/// Longest value in bytes: the limit of a string in Kafka's protocol. A list could exceed it by repeated appends.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// With eligible leader replicas (KIP-966) all brokers must have the same value of this setting.
const MIN_ISR: &str = "min.insync.replicas";
const ELR_FEATURE: &str = "eligible.leader.replicas.version";

/// Static settings of a broker, with those of its dynamic settings that affect its listeners, certificates included.
pub fn of_listeners(settings: &BrokerSettings, own: Option<&Overrides>) -> BrokerSettings {
    let over = own.into_iter().flatten();
    let over = over.filter(|(name, _)| concerns_listeners(name));
    settings.with(
        &over
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// Whether a setting affects listeners: their addresses, certificates, or the authentication of clients.
pub fn concerns_listeners(name: &str) -> bool {
    match of_one_listener(name) {
        Some(_) => sasl::of_listener(name).is_some_and(|setting| setting.scope != Scope::ReadOnly),
        None => {
            LISTENER_SETTINGS.contains(&name)
                || name.starts_with("ssl.") && !STORE_SETTINGS.contains(&name)
        }
    }
}

/// The result of [`of_listeners`] after this part of a request. Whether the change is accepted is decided elsewhere.
pub fn listeners_after(
    image: &Image,
    resource_type: i8,
    name: &str,
    configs: &[AlterableConfig],
    context: &Context<'_>,
) -> Option<BrokerSettings> {
    let target = changed(image, resource_type, name, configs, context).ok()?;
    Some(of_listeners(context.settings, Some(&target)))
}

/// IncrementalAlterConfigs: each resource succeeds or fails as a whole.
pub fn incremental_alter(
    image: &Image,
    request: &IncrementalAlterConfigsRequest,
    context: &Context<'_>,
) -> Decision<IncrementalAlterConfigsResponse> {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    let twice = repeated(
        (request.resources.iter())
            .map(|resource| (resource.resource_type, &*resource.resource_name)),
    );
    let mut told = BTreeSet::new();
    for resource in &request.resources {
        let named = (resource.resource_type, &*resource.resource_name);
        if twice.contains(&named) && !told.insert(named) {
            continue;
        }
        let outcome = if records.len() > CHANGES_MAX {
            // The request has too many changes already and will be refused as a whole.
            Ok(Vec::new())
        } else if !twice.contains(&named) {
            changed(
                image,
                resource.resource_type,
                &resource.resource_name,
                &resource.configs,
                context,
            )
            .and_then(|target| {
                replace(
                    image,
                    resource.resource_type,
                    &resource.resource_name,
                    target,
                    context,
                )
            })
        } else {
            Err(named_twice())
        };
        let (code, message) = split(outcome, request.validate_only, &mut records);
        responses.push(IncrementalResourceResponse {
            error_code: code.code(),
            error_message: message.map(Into::into),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    let answers = responses.iter_mut();
    let answers = answers.map(|one| (&mut one.error_code, &mut one.error_message));
    all_or_nothing(&mut records, answers);
    Decision {
        records,
        answer: IncrementalAlterConfigsResponse {
            responses,
            ..Default::default()
        },
    }
}

fn named_twice() -> Refusal {
    let why = "Each resource must appear at most once.".to_owned();
    (ErrorCode::InvalidRequest, why)
}

/// AlterConfigs: settings that the request does not name are reset to their defaults.
pub fn alter(
    image: &Image,
    request: &AlterConfigsRequest,
    context: &Context<'_>,
) -> Decision<AlterConfigsResponse> {
    let mut records = Vec::new();
    let mut responses = Vec::new();
    let twice = repeated(
        (request.resources.iter())
            .map(|resource| (resource.resource_type, &*resource.resource_name)),
    );
    let mut told = BTreeSet::new();
    for resource in &request.resources {
        let named = (resource.resource_type, &*resource.resource_name);
        if twice.contains(&named) && !told.insert(named) {
            continue;
        }
        let mut target = Overrides::new();
        let mut outcome = Ok(());
        if twice.contains(&named) {
            outcome = Err(named_twice());
        } else if resource.resource_type == BROKER_LOGGER_RESOURCE {
            let why = "AlterConfigs does not know loggers; IncrementalAlterConfigs does.";
            outcome = Err((ErrorCode::InvalidRequest, why.to_owned()));
        }
        for config in &resource.configs {
            match &config.value {
                Some(value) => {
                    let before = target.insert(config.name.to_string(), value.to_string());
                    if before.is_some() {
                        outcome = Err(duplicate_keys());
                    }
                }
                None => {
                    outcome = Err((
                        ErrorCode::InvalidRequest,
                        format!("Null value not supported for : {}", config.name),
                    ));
                }
            }
        }
        let outcome = outcome.and_then(|()| {
            if records.len() > CHANGES_MAX {
                return Ok(Vec::new());
            }
            replace(
                image,
                resource.resource_type,
                &resource.resource_name,
                target,
                context,
            )
        });
        let (code, message) = split(outcome, request.validate_only, &mut records);
        responses.push(AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message: message.map(Into::into),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    let answers = responses.iter_mut();
    let answers = answers.map(|one| (&mut one.error_code, &mut one.error_message));
    all_or_nothing(&mut records, answers);
    Decision {
        records,
        answer: AlterConfigsResponse {
            responses,
            ..Default::default()
        },
    }
}

/// If the records of a request are too many as a whole, drops them all and refuses every part of the request that was not
/// refused before.
fn all_or_nothing<'a>(
    records: &mut Vec<Record>,
    answers: impl Iterator<Item = (&'a mut i16, &'a mut Option<ByteString>)>,
) {
    let Some((code, why)) = too_much(records) else {
        return;
    };
    records.clear();
    let why = ByteString::from(why);
    for (error_code, message) in answers.filter(|(error_code, _)| **error_code == 0) {
        *error_code = code.code();
        *message = Some(why.clone());
    }
}

/// Reason to refuse the request as a whole although each part is valid: too many changes or too many bytes.
fn too_much(records: &[Record]) -> Option<Refusal> {
    let bytes = records.iter().map(|record| match record {
        Record::Config(config) => {
            let value = config.value.as_ref().map_or(0, |value| value.len());
            config.resource_name.len() + config.name.len() + value
        }
        _ => 0,
    });
    let is_too_much = records.len() > CHANGES_MAX || bytes.sum::<usize>() > CHANGES_BYTES_MAX;
    is_too_much.then(|| {
        let why = "Unable to perform excessively large batch operation.".to_owned();
        (ErrorCode::PolicyViolation, why)
    })
}

fn duplicate_keys() -> Refusal {
    let why = "Error due to duplicate config keys".to_owned();
    (ErrorCode::InvalidRequest, why)
}

fn split(
    outcome: Result<Vec<Record>, Refusal>,
    validate_only: bool,
    records: &mut Vec<Record>,
) -> (ErrorCode, Option<String>) {
    match outcome {
        Ok(changed) => {
            if !validate_only {
                records.extend(changed);
            }
            (ErrorCode::None, None)
        }
        Err((code, message)) => (code, Some(message)),
    }
}

fn table(resource_type: i8) -> Option<&'static [Setting]> {
    match resource_type {
        TOPIC_RESOURCE => Some(TOPIC_SETTINGS),
        BROKER_RESOURCE => Some(BROKER_SETTINGS),
        GROUP_RESOURCE => Some(GROUP_SETTINGS),
        _ => None,
    }
}

/// The settings of a resource after the operations of a request.
fn changed(
    image: &Image,
    resource_type: i8,
    name: &str,
    configs: &[AlterableConfig],
    context: &Context<'_>,
) -> Result<Overrides, Refusal> {
    let mut target = image
        .overrides(resource_type, name)
        .map(|own| (**own).clone())
        .unwrap_or_default();
    let mut seen = BTreeSet::new();
    for config in configs {
        let key = config.name.to_string();
        if !seen.insert(key.clone()) {
            return Err(duplicate_keys());
        }
        match (config.config_operation, &config.value) {
            (DELETE, _) => drop(target.remove(&key)),
            (SET, Some(value)) => drop(target.insert(key, value.to_string())),
            (APPEND | SUBTRACT, Some(value)) => {
                let setting = table(resource_type).and_then(|table| find(table, &key));
                if setting.is_none_or(|setting| setting.kind != Kind::List) {
                    return Err((
                        ErrorCode::InvalidConfig,
                        format!(
                            "Can't {} to key {key} because its type is not LIST.",
                            if config.config_operation == APPEND {
                                "APPEND"
                            } else {
                                "SUBTRACT"
                            }
                        ),
                    ));
                }
                let current = target
                    .get(&key)
                    .cloned()
                    .or_else(|| in_force(image, resource_type, &key, context));
                let mut words: Vec<&str> = list(current.as_deref().unwrap_or_default()).collect();
                if config.config_operation == SUBTRACT {
                    let gone: BTreeSet<&str> = java_words(value).collect();
                    words.retain(|word| !gone.contains(word));
                } else {
                    let mut there: BTreeSet<&str> = words.iter().copied().collect();
                    words.extend(java_words(value).filter(|word| there.insert(word)));
                }
                target.insert(key, words.join(","));
            }
            (SET | APPEND | SUBTRACT, None) => {
                return Err((
                    ErrorCode::InvalidRequest,
                    format!("Null value not supported for : {key}"),
                ));
            }
            (other, _) => {
                return Err((
                    ErrorCode::InvalidRequest,
                    format!("Unknown operation type {other}."),
                ));
            }
        }
    }
    Ok(target)
}

/// The words of a list as Java's `split` returns them: an empty text is one empty word, and trailing empty words are dropped.
fn java_words(text: &str) -> impl Iterator<Item = &str> {
    let text = if text.is_empty() {
        None
    } else {
        Some(text.trim_end_matches(','))
    };
    let words = text
        .filter(|text| !text.is_empty())
        .map(|text| text.split(','));
    let nothing = text.is_none().then_some("");
    words.into_iter().flatten().chain(nothing)
}

fn in_force(image: &Image, resource_type: i8, key: &str, context: &Context<'_>) -> Option<String> {
    let broker = context.effective(image);
    match resource_type {
        TOPIC_RESOURCE => topic::TopicSettings {
            own: None,
            broker: &broker,
        }
        .get(key),
        _ => broker.get(key).map(str::to_owned),
    }
}

/// The records that set the settings of a resource to `target`.
fn replace(
    image: &Image,
    resource_type: i8,
    name: &str,
    target: Overrides,
    context: &Context<'_>,
) -> Result<Vec<Record>, Refusal> {
    check_resource(image, resource_type, name, context)?;
    let current = image
        .overrides(resource_type, name)
        .map(|own| (**own).clone())
        .unwrap_or_default();
    check_values(image, resource_type, name, &target, &current, context)?;
    if let Some((key, _)) = target
        .iter()
        .find(|(_, value)| value.len() > VALUE_BYTES_MAX)
    {
        return Err((
            ErrorCode::InvalidConfig,
            format!("The value of {key} has more than {VALUE_BYTES_MAX} bytes."),
        ));
    }
    let record = |key: &str, value: Option<&String>| {
        ConfigRecord {
            resource_type,
            resource_name: name.into(),
            name: key.into(),
            value: value.map(|value| value.as_str().into()),
        }
        .into()
    };
    let gone = current
        .keys()
        .filter(|key| !target.contains_key(*key))
        .map(|key| record(key, None));
    let set = target
        .iter()
        .filter(|(key, value)| current.get(*key) != Some(value));
    Ok(gone
        .chain(set.map(|(key, value)| record(key, Some(value))))
        .collect())
}

fn check_resource(
    image: &Image,
    resource_type: i8,
    name: &str,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    match resource_type {
        TOPIC_RESOURCE => {
            if name.is_empty() {
                return Err((
                    ErrorCode::InvalidRequest,
                    "Default topic resources are not allowed.".to_owned(),
                ));
            }
            super::topics::check_name(name)
                .map_err(|why| (ErrorCode::InvalidTopicException, why))?;
            if image.topics.by_name(name).is_none() {
                return Err((
                    ErrorCode::UnknownTopicOrPartition,
                    format!("The topic '{name}' does not exist."),
                ));
            }
            Ok(())
        }
        BROKER_RESOURCE if name.is_empty() => Ok(()),
        BROKER_RESOURCE => match name.parse::<i32>() {
            Ok(id) if id == context.node_id || image.brokers.contains_key(&id) => Ok(()),
            Ok(id) => Err((
                ErrorCode::InvalidRequest,
                format!(
                    "Unexpected broker id, expected {}, but received {id}",
                    context.node_id
                ),
            )),
            Err(_) => Err((
                ErrorCode::InvalidRequest,
                format!("Node id must be an integer, but it is: {name}"),
            )),
        },
        GROUP_RESOURCE | CLIENT_METRICS_RESOURCE if name.is_empty() => Err((
            ErrorCode::InvalidRequest,
            "Default resource name is not allowed.".to_owned(),
        )),
        GROUP_RESOURCE | CLIENT_METRICS_RESOURCE => Ok(()),
        BROKER_LOGGER_RESOURCE if name.parse() == Ok(context.node_id) => Err((
            ErrorCode::InvalidConfig,
            "This program's log has no loggers to be set one by one.".to_owned(),
        )),
        other => Err((
            ErrorCode::InvalidRequest,
            format!("Unknown resource type {other}"),
        )),
    }
}

fn check_values(
    image: &Image,
    resource_type: i8,
    name: &str,
    target: &Overrides,
    current: &Overrides,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    let invalid = |why: String| (ErrorCode::InvalidConfig, why);
    match resource_type {
        TOPIC_RESOURCE => topic::check(target, &context.effective(image)).map_err(invalid),
        BROKER_RESOURCE => {
            let elr = image.feature(ELR_FEATURE) > 0;
            let gone = current.contains_key(MIN_ISR) && !target.contains_key(MIN_ISR);
            if elr && name.is_empty() && gone {
                return Err(invalid(format!(
                    "Cluster-level {MIN_ISR} cannot be removed while ELR is enabled."
                )));
            }
            for (key, value) in target
                .iter()
                .filter(|(key, value)| current.get(*key) != Some(value))
            {
                let of_one = of_one_listener(key).map(|(_, base)| base);
                // Kafka keeps unknown settings, for plug-ins.
                let known = match of_one {
                    Some(_) => sasl::of_listener(key),
                    None => find(BROKER_SETTINGS, key),
                };
                let Some(setting) = known else {
                    continue;
                };
                if of_one.is_none() && STORE_SETTINGS.contains(&setting.name) {
                    return Err((
                        ErrorCode::InvalidRequest,
                        format!(
                            "These security configs can be dynamically updated only per-listener using the listener prefix: [{key}]"
                        ),
                    ));
                }
                // Kafka differs: its brokers could change this setting while running when they used ZooKeeper, but not since
                // 4.0. Containers learn their mapped port only after they have started, and Testcontainers sets it this way.
                let told_later = key == ADVERTISED_LISTENERS && !name.is_empty();
                if setting.scope == Scope::PerBroker && name.is_empty() {
                    return Err((
                        ErrorCode::InvalidRequest,
                        format!(
                            "Cannot update these configs at default cluster level, broker id must be specified: [{key}]"
                        ),
                    ));
                }
                if setting.scope == Scope::ReadOnly && !told_later {
                    return Err((
                        ErrorCode::InvalidRequest,
                        format!("Cannot update these configs dynamically: [{key}]"),
                    ));
                }
                let invalid = |why: String| (ErrorCode::InvalidRequest, why);
                setting.check(value).map_err(invalid)?;
                // A word named twice is accepted in a file and in topic settings, but not here.
                if matches!(setting.valid, Valid::OneOf(_)) && has_twice(value) {
                    return Err(invalid(format!("{key}: a word is named twice")));
                }
                if key == CONNECTIONS_PER_IP {
                    connections_per_ip(value).map_err(invalid)?;
                }
                let none = value.trim().parse() == Ok(0);
                if none && CONNECTIONS.contains(&key.as_str()) {
                    return Err(invalid(format!("{key} cannot be 0")));
                }
                let loads = setting.kind == Kind::Class
                    || setting.name == REPORTERS && !value.trim().is_empty();
                if loads && Some(value.trim()) != setting.default {
                    return Err(invalid(format!(
                        "{key}: {value} is a class of Java, which this program cannot load"
                    )));
                }
                if key == CORDONED {
                    check_cordoned(value, context.settings).map_err(invalid)?;
                }
                if THREADS.contains(&key.as_str()) {
                    check_threads(key, value, current, context).map_err(invalid)?;
                }
            }
            if elr && !name.is_empty() && target.contains_key(MIN_ISR) {
                return Err(invalid(format!(
                    "Broker-level {MIN_ISR} cannot be altered while ELR is enabled."
                )));
            }
            if target != current {
                let node = context.node_id.to_string();
                let other = if name.is_empty() { &*node } else { "" };
                let none = Overrides::default();
                let other = image
                    .overrides(BROKER_RESOURCE, other)
                    .map_or(&none, |all| all);
                let (cluster, own) = match name.is_empty() {
                    true => (target, other),
                    false => (other, target),
                };
                let after = context.settings.with(cluster).with(own);
                let invalid = |why: String| (ErrorCode::InvalidRequest, why);
                if let Some((_, why)) = together(&after).into_iter().next() {
                    return Err(invalid(why));
                }
                let of_logs = |one: &Setting| {
                    target.get(one.broker_synonym) != current.get(one.broker_synonym)
                };
                if TOPIC_SETTINGS.iter().any(of_logs) {
                    kept_locally(&after).map_err(invalid)?;
                }
            }
            check_logins(target, current, context)
                .map_err(|why| (ErrorCode::InvalidRequest, why))?;
            if LISTENER_SETTINGS
                .iter()
                .any(|key| target.get(*key) != current.get(*key))
            {
                running_listeners(&of_listeners(context.settings, Some(target)))
                    .map_err(|faults| (ErrorCode::InvalidRequest, faults))?;
            }
            Ok(())
        }
        CLIENT_METRICS_RESOURCE => client_metrics::check(target).map_err(|fault| match fault {
            Fault::Request(why) => (ErrorCode::InvalidRequest, why),
            Fault::Value(why) => invalid(why),
        }),
        _ => group::check(target, &context.effective(image)).map_err(invalid),
    }
}

/// Refuses changes of authentication of a running listener. As in Kafka, users and mechanisms are fixed when a listener is
/// opened.
fn check_logins(
    target: &Overrides,
    current: &Overrides,
    context: &Context<'_>,
) -> Result<(), String> {
    let all = target.keys().chain(current.keys());
    let mut of_logins = all
        .filter(|key| target.get(*key) != current.get(*key))
        .filter(|key| sasl::of_listener(key).is_some_and(|one| !one.name.starts_with("ssl.")))
        .filter_map(|key| of_one_listener(key))
        .peekable();
    if of_logins.peek().is_none() {
        return Ok(());
    }
    let open = running_listeners(&of_listeners(context.settings, Some(current)))?;
    let is_open = |name: &str| open.iter().any(|one| one.endpoint.name == name);
    match of_logins.find(|(name, _)| is_open(name)) {
        Some((name, _)) => Err(format!(
            "Configs cannot be updated dynamically for existing listener {name}, restart broker or create a new listener for update"
        )),
        None => Ok(()),
    }
}

fn has_twice(value: &str) -> bool {
    let mut seen = BTreeSet::new();
    list(value).any(|word| !seen.insert(word))
}

/// Checks `cordoned.log.dirs`, the log directories that get no new partitions: directories of this broker, or `*` for all.
fn check_cordoned(value: &str, settings: &BrokerSettings) -> Result<(), String> {
    let dirs = ["log.dirs", "log.dir"].iter();
    let dirs = dirs.filter_map(|name| settings.explicit(name)).next();
    let known: Vec<&str> = list(dirs.unwrap_or_default()).collect();
    let value = value.trim();
    let mut named = value.split(',').map(str::trim);
    if value.is_empty() || value == "*" || named.all(|dir| known.contains(&dir)) {
        return Ok(());
    }
    Err(format!("{CORDONED} must name directories of log.dirs"))
}

/// Checks a new number of threads of a running broker: as in Kafka, between half and double the current number.
fn check_threads(
    key: &str,
    value: &str,
    current: &Overrides,
    context: &Context<'_>,
) -> Result<(), String> {
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<i64>().ok());
    let now =
        number(current.get(key).map(String::as_str)).or_else(|| number(context.settings.get(key)));
    match (now, number(Some(value))) {
        (Some(now), Some(wanted)) if wanted < 1 || wanted < now / 2 || wanted > now * 2 => Err(
            format!("{key} can go from {now} to its half or its double, not to {wanted}"),
        ),
        _ => Ok(()),
    }
}

/// UpdateFeatures: either all updates are made or none.
pub fn update_features(
    image: &Image,
    request: &UpdateFeaturesRequest,
    node_id: BrokerId,
) -> Decision<UpdateFeaturesResponse> {
    const UPGRADE: i8 = 1;
    const UNSAFE_DOWNGRADE: i8 = 3;
    let mut records = Vec::new();
    let mut results = Vec::new();
    let mut failed = None;
    for update in &request.feature_updates {
        let current = image.feature(&update.feature);
        let upgrade = update.upgrade_type == UPGRADE && !update.allow_downgrade;
        let supported = SUPPORTED_FEATURES
            .iter()
            .find(|(name, ..)| *name == &*update.feature && SERVED_FEATURES.contains(name));
        let outcome = match supported {
            None => Err(format!(
                "Invalid update version {} for feature {}. Local controller {node_id} does not support this feature.",
                update.max_version_level, update.feature
            )),
            Some((name, min, max))
                if update.max_version_level < *min || update.max_version_level > *max =>
            {
                Err(format!(
                    "Invalid update version {} for feature {name}. Local controller {node_id} only supports versions {min}-{max}",
                    update.max_version_level
                ))
            }
            Some((name, ..)) if *name == "kraft.version" && update.max_version_level != current => {
                Err("The quorum of a single node has no kraft.version to update.".to_owned())
            }
            Some((name, ..)) if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&update.upgrade_type) => {
                Err(format!(
                    "Invalid update version {} for feature {name}. The controller does not support the given upgrade type.",
                    update.max_version_level
                ))
            }
            Some(_) if update.max_version_level < current && upgrade => Err(format!(
                "Invalid update version {} for feature {}. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
                update.max_version_level, update.feature
            )),
            Some(_) if update.max_version_level > current && !upgrade => Err(format!(
                "Invalid update version {} for feature {}. Can't downgrade to a newer version.",
                update.max_version_level, update.feature
            )),
            Some((name, ..))
                if *name == features::METADATA_VERSION
                    && features::loses_metadata(current, update.max_version_level) =>
            {
                let why = match update.upgrade_type {
                    UNSAFE_DOWNGRADE => {
                        "Unsafe metadata downgrade is not supported in this version."
                    }
                    _ => {
                        "Refusing to perform the requested downgrade because it might delete metadata information."
                    }
                };
                Err(format!(
                    "Unsupported metadata.version downgrade from {current} to {}. {why}",
                    update.max_version_level
                ))
            }
            Some((name, ..)) => {
                // The level of `metadata.version` that a feature depends on may be set by the same request.
                let asked = request.feature_updates.iter();
                let metadata_version = asked
                    .filter(|other| other.feature == features::METADATA_VERSION)
                    .map(|other| other.max_version_level)
                    .next()
                    .unwrap_or_else(|| image.metadata_version());
                match features::needed(name, update.max_version_level) {
                    Some(needed) if needed > metadata_version => Err(format!(
                        "Invalid update version {} for feature {name}. {name} could not be set to {} because it depends on metadata.version level {needed}",
                        update.max_version_level, update.max_version_level
                    )),
                    _ => Ok(update.max_version_level != current),
                }
            }
        };
        let (code, message) = match outcome {
            Ok(changes) => {
                if changes {
                    records.push(
                        FeatureLevelRecord {
                            name: update.feature.clone(),
                            feature_level: update.max_version_level,
                        }
                        .into(),
                    );
                }
                (ErrorCode::None, None)
            }
            Err(why) => {
                failed.get_or_insert_with(|| why.clone());
                (ErrorCode::InvalidUpdateVersion, Some(why))
            }
        };
        results.push(UpdatableFeatureResult {
            feature: update.feature.clone(),
            error_code: code.code(),
            // Like Kafka, writes the name of the error code, also of NONE.
            error_message: Some(message.unwrap_or_else(|| code.name().to_owned()).into()),
        });
    }
    let (code, message) = match failed {
        Some(why) => (
            ErrorCode::InvalidUpdateVersion,
            Some(format!(
                "The update failed for all features since the following feature had an error: {why}"
            )),
        ),
        None => (ErrorCode::None, None),
    };
    if code.is_error() {
        results.clear();
    }
    if code.is_error() || request.validate_only {
        records.clear();
    }
    let answer = UpdateFeaturesResponse {
        error_code: code.code(),
        error_message: message.map(Into::into),
        results,
        ..Default::default()
    };
    Decision { records, answer }
}
