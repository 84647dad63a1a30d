//! DescribeConfigs (key 32), v0 to v4. KIP-133, KIP-226 (synonyms), KIP-569 (types and documentation).

use std::collections::HashSet;

use bytestring::ByteString;
use indexmap::IndexMap;
use indexmap::map::Entry;

use crate::api::context::{Reply, RequestContext};
use crate::api::rights::{self, Rights};
use crate::config::broker::{BrokerSettings, spellings};
use crate::config::broker_table::BROKER_SETTINGS;
use crate::config::client_metrics::CLIENT_METRICS_SETTINGS;
use crate::config::group_table::GROUP_SETTINGS;
use crate::config::setting::{Scope, Setting, find};
use crate::config::topic::{Overrides, TopicSettings};
use crate::config::topic_table::TOPIC_SETTINGS;
use crate::metadata::controller::topics::check_name;
use crate::metadata::image::{
    BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, Image,
    TOPIC_RESOURCE,
};
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_configs::*;

/// Kafka's `ConfigSource`: the level at which a value was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Source {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefault = 3,
    StaticBroker = 4,
    Default = 5,
    ClientMetrics = 7,
    Group = 8,
}

/// Settings that Kafka knows only as dynamic settings, and describes only if they are set.
const ONLY_WHERE_SET: [&str; 3] = [
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

pub fn handle(
    context: RequestContext,
    mut request: DescribeConfigsRequest,
) -> Reply<DescribeConfigsResponse> {
    let image = context.services.image.load();
    let resources = once(&context, std::mem::take(&mut request.resources));
    let rights = context.rights();
    let results = resources
        .iter()
        .map(|resource| {
            let described = described(&context, &image, &rights, resource);
            let (error, message, mut configs) = match described {
                // As in Kafka, the message is empty instead of null if there is no error.
                Ok(configs) => (ErrorCode::None, ByteString::new(), configs),
                Err((error, message)) => (error, message.into(), Vec::new()),
            };
            // An empty list means all settings, just as null does.
            if let Some(keys) = resource
                .configuration_keys
                .as_ref()
                .filter(|keys| !keys.is_empty())
            {
                let keys: HashSet<_> = keys.iter().collect();
                configs.retain(|config| keys.contains(&config.name));
            }
            for config in &mut configs {
                finish(config, &request, context.api_version);
            }
            DescribeConfigsResult {
                error_code: error.code(),
                error_message: Some(message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs,
            }
        })
        .collect();
    DescribeConfigsResponse {
        results,
        ..Default::default()
    }
    .into()
}

fn described(
    context: &RequestContext,
    image: &Image,
    rights: &Rights<'_>,
    resource: &DescribeConfigsResource,
) -> Described {
    let name = &resource.resource_name;
    let (kind, whose) = rights::of_settings(resource.resource_type, name);
    let allowed = rights.require(Operation::DescribeConfigs, kind, whose);
    allowed.map_err(|error| (error, rights::words(error).unwrap_or_default().to_string()))?;
    match resource.resource_type {
        TOPIC_RESOURCE => topic(context, image, name),
        BROKER_RESOURCE => broker(context, image, name),
        // The broker has no loggers with individual levels.
        BROKER_LOGGER_RESOURCE if is_own(context, name) => Ok(Vec::new()),
        GROUP_RESOURCE => group(context, image, name),
        CLIENT_METRICS_RESOURCE => client_metrics(image, name),
        other => Err((
            ErrorCode::InvalidRequest,
            format!("Unsupported resource type: {other}"),
        )),
    }
}

/// The distinct resources, in the order of first occurrence. The settings asked for at several places are joined.
fn once(
    context: &RequestContext,
    named: Vec<DescribeConfigsResource>,
) -> Vec<DescribeConfigsResource> {
    let own = context.services.node_id.to_string();
    let mut resources = IndexMap::with_capacity(named.len());
    for mut resource in named {
        // This broker's id can be spelled in several ways, such as with leading zeros.
        let name = match resource.resource_type {
            BROKER_RESOURCE | BROKER_LOGGER_RESOURCE
                if is_own(context, &resource.resource_name) =>
            {
                own.as_str().into()
            }
            _ => resource.resource_name.clone(),
        };
        match resources.entry((resource.resource_type, name)) {
            Entry::Vacant(place) => drop(place.insert(resource)),
            Entry::Occupied(mut there) => {
                let there: &mut DescribeConfigsResource = there.get_mut();
                let keys = (
                    &mut there.configuration_keys,
                    &mut resource.configuration_keys,
                );
                match keys {
                    (Some(keys), Some(more)) if !keys.is_empty() && !more.is_empty() => {
                        keys.append(more);
                    }
                    // An empty list means all settings, just as null does.
                    (all, _) => *all = None,
                }
            }
        }
    }
    resources.into_values().collect()
}

fn is_own(context: &RequestContext, name: &str) -> bool {
    name.parse() == Ok(context.services.node_id)
}

/// Removes the fields that the request did not ask for or that do not exist in its version.
fn finish(
    config: &mut DescribeConfigsResourceResult,
    request: &DescribeConfigsRequest,
    version: i16,
) {
    if !request.include_synonyms || version == 0 {
        config.synonyms = Vec::new();
    }
    if version == 0 {
        config.is_default = config.config_source == Source::Default as i8;
        config.config_source = -1;
    }
    if version < 3 {
        config.config_type = 0;
    }
    if !request.include_documentation {
        config.documentation = None;
    }
}

fn row(
    setting: &Setting,
    value: Option<String>,
    source: Source,
    read_only: bool,
    synonyms: Vec<(String, Option<String>, Source)>,
) -> DescribeConfigsResourceResult {
    let shown = |value: Option<String>| {
        value
            .filter(|_| !setting.is_sensitive())
            .map(ByteString::from)
    };
    DescribeConfigsResourceResult {
        name: ByteString::from_static(setting.name),
        value: shown(value.map(|value| setting.shown(&value))),
        read_only,
        config_source: source as i8,
        is_sensitive: setting.is_sensitive(),
        synonyms: synonyms
            .into_iter()
            .map(|(name, value, source)| DescribeConfigsSynonym {
                name: name.into(),
                value: shown(value),
                source: source as i8,
            })
            .collect(),
        config_type: setting.kind.id(),
        documentation: Some(ByteString::from_static(setting.doc)),
        ..Default::default()
    }
}

fn topic(context: &RequestContext, image: &Image, name: &str) -> Described {
    check_name(name).map_err(|why| (ErrorCode::InvalidTopicException, why))?;
    if image.topics.by_name(name).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.".to_owned(),
        ));
    }
    let own = image.topic_overrides(name).map(|own| &**own);
    let effective = context.services.settings(image);
    let in_force = TopicSettings {
        own,
        broker: &effective,
    };
    Ok(TOPIC_SETTINGS
        .iter()
        .map(|setting| {
            let mut synonyms = Vec::new();
            if let Some(value) = own.and_then(|own| own.get(setting.name)) {
                synonyms.push((setting.name.to_owned(), Some(value.clone()), Source::Topic));
            }
            if let Some(broker) = find(BROKER_SETTINGS, setting.broker_synonym) {
                synonyms.extend(broker_synonyms(context, image, broker));
            }
            let source = synonyms
                .first()
                .map_or(Source::Default, |(_, _, source)| *source);
            row(setting, in_force.get(setting.name), source, false, synonyms)
        })
        .collect())
}

