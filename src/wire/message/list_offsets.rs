//! pure: schemas of the request and response of ListOffsets (API key 2).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 2 ListOffsetsRequest -> ListOffsetsResponse, versions 0..=11, flexible Some(6);
    {
        replica_id: i32 [0..];
        isolation_level: i8 [2..];
        topics: Vec<ListOffsetsTopic> [0..];
        #[ignorable] timeout_ms: i32 [10..];
    }

    struct ListOffsetsTopic {
        name: ByteString [0..];
        partitions: Vec<ListOffsetsPartition> [0..];
    }

    struct ListOffsetsPartition {
        partition_index: i32 [0..];
        #[ignorable] current_leader_epoch: i32 [4..] = -1;
        timestamp: i64 [0..];
        max_num_offsets: i32 [0..=0] = 1;
    }

    message ListOffsetsResponse, versions 0..=11, flexible Some(6);
    {
        #[ignorable] throttle_time_ms: i32 [2..];
        topics: Vec<ListOffsetsTopicResponse> [0..];
    }

    struct ListOffsetsTopicResponse {
        name: ByteString [0..];
        partitions: Vec<ListOffsetsPartitionResponse> [0..];
    }

    struct ListOffsetsPartitionResponse {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        old_style_offsets: Vec<i64> [0..=0];
        timestamp: i64 [1..] = -1;
        offset: i64 [1..] = -1;
        leader_epoch: i32 [4..] = -1;
    }
}
