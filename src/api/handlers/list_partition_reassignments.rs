//! ListPartitionReassignments (key 46), v0. KIP-455.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::partitions;
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub fn handle(
    context: RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> Reply<ListPartitionReassignmentsResponse> {
    partitions::list_reassignments(&context.services.image.load(), &request).into()
}
