//! pure: schemas of the request and response of FetchSnapshot (API key 59).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::codec::Records;
use crate::wire::message::macros::message;

message! {
    request 59 FetchSnapshotRequest -> FetchSnapshotResponse, versions 0..=1, flexible Some(0);
    {
        cluster_id: Option<ByteString> [0..] null [0..] tag 0;
        replica_id: i32 [0..] = -1;
        max_bytes: i32 [0..] = 0x7fff_ffff;
        topics: Vec<FetchSnapshotRequestTopicSnapshot> [0..];
    }

    struct FetchSnapshotRequestTopicSnapshot {
        name: ByteString [0..];
        partitions: Vec<FetchSnapshotRequestPartitionSnapshot> [0..];
    }

    struct FetchSnapshotRequestPartitionSnapshot {
        partition: i32 [0..];
        current_leader_epoch: i32 [0..];
        snapshot_id: SnapshotId [0..];
        position: i64 [0..];
        #[ignorable] replica_directory_id: Uuid [1..] tag 0;
    }

    struct SnapshotId {
        end_offset: i64 [0..];
        epoch: i32 [0..];
    }

    message FetchSnapshotResponse, versions 0..=1, flexible Some(0);
    {
        #[ignorable] throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        topics: Vec<FetchSnapshotResponseTopicSnapshot> [0..];
        node_endpoints: Vec<NodeEndpoint> [1..] tag 0;
    }

    struct FetchSnapshotResponseTopicSnapshot {
        name: ByteString [0..];
        partitions: Vec<FetchSnapshotResponsePartitionSnapshot> [0..];
    }

    struct FetchSnapshotResponsePartitionSnapshot {
        index: i32 [0..];
        error_code: i16 [0..];
        snapshot_id: SnapshotId [0..];
        current_leader: LeaderIdAndEpoch [0..] tag 0;
        size: i64 [0..];
        position: i64 [0..];
        unaligned_records: Records [0..];
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [0..];
        leader_epoch: i32 [0..];
    }

    struct NodeEndpoint {
        node_id: i32 [1..];
        host: ByteString [1..];
        port: u16 [1..];
    }
}
