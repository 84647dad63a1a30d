//! ListPartitionReassignments (key 46), v0. KIP-455.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::metadata::controller::partitions;
use crate::security::acl::Operation;
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub fn handle(
    context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> Reply<ListPartitionReassignmentsResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::Describe) {
        return ListPartitionReassignmentsResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            ..Default::default()
        }
        .into();
    }
    partitions::list_reassignments(&context.services.image.load(), &request).into()
}
