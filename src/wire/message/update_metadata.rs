//! pure: schemas of the request and response of UpdateMetadata (API key 6).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 6 UpdateMetadataRequest -> UpdateMetadataResponse, versions 0..=8, flexible Some(6);
    {
        controller_id: i32 [0..];
        is_k_raft_controller: bool [8..];
        r#type: i8 [8..] tag 0;
        controller_epoch: i32 [0..];
        #[ignorable] broker_epoch: i64 [5..] = -1;
        ungrouped_partition_states: Vec<UpdateMetadataPartitionState> [0..=4];
        topic_states: Vec<UpdateMetadataTopicState> [5..];
        live_brokers: Vec<UpdateMetadataBroker> [0..];
    }

    struct UpdateMetadataPartitionState {
        #[ignorable] topic_name: ByteString [0..=4];
        partition_index: i32 [0..];
        controller_epoch: i32 [0..];
        leader: i32 [0..];
        leader_epoch: i32 [0..];
        isr: Vec<i32> [0..];
        zk_version: i32 [0..];
        replicas: Vec<i32> [0..];
        #[ignorable] offline_replicas: Vec<i32> [4..];
    }

    struct UpdateMetadataTopicState {
        topic_name: ByteString [5..];
        #[ignorable] topic_id: Uuid [7..];
        partition_states: Vec<UpdateMetadataPartitionState> [5..];
    }

    struct UpdateMetadataBroker {
        id: i32 [0..];
        #[ignorable] v0_host: ByteString [0..=0];
        #[ignorable] v0_port: i32 [0..=0];
        #[ignorable] endpoints: Vec<UpdateMetadataEndpoint> [1..];
        #[ignorable] rack: Option<ByteString> [2..] null [0..];
    }

    struct UpdateMetadataEndpoint {
        port: i32 [1..];
        host: ByteString [1..];
        #[ignorable] listener: ByteString [3..];
        security_protocol: i16 [1..];
    }

    message UpdateMetadataResponse, versions 0..=8, flexible Some(6);
    {
        error_code: i16 [0..];
    }
}
