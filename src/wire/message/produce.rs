//! pure: schemas of the request and response of Produce (API key 0).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::codec::Records;
use crate::wire::message::macros::message;

message! {
    request 0 ProduceRequest -> ProduceResponse, versions 0..=13, flexible Some(9);
    {
        transactional_id: Option<ByteString> [3..] null [3..];
        acks: i16 [0..];
        timeout_ms: i32 [0..];
        topic_data: Vec<TopicProduceData> [0..];
    }

    struct TopicProduceData {
        #[ignorable] name: ByteString [0..=12];
        #[ignorable] topic_id: Uuid [13..];
        partition_data: Vec<PartitionProduceData> [0..];
    }

    struct PartitionProduceData {
        index: i32 [0..];
        records: Option<Records> [0..] null [0..];
    }

    message ProduceResponse, versions 0..=13, flexible Some(9);
    {
        responses: Vec<TopicProduceResponse> [0..];
        #[ignorable] throttle_time_ms: i32 [1..];
        node_endpoints: Vec<NodeEndpoint> [10..] tag 0;
    }

    struct TopicProduceResponse {
        #[ignorable] name: ByteString [0..=12];
        #[ignorable] topic_id: Uuid [13..];
        partition_responses: Vec<PartitionProduceResponse> [0..];
    }

    struct PartitionProduceResponse {
        index: i32 [0..];
        error_code: i16 [0..];
        base_offset: i64 [0..];
        #[ignorable] log_append_time_ms: i64 [2..] = -1;
        #[ignorable] log_start_offset: i64 [5..] = -1;
        #[ignorable] record_errors: Vec<BatchIndexAndErrorMessage> [8..];
        #[ignorable] error_message: Option<ByteString> [8..] null [8..];
        current_leader: LeaderIdAndEpoch [10..] tag 0;
    }

    struct BatchIndexAndErrorMessage {
        batch_index: i32 [8..];
        batch_index_error_message: Option<ByteString> [8..] null [8..];
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1;
        leader_epoch: i32 [10..] = -1;
    }

    struct NodeEndpoint {
        node_id: i32 [10..];
        host: ByteString [10..];
        port: i32 [10..];
        rack: Option<ByteString> [10..] null [10..];
    }
}
