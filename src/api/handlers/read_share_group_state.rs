//! ReadShareGroupState (key 84), v0. KIP-932.

use super::share_state::{of_each_state, told};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::share_state::record::StateBatch as Kept;
use crate::wire::message::read_share_group_state::{
    PartitionResult, ReadShareGroupStateRequest, ReadShareGroupStateResponse, ReadStateResult,
    StateBatch,
};

pub fn handle(
    context: RequestContext,
    request: ReadShareGroupStateRequest,
) -> Reply<ReadShareGroupStateResponse> {
    of_each_state!(
        context,
        request => ReadShareGroupStateResponse of ReadStateResult,
        |states, key, one| states.read(key, one.leader_epoch),
        |partition, done| {
            let (error_code, error_message) = told(done.as_ref().err().copied());
            let known = done.unwrap_or_default();
            PartitionResult {
                partition,
                error_code,
                error_message,
                state_epoch: known.state_epoch,
                start_offset: known.start_offset,
                state_batches: known.batches.into_iter().map(shown).collect(),
            }
        }
    )
}

fn shown(one: Kept) -> StateBatch {
    StateBatch {
        first_offset: one.first_offset,
        last_offset: one.last_offset,
        delivery_state: one.delivery_state,
        delivery_count: one.delivery_count,
    }
}
