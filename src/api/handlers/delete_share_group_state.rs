//! DeleteShareGroupState (key 86), v0. KIP-932.

use super::share_state::{of_each_state, told};
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::delete_share_group_state::{
    DeleteShareGroupStateRequest, DeleteShareGroupStateResponse, DeleteStateResult, PartitionResult,
};

pub fn handle(
    context: RequestContext,
    request: DeleteShareGroupStateRequest,
) -> Reply<DeleteShareGroupStateResponse> {
    of_each_state!(
        context,
        request => DeleteShareGroupStateResponse of DeleteStateResult,
        |states, key, one| states.delete(key, i32::MAX),
        |partition, done| {
            let (error_code, error_message) = told(done.err());
            PartitionResult {
                partition,
                error_code,
                error_message,
            }
        }
    )
}
