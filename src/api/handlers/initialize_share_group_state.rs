//! InitializeShareGroupState (key 83), v0. KIP-932.

use super::share_state::{of_each_state, told};
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::initialize_share_group_state::{
    InitializeShareGroupStateRequest, InitializeShareGroupStateResponse, InitializeStateResult,
    PartitionResult,
};

pub fn handle(
    context: RequestContext,
    request: InitializeShareGroupStateRequest,
) -> Reply<InitializeShareGroupStateResponse> {
    of_each_state!(
        context,
        request => InitializeShareGroupStateResponse of InitializeStateResult,
        |states, key, one| states.initialise(key, one.state_epoch, one.start_offset, true),
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
