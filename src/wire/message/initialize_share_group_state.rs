//! pure: schemas of the request and response of InitializeShareGroupState (API key 83).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 83 InitializeShareGroupStateRequest -> InitializeShareGroupStateResponse, versions 0..=0, flexible Some(0);
    {
        group_id: ByteString [0..];
        topics: Vec<InitializeStateData> [0..];
    }

    struct InitializeStateData {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionData> [0..];
    }

    struct PartitionData {
        partition: i32 [0..];
        state_epoch: i32 [0..];
        start_offset: i64 [0..];
    }

    message InitializeShareGroupStateResponse, versions 0..=0, flexible Some(0);
    {
        results: Vec<InitializeStateResult> [0..];
    }

    struct InitializeStateResult {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionResult> [0..];
    }

    struct PartitionResult {
        partition: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
