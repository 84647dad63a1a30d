//! pure: schemas of the request and response of CreatePartitions (API key 37).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 37 CreatePartitionsRequest -> CreatePartitionsResponse, versions 0..=3, flexible Some(2);
    {
        topics: Vec<CreatePartitionsTopic> [0..];
        timeout_ms: i32 [0..];
        validate_only: bool [0..];
    }

    struct CreatePartitionsTopic {
        name: ByteString [0..];
        count: i32 [0..];
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..] null [0..];
    }

    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..];
    }

    message CreatePartitionsResponse, versions 0..=3, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<CreatePartitionsTopicResult> [0..];
    }

    struct CreatePartitionsTopicResult {
        name: ByteString [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
