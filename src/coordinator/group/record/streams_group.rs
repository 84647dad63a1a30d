//! pure: records of a streams group, types 17 and 19 to 23 of `__consumer_offsets` (KIP-1071).

use bytestring::ByteString;

use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message StreamsGroupMetadataValue, versions 0..=0, flexible Some(0);
    {
        epoch: i32 [0..];
        metadata_hash: i64 [0..];
        validated_topology_epoch: i32 [0..] tag 0 = -1;
        last_assignment_configs: Option<Vec<LastAssignmentConfig>> [0..] null [0..] tag 1;
        stored_description_topology_epoch: i32 [0..] tag 2 = -1;
        failed_description_topology_epoch: i32 [0..] tag 3 = -1;
    }

    struct LastAssignmentConfig {
        key: ByteString [0..];
        value: ByteString [0..];
    }

    message StreamsGroupMemberMetadataValue, versions 0..=0, flexible Some(0);
    {
        instance_id: Option<ByteString> [0..] null [0..];
        rack_id: Option<ByteString> [0..] null [0..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        rebalance_timeout_ms: i32 [0..] = -1;
        topology_epoch: i32 [0..];
        process_id: ByteString [0..];
        user_endpoint: Option<Endpoint> [0..] null [0..];
        client_tags: Vec<KeyValue> [0..];
    }

    struct Endpoint {
        host: ByteString [0..];
        port: u16 [0..];
    }

    struct KeyValue {
        key: ByteString [0..];
        value: ByteString [0..];
    }

    message StreamsGroupTargetAssignmentMetadataValue, versions 0..=0, flexible Some(0);
    {
        assignment_epoch: i32 [0..];
        assignment_timestamp: i64 [0..] tag 0;
    }

    message StreamsGroupTargetAssignmentMemberValue, versions 0..=0, flexible Some(0);
    {
        active_tasks: Vec<TargetTaskIds> [0..];
        standby_tasks: Vec<TargetTaskIds> [0..];
        warmup_tasks: Vec<TargetTaskIds> [0..];
    }

    struct TargetTaskIds {
        subtopology_id: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    message StreamsGroupCurrentMemberAssignmentValue, versions 0..=0, flexible Some(0);
    {
        member_epoch: i32 [0..];
        previous_member_epoch: i32 [0..];
        state: i8 [0..];
        active_tasks: Vec<TaskIds> [0..];
        standby_tasks: Vec<TaskIds> [0..];
        warmup_tasks: Vec<TaskIds> [0..];
        active_tasks_pending_revocation: Vec<TaskIds> [0..];
        standby_tasks_pending_revocation: Vec<TaskIds> [0..];
        warmup_tasks_pending_revocation: Vec<TaskIds> [0..];
    }

    struct TaskIds {
        subtopology_id: ByteString [0..];
        partitions: Vec<i32> [0..];
        assignment_epochs: Option<Vec<i32>> [0..] null [0..] tag 0;
    }

    message StreamsGroupTopologyValue, versions 0..=0, flexible Some(0);
    {
        epoch: i32 [0..];
        subtopologies: Vec<Subtopology> [0..];
    }

    struct Subtopology {
        subtopology_id: ByteString [0..];
        source_topics: Vec<ByteString> [0..];
        source_topic_regex: Vec<ByteString> [0..];
        state_changelog_topics: Vec<TopicInfo> [0..];
        repartition_sink_topics: Vec<ByteString> [0..];
        repartition_source_topics: Vec<TopicInfo> [0..];
        copartition_groups: Vec<CopartitionGroup> [0..];
    }

    struct TopicInfo {
        name: ByteString [0..];
        partitions: i32 [0..];
        replication_factor: i16 [0..];
        topic_configs: Vec<TopicConfig> [0..];
    }

    struct TopicConfig {
        key: ByteString [0..];
        value: ByteString [0..];
    }

    struct CopartitionGroup {
        source_topics: Vec<i16> [0..];
        source_topic_regex: Vec<i16> [0..];
        repartition_source_topics: Vec<i16> [0..];
    }
}
