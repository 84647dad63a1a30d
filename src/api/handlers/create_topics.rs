//! CreateTopics (key 19), v0 to v7. KIP-4, KIP-464 (-1 for the broker's defaults), KIP-525 (settings in the response).

use std::collections::{HashMap, HashSet};

use bytestring::ByteString;
use indexmap::IndexMap;

use super::describe_configs::Source;
use crate::api::charges::Mutations;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights::Rights;
use crate::config::broker::BrokerSettings;
use crate::config::topic::{Overrides, TopicSettings};
use crate::config::topic_table::TOPIC_SETTINGS;
use crate::metadata::image::{BROKER_RESOURCE, Image};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};

/// First version of clients that know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 6;
/// First version whose response has the settings of the new topics.
const SETTINGS_SINCE: i16 = 5;

/// Fields of a requested topic that the response repeats.
struct Wanted {
    replication_factor: i16,
    configs: Vec<CreatableTopicConfig>,
}

pub fn handle(
    context: RequestContext,
    mut request: CreateTopicsRequest,
) -> Reply<CreateTopicsResponse> {
    let rights = context.rights();
    let mut denied = take_denied(&rights, &mut request);
    let undescribed: HashSet<ByteString> = {
        let names = request.topics.iter().map(|topic| &topic.name);
        let (describe, kind) = (Operation::DescribeConfigs, ResourceType::Topic);
        let hidden = names.filter(|name| !rights.has(describe, kind, name));
        hidden.cloned().collect()
    };
    drop(rights);
    let mut mutations = Mutations::of(&context, STRICT_SINCE);
    if let Some(mutations) = &mut mutations {
        denied.extend(take_throttled(&context, mutations, &mut request));
    }
    Reply::later(async move {
        let tells_settings = context.api_version >= SETTINGS_SINCE;
        let wanted = request.topics.iter().map(|topic| {
            let wanted = Wanted {
                replication_factor: topic.replication_factor,
                configs: match tells_settings {
                    true => topic.configs.clone(),
                    false => Vec::new(),
                },
            };
            (topic.name.clone(), wanted)
        });
        let wanted: IndexMap<_, _> = wanted.collect();
        let services = &context.services;
        let decided = services.controller.ask(request).await;
        let mut response = decided.unwrap_or_else(|_| CreateTopicsResponse {
            topics: wanted.keys().map(not_controller).collect(),
            ..Default::default()
        });
        if let Some(mutations) = mutations {
            let failed = response.topics.iter().filter(|topic| topic.error_code != 0);
            response.throttle_time_ms = mutations.settle(failed.map(|topic| &*topic.name));
        }
        let made = response.topics.iter().filter(|topic| topic.error_code == 0);
        let made = made.map(|topic| &*topic.name);
        services.replicas.settled(made).await;
        let image = services.image.load();
        let defaults = Defaults::of(&image, &context);
        for topic in &mut response.topics {
            if topic.error_code != 0 {
                (topic.num_partitions, topic.replication_factor) = (-1, -1);
            }
            topic.configs = tells_settings.then(Vec::new);
            let Some(wanted) = wanted.get(&topic.name).filter(|_| topic.error_code == 0) else {
                continue;
            };
            let factor = wanted.replication_factor;
            if factor > topic.replication_factor {
                tracing::warn!(
                    topic = %topic.name, wanted = factor, given = topic.replication_factor,
                    "there are not enough brokers for so many replicas"
                );
            }
            if undescribed.contains(&topic.name) {
                topic.topic_config_error_code = ErrorCode::TopicAuthorizationFailed.code();
                (topic.num_partitions, topic.replication_factor) = (-1, -1);
            } else if tells_settings {
                topic.configs = Some(defaults.described(&wanted.configs));
            }
        }
        response.topics.extend(denied);
        response
    })
}

fn not_controller(name: &ByteString) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: ErrorCode::NotController.code(),
        ..Default::default()
    }
}

/// Values of topic settings that a topic does not override.
struct Defaults<'a> {
    image: &'a Image,
    node: String,
    broker: BrokerSettings,
}

impl<'a> Defaults<'a> {
    fn of(image: &'a Image, context: &RequestContext) -> Self {
        let services = &context.services;
        Self {
            image,
            node: services.node_id.to_string(),
            broker: services.settings(image),
        }
    }

    /// Settings of a new topic with the overrides `given`.
    fn described(&self, given: &[CreatableTopicConfig]) -> Vec<CreatableTopicConfigs> {
        let own = given.iter().filter_map(|config| {
            Some((config.name.to_string(), config.value.as_ref()?.to_string()))
        });
        let own: Overrides = own.collect();
        let dynamic = |name: &str, key: &str| {
            let own = self.image.overrides(BROKER_RESOURCE, name);
            own.is_some_and(|own| own.contains_key(key))
        };
        let settings = TopicSettings {
            own: Some(&own),
            broker: &self.broker,
        };
        let described = TOPIC_SETTINGS.iter().map(|setting| CreatableTopicConfigs {
            name: ByteString::from_static(setting.name),
            value: settings.get(setting.name).map(Into::into),
            read_only: false,
            config_source: if own.contains_key(setting.name) {
                Source::Topic
            } else if dynamic(&self.node, setting.broker_synonym) {
                Source::DynamicBroker
            } else if dynamic("", setting.broker_synonym) {
                Source::DynamicDefault
            } else if self.broker.explicit(setting.broker_synonym).is_some() {
                Source::StaticBroker
            } else {
                Source::Default
            } as i8,
            is_sensitive: false,
        });
        described.collect()
    }
}

