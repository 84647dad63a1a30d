//! pure: schemas of the request and response of BeginQuorumEpoch (API key 53).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 53 BeginQuorumEpochRequest -> BeginQuorumEpochResponse, versions 0..=1, flexible Some(1);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        #[ignorable] voter_id: i32 [1..] = -1;
        topics: Vec<BeginQuorumEpochRequestTopicData> [0..];
        #[ignorable] leader_endpoints: Vec<LeaderEndpoint> [1..];
    }

    struct BeginQuorumEpochRequestTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<BeginQuorumEpochRequestPartitionData> [0..];
    }

    struct BeginQuorumEpochRequestPartitionData {
        partition_index: i32 [0..];
        #[ignorable] voter_directory_id: Uuid [1..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
    }

    struct LeaderEndpoint {
        name: ByteString [1..];
        host: ByteString [1..];
        port: u16 [1..];
    }

    message BeginQuorumEpochResponse, versions 0..=1, flexible Some(1);
    {
        error_code: i16 [0..];
        topics: Vec<BeginQuorumEpochResponseTopicData> [0..];
        node_endpoints: Vec<NodeEndpoint> [1..] tag 0;
    }

    struct BeginQuorumEpochResponseTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<BeginQuorumEpochResponsePartitionData> [0..];
    }

    struct BeginQuorumEpochResponsePartitionData {
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
