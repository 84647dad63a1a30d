//! pure: schemas that Kafka embeds in byte fields and in control records: consumer protocol, principals, quorum markers.

use bytes::Bytes;
use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message ConsumerProtocolSubscription, versions 0..=3, flexible None;
    {
        topics: Vec<ByteString> [0..];
        user_data: Option<Bytes> [0..] null [0..];
        #[ignorable] owned_partitions: Vec<ConsumerTopicPartition> [1..];
        #[ignorable] generation_id: i32 [2..] = -1;
        #[ignorable] rack_id: Option<ByteString> [3..] null [3..];
    }

    struct ConsumerTopicPartition {
        topic: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message ConsumerProtocolAssignment, versions 0..=3, flexible None;
    {
        assigned_partitions: Vec<ConsumerTopicPartition> [0..];
        user_data: Option<Bytes> [0..] null [0..];
    }

    message DefaultPrincipalData, versions 0..=0, flexible Some(0);
    {
        r#type: ByteString [0..];
        name: ByteString [0..];
        token_authenticated: bool [0..];
    }

    message EndTxnMarker, versions 0..=0, flexible None;
    {
        coordinator_epoch: i32 [0..];
    }

    message ControlRecordTypeSchema, versions 0..=0, flexible None;
    {
        r#type: i16 [0..];
    }

    message LeaderChangeMessage, versions 0..=1, flexible Some(0);
    {
        version: i16 [0..];
        leader_id: i32 [0..];
        voters: Vec<LeaderChangeVoter> [0..];
        granting_voters: Vec<LeaderChangeVoter> [0..];
    }

    struct LeaderChangeVoter {
        voter_id: i32 [0..];
        voter_directory_id: Uuid [1..];
    }

    message SnapshotHeaderRecord, versions 0..=0, flexible Some(0);
    {
        version: i16 [0..];
        last_contained_log_timestamp: i64 [0..];
    }

    message SnapshotFooterRecord, versions 0..=0, flexible Some(0);
    {
        version: i16 [0..];
    }

    message KRaftVersionRecord, versions 0..=0, flexible Some(0);
    {
        version: i16 [0..];
        k_raft_version: i16 [0..];
    }

    message VotersRecord, versions 0..=0, flexible Some(0);
    {
        version: i16 [0..];
        voters: Vec<VotersVoter> [0..];
    }

    struct VotersVoter {
        voter_id: i32 [0..];
        voter_directory_id: Uuid [0..];
        endpoints: Vec<VotersEndpoint> [0..];
        k_raft_version_feature: VotersKRaftVersionFeature [0..];
    }

    struct VotersEndpoint {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
    }

    struct VotersKRaftVersionFeature {
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }
}
