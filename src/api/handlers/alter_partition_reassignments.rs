//! AlterPartitionReassignments (key 45), v0 and v1. KIP-455; a v1 request may forbid changes of the replication factor.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};

pub fn handle(
    context: RequestContext,
    mut request: AlterPartitionReassignmentsRequest,
) -> Reply<AlterPartitionReassignmentsResponse> {
    request.topics = once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |asked| asked.partition_index,
    );
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        let partition = |asked: &ReassignablePartition| ReassignablePartitionResponse {
            partition_index: asked.partition_index,
            error_code: error.code(),
            error_message: rights::words(error),
        };
        let topics = request.topics.into_iter();
        return AlterPartitionReassignmentsResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            responses: topics
                .map(|topic| ReassignableTopicResponse {
                    name: topic.name,
                    partitions: topic.partitions.iter().map(partition).collect(),
                })
                .collect(),
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request);
        decided
            .await
            .unwrap_or_else(|_| AlterPartitionReassignmentsResponse {
                error_code: ErrorCode::NotController.code(),
                ..Default::default()
            })
    })
}
