//! pure: schemas of the request and response of CreateTopics (API key 19).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 19 CreateTopicsRequest -> CreateTopicsResponse, versions 0..=7, flexible Some(5);
    {
        topics: Vec<CreatableTopic> [0..];
        timeout_ms: i32 [0..] = 60000;
        validate_only: bool [1..];
    }

    struct CreatableTopic {
        name: ByteString [0..];
        num_partitions: i32 [0..];
        replication_factor: i16 [0..];
        assignments: Vec<CreatableReplicaAssignment> [0..];
        configs: Vec<CreatableTopicConfig> [0..];
    }

    struct CreatableReplicaAssignment {
        partition_index: i32 [0..];
        broker_ids: Vec<i32> [0..];
    }

    struct CreatableTopicConfig {
        name: ByteString [0..];
        value: Option<ByteString> [0..] null [0..];
    }

    message CreateTopicsResponse, versions 0..=7, flexible Some(5);
    {
        #[ignorable] throttle_time_ms: i32 [2..];
        topics: Vec<CreatableTopicResult> [0..];
    }

    struct CreatableTopicResult {
        name: ByteString [0..];
        #[ignorable] topic_id: Uuid [7..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [1..] null [0..];
        #[ignorable] topic_config_error_code: i16 [5..] tag 0;
        #[ignorable] num_partitions: i32 [5..] = -1;
        #[ignorable] replication_factor: i16 [5..] = -1;
        #[ignorable] configs: Option<Vec<CreatableTopicConfigs>> [5..] null [5..];
    }

    struct CreatableTopicConfigs {
        name: ByteString [5..];
        value: Option<ByteString> [5..] null [5..];
        read_only: bool [5..];
        #[ignorable] config_source: i8 [5..] = -1;
        is_sensitive: bool [5..];
    }
}
