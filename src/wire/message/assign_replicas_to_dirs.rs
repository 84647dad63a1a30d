//! pure: schemas of the request and response of AssignReplicasToDirs (API key 73).

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 73 AssignReplicasToDirsRequest -> AssignReplicasToDirsResponse, versions 0..=0, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
        directories: Vec<AssignReplicasToDirsRequestDirectoryData> [0..];
    }

    struct AssignReplicasToDirsRequestDirectoryData {
        id: Uuid [0..];
        topics: Vec<AssignReplicasToDirsRequestTopicData> [0..];
    }

    struct AssignReplicasToDirsRequestTopicData {
        topic_id: Uuid [0..];
        partitions: Vec<AssignReplicasToDirsRequestPartitionData> [0..];
    }

    struct AssignReplicasToDirsRequestPartitionData {
        partition_index: i32 [0..];
    }

    message AssignReplicasToDirsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        directories: Vec<AssignReplicasToDirsResponseDirectoryData> [0..];
    }

    struct AssignReplicasToDirsResponseDirectoryData {
        id: Uuid [0..];
        topics: Vec<AssignReplicasToDirsResponseTopicData> [0..];
    }

    struct AssignReplicasToDirsResponseTopicData {
        topic_id: Uuid [0..];
        partitions: Vec<AssignReplicasToDirsResponsePartitionData> [0..];
    }

    struct AssignReplicasToDirsResponsePartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
    }
}
