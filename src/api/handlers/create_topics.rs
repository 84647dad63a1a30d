//! CreateTopics (key 19), v0 to v7. KIP-4, KIP-464 (-1 for the broker's defaults), KIP-525 (settings in the answer).

use std::collections::HashMap;

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::config::broker::BrokerSettings;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};

pub fn handle(
    context: RequestContext,
    request: CreateTopicsRequest,
) -> Reply<CreateTopicsResponse> {
    Reply::later(async move {
        let names: Vec<ByteString> = request
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect();
        let version = context.api_version;
        let wanted: HashMap<_, _> = request
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.replication_factor))
            .collect();
        let decided = context.services.controller.ask(request).await;
        let mut response = match decided {
            Ok(response) => response,
            Err(_) => CreateTopicsResponse {
                topics: names
                    .into_iter()
                    .map(|name| CreatableTopicResult {
                        name,
                        error_code: ErrorCode::NotController.code(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            },
        };
        let made = response.topics.iter().filter(|topic| topic.error_code == 0);
        let made = made.map(|topic| &*topic.name);
        context.services.replicas.settled(made).await;
        for topic in &mut response.topics {
            if topic.error_code == 0
                && let Some(factor) = wanted.get(&topic.name)
                && *factor > topic.replication_factor
            {
                tracing::warn!(
                    topic = %topic.name, wanted = factor, given = topic.replication_factor,
                    "there are not enough brokers for so many replicas"
                );
            }
            if version < 5 {
                topic.configs = None;
            } else if topic.configs.is_none() {
                topic.configs = Some(Vec::new());
            }
            if topic.error_code != 0 {
                (topic.num_partitions, topic.replication_factor) = (-1, -1);
            }
        }
        response
    })
}

/// A topic that nobody asked for explicitly.
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
        _ => CreatableTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        },
    }
}
