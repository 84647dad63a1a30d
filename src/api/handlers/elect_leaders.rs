//! ElectLeaders (key 43), v0 to v2. KIP-183, KIP-460.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

pub fn handle(
    context: RequestContext,
    mut request: ElectLeadersRequest,
) -> Reply<ElectLeadersResponse> {
    request.topic_partitions = request.topic_partitions.map(|topics| {
        once(
            topics,
            |topic| topic.topic.clone(),
            |topic| &mut topic.partitions,
            |index| *index,
        )
    });
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        return refused(&context, &request, error).into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        let mut response = decided.unwrap_or_else(|_| ElectLeadersResponse {
            error_code: ErrorCode::NotController.code(),
            ..Default::default()
        });
        if context.api_version == 0 {
            // Version 0 has no top-level error.
            response.error_code = 0;
        }
        response
    })
}

fn refused(
    context: &RequestContext,
    request: &ElectLeadersRequest,
    error: ErrorCode,
) -> ElectLeadersResponse {
    let result = |index: &i32| PartitionResult {
        partition_id: *index,
        error_code: error.code(),
        error_message: rights::words(error),
    };
    let topics = request.topic_partitions.iter().flatten();
    ElectLeadersResponse {
        // Version 0 has no top-level error.
        error_code: if context.api_version == 0 {
            0
        } else {
            error.code()
        },
        replica_election_results: topics
            .map(|topic| ReplicaElectionResult {
                topic: topic.topic.clone(),
                partition_result: topic.partitions.iter().map(result).collect(),
            })
            .collect(),
        ..Default::default()
    }
}