/// Removes the topics that the client may not create from the request, and returns their results. A topic that is named twice
/// is left to the controller, which refuses it.
fn take_denied(
    rights: &Rights<'_>,
    request: &mut CreateTopicsRequest,
) -> Vec<CreatableTopicResult> {
    if !rights.are_checked() || rights.has_of_cluster(Operation::Create) {
        return Vec::new();
    }
    let mut counts: HashMap<ByteString, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut denied = Vec::new();
    request.topics.retain(|topic| {
        if counts.get(&topic.name).is_some_and(|count| *count > 1) {
            return true;
        }
        let create = rights.require(Operation::Create, ResourceType::Topic, &topic.name);
        let Err(error) = create else {
            return true;
        };
        denied.push(CreatableTopicResult {
            name: topic.name.clone(),
            error_code: error.code(),
            // Kafka's message for this case.
            error_message: Some("Authorization failed.".into()),
            configs: Some(Vec::new()),
            ..Default::default()
        });
        false
    });
    denied
}

/// Takes the partitions of the new topics from the client's quota. Removes the topics for which it does not suffice from the
/// request, and returns their results. A topic that cannot be created takes nothing: the controller refuses it.
fn take_throttled(
    context: &RequestContext,
    mutations: &mut Mutations,
    request: &mut CreateTopicsRequest,
) -> Vec<CreatableTopicResult> {
    let services = &context.services;
    let image = services.image.load();
    let default = services.in_force(&image).long("num.partitions");
    let mut refused = Vec::new();
    request.topics.retain(|topic| {
        let partitions = match topic.num_partitions {
            _ if image.topics.by_name(&topic.name).is_some() => 0,
            _ if !topic.assignments.is_empty() => topic.assignments.len(),
            -1 => default.max(0) as usize,
            count => count.max(0) as usize,
        };
        if mutations.take(&topic.name, partitions) {
            return true;
        }
        refused.push(CreatableTopicResult {
            name: topic.name.clone(),
            error_code: ErrorCode::ThrottlingQuotaExceeded.code(),
            num_partitions: -1,
            replication_factor: -1,
            configs: Some(Vec::new()),
            ..Default::default()
        });
        false
    });
    refused
}

/// Topic that is created automatically, with the broker's defaults or the settings of the internal topic.
pub fn automatic(name: &ByteString, settings: &BrokerSettings) -> CreatableTopic {
    let config = |name: &'static str, value: String| CreatableTopicConfig {
        name: ByteString::from_static(name),
        value: Some(value.into()),
    };
    let internal =
        |partitions: &str, factor: &str, configs: Vec<CreatableTopicConfig>| CreatableTopic {
            name: name.clone(),
            num_partitions: settings.int(partitions),
            replication_factor: settings.int(factor) as i16,
            configs,
            ..Default::default()
        };
    match &**name {
        "__consumer_offsets" => internal(
            "offsets.topic.num.partitions",
            "offsets.topic.replication.factor",
            vec![
                config("cleanup.policy", "compact".to_owned()),
                config("compression.type", "producer".to_owned()),
                config(
                    "segment.bytes",
                    settings.int("offsets.topic.segment.bytes").to_string(),
                ),
            ],
        ),
        "__transaction_state" => internal(
            "transaction.state.log.num.partitions",
            "transaction.state.log.replication.factor",
            vec![
                config("cleanup.policy", "compact".to_owned()),
                config("compression.type", "uncompressed".to_owned()),
                config(
                    "min.insync.replicas",
                    settings.int("transaction.state.log.min.isr").to_string(),
                ),
                config(
                    "segment.bytes",
                    settings
                        .int("transaction.state.log.segment.bytes")
                        .to_string(),
                ),
                config("unclean.leader.election.enable", "false".to_owned()),
            ],
        ),
        "__share_group_state" => internal(
            "share.coordinator.state.topic.num.partitions",
            "share.coordinator.state.topic.replication.factor",
            vec![
                config("cleanup.policy", "delete".to_owned()),
                config("compression.type", "producer".to_owned()),
                config(
                    "min.insync.replicas",
                    settings
                        .int("share.coordinator.state.topic.min.isr")
                        .to_string(),
                ),
                config("retention.ms", "-1".to_owned()),
                config(
                    "segment.bytes",
                    settings
                        .int("share.coordinator.state.topic.segment.bytes")
                        .to_string(),
                ),
            ],
        ),
        _ => CreatableTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        },
    }
}
