//! pure: schemas of the request and response of DescribeShareGroupOffsets (API key 90).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 90 DescribeShareGroupOffsetsRequest -> DescribeShareGroupOffsetsResponse, versions 0..=1, flexible Some(0);
    {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup> [0..];
    }

    struct DescribeShareGroupOffsetsRequestGroup {
        group_id: ByteString [0..];
        topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>> [0..] null [0..];
    }

    struct DescribeShareGroupOffsetsRequestTopic {
        topic_name: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message DescribeShareGroupOffsetsResponse, versions 0..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        groups: Vec<DescribeShareGroupOffsetsResponseGroup> [0..];
    }

    struct DescribeShareGroupOffsetsResponseGroup {
        group_id: ByteString [0..];
        topics: Vec<DescribeShareGroupOffsetsResponseTopic> [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }

    struct DescribeShareGroupOffsetsResponseTopic {
        topic_name: ByteString [0..];
        topic_id: Uuid [0..];
        partitions: Vec<DescribeShareGroupOffsetsResponsePartition> [0..];
    }

    struct DescribeShareGroupOffsetsResponsePartition {
        partition_index: i32 [0..];
        start_offset: i64 [0..];
        leader_epoch: i32 [0..];
        #[ignorable] lag: i64 [1..] = -1;
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
