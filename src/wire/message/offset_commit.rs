//! pure: schemas of the request and response of OffsetCommit (API key 8).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 8 OffsetCommitRequest -> OffsetCommitResponse, versions 0..=10, flexible Some(8);
    {
        group_id: ByteString [0..];
        #[ignorable] generation_id_or_member_epoch: i32 [1..] = -1;
        #[ignorable] member_id: ByteString [1..];
        group_instance_id: Option<ByteString> [7..] null [7..];
        #[ignorable] retention_time_ms: i64 [2..=4] = -1;
        topics: Vec<OffsetCommitRequestTopic> [0..];
    }

    struct OffsetCommitRequestTopic {
        #[ignorable] name: ByteString [0..=9];
        #[ignorable] topic_id: Uuid [10..];
        partitions: Vec<OffsetCommitRequestPartition> [0..];
    }

    struct OffsetCommitRequestPartition {
        partition_index: i32 [0..];
        committed_offset: i64 [0..];
        #[ignorable] committed_leader_epoch: i32 [6..] = -1;
        commit_timestamp: i64 [1..=1] = -1;
        committed_metadata: Option<ByteString> [0..] null [0..];
    }

    message OffsetCommitResponse, versions 0..=10, flexible Some(8);
    {
        #[ignorable] throttle_time_ms: i32 [3..];
        topics: Vec<OffsetCommitResponseTopic> [0..];
    }

    struct OffsetCommitResponseTopic {
        #[ignorable] name: ByteString [0..=9];
        #[ignorable] topic_id: Uuid [10..];
        partitions: Vec<OffsetCommitResponsePartition> [0..];
    }

    struct OffsetCommitResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
