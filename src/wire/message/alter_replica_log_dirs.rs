//! pure: schemas of the request and response of AlterReplicaLogDirs (API key 34).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 34 AlterReplicaLogDirsRequest -> AlterReplicaLogDirsResponse, versions 0..=2, flexible Some(2);
    {
        dirs: Vec<AlterReplicaLogDir> [0..];
    }

    struct AlterReplicaLogDir {
        path: ByteString [0..];
        topics: Vec<AlterReplicaLogDirTopic> [0..];
    }

    struct AlterReplicaLogDirTopic {
        name: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message AlterReplicaLogDirsResponse, versions 0..=2, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<AlterReplicaLogDirTopicResult> [0..];
    }

    struct AlterReplicaLogDirTopicResult {
        topic_name: ByteString [0..];
        partitions: Vec<AlterReplicaLogDirPartitionResult> [0..];
    }

    struct AlterReplicaLogDirPartitionResult {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
