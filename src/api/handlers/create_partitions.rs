//! CreatePartitions (key 37), v0 to v3. KIP-195: the count of a request is the new total.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

pub fn handle(
    context: RequestContext,
    request: CreatePartitionsRequest,
) -> Reply<CreatePartitionsResponse> {
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
        decided.unwrap_or_else(|_| CreatePartitionsResponse {
            results: names
                .into_iter()
                .map(|name| CreatePartitionsTopicResult {
                    name,
                    error_code: ErrorCode::NotController.code(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    })
}
