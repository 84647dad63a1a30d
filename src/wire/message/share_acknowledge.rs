//! pure: schemas of the request and response of ShareAcknowledge (API key 79).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 79 ShareAcknowledgeRequest -> ShareAcknowledgeResponse, versions 1..=2, flexible Some(0);
    {
        group_id: Option<ByteString> [0..] null [0..];
        member_id: Option<ByteString> [0..] null [0..];
        share_session_epoch: i32 [0..];
        is_renew_ack: bool [2..];
        topics: Vec<AcknowledgeTopic> [0..];
    }

    struct AcknowledgeTopic {
        topic_id: Uuid [0..];
        partitions: Vec<AcknowledgePartition> [0..];
    }

    struct AcknowledgePartition {
        partition_index: i32 [0..];
        acknowledgement_batches: Vec<AcknowledgementBatch> [0..];
    }

    struct AcknowledgementBatch {
        first_offset: i64 [0..];
        last_offset: i64 [0..];
        acknowledge_types: Vec<i8> [0..];
    }

    message ShareAcknowledgeResponse, versions 1..=2, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        #[ignorable] acquisition_lock_timeout_ms: i32 [2..];
        responses: Vec<ShareAcknowledgeTopicResponse> [0..];
        node_endpoints: Vec<NodeEndpoint> [0..];
    }

    struct ShareAcknowledgeTopicResponse {
        topic_id: Uuid [0..];
        partitions: Vec<PartitionData> [0..];
    }

    struct PartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        current_leader: LeaderIdAndEpoch [0..];
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
    }

    struct NodeEndpoint {
        node_id: i32 [0..];
        host: ByteString [0..];
        port: i32 [0..];
        rack: Option<ByteString> [0..] null [0..];
    }
}
