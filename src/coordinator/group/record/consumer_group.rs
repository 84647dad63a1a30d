//! pure: records of a group of the consumer protocol, types 3 to 8 and 16 of `__consumer_offsets` (KIP-848).

use bytes::Bytes;
use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message ConsumerGroupMetadataValue, versions 0..=0, flexible Some(0);
    {
        epoch: i32 [0..];
        metadata_hash: i64 [0..] tag 0;
    }

    message ConsumerGroupPartitionMetadataValue, versions 0..=0, flexible Some(0);
    {
        topics: Vec<TopicMetadata> [0..];
    }

    struct TopicMetadata {
        topic_id: Uuid [0..];
        topic_name: ByteString [0..];
        num_partitions: i32 [0..];
        partition_metadata: Vec<PartitionMetadata> [0..];
    }

    struct PartitionMetadata {
        partition: i32 [0..];
        racks: Vec<ByteString> [0..];
    }

    message ConsumerGroupMemberMetadataValue, versions 0..=0, flexible Some(0);
    {
        instance_id: Option<ByteString> [0..] null [0..];
        rack_id: Option<ByteString> [0..] null [0..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        subscribed_topic_names: Vec<ByteString> [0..];
        subscribed_topic_regex: Option<ByteString> [0..] null [0..];
        rebalance_timeout_ms: i32 [0..] = -1;
        server_assignor: Option<ByteString> [0..] null [0..];
        classic_member_metadata: Option<ClassicMemberMetadata> [0..] null [0..] tag 0 = Some(Default::default());
    }

    struct ClassicMemberMetadata {
        session_timeout_ms: i32 [0..];
        supported_protocols: Vec<ClassicProtocol> [0..];
    }

    struct ClassicProtocol {
        name: ByteString [0..];
        metadata: Bytes [0..];
    }

    message ConsumerGroupTargetAssignmentMetadataValue, versions 0..=0, flexible Some(0);
    {
        assignment_epoch: i32 [0..];
        assignment_timestamp: i64 [0..] tag 0;
    }

    message ConsumerGroupTargetAssignmentMemberValue, versions 0..=0, flexible Some(0);
    {
        topic_partitions: Vec<TopicPartition> [0..];
    }

    struct TopicPartition {
        topic_id: Uuid [0..];
        partitions: Vec<i32> [0..];
    }

    message ConsumerGroupCurrentMemberAssignmentValue, versions 0..=0, flexible Some(0);
    {
        member_epoch: i32 [0..];
        previous_member_epoch: i32 [0..];
        state: i8 [0..];
        assigned_partitions: Vec<TopicPartitions> [0..];
        partitions_pending_revocation: Vec<TopicPartitions> [0..];
    }

    struct TopicPartitions {
        topic_id: Uuid [0..];
        partitions: Vec<i32> [0..];
        assignment_epochs: Option<Vec<i32>> [0..] null [0..] tag 0;
    }

    message ConsumerGroupRegularExpressionValue, versions 0..=0, flexible Some(0);
    {
        topics: Vec<ByteString> [0..];
        version: i64 [0..];
        timestamp: i64 [0..];
    }
}
