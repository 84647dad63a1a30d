//! pure: schemas of the request and response of ListPartitionReassignments (API key 46).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 46 ListPartitionReassignmentsRequest -> ListPartitionReassignmentsResponse, versions 0..=0, flexible Some(0);
    {
        timeout_ms: i32 [0..] = 60000;
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0..] null [0..];
    }

    struct ListPartitionReassignmentsTopics {
        name: ByteString [0..];
        partition_indexes: Vec<i32> [0..];
    }

    message ListPartitionReassignmentsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        topics: Vec<OngoingTopicReassignment> [0..];
    }

    struct OngoingTopicReassignment {
        name: ByteString [0..];
        partitions: Vec<OngoingPartitionReassignment> [0..];
    }

    struct OngoingPartitionReassignment {
        partition_index: i32 [0..];
        replicas: Vec<i32> [0..];
        adding_replicas: Vec<i32> [0..];
        removing_replicas: Vec<i32> [0..];
    }
}
