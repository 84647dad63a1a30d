//! DescribeQuorum (key 55), v0 to v2. KIP-595, KIP-853: this node is the only voter of the quorum.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_quorum::*;

pub fn handle(
    context: RequestContext,
    request: DescribeQuorumRequest,
) -> Reply<DescribeQuorumResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::Describe) {
        return DescribeQuorumResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            ..Default::default()
        }
        .into();
    }
    let services = &context.services;
    let image = services.image.load();
    let node_id = services.node_id;
    let log_end = image.offset + 1;
    let known = |topic: &str, partition: i32| topic == "__cluster_metadata" && partition == 0;
    let named = once(
        request.topics,
        |topic| topic.topic_name.clone(),
        |topic| &mut topic.partitions,
        |asked| asked.partition_index,
    );
    let topics = named
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    if !known(&topic.topic_name, asked.partition_index) {
                        return DescribeQuorumResponsePartitionData {
                            partition_index: asked.partition_index,
                            error_code: ErrorCode::UnknownTopicOrPartition.code(),
                            ..Default::default()
                        };
                    }
                    DescribeQuorumResponsePartitionData {
                        partition_index: asked.partition_index,
                        leader_id: node_id,
                        leader_epoch: image.epoch,
                        high_watermark: log_end,
                        current_voters: vec![ReplicaState {
                            replica_id: node_id,
                            log_end_offset: log_end,
                            last_fetch_timestamp: context.now,
                            last_caught_up_timestamp: context.now,
                            ..Default::default()
                        }],
                        ..Default::default()
                    }
                })
                .collect();
            DescribeQuorumResponseTopicData {
                topic_name: topic.topic_name,
                partitions,
            }
        })
        .collect::<Vec<_>>();
    let failed = |topic: &DescribeQuorumResponseTopicData| {
        topic
            .partitions
            .iter()
            .any(|partition| partition.error_code != 0)
    };
    let nodes = if context.api_version >= 2 && !topics.iter().any(failed) {
        controllers(&context)
    } else {
        Vec::new()
    };
    DescribeQuorumResponse {
        topics,
        nodes,
        ..Default::default()
    }
    .into()
}

fn controllers(context: &RequestContext) -> Vec<Node> {
    let image = context.services.image.load();
    let controllers = image.controllers.values();
    controllers
        .map(|controller| Node {
            node_id: controller.id,
            listeners: controller
                .endpoints
                .iter()
                .map(|(name, host, port, _)| Listener {
                    name: (**name).into(),
                    host: (**host).into(),
                    port: *port,
                })
                .collect(),
        })
        .collect()
}