/// The levels at which a broker setting is set, with the name it is set under, in descending precedence.
fn broker_synonyms(
    context: &RequestContext,
    image: &Image,
    setting: &'static Setting,
) -> Vec<(String, Option<String>, Source)> {
    let node = context.services.node_id.to_string();
    let dynamic = |resource: &str, name: &str| {
        let own = image.overrides(BROKER_RESOURCE, resource)?;
        own.get(name).cloned()
    };
    let said = |source: Source, name: &'static str| match source {
        Source::DynamicBroker => dynamic(&node, name),
        Source::DynamicDefault => dynamic("", name),
        Source::StaticBroker => {
            let settings = &context.services.config.settings;
            settings.explicit(name).map(str::to_owned)
        }
        _ if ONLY_WHERE_SET.contains(&name) => None,
        _ => find(BROKER_SETTINGS, name)?.default.map(str::to_owned),
    };
    let mut synonyms = Vec::new();
    for source in [
        Source::DynamicBroker,
        Source::DynamicDefault,
        Source::StaticBroker,
        Source::Default,
    ] {
        for name in spellings(setting) {
            if let Some(value) = said(source, name) {
                synonyms.push(((*name).to_owned(), Some(value), source));
            }
        }
    }
    // Kafka leaves out the synonyms that precede the requested name, even where one of them supplies the value.
    let own = |(name, ..): &(String, Option<String>, Source)| name == setting.name;
    let first = synonyms.iter().position(own).unwrap_or(synonyms.len());
    synonyms.split_off(first)
}

