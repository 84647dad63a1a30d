//! pure: schemas of the request and response of AlterShareGroupOffsets (API key 91).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 91 AlterShareGroupOffsetsRequest -> AlterShareGroupOffsetsResponse, versions 0..=0, flexible Some(0);
    {
        group_id: ByteString [0..];
        topics: Vec<AlterShareGroupOffsetsRequestTopic> [0..];
    }

    struct AlterShareGroupOffsetsRequestTopic {
        topic_name: ByteString [0..];
        partitions: Vec<AlterShareGroupOffsetsRequestPartition> [0..];
    }

    struct AlterShareGroupOffsetsRequestPartition {
        partition_index: i32 [0..];
        start_offset: i64 [0..];
    }

    message AlterShareGroupOffsetsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        responses: Vec<AlterShareGroupOffsetsResponseTopic> [0..];
    }

    struct AlterShareGroupOffsetsResponseTopic {
        topic_name: ByteString [0..];
        topic_id: Uuid [0..];
        partitions: Vec<AlterShareGroupOffsetsResponsePartition> [0..];
    }

    struct AlterShareGroupOffsetsResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
