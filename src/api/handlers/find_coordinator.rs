//! FindCoordinator (key 10), v0 to v6. KIP-98 (transactions, v1), KIP-699 (many keys at once, v4), KIP-890 (v5), KIP-932 (share
//! states, v6).
//!
//! The first request creates the internal topic. The response waits until the topic is available, so that the client need not
//! retry (Apache Kafka first answers COORDINATOR_NOT_AVAILABLE).

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Uuid;
use crate::coordinator::hash::partition_of;
use crate::coordinator::topic::{GROUP_TOPIC, SHARE_STATE_TOPIC, TRANSACTION_TOPIC};
use crate::metadata::image::{Image, Topic};
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// Key type of share states, whose coordinator brokers look for.
const SHARE: i8 = 2;
const SHARE_SINCE: i16 = 6;
/// First version with several keys.
const MANY: i16 = 4;

pub fn handle(
    context: RequestContext,
    request: FindCoordinatorRequest,
) -> Reply<FindCoordinatorResponse> {
    let keys = if context.api_version < MANY {
        vec![request.key]
    } else {
        distinct(request.coordinator_keys).into_iter().collect()
    };
    let topic = match request.key_type {
        GROUP => Ok(GROUP_TOPIC),
        TRANSACTION => Ok(TRANSACTION_TOPIC),
        SHARE if context.api_version >= SHARE_SINCE => Ok(SHARE_STATE_TOPIC),
        _ => Err(ErrorCode::InvalidRequest),
    };
    let rights = context.rights();
    let keys: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let described = match (topic, request.key_type) {
                (Err(_), _) => Ok(()),
                (Ok(_), SHARE) => rights
                    .require(
                        Operation::ClusterAction,
                        ResourceType::Cluster,
                        CLUSTER_NAME,
                    )
                    .and_then(|()| check_share_key(&key)),
                (Ok(_), TRANSACTION) => {
                    rights.require(Operation::Describe, ResourceType::TransactionalId, &key)
                }
                (Ok(_), _) => rights.require(Operation::Describe, ResourceType::Group, &key),
            };
            (key, described)
        })
        .collect();
    drop(rights);
    // The topic is created only for a client that may describe at least one of the keys.
    let is_asked = keys.iter().any(|(_, described)| described.is_ok());
    let missing = topic
        .ok()
        .filter(|name| is_asked && is_missing(&context, name));
    if let Some(name) = missing {
        return Reply::later(async move {
            make_if_missing(&context, name).await;
            answer(&context, topic, keys)
        });
    }
    answer(&context, topic, keys).into()
}

/// Whether an internal topic is not available yet.
fn is_missing(context: &RequestContext, name: &str) -> bool {
    let services = &context.services;
    // Another request may have created the topic just now.
    let is_coming =
        || services.replicas.partition(name, 0).err() == Some(ErrorCode::NotLeaderOrFollower);
    services.image.load().topics.by_name(name).is_none() || is_coming()
}

/// Creates an internal topic that is not available yet, and waits until it is.
pub(super) async fn make_if_missing(context: &RequestContext, name: &'static str) {
    if is_missing(context, name) {
        super::metadata::create(context, &[ByteString::from_static(name)]).await;
    }
}

/// Checks a share key: group id, topic id and partition index, separated by colons.
fn check_share_key(key: &str) -> Result<(), ErrorCode> {
    let mut parts = key.rsplitn(3, ':');
    let partition = parts.next().and_then(|part| part.parse::<i32>().ok());
    let topic = parts.next().and_then(|part| part.parse::<Uuid>().ok());
    let group = parts.next().filter(|group| !group.trim().is_empty());
    match (group, topic, partition) {
        (Some(_), Some(_), Some(_)) => Ok(()),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn answer(
    context: &RequestContext,
    topic: Result<&'static str, ErrorCode>,
    keys: Vec<(ByteString, Result<(), ErrorCode>)>,
) -> FindCoordinatorResponse {
    let image = context.services.image.load();
    let coordinators: Vec<Coordinator> = keys
        .into_iter()
        .map(|(key, described)| {
            let found = described.and(topic).and_then(|name| {
                let topic = image
                    .topics
                    .by_name(name)
                    .ok_or(ErrorCode::CoordinatorNotAvailable)?;
                find(context, &image, topic, &key)
            });
            let (error, (node_id, host, port)) = match found {
                Ok(node) => (ErrorCode::None, node),
                Err(error) => (error, (-1, ByteString::new(), -1)),
            };
            Coordinator {
                key,
                node_id,
                host,
                port,
                error_code: error.code(),
                error_message: None,
            }
        })
        .collect();
    if context.api_version >= MANY {
        return FindCoordinatorResponse {
            coordinators,
            ..Default::default()
        };
    }
    let only = coordinators.into_iter().next();
    let only = only.expect("a request of before v4 has one key");
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: ErrorCode::from_code(only.error_code)
            .map(|error| ByteString::from_static(error.name())),
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    }
}

/// The leader of the key's partition, with the address at which this client can reach it.
fn find(
    context: &RequestContext,
    image: &Image,
    topic: &Topic,
    key: &str,
) -> Result<(i32, ByteString, i32), ErrorCode> {
    let unavailable = ErrorCode::CoordinatorNotAvailable;
    let index = partition_of(key, topic.partitions.len() as i32);
    let leader = topic
        .partitions
        .get(index as usize)
        .ok_or(unavailable)?
        .leader;
    if leader == context.services.node_id {
        let (host, port) = context.connection.reachable();
        return Ok((leader, host, i32::from(port)));
    }
    let broker = image
        .live_brokers()
        .find(|broker| broker.id == leader)
        .ok_or(unavailable)?;
    let (host, port) = context.address_of(broker).ok_or(unavailable)?;
    Ok((leader, host, i32::from(port)))
}
