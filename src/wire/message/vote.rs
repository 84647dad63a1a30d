//! pure: schemas of the request and response of Vote (API key 52).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 52 VoteRequest -> VoteResponse, versions 0..=2, flexible Some(0);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        #[ignorable] voter_id: i32 [1..] = -1;
        topics: Vec<VoteRequestTopicData> [0..];
    }

    struct VoteRequestTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<VoteRequestPartitionData> [0..];
    }

    struct VoteRequestPartitionData {
        partition_index: i32 [0..];
        replica_epoch: i32 [0..];
        replica_id: i32 [0..];
        #[ignorable] replica_directory_id: Uuid [1..];
        #[ignorable] voter_directory_id: Uuid [1..];
        last_offset_epoch: i32 [0..];
        last_offset: i64 [0..];
        pre_vote: bool [2..];
    }

    message VoteResponse, versions 0..=2, flexible Some(0);
    {
        error_code: i16 [0..];
        topics: Vec<VoteResponseTopicData> [0..];
        node_endpoints: Vec<NodeEndpoint> [1..] tag 0;
    }

    struct VoteResponseTopicData {
        topic_name: ByteString [0..];
        partitions: Vec<VoteResponsePartitionData> [0..];
    }

    struct VoteResponsePartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
        vote_granted: bool [0..];
    }

    struct NodeEndpoint {
        node_id: i32 [1..];
        host: ByteString [1..];
        port: u16 [1..];
    }
}
