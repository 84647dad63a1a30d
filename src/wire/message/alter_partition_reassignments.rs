//! pure: schemas of the request and response of AlterPartitionReassignments (API key 45).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 45 AlterPartitionReassignmentsRequest -> AlterPartitionReassignmentsResponse, versions 0..=1, flexible Some(0);
    {
        timeout_ms: i32 [0..] = 60000;
        allow_replication_factor_change: bool [1..] = true;
        topics: Vec<ReassignableTopic> [0..];
    }

    struct ReassignableTopic {
        name: ByteString [0..];
        partitions: Vec<ReassignablePartition> [0..];
    }

    struct ReassignablePartition {
        partition_index: i32 [0..];
        replicas: Option<Vec<i32>> [0..] null [0..];
    }

    message AlterPartitionReassignmentsResponse, versions 0..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        #[ignorable] allow_replication_factor_change: bool [1..] = true;
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        responses: Vec<ReassignableTopicResponse> [0..];
    }

    struct ReassignableTopicResponse {
        name: ByteString [0..];
        partitions: Vec<ReassignablePartitionResponse> [0..];
    }

    struct ReassignablePartitionResponse {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
