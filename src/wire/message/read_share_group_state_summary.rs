//! pure: schemas of the request and response of ReadShareGroupStateSummary (API key 87).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 87 ReadShareGroupStateSummaryRequest -> ReadShareGroupStateSummaryResponse, versions 0..=1, flexible Some(0);
    {
        group_id: ByteString [0..];
        topics: Vec<ReadStateSummaryData> [0..];
    }

    struct ReadStateSummaryData {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionData> [0..];
    }

    struct PartitionData {
        partition: i32 [0..];
        leader_epoch: i32 [0..];
    }

    message ReadShareGroupStateSummaryResponse, versions 0..=1, flexible Some(0);
    {
        results: Vec<ReadStateSummaryResult> [0..];
    }

    struct ReadStateSummaryResult {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionResult> [0..];
    }

    struct PartitionResult {
        partition: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        state_epoch: i32 [0..];
        leader_epoch: i32 [0..];
        start_offset: i64 [0..];
        #[ignorable] delivery_complete_count: i32 [1..] = -1;
    }
}
