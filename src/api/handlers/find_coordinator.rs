//! FindCoordinator (key 10), v0 to v6. KIP-98 (transactions, v1), KIP-699 (many keys at once, v4), KIP-890 (v5).
//!
//! The first request creates the internal topic. The response waits until the topic is available, so that the client need not
//! retry (Apache Kafka first answers COORDINATOR_NOT_AVAILABLE).

use bytestring::ByteString;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::hash::partition_of;
use crate::coordinator::topic::{GROUP_TOPIC, TRANSACTION_TOPIC};
use crate::metadata::image::{Image, Topic};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
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
        _ => Err(ErrorCode::InvalidRequest),
    };
    let services = &context.services;
    let is_missing = |name: &&str| services.image.load().topics.by_name(name).is_none();
    // Another request is creating the topic at this moment.
    let is_coming = |name: &&str| {
        services.replicas.partition(name, 0).err() == Some(ErrorCode::NotLeaderOrFollower)
    };
    let rights = context.rights();
    let keys: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let kind = match request.key_type {
                TRANSACTION => ResourceType::TransactionalId,
                _ => ResourceType::Group,
            };
            let described = match topic {
                Ok(_) => rights.require(Operation::Describe, kind, &key),
                Err(_) => Ok(()),
            };
            (key, described)
        })
        .collect();
    drop(rights);
    // The topic is created only for a client that may describe at least one of the keys.
    let is_asked = keys.iter().any(|(_, described)| described.is_ok());
    let missing = topic
        .ok()
        .filter(|name| is_asked && (is_missing(name) || is_coming(name)));
    if let Some(name) = missing {
        return Reply::later(async move {
            super::metadata::create(&context, &[ByteString::from_static(name)]).await;
            answer(&context, topic, keys)
        });
    }
    answer(&context, topic, keys).into()
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
