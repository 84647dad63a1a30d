//! pure: schemas of the request and response of ElectLeaders (API key 43).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 43 ElectLeadersRequest -> ElectLeadersResponse, versions 0..=2, flexible Some(2);
    {
        election_type: i8 [1..];
        topic_partitions: Option<Vec<TopicPartitions>> [0..] null [0..];
        timeout_ms: i32 [0..] = 60000;
    }

    struct TopicPartitions {
        topic: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message ElectLeadersResponse, versions 0..=2, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [1..];
        replica_election_results: Vec<ReplicaElectionResult> [0..];
    }

    struct ReplicaElectionResult {
        topic: ByteString [0..];
        partition_result: Vec<PartitionResult> [0..];
    }

    struct PartitionResult {
        partition_id: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
