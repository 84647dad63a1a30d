//! pure: schemas of the request and response of DescribeLogDirs (API key 35).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 35 DescribeLogDirsRequest -> DescribeLogDirsResponse, versions 0..=5, flexible Some(2);
    {
        topics: Option<Vec<DescribableLogDirTopic>> [0..] null [0..];
    }

    struct DescribableLogDirTopic {
        topic: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message DescribeLogDirsResponse, versions 0..=5, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        #[ignorable] error_code: i16 [3..];
        results: Vec<DescribeLogDirsResult> [0..];
    }

    struct DescribeLogDirsResult {
        error_code: i16 [0..];
        log_dir: ByteString [0..];
        topics: Vec<DescribeLogDirsTopic> [0..];
        #[ignorable] total_bytes: i64 [4..] = -1;
        #[ignorable] usable_bytes: i64 [4..] = -1;
        #[ignorable] is_cordoned: bool [5..];
    }

    struct DescribeLogDirsTopic {
        name: ByteString [0..];
        partitions: Vec<DescribeLogDirsPartition> [0..];
    }

    struct DescribeLogDirsPartition {
        partition_index: i32 [0..];
        partition_size: i64 [0..];
        offset_lag: i64 [0..];
        is_future_key: bool [0..];
    }
}
