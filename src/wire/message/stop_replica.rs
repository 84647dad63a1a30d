//! pure: schemas of the request and response of StopReplica (API key 5).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 5 StopReplicaRequest -> StopReplicaResponse, versions 0..=4, flexible Some(2);
    {
        controller_id: i32 [0..];
        is_k_raft_controller: bool [4..];
        controller_epoch: i32 [0..];
        #[ignorable] broker_epoch: i64 [1..] = -1;
        delete_partitions: bool [0..=2];
        ungrouped_partitions: Vec<StopReplicaPartitionV0> [0..=0];
        topics: Vec<StopReplicaTopicV1> [1..=2];
        topic_states: Vec<StopReplicaTopicState> [3..];
    }

    struct StopReplicaPartitionV0 {
        topic_name: ByteString [0..=0];
        partition_index: i32 [0..=0];
    }

    struct StopReplicaTopicV1 {
        name: ByteString [1..=2];
        partition_indexes: Vec<i32> [1..=2];
    }

    struct StopReplicaTopicState {
        topic_name: ByteString [3..];
        partition_states: Vec<StopReplicaPartitionState> [3..];
    }

    struct StopReplicaPartitionState {
        partition_index: i32 [3..];
        leader_epoch: i32 [3..] = -1;
        delete_partition: bool [3..];
    }

    message StopReplicaResponse, versions 0..=4, flexible Some(2);
    {
        error_code: i16 [0..];
        partition_errors: Vec<StopReplicaPartitionError> [0..];
    }

    struct StopReplicaPartitionError {
        topic_name: ByteString [0..];
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
