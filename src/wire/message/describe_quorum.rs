//! pure: schemas of the request and response of DescribeQuorum (API key 55).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 55 DescribeQuorumRequest -> DescribeQuorumResponse, versions 0..=2, flexible Some(0);
    {
        topics: Vec<DescribeQuorumRequestTopicData> [0..];
    }

    struct DescribeQuorumRequestTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<DescribeQuorumRequestPartitionData> [0..];
    }

    struct DescribeQuorumRequestPartitionData {
        partition_index: i32 [0..];
    }

    message DescribeQuorumResponse, versions 0..=2, flexible Some(0);
    {
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [2..] null [2..];
        topics: Vec<DescribeQuorumResponseTopicData> [0..];
        nodes: Vec<Node> [2..];
    }

    struct DescribeQuorumResponseTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<DescribeQuorumResponsePartitionData> [0..];
    }

    struct DescribeQuorumResponsePartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [2..] null [2..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
        high_watermark: i64 [0..];
        current_voters: Vec<ReplicaState> [0..];
        observers: Vec<ReplicaState> [0..];
    }

    struct ReplicaState {
        replica_id: i32 [0..];
        replica_directory_id: Uuid [2..];
        log_end_offset: i64 [0..];
        #[ignorable] last_fetch_timestamp: i64 [1..] = -1;
        #[ignorable] last_caught_up_timestamp: i64 [1..] = -1;
    }

    struct Node {
        node_id: i32 [2..];
        listeners: Vec<Listener> [2..];
    }

    struct Listener {
        name: ByteString [2..];
        host: ByteString [2..];
        port: u16 [2..];
    }
}
