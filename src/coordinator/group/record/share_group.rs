//! pure: records of a share group, types 10 to 15 of `__consumer_offsets` (KIP-932).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message ShareGroupMemberMetadataValue, versions 0..=0, flexible Some(0);
    {
        rack_id: Option<ByteString> [0..] null [0..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        subscribed_topic_names: Vec<ByteString> [0..];
    }

    message ShareGroupMetadataValue, versions 0..=0, flexible Some(0);
    {
        epoch: i32 [0..];
        metadata_hash: i64 [0..];
    }

    message ShareGroupTargetAssignmentMetadataValue, versions 0..=0, flexible Some(0);
    {
        assignment_epoch: i32 [0..];
        assignment_timestamp: i64 [0..] tag 0;
    }

    message ShareGroupTargetAssignmentMemberValue, versions 0..=0, flexible Some(0);
    {
        topic_partitions: Vec<TopicPartitions> [0..];
    }

    struct TopicPartitions {
        topic_id: Uuid [0..];
        partitions: Vec<i32> [0..];
    }

    message ShareGroupCurrentMemberAssignmentValue, versions 0..=0, flexible Some(0);
    {
        member_epoch: i32 [0..];
        previous_member_epoch: i32 [0..];
        state: i8 [0..];
        assigned_partitions: Vec<TopicPartitions> [0..];
    }

    message ShareGroupStatePartitionMetadataValue, versions 0..=0, flexible Some(0);
    {
        initializing_topics: Vec<TopicPartitionsInfo> [0..];
        initialized_topics: Vec<TopicPartitionsInfo> [0..];
        deleting_topics: Vec<DeletingTopic> [0..];
    }

    struct TopicPartitionsInfo {
        topic_id: Uuid [0..];
        topic_name: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    struct DeletingTopic {
        topic_id: Uuid [0..];
        topic_name: ByteString [0..];
    }
}
