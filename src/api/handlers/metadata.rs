//! Metadata (key 3), v0 to v13. KIP-516 (topic ids), KIP-430 and KIP-700 (authorized operations), KIP-1102.
//!
//! Unknown topics are created if the request and the broker allow it. The response then waits for the new topic, so that the
//! client can use it at once (Apache Kafka first answers LEADER_NOT_AVAILABLE).

use std::sync::Arc;

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::charges::Mutations;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights::Rights;
use crate::coordinator::topic::INTERNAL_TOPICS;
use crate::metadata::controller::topics::check_name;
use crate::metadata::image::{Image, Topic};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::message::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};

/// Number of partitions that are described on the thread that read the request; that takes about a millisecond.
const PARTITIONS_IN_PLACE_MAX: usize = 5_000;

/// First version that accepts topic ids. Requests of earlier versions have the field but must not use it.
const IDS_SINCE: i16 = 12;

/// A topic that a request asks for, by name or by id.
enum Named {
    Name(ByteString),
    Id(crate::base::ids::Uuid),
    /// A topic that would be created if the client had the right to create it.
    Unmade(ByteString),
}

pub fn handle(context: RequestContext, request: MetadataRequest) -> Reply<MetadataResponse> {
    let image = context.services.image.load();
    if is_ambiguous(&request, context.api_version) {
        return refused(&request).into();
    }
    let Some(mut names) = asked(&request, context.api_version) else {
        return respond(context, image, request, None);
    };
    let creates = request.allow_auto_topic_creation
        && (context.services.in_force(&image)).boolean("auto.create.topics.enable");
    let missing = match creates {
        true => to_be_made(&context, &image, &mut names),
        false => Vec::new(),
    };
    if missing.is_empty() {
        return respond(context, image, request, Some(names));
    }
    Reply::later(async move {
        create(&context, &missing).await;
        let image = context.services.image.load();
        answer(&context, &image, &request, Some(&names))
    })
}

/// Topics that do not exist and that the client may both describe and create. Those that it may describe but not create are
/// marked as `Named::Unmade`.
fn to_be_made(context: &RequestContext, image: &Image, names: &mut [Named]) -> Vec<ByteString> {
    let rights = context.rights();
    let mut of_cluster = None;
    let mut missing = Vec::new();
    for named in names {
        let Named::Name(name) = &*named else {
            continue;
        };
        let topic = ResourceType::Topic;
        if image.topics.by_name(name).is_some() || !rights.has(Operation::Describe, topic, name) {
            continue;
        }
        let of_cluster =
            *of_cluster.get_or_insert_with(|| rights.has_of_cluster(Operation::Create));
        if !of_cluster && rights.require(Operation::Create, topic, name).is_err() {
            *named = Named::Unmade(name.clone());
        } else if check_name(name).is_ok() {
            missing.push(name.clone());
        }
    }
    missing
}

/// Responds on this thread, or on the work pool: a request of a few bytes may ask for a hundred thousand partitions.
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
        Named::Unmade(_) => None,
    }
}

/// Whether a topic is named in a way that the request's version does not have: by id before version 12, or neither by name nor
/// by id.
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

/// Whether the request names at least one topic by id. As in Kafka, names are then ignored.
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

/// Topics that the request asks for; `None` for all topics, which is a null list, or an empty one in version 0.
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

/// For topics that are created automatically, every version is as if it knew THROTTLING_QUOTA_EXCEEDED.
const STRICT: i16 = 0;

