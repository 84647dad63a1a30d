//! pure: schemas of the request and response of DeleteRecords (API key 21).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 21 DeleteRecordsRequest -> DeleteRecordsResponse, versions 0..=2, flexible Some(2);
    {
        topics: Vec<DeleteRecordsTopic> [0..];
        timeout_ms: i32 [0..];
    }

    struct DeleteRecordsTopic {
        name: ByteString [0..];
        partitions: Vec<DeleteRecordsPartition> [0..];
    }

    struct DeleteRecordsPartition {
        partition_index: i32 [0..];
        offset: i64 [0..];
    }

    message DeleteRecordsResponse, versions 0..=2, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        topics: Vec<DeleteRecordsTopicResult> [0..];
    }

    struct DeleteRecordsTopicResult {
        name: ByteString [0..];
        partitions: Vec<DeleteRecordsPartitionResult> [0..];
    }

    struct DeleteRecordsPartitionResult {
        partition_index: i32 [0..];
        low_watermark: i64 [0..];
        error_code: i16 [0..];
    }
}
