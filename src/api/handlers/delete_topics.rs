//! DeleteTopics (key 20), v0 to v6. KIP-4, KIP-516 (by id, v6).

use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;

use crate::api::charges::Mutations;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights::{self, Rights};
use crate::base::ids::Uuid;
use crate::metadata::image::{Image, Topic};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};

/// First version of clients that know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 5;

pub fn handle(
    context: RequestContext,
    mut request: DeleteTopicsRequest,
) -> Reply<DeleteTopicsResponse> {
    let mut mutations = Mutations::of(&context, STRICT_SINCE);
    let denied = {
        let image = context.services.image.load();
        let mut denied = take_denied(&context.rights(), &image, &mut request);
        if let Some(mutations) = &mut mutations {
            denied.extend(take_throttled(&image, mutations, &mut request));
        }
        denied
    };
    Reply::later(async move {
        let names = request.topic_names.clone();
        let decided = context.services.controller.ask(request).await;
        if let Ok(response) = &decided {
            let gone = response
                .responses
                .iter()
                .filter(|topic| topic.error_code == 0);
            let gone = gone.filter_map(|topic| topic.name.as_deref());
            context.services.replicas.settled(gone).await;
        }
        let mut response = decided.unwrap_or_else(|_| DeleteTopicsResponse {
            responses: names
                .into_iter()
                .map(|name| DeletableTopicResult {
                    name: Some(name),
                    error_code: ErrorCode::NotController.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        if let Some(mutations) = mutations {
            let failed = response
                .responses
                .iter()
                .filter(|topic| topic.error_code != 0);
            let failed = failed.filter_map(|topic| topic.name.as_deref());
            response.throttle_time_ms = mutations.settle(failed);
        }
        response.responses.extend(denied);
        response
    })
}

/// Takes the partitions of the topics from the client's quota. Removes the topics for which it does not suffice from the
/// request, and returns their results. A topic that is not there takes nothing.
fn take_throttled(
    image: &Image,
    mutations: &mut Mutations,
    request: &mut DeleteTopicsRequest,
) -> Vec<DeletableTopicResult> {
    let mut refused = Vec::new();
    let mut take = |found: Option<&Arc<Topic>>, id: Uuid| {
        let Some(topic) = found else {
            return true;
        };
        if mutations.take(&topic.name, topic.partitions.len()) {
            return true;
        }
        refused.push(DeletableTopicResult {
            name: Some((*topic.name).into()),
            topic_id: id,
            error_code: ErrorCode::ThrottlingQuotaExceeded.code(),
            ..Default::default()
        });
        false
    };
    request
        .topic_names
        .retain(|name| take(image.topics.by_name(name), Uuid::ZERO));
    request.topics.retain(|asked| match &asked.name {
        Some(name) => take(image.topics.by_name(name), Uuid::ZERO),
        None => take(image.topics.by_id(asked.topic_id), asked.topic_id),
    });
    refused
}

/// Removes the topics that the client may not delete from the request, and returns their results. A client that may not
/// describe a topic learns neither whether a topic of that name exists nor the name of a topic id. A topic that is named twice
/// is left to the controller, which refuses it.
fn take_denied(
    rights: &Rights<'_>,
    image: &Image,
    request: &mut DeleteTopicsRequest,
) -> Vec<DeletableTopicResult> {
    if !rights.are_checked() || rights.has_of_cluster(Operation::Delete) {
        return Vec::new();
    }
    let mut counts: HashMap<ByteString, usize> = HashMap::new();
    let in_states = request
        .topics
        .iter()
        .filter_map(|topic| topic.name.as_ref());
    for name in request.topic_names.iter().chain(in_states) {
        *counts.entry(name.clone()).or_default() += 1;
    }
    let topic = ResourceType::Topic;
    // Error of a topic that is given by its name; `None` if the topic stays in the request.
    let by_name = |name: &ByteString| {
        if counts.get(name).is_some_and(|count| *count > 1) {
            return None;
        }
        let described = rights.require(Operation::Describe, topic, name);
        let is_there = image.topics.by_name(name).is_some();
        match described {
            Ok(()) if !is_there => None,
            Ok(()) => rights.require(Operation::Delete, topic, name).err(),
            Err(error) => Some(error),
        }
    };
    let mut denied = Vec::new();
    let mut refuse = |name: Option<ByteString>, topic_id: Uuid, error: ErrorCode| {
        denied.push(DeletableTopicResult {
            name,
            topic_id,
            error_code: error.code(),
            error_message: rights::words(error),
        });
        false
    };
    request.topic_names.retain(|name| match by_name(name) {
        Some(error) => refuse(Some(name.clone()), Uuid::ZERO, error),
        None => true,
    });
    request.topics.retain(|asked| {
        let id = asked.topic_id;
        match &asked.name {
            Some(name) if id.is_zero() => match by_name(name) {
                Some(error) => refuse(Some(name.clone()), Uuid::ZERO, error),
                None => true,
            },
            // A topic with both a name and an id is left to the controller, which refuses it.
            Some(_) => true,
            None => {
                let Some(found) = image.topics.by_id(id) else {
                    return true;
                };
                let described = rights.has(Operation::Describe, topic, &found.name);
                match rights.require(Operation::Delete, topic, &found.name) {
                    Ok(()) => true,
                    Err(error) => refuse(described.then(|| (*found.name).into()), id, error),
                }
            }
        }
    });
    denied
}