fn broker(context: &RequestContext, image: &Image, name: &str) -> Described {
    if name.is_empty() {
        let own = image
            .overrides(BROKER_RESOURCE, "")
            .map(|own| (**own).clone())
            .unwrap_or_default();
        return Ok(dynamic_only(&own, BROKER_SETTINGS, Source::DynamicDefault));
    }
    let node = context.services.node_id;
    if name.parse::<i32>() != Ok(node) {
        return Err((
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node} or empty string, but received {name}"),
        ));
    }
    let effective: BrokerSettings = context.services.settings(image);
    Ok(BROKER_SETTINGS
        .iter()
        .filter_map(|setting| {
            let synonyms = broker_synonyms(context, image, setting);
            let source = synonyms
                .first()
                .map_or(Source::Default, |(_, _, source)| *source);
            if synonyms.is_empty() && ONLY_WHERE_SET.contains(&setting.name) {
                return None;
            }
            let value = effective.get(setting.name).map(str::to_owned);
            Some(row(
                setting,
                value,
                source,
                setting.scope == Scope::ReadOnly,
                synonyms,
            ))
        })
        .collect())
}

fn group(context: &RequestContext, image: &Image, name: &str) -> Described {
    if name.is_empty() {
        return Err((
            ErrorCode::InvalidRequest,
            "Group name must not be empty".to_owned(),
        ));
    }
    let own = image
        .overrides(GROUP_RESOURCE, name)
        .map(|own| (**own).clone())
        .unwrap_or_default();
    Ok(GROUP_SETTINGS
        .iter()
        .map(|setting| {
            let broker = match setting.broker_synonym {
                "" => find(BROKER_SETTINGS, &format!("group.{}", setting.name)),
                synonym => find(BROKER_SETTINGS, synonym),
            };
            let given = own.get(setting.name).cloned();
            let mut synonyms = Vec::new();
            if given.is_some() {
                synonyms.push((setting.name.to_owned(), given, Source::Group));
            }
            match broker {
                Some(broker) => synonyms.extend(broker_synonyms(context, image, broker)),
                None => {
                    let default = setting.default.map(str::to_owned);
                    synonyms.push((setting.name.to_owned(), default, Source::Default));
                }
            }
            let source = synonyms
                .first()
                .map_or(Source::Default, |(_, _, source)| *source);
            let value = synonyms.first().and_then(|(_, value, _)| value.clone());
            row(setting, value, source, false, synonyms)
        })
        .collect())
}

/// The settings of a client metrics subscription (KIP-714); a subscription that does not exist has the defaults.
fn client_metrics(image: &Image, name: &str) -> Described {
    if name.is_empty() {
        return Err((
            ErrorCode::InvalidRequest,
            "Client metrics subscription name must not be empty".to_owned(),
        ));
    }
    let own = image.overrides(CLIENT_METRICS_RESOURCE, name);
    Ok(CLIENT_METRICS_SETTINGS
        .iter()
        .map(
            |setting| match own.and_then(|own| own.get(setting.name)).cloned() {
                Some(given) => {
                    let source = Source::ClientMetrics;
                    let synonym = (setting.name.to_owned(), Some(given.clone()), source);
                    row(setting, Some(given), source, false, vec![synonym])
                }
                None => {
                    let default = setting.default.map(str::to_owned);
                    row(setting, default, Source::Default, false, Vec::new())
                }
            },
        )
        .collect())
}

fn dynamic_only(
    own: &Overrides,
    table: &'static [Setting],
    source: Source,
) -> Vec<DescribeConfigsResourceResult> {
    own.iter()
        .filter_map(|(name, value)| {
            let setting = find(table, name)?;
            let synonym = (name.clone(), Some(value.clone()), source);
            Some(row(
                setting,
                Some(value.clone()),
                source,
                false,
                vec![synonym],
            ))
        })
        .collect()
}
