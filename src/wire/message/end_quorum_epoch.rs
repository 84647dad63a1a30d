//! pure: schemas of the request and response of EndQuorumEpoch (API key 54).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 54 EndQuorumEpochRequest -> EndQuorumEpochResponse, versions 0..=1, flexible Some(1);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        topics: Vec<EndQuorumEpochRequestTopicData> [0..];
        #[ignorable] leader_endpoints: Vec<LeaderEndpoint> [1..];
    }

    struct EndQuorumEpochRequestTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<EndQuorumEpochRequestPartitionData> [0..];
    }

    struct EndQuorumEpochRequestPartitionData {
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
        #[ignorable] preferred_successors: Vec<i32> [0..=0];
        #[ignorable] preferred_candidates: Vec<ReplicaInfo> [1..];
    }

    struct ReplicaInfo {
        candidate_id: i32 [1..];
        candidate_directory_id: Uuid [1..];
    }

    struct LeaderEndpoint {
        name: ByteString [1..];
        host: ByteString [1..];
        port: u16 [1..];
    }

    message EndQuorumEpochResponse, versions 0..=1, flexible Some(1);
    {
        error_code: i16 [0..];
        topics: Vec<EndQuorumEpochResponseTopicData> [0..];
        node_endpoints: Vec<NodeEndpoint> [1..] tag 0;
    }

    struct EndQuorumEpochResponseTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<EndQuorumEpochResponsePartitionData> [0..];
    }

    struct EndQuorumEpochResponsePartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
    }

    struct NodeEndpoint {
        node_id: i32 [1..];
        host: ByteString [1..];
        port: u16 [1..];
    }
}
