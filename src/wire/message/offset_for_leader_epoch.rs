//! pure: schemas of the request and response of OffsetForLeaderEpoch (API key 23).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 23 OffsetForLeaderEpochRequest -> OffsetForLeaderEpochResponse, versions 0..=4, flexible Some(4);
    {
        #[ignorable] replica_id: i32 [3..] = -2;
        topics: Vec<OffsetForLeaderTopic> [0..];
    }

    struct OffsetForLeaderTopic {
        topic: ByteString [0..];
        partitions: Vec<OffsetForLeaderPartition> [0..];
    }

    struct OffsetForLeaderPartition {
        partition: i32 [0..];
        #[ignorable] current_leader_epoch: i32 [2..] = -1;
        leader_epoch: i32 [0..];
    }

    message OffsetForLeaderEpochResponse, versions 0..=4, flexible Some(4);
    {
        #[ignorable] throttle_time_ms: i32 [2..];
        topics: Vec<OffsetForLeaderTopicResult> [0..];
    }

    struct OffsetForLeaderTopicResult {
        topic: ByteString [0..];
        partitions: Vec<EpochEndOffset> [0..];
    }

    struct EpochEndOffset {
        error_code: i16 [0..];
        partition: i32 [0..];
        #[ignorable] leader_epoch: i32 [1..] = -1;
        end_offset: i64 [0..] = -1;
    }
}
