//! pure: schemas of the request and response of DescribeTopicPartitions (API key 75).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 75 DescribeTopicPartitionsRequest -> DescribeTopicPartitionsResponse, versions 0..=0, flexible Some(0);
    {
        topics: Vec<TopicRequest> [0..];
        response_partition_limit: i32 [0..] = 2000;
        cursor: Option<Cursor> [0..] null [0..];
    }

    struct TopicRequest {
        name: ByteString [0..];
    }

    struct Cursor {
        topic_name: ByteString [0..];
        partition_index: i32 [0..];
    }

    message DescribeTopicPartitionsResponse, versions 0..=0, flexible Some(0);
    {
        #[ignorable] throttle_time_ms: i32 [0..];
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0..];
        next_cursor: Option<Cursor> [0..] null [0..];
    }

    struct DescribeTopicPartitionsResponseTopic {
        error_code: i16 [0..];
        name: Option<ByteString> [0..] null [0..];
        #[ignorable] topic_id: Uuid [0..];
        #[ignorable] is_internal: bool [0..];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..];
        topic_authorized_operations: i32 [0..] = i32::MIN;
    }

    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0..];
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        #[ignorable] leader_epoch: i32 [0..] = -1;
        replica_nodes: Vec<i32> [0..];
        isr_nodes: Vec<i32> [0..];
        eligible_leader_replicas: Option<Vec<i32>> [0..] null [0..];
        last_known_elr: Option<Vec<i32>> [0..] null [0..];
        #[ignorable] offline_replicas: Vec<i32> [0..];
    }
}
