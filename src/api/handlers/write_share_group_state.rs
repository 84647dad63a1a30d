//! WriteShareGroupState (key 85), v0 to v1. KIP-932; number of completed deliveries (v1).

use super::share_state::{of_each_state, told};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::share_state::record::StateBatch as Kept;
use crate::coordinator::share_state::request::Write;
use crate::wire::message::write_share_group_state::{
    PartitionData, PartitionResult, WriteShareGroupStateRequest, WriteShareGroupStateResponse,
    WriteStateResult,
};

pub fn handle(
    context: RequestContext,
    request: WriteShareGroupStateRequest,
) -> Reply<WriteShareGroupStateResponse> {
    of_each_state!(
        context,
        request => WriteShareGroupStateResponse of WriteStateResult,
        |states, key, one| states.write(key, wanted(one)),
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

fn wanted(one: PartitionData) -> Write {
    let batches = one.state_batches.into_iter();
    Write {
        state_epoch: one.state_epoch,
        leader_epoch: one.leader_epoch,
        start_offset: one.start_offset,
        complete_count: one.delivery_complete_count,
        batches: batches
            .map(|one| Kept {
                first_offset: one.first_offset,
                last_offset: one.last_offset,
                delivery_state: one.delivery_state,
                delivery_count: one.delivery_count,
            })
            .collect(),
    }
}
