//! pure: schemas of the request and response of Metadata (API key 3).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 3 MetadataRequest -> MetadataResponse, versions 0..=13, flexible Some(9);
    {
        topics: Option<Vec<MetadataRequestTopic>> [0..] null [1..];
        allow_auto_topic_creation: bool [4..] = true;
        include_cluster_authorized_operations: bool [8..=10];
        include_topic_authorized_operations: bool [8..];
    }

    struct MetadataRequestTopic {
        #[ignorable] topic_id: Uuid [10..];
        name: Option<ByteString> [0..] null [10..];
    }

    message MetadataResponse, versions 0..=13, flexible Some(9);
    {
        #[ignorable] throttle_time_ms: i32 [3..];
        brokers: Vec<MetadataResponseBroker> [0..];
        #[ignorable] cluster_id: Option<ByteString> [2..] null [2..];
        #[ignorable] controller_id: i32 [1..] = -1;
        topics: Vec<MetadataResponseTopic> [0..];
        cluster_authorized_operations: i32 [8..=10] = i32::MIN;
        #[ignorable] error_code: i16 [13..];
    }

    struct MetadataResponseBroker {
        node_id: i32 [0..];
        host: ByteString [0..];
        port: i32 [0..];
        #[ignorable] rack: Option<ByteString> [1..] null [1..];
    }

    struct MetadataResponseTopic {
        error_code: i16 [0..];
        name: Option<ByteString> [0..] null [12..];
        #[ignorable] topic_id: Uuid [10..];
        #[ignorable] is_internal: bool [1..];
        partitions: Vec<MetadataResponsePartition> [0..];
        topic_authorized_operations: i32 [8..] = i32::MIN;
    }

    struct MetadataResponsePartition {
        error_code: i16 [0..];
        partition_index: i32 [0..];
        leader_id: i32 [0..];
        #[ignorable] leader_epoch: i32 [7..] = -1;
        replica_nodes: Vec<i32> [0..];
        isr_nodes: Vec<i32> [0..];
        #[ignorable] offline_replicas: Vec<i32> [5..];
    }
}
