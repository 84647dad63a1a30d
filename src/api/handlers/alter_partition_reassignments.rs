//! AlterPartitionReassignments (key 45), v0 and v1. KIP-455; v1 may forbid to change the number of replicas.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
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
