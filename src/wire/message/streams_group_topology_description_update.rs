//! pure: schemas of the request and response of StreamsGroupTopologyDescriptionUpdate (API key 93).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 93 StreamsGroupTopologyDescriptionUpdateRequest -> StreamsGroupTopologyDescriptionUpdateResponse, versions 0..=0, flexible Some(0);
    {
        group_id: ByteString [0..];
        member_id: ByteString [0..];
        topology_epoch: i32 [0..];
        topology_description: TopologyDescription [0..];
    }

    struct TopologyDescription {
        subtopologies: Vec<TopologyDescriptionSubtopology> [0..];
        global_stores: Vec<TopologyDescriptionGlobalStore> [0..];
    }

    struct TopologyDescriptionSubtopology {
        subtopology_id: ByteString [0..];
        nodes: Vec<TopologyDescriptionNode> [0..];
    }

    struct TopologyDescriptionNode {
        name: ByteString [0..];
        node_type: i8 [0..];
        source_topics: Vec<ByteString> [0..];
        sink_topic: Option<ByteString> [0..] null [0..];
        stores: Vec<ByteString> [0..];
        successors: Vec<ByteString> [0..];
    }

    struct TopologyDescriptionGlobalStore {
        source: TopologyDescriptionNode [0..];
        processor: TopologyDescriptionNode [0..];
    }

    message StreamsGroupTopologyDescriptionUpdateResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
