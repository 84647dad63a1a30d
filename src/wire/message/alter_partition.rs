//! pure: schemas of the request and response of AlterPartition (API key 56).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 56 AlterPartitionRequest -> AlterPartitionResponse, versions 0..=3, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
        topics: Vec<AlterPartitionRequestTopicData> [0..];
    }

    struct AlterPartitionRequestTopicData {
        #[ignorable] topic_name: ByteString [0..=1];
        #[ignorable] topic_id: Uuid [2..];
        partitions: Vec<AlterPartitionRequestPartitionData> [0..];
    }

    struct AlterPartitionRequestPartitionData {
        partition_index: i32 [0..];
        leader_epoch: i32 [0..];
        new_isr: Vec<i32> [0..=2];
        new_isr_with_epochs: Vec<BrokerState> [3..];
        leader_recovery_state: i8 [1..];
        partition_epoch: i32 [0..];
    }

    struct BrokerState {
        broker_id: i32 [3..];
        broker_epoch: i64 [3..] = -1;
    }

    message AlterPartitionResponse, versions 0..=3, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        topics: Vec<AlterPartitionResponseTopicData> [0..];
    }

    struct AlterPartitionResponseTopicData {
        #[ignorable] topic_name: ByteString [0..=1];
        #[ignorable] topic_id: Uuid [2..];
        partitions: Vec<AlterPartitionResponsePartitionData> [0..];
    }

    struct AlterPartitionResponsePartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
        isr: Vec<i32> [0..];
        #[ignorable] leader_recovery_state: i8 [1..];
        partition_epoch: i32 [0..];
    }
}
