//! pure: schemas of the request and response of DeleteShareGroupState (API key 86).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 86 DeleteShareGroupStateRequest -> DeleteShareGroupStateResponse, versions 0..=0, flexible Some(0);
    {
        group_id: ByteString [0..];
        topics: Vec<DeleteStateData> [0..];
    }

    struct DeleteStateData {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionData> [0..];
    }

    struct PartitionData {
        partition: i32 [0..];
    }

    message DeleteShareGroupStateResponse, versions 0..=0, flexible Some(0);
    {
        results: Vec<DeleteStateResult> [0..];
    }

    struct DeleteStateResult {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionResult> [0..];
    }

    struct PartitionResult {
        partition: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
