//! CreatePartitions (key 37), v0 to v3. KIP-195: the count in a request is the new total number of partitions.

use std::collections::HashMap;

use bytestring::ByteString;

use crate::api::charges::Mutations;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

/// First version of clients that know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 3;

pub fn handle(
    context: RequestContext,
    mut request: CreatePartitionsRequest,
) -> Reply<CreatePartitionsResponse> {
    let rights = context.rights();
    let mut denied = Vec::new();
    if rights.are_checked() {
        let mut counts: HashMap<ByteString, usize> = HashMap::new();
        for topic in &request.topics {
            *counts.entry(topic.name.clone()).or_default() += 1;
        }
        request.topics.retain(|topic| {
            // A topic that is named twice is left to the controller, which refuses it.
            if counts.get(&topic.name).is_some_and(|count| *count > 1) {
                return true;
            }
            let alter = rights.require(Operation::Alter, ResourceType::Topic, &topic.name);
            let Err(error) = alter else {
                return true;
            };
            denied.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: error.code(),
                error_message: rights::words(error),
            });
            false
        });
    }
    drop(rights);
    let mut mutations = Mutations::of(&context, STRICT_SINCE);
    if let Some(mutations) = &mut mutations {
        let image = context.services.image.load();
        request.topics.retain(|topic| {
            // A topic that is not there, or has as many partitions already, takes nothing: the controller refuses it.
            let found = image.topics.by_name(&topic.name);
            let now = found.map_or(usize::MAX, |found| found.partitions.len());
            let partitions = (topic.count.max(0) as usize).saturating_sub(now);
            if mutations.take(&topic.name, partitions) {
                return true;
            }
            denied.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: ErrorCode::ThrottlingQuotaExceeded.code(),
                error_message: None,
            });
            false
        });
    }
    Reply::later(async move {
        let names: Vec<_> = request
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect();
        let decided = context.services.controller.ask(request).await;
        if let Ok(response) = &decided {
            let made = response
                .results
                .iter()
                .filter(|topic| topic.error_code == 0);
            let made = made.map(|topic| &*topic.name);
            context.services.replicas.settled(made).await;
        }
        let mut response = decided.unwrap_or_else(|_| CreatePartitionsResponse {
            results: names
                .into_iter()
                .map(|name| CreatePartitionsTopicResult {
                    name,
                    error_code: ErrorCode::NotController.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        if let Some(mutations) = mutations {
            let failed = response
                .results
                .iter()
                .filter(|topic| topic.error_code != 0);
            response.throttle_time_ms = mutations.settle(failed.map(|topic| &*topic.name));
        }
        response.results.extend(denied);
        response
    })
}
