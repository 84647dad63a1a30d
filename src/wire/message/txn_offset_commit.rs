//! pure: schemas of the request and response of TxnOffsetCommit (API key 28).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 28 TxnOffsetCommitRequest -> TxnOffsetCommitResponse, versions 0..=6, flexible Some(3);
    {
        transactional_id: ByteString [0..];
        group_id: ByteString [0..];
        producer_id: i64 [0..];
        producer_epoch: i16 [0..];
        generation_id_or_member_epoch: i32 [3..] = -1;
        member_id: ByteString [3..];
        group_instance_id: Option<ByteString> [3..] null [3..];
        topics: Vec<TxnOffsetCommitRequestTopic> [0..];
    }

    struct TxnOffsetCommitRequestTopic {
        #[ignorable] name: ByteString [0..=5];
        #[ignorable] topic_id: Uuid [6..];
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..];
    }

    struct TxnOffsetCommitRequestPartition {
        partition_index: i32 [0..];
        committed_offset: i64 [0..];
        #[ignorable] committed_leader_epoch: i32 [2..] = -1;
        committed_metadata: Option<ByteString> [0..] null [0..];
    }

    message TxnOffsetCommitResponse, versions 0..=6, flexible Some(3);
    {
        throttle_time_ms: i32 [0..];
        topics: Vec<TxnOffsetCommitResponseTopic> [0..];
    }

    struct TxnOffsetCommitResponseTopic {
        #[ignorable] name: ByteString [0..=5];
        #[ignorable] topic_id: Uuid [6..];
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..];
    }

    struct TxnOffsetCommitResponsePartition {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
