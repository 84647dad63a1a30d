//! Metadata (key 3), v0 to v13. KIP-516 (topic ids), KIP-700 and before (authorized operations), KIP-1102.
//!
//! Unknown topics are created when the request and the broker allow it; the answer then waits for the new topic, so
//! that a client can use it at once (Apache Kafka answers LEADER_NOT_AVAILABLE first).

use std::sync::Arc;

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::api::handlers::produce::INTERNAL_TOPICS;
use crate::metadata::controller::topics::check_name;
use crate::metadata::image::{Image, Topic};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

/// Everything that there is to a topic: read, write, create, delete, alter, describe and both kinds of config.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// What may be done to the cluster: create, alter, describe, cluster action, configs, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000 & !(1 << 6);

/// Partitions that are described on the thread that read the request, in about a millisecond.
const PARTITIONS_IN_PLACE_MAX: usize = 5_000;

/// Before this version a topic could only be named by its name, though its id had a place.
const IDS_SINCE: i16 = 12;

/// A topic that a request names, by name or by id.
enum Named {
    Name(ByteString),
    Id(crate::base::ids::Uuid),
}

pub fn handle(context: RequestContext, request: MetadataRequest) -> Reply<MetadataResponse> {
    let image = context.services.image.load();
    if is_ambiguous(&request, context.api_version) {
        return refused(&request).into();
    }
    let Some(names) = asked(&request, context.api_version) else {
        return respond(context, image, request, None);
    };
    let missing: Vec<ByteString> = names
        .iter()
        .filter_map(|named| match named {
            Named::Name(name)
                if image.topics.by_name(name).is_none() && check_name(name).is_ok() =>
            {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    let may_create = || {
        request.allow_auto_topic_creation
            && (context.services.in_force(&image)).boolean("auto.create.topics.enable")
    };
    if missing.is_empty() || !may_create() {
        return respond(context, image, request, Some(names));
    }
    Reply::later(async move {
        create(&context, &missing).await;
        let image = context.services.image.load();
        answer(&context, &image, &request, Some(&names))
    })
}

/// A question of a few bytes may be about a hundred thousand partitions.
fn respond(
    context: RequestContext,
    image: Arc<Image>,
    request: MetadataRequest,
    names: Option<Vec<Named>>,
) -> Reply<MetadataResponse> {
    if !is_long(&image, names.as_deref()) {
        return answer(&context, &image, &request, names.as_deref()).into();
    }
    Reply::long(async move { answer(&context, &image, &request, names.as_deref()).into() })
}

fn is_long(image: &Image, names: Option<&[Named]>) -> bool {
    let mut partitions = 0;
    let mut is_too_much = |topic: &Topic| {
        partitions += topic.partitions.len();
        partitions > PARTITIONS_IN_PLACE_MAX
    };
    match names {
        None => image.topics.iter().any(|topic| is_too_much(topic)),
        Some(names) => names
            .iter()
            .filter_map(|named| find(image, named))
            .any(|topic| is_too_much(topic)),
    }
}

fn find<'a>(image: &'a Image, named: &Named) -> Option<&'a Arc<Topic>> {
    match named {
        Named::Name(name) => image.topics.by_name(name),
        Named::Id(id) => image.topics.by_id(*id),
    }
}

/// Whether a topic is named in a way that its version does not have: by id before version 12, or not at all.
fn is_ambiguous(request: &MetadataRequest, version: i16) -> bool {
    if version >= IDS_SINCE && names_ids(request) {
        return false;
    }
    request.topics.iter().flatten().any(|topic| {
        if version < IDS_SINCE {
            topic.name.is_none() || !topic.topic_id.is_zero()
        } else {
            topic.name.is_none() && topic.topic_id.is_zero()
        }
    })
}

/// Where one topic is named by its id, names do not count, as with Kafka.
fn names_ids(request: &MetadataRequest) -> bool {
    let mut topics = request.topics.iter().flatten();
    topics.any(|topic| !topic.topic_id.is_zero())
}

fn refused(request: &MetadataRequest) -> MetadataResponse {
    let topics = request.topics.iter().flatten();
    let named = topics.map(|topic| (topic.name.as_deref().unwrap_or_default(), topic.topic_id));
    MetadataResponse {
        topics: distinct(named)
            .into_iter()
            .map(|(name, topic_id)| MetadataResponseTopic {
                error_code: ErrorCode::InvalidRequest.code(),
                name: Some(name.into()),
                topic_id,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// `None` for all topics: a null list, or an empty one in version 0.
fn asked(request: &MetadataRequest, version: i16) -> Option<Vec<Named>> {
    let topics = request.topics.as_ref()?;
    if version == 0 && topics.is_empty() {
        return None;
    }
    if names_ids(request) {
        let ids = topics.iter().map(|topic| topic.topic_id);
        let ids = distinct(ids.filter(|id| !id.is_zero()));
        return Some(ids.into_iter().map(Named::Id).collect());
    }
    let names = distinct(topics.iter().filter_map(|topic| topic.name.as_ref()));
    let names = names.into_iter().cloned();
    Some(names.map(Named::Name).collect())
}

/// Creates topics with the broker's defaults; internal ones with the settings that are theirs.
pub async fn create(context: &RequestContext, names: &[ByteString]) {
    let image = context.services.image.load();
    let settings = context.services.settings(&image);
    let topics: Vec<CreatableTopic> = names
        .iter()
        .map(|name| super::create_topics::automatic(name, &settings))
        .collect();
    let request = CreateTopicsRequest {
        topics,
        ..Default::default()
    };
    let created = context.services.controller.ask(request).await;
    let refused = created
        .iter()
        .flat_map(|answer| &answer.topics)
        .filter(|topic| {
            topic.error_code != 0 && topic.error_code != ErrorCode::TopicAlreadyExists.code()
        });
    for topic in refused {
        tracing::warn!(topic = %topic.name, why = topic.error_message.as_deref(), "a topic was not created");
    }
    // Also those that somebody else has created meanwhile.
    let names = names.iter().map(|name| &**name);
    context.services.replicas.settled(names).await;
}

fn answer(
    context: &RequestContext,
    image: &Arc<Image>,
    request: &MetadataRequest,
    names: Option<&[Named]>,
) -> MetadataResponse {
    let operations = request.include_topic_authorized_operations;
    let topics = match names {
        None => image
            .topics
            .iter()
            .map(|topic| describe(image, topic, operations))
            .collect(),
        Some(names) => names
            .iter()
            .map(|named| describe_named(context, image, named, operations))
            .collect(),
    };
    MetadataResponse {
        brokers: brokers(context, image),
        cluster_id: Some(context.services.cluster_id.as_str().into()),
        controller_id: context.services.node_id,
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

/// The live brokers, each at the address that this client can reach.
fn brokers(context: &RequestContext, image: &Image) -> Vec<MetadataResponseBroker> {
    image
        .live_brokers()
        .filter_map(|broker| {
            let (host, port) = context.address_of(broker)?;
            Some(MetadataResponseBroker {
                node_id: broker.id,
                host,
                port: i32::from(port),
                rack: broker.rack.as_deref().map(Into::into),
            })
        })
        .collect()
}

fn describe_named(
    context: &RequestContext,
    image: &Image,
    named: &Named,
    operations: bool,
) -> MetadataResponseTopic {
    if let Some(topic) = find(image, named) {
        return describe(image, topic, operations);
    }
    let (error, name, topic_id) = match named {
        Named::Name(name) => {
            let error = if check_name(name).is_err() {
                ErrorCode::InvalidTopicException
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            (error, Some(name.clone()), crate::base::ids::Uuid::ZERO)
        }
        // Before version 12 a name may not be null.
        Named::Id(id) => (
            ErrorCode::UnknownTopicId,
            (context.api_version < 12).then(ByteString::new),
            *id,
        ),
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name,
        topic_id,
        topic_authorized_operations: if operations && error == ErrorCode::UnknownTopicOrPartition {
            TOPIC_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

fn describe(image: &Image, topic: &Topic, operations: bool) -> MetadataResponseTopic {
    let alive = |id: &i32| image.brokers.get(id).is_some_and(|broker| !broker.fenced);
    let partitions = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| MetadataResponsePartition {
            error_code: if alive(&partition.leader) {
                0
            } else {
                ErrorCode::LeaderNotAvailable.code()
            },
            partition_index: index as i32,
            leader_id: partition.leader,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: image.offline_replicas(partition),
        })
        .collect();
    MetadataResponseTopic {
        name: Some((*topic.name).into()),
        topic_id: topic.id,
        is_internal: INTERNAL_TOPICS.contains(&&*topic.name),
        partitions,
        topic_authorized_operations: if operations {
            TOPIC_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}
