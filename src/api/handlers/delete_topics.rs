//! DeleteTopics (key 20), v0 to v6. KIP-4, KIP-516 (by id, v6).

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};

pub fn handle(
    context: RequestContext,
    request: DeleteTopicsRequest,
) -> Reply<DeleteTopicsResponse> {
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
        decided.unwrap_or_else(|_| DeleteTopicsResponse {
            responses: names
                .into_iter()
                .map(|name| DeletableTopicResult {
                    name: Some(name),
                    error_code: ErrorCode::NotController.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
