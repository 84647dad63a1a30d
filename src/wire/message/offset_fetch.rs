//! pure: schemas of the request and response of OffsetFetch (API key 9).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 9 OffsetFetchRequest -> OffsetFetchResponse, versions 0..=10, flexible Some(6);
    {
        group_id: ByteString [0..=7];
        topics: Option<Vec<OffsetFetchRequestTopic>> [0..=7] null [2..=7];
        groups: Vec<OffsetFetchRequestGroup> [8..];
        require_stable: bool [7..];
    }

    struct OffsetFetchRequestTopic {
        name: ByteString [0..=7];
        partition_indexes: Vec<i32> [0..=7];
    }

    struct OffsetFetchRequestGroup {
        group_id: ByteString [8..];
        #[ignorable] member_id: Option<ByteString> [9..] null [9..];
        #[ignorable] member_epoch: i32 [9..] = -1;
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..] null [8..];
    }

    struct OffsetFetchRequestTopics {
        #[ignorable] name: ByteString [8..=9];
        #[ignorable] topic_id: Uuid [10..];
        partition_indexes: Vec<i32> [8..];
    }

    message OffsetFetchResponse, versions 0..=10, flexible Some(6);
    {
        #[ignorable] throttle_time_ms: i32 [3..];
        topics: Vec<OffsetFetchResponseTopic> [0..=7];
        #[ignorable] error_code: i16 [2..=7];
        groups: Vec<OffsetFetchResponseGroup> [8..];
    }

    struct OffsetFetchResponseTopic {
        name: ByteString [0..=7];
        partitions: Vec<OffsetFetchResponsePartition> [0..=7];
    }

    struct OffsetFetchResponsePartition {
        partition_index: i32 [0..=7];
        committed_offset: i64 [0..=7];
        #[ignorable] committed_leader_epoch: i32 [5..=7] = -1;
        metadata: Option<ByteString> [0..=7] null [0..=7];
        error_code: i16 [0..=7];
    }

    struct OffsetFetchResponseGroup {
        group_id: ByteString [8..];
        topics: Vec<OffsetFetchResponseTopics> [8..];
        error_code: i16 [8..];
    }

    struct OffsetFetchResponseTopics {
        #[ignorable] name: ByteString [8..=9];
        #[ignorable] topic_id: Uuid [10..];
        partitions: Vec<OffsetFetchResponsePartitions> [8..];
    }

    struct OffsetFetchResponsePartitions {
        partition_index: i32 [8..];
        committed_offset: i64 [8..];
        #[ignorable] committed_leader_epoch: i32 [8..] = -1;
        metadata: Option<ByteString> [8..] null [8..];
        error_code: i16 [8..];
    }
}
