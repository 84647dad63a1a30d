//! ReadShareGroupStateSummary (key 87), v0 to v1. KIP-932; number of completed deliveries (v1).

use super::share_state::{of_each_state, told};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::share_state::request::Summary;
use crate::wire::message::read_share_group_state_summary::{
    PartitionResult, ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse,
    ReadStateSummaryResult,
};

pub fn handle(
    context: RequestContext,
    request: ReadShareGroupStateSummaryRequest,
) -> Reply<ReadShareGroupStateSummaryResponse> {
    of_each_state!(
        context,
        request => ReadShareGroupStateSummaryResponse of ReadStateSummaryResult,
        |states, key, one| states.summarise(key),
        |partition, done| {
            let (error_code, error_message) = told(done.err());
            // Kafka's values beside an error.
            let summary = done.unwrap_or(Summary {
                start_offset: 0,
                ..Summary::NOTHING
            });
            PartitionResult {
                partition,
                error_code,
                error_message,
                state_epoch: summary.state_epoch,
                leader_epoch: summary.leader_epoch,
                start_offset: summary.start_offset,
                delivery_complete_count: summary.complete_count,
            }
        }
    )
}
