//! pure: schemas of the request and response of OffsetDelete (API key 47).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 47 OffsetDeleteRequest -> OffsetDeleteResponse, versions 0..=0, flexible None;
    {
        group_id: ByteString [0..];
        topics: Vec<OffsetDeleteRequestTopic> [0..];
    }

    struct OffsetDeleteRequestTopic {
        name: ByteString [0..];
        partitions: Vec<OffsetDeleteRequestPartition> [0..];
    }

    struct OffsetDeleteRequestPartition {
        partition_index: i32 [0..];
    }

    message OffsetDeleteResponse, versions 0..=0, flexible None;
    {
        error_code: i16 [0..];
        #[ignorable] throttle_time_ms: i32 [0..];
        topics: Vec<OffsetDeleteResponseTopic> [0..];
    }

    struct OffsetDeleteResponseTopic {
        name: ByteString [0..];
        partitions: Vec<OffsetDeleteResponsePartition> [0..];
    }

    struct OffsetDeleteResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