/// Creates topics with the broker's defaults, and internal topics with their own settings.
pub async fn create(context: &RequestContext, names: &[ByteString]) {
    let image = context.services.image.load();
    let settings = context.services.settings(&image);
    let mut topics: Vec<CreatableTopic> = names
        .iter()
        .map(|name| super::create_topics::automatic(name, &settings))
        .collect();
    // As in Kafka, a topic that the client's quota does not allow now is not created: the client asks again for it.
    let mut mutations = Mutations::of(context, STRICT);
    if let Some(mutations) = &mut mutations {
        let default = settings.int("num.partitions");
        topics.retain(|topic| {
            let count = match topic.num_partitions {
                _ if image.topics.by_name(&topic.name).is_some() => 0,
                -1 => default,
                count => count,
            };
            mutations.take(&topic.name, count.max(0) as usize)
        });
    }
    let names: Vec<ByteString> = topics.iter().map(|topic| topic.name.clone()).collect();
    if names.is_empty() {
        return;
    }
    let request = CreateTopicsRequest {
        topics,
        ..Default::default()
    };
    let created = context.services.controller.ask(request).await;
    if let (Some(mutations), Ok(answer)) = (&mutations, &created) {
        let failed = answer.topics.iter().filter(|topic| topic.error_code != 0);
        mutations.give_back(failed.map(|topic| &*topic.name));
    }
    let refused = created
        .iter()
        .flat_map(|answer| &answer.topics)
        .filter(|topic| {
            topic.error_code != 0 && topic.error_code != ErrorCode::TopicAlreadyExists.code()
        });
    for topic in refused {
        tracing::warn!(topic = %topic.name, why = topic.error_message.as_deref(), "a topic was not created");
    }
    // Waits also for topics that another request has created meanwhile.
    let names = names.iter().map(|name| &**name);
    context.services.replicas.settled(names).await;
}

fn answer(
    context: &RequestContext,
    image: &Arc<Image>,
    request: &MetadataRequest,
    names: Option<&[Named]>,
) -> MetadataResponse {
    let rights = context.rights();
    let operations = request
        .include_topic_authorized_operations
        .then_some(&rights);
    let topics = match names {
        None => image
            .topics
            .iter()
            .filter(|topic| rights.has(Operation::Describe, ResourceType::Topic, &topic.name))
            .map(|topic| describe(image, topic, operations))
            .collect(),
        Some(names) => names
            .iter()
            .map(|named| describe_named(context, image, named, &rights, operations))
            .collect(),
    };
    MetadataResponse {
        brokers: brokers(context, image),
        cluster_id: Some(context.services.cluster_id.as_str().into()),
        controller_id: context.services.controller_id(image),
        topics,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            rights.operations_of_cluster()
        } else {
            i32::MIN
        },
        ..Default::default()
    }
}

/// The live brokers, each with the address at which this client can reach it.
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
    rights: &Rights<'_>,
    operations: Option<&Rights<'_>>,
) -> MetadataResponseTopic {
    let found = find(image, named);
    if let Some(denied) = denied(context, found, named, rights) {
        return denied;
    }
    if let Some(topic) = found {
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
        Named::Unmade(name) => (
            ErrorCode::TopicAuthorizationFailed,
            Some(name.clone()),
            crate::base::ids::Uuid::ZERO,
        ),
        // Before version 12 the name may not be null.
        Named::Id(id) => (
            ErrorCode::UnknownTopicId,
            (context.api_version < 12).then(ByteString::new),
            *id,
        ),
    };
    let operations = operations.filter(|_| error == ErrorCode::UnknownTopicOrPartition);
    let told = operations.zip(name.as_deref());
    MetadataResponseTopic {
        error_code: error.code(),
        topic_authorized_operations: told.map_or(i32::MIN, |(rights, name)| {
            rights.operations(ResourceType::Topic, name)
        }),
        name,
        topic_id,
        ..Default::default()
    }
}

/// Result of a topic that the client may not describe: for a name not even whether the topic exists, for an id not its name.
fn denied(
    context: &RequestContext,
    found: Option<&Arc<Topic>>,
    named: &Named,
    rights: &Rights<'_>,
) -> Option<MetadataResponseTopic> {
    let name = match named {
        Named::Name(name) => &**name,
        Named::Id(_) => &*found?.name,
        Named::Unmade(_) => return None,
    };
    let error = rights.require(Operation::Describe, ResourceType::Topic, name);
    let (name, topic_id) = match named {
        Named::Id(id) => ((context.api_version < IDS_SINCE).then(ByteString::new), *id),
        _ => (Some(name.into()), crate::base::ids::Uuid::ZERO),
    };
    Some(MetadataResponseTopic {
        error_code: error.err()?.code(),
        name,
        topic_id,
        ..Default::default()
    })
}

fn describe(
    image: &Image,
    topic: &Topic,
    operations: Option<&Rights<'_>>,
) -> MetadataResponseTopic {
    let alive = |id: &i32| image.is_live(*id);
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
        topic_authorized_operations: operations.map_or(i32::MIN, |rights| {
            rights.operations(ResourceType::Topic, &topic.name)
        }),
        ..Default::default()
    }
}
