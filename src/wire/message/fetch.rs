//! pure: schemas of the request and response of Fetch (API key 1).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::codec::Records;
use crate::wire::message::macros::message;

message! {
    request 1 FetchRequest -> FetchResponse, versions 0..=18, flexible Some(12);
    {
        #[ignorable] cluster_id: Option<ByteString> [12..] null [12..] tag 0;
        replica_id: i32 [0..=14] = -1;
        replica_state: ReplicaState [15..] tag 1;
        max_wait_ms: i32 [0..];
        min_bytes: i32 [0..];
        #[ignorable] max_bytes: i32 [3..] = 0x7fff_ffff;
        #[ignorable] isolation_level: i8 [4..];
        #[ignorable] session_id: i32 [7..];
        #[ignorable] session_epoch: i32 [7..] = -1;
        topics: Vec<FetchTopic> [0..];
        forgotten_topics_data: Vec<ForgottenTopic> [7..];
        #[ignorable] rack_id: ByteString [11..];
    }

    struct ReplicaState {
        replica_id: i32 [15..] = -1;
        replica_epoch: i64 [15..] = -1;
    }

    struct FetchTopic {
        #[ignorable] topic: ByteString [0..=12];
        #[ignorable] topic_id: Uuid [13..];
        partitions: Vec<FetchPartition> [0..];
    }

    struct FetchPartition {
        partition: i32 [0..];
        #[ignorable] current_leader_epoch: i32 [9..] = -1;
        fetch_offset: i64 [0..];
        last_fetched_epoch: i32 [12..] = -1;
        #[ignorable] log_start_offset: i64 [5..] = -1;
        partition_max_bytes: i32 [0..];
        #[ignorable] replica_directory_id: Uuid [17..] tag 0;
        #[ignorable] high_watermark: i64 [18..] tag 1 = i64::MAX;
    }

    struct ForgottenTopic {
        #[ignorable] topic: ByteString [7..=12];
        #[ignorable] topic_id: Uuid [13..];
        partitions: Vec<i32> [7..];
    }

    message FetchResponse, versions 0..=18, flexible Some(12);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        #[ignorable] error_code: i16 [7..];
        session_id: i32 [7..];
        responses: Vec<FetchableTopicResponse> [0..];
        node_endpoints: Vec<NodeEndpoint> [16..] tag 0;
    }

    struct FetchableTopicResponse {
        #[ignorable] topic: ByteString [0..=12];
        #[ignorable] topic_id: Uuid [13..];
        partitions: Vec<PartitionData> [0..];
    }

    struct PartitionData {
        partition_index: i32 [0..];
        error_code: i16 [0..];
        high_watermark: i64 [0..];
        #[ignorable] last_stable_offset: i64 [4..] = -1;
        #[ignorable] log_start_offset: i64 [5..] = -1;
        diverging_epoch: EpochEndOffset [12..] tag 0;
        current_leader: LeaderIdAndEpoch [12..] tag 1;
        snapshot_id: SnapshotId [12..] tag 2;
        #[ignorable] aborted_transactions: Option<Vec<AbortedTransaction>> [4..] null [4..];
        preferred_read_replica: i32 [11..] = -1;
        records: Option<Records> [0..] null [0..];
    }

    struct EpochEndOffset {
        epoch: i32 [12..] = -1;
        end_offset: i64 [12..] = -1;
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [12..] = -1;
        leader_epoch: i32 [12..] = -1;
    }

    struct SnapshotId {
        end_offset: i64 [0..] = -1;
        epoch: i32 [0..] = -1;
    }

    struct AbortedTransaction {
        producer_id: i64 [4..];
        first_offset: i64 [4..];
    }

    struct NodeEndpoint {
        node_id: i32 [16..];
        host: ByteString [16..];
        port: i32 [16..];
        rack: Option<ByteString> [16..] null [16..];
    }
}
