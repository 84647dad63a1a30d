//! pure: schemas of the request and response of StreamsGroupDescribe (API key 89).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 89 StreamsGroupDescribeRequest -> StreamsGroupDescribeResponse, versions 0..=1, flexible Some(0);
    {
        group_ids: Vec<ByteString> [0..];
        include_authorized_operations: bool [0..];
        include_topology_description: bool [1..];
    }

    message StreamsGroupDescribeResponse, versions 0..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        groups: Vec<DescribedGroup> [0..];
    }

    struct DescribedGroup {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        group_id: ByteString [0..];
        group_state: ByteString [0..];
        group_epoch: i32 [0..];
        assignment_epoch: i32 [0..];
        topology: Option<Topology> [0..] null [0..];
        members: Vec<Member> [0..];
        authorized_operations: i32 [0..] = i32::MIN;
        topology_description: Option<TopologyDescription> [1..] null [1..];
        topology_description_status: i8 [1..];
        #[ignorable] assignor_name: Option<ByteString> [1..] null [1..];
    }

    struct Topology {
        epoch: i32 [0..];
        subtopologies: Option<Vec<Subtopology>> [0..] null [0..];
    }

    struct Subtopology {
        subtopology_id: ByteString [0..];
        source_topics: Vec<ByteString> [0..];
        repartition_sink_topics: Vec<ByteString> [0..];
        state_changelog_topics: Vec<TopicInfo> [0..];
        repartition_source_topics: Vec<TopicInfo> [0..];
    }

    struct TopicInfo {
        name: ByteString [0..];
        partitions: i32 [0..];
        replication_factor: i16 [0..];
        topic_configs: Vec<KeyValue> [0..];
    }

    struct KeyValue {
        key: ByteString [0..];
        value: ByteString [0..];
    }

    struct Member {
        member_id: ByteString [0..];
        member_epoch: i32 [0..];
        instance_id: Option<ByteString> [0..] null [0..];
        rack_id: Option<ByteString> [0..] null [0..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        topology_epoch: i32 [0..];
        process_id: ByteString [0..];
        user_endpoint: Option<Endpoint> [0..] null [0..];
        client_tags: Vec<KeyValue> [0..];
        task_offsets: Vec<TaskOffset> [0..];
        task_end_offsets: Vec<TaskOffset> [0..];
        assignment: Assignment [0..];
        target_assignment: Assignment [0..];
        is_classic: bool [0..];
    }

    struct Endpoint {
        host: ByteString [0..];
        port: u16 [0..];
    }

    struct TaskOffset {
        subtopology_id: ByteString [0..];
        partition: i32 [0..];
        offset: i64 [0..];
    }

    struct Assignment {
        active_tasks: Vec<TaskIds> [0..];
        standby_tasks: Vec<TaskIds> [0..];
        warmup_tasks: Vec<TaskIds> [0..];
    }

    struct TaskIds {
        subtopology_id: ByteString [0..];
        partitions: Vec<i32> [0..];
    }

    struct TopologyDescription {
        subtopologies: Vec<TopologyDescriptionSubtopology> [1..];
        global_stores: Vec<TopologyDescriptionGlobalStore> [1..];
    }

    struct TopologyDescriptionSubtopology {
        subtopology_id: ByteString [1..];
        nodes: Vec<TopologyDescriptionNode> [1..];
    }

    struct TopologyDescriptionNode {
        name: ByteString [1..];
        node_type: i8 [1..];
        source_topics: Vec<ByteString> [1..];
        sink_topic: Option<ByteString> [1..] null [1..];
        stores: Vec<ByteString> [1..];
        successors: Vec<ByteString> [1..];
    }

    struct TopologyDescriptionGlobalStore {
        source: TopologyDescriptionNode [1..];
        processor: TopologyDescriptionNode [1..];
    }
}
