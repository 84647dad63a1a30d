//! pure: schemas of the request and response of LeaderAndIsr (API key 4).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 4 LeaderAndIsrRequest -> LeaderAndIsrResponse, versions 0..=7, flexible Some(4);
    {
        controller_id: i32 [0..];
        is_k_raft_controller: bool [7..];
        controller_epoch: i32 [0..];
        #[ignorable] broker_epoch: i64 [2..] = -1;
        r#type: i8 [5..];
        ungrouped_partition_states: Vec<LeaderAndIsrPartitionState> [0..=1];
        topic_states: Vec<LeaderAndIsrTopicState> [2..];
        live_leaders: Vec<LeaderAndIsrLiveLeader> [0..];
    }

    struct LeaderAndIsrPartitionState {
        #[ignorable] topic_name: ByteString [0..=1];
        partition_index: i32 [0..];
        controller_epoch: i32 [0..];
        leader: i32 [0..];
        leader_epoch: i32 [0..];
        isr: Vec<i32> [0..];
        partition_epoch: i32 [0..];
        replicas: Vec<i32> [0..];
        #[ignorable] adding_replicas: Vec<i32> [3..];
        #[ignorable] removing_replicas: Vec<i32> [3..];
        #[ignorable] is_new: bool [1..];
        leader_recovery_state: i8 [6..];
    }

    struct LeaderAndIsrTopicState {
        topic_name: ByteString [2..];
        #[ignorable] topic_id: Uuid [5..];
        partition_states: Vec<LeaderAndIsrPartitionState> [2..];
    }

    struct LeaderAndIsrLiveLeader {
        broker_id: i32 [0..];
        host_name: ByteString [0..];
        port: i32 [0..];
    }

    message LeaderAndIsrResponse, versions 0..=7, flexible Some(4);
    {
        error_code: i16 [0..];
        partition_errors: Vec<LeaderAndIsrPartitionError> [0..=4];
        topics: Vec<LeaderAndIsrTopicError> [5..];
    }

    struct LeaderAndIsrPartitionError {
        #[ignorable] topic_name: ByteString [0..=4];
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }

    struct LeaderAndIsrTopicError {
        topic_id: Uuid [5..];
        partition_errors: Vec<LeaderAndIsrPartitionError> [5..];
    }
}
