//! OffsetForLeaderEpoch (key 23), v0 to v4. KIP-101, KIP-279, KIP-320: the end offset of a leader epoch.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};

pub fn handle(
    context: RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> Reply<OffsetForLeaderEpochResponse> {
    let named = once(
        request.topics,
        |topic| topic.topic.clone(),
        |topic| &mut topic.partitions,
        |asked| asked.partition,
    );
    let rights = context.rights();
    let of_broker = rights.has_of_cluster(Operation::ClusterAction);
    let topics = named
        .into_iter()
        .map(|topic| {
            let described = match of_broker {
                true => Ok(()),
                false => rights.require(Operation::Describe, ResourceType::Topic, &topic.topic),
            };
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let replicas = &context.services.replicas;
                    let end = described
                        .and_then(|()| replicas.partition(&topic.topic, asked.partition))
                        .and_then(|partition| {
                            partition.check_epoch(asked.current_leader_epoch)?;
                            // The current epoch may have no records yet, and then is not in the log's epoch cache.
                            Ok(if asked.leader_epoch == partition.leader_epoch() {
                                Some((asked.leader_epoch, partition.log().log_end()))
                            } else {
                                partition.log().end_of_epoch(asked.leader_epoch)
                            })
                        });
                    match end {
                        Ok(end) => {
                            let (leader_epoch, end_offset) = end.unwrap_or((-1, -1));
                            EpochEndOffset {
                                partition: asked.partition,
                                leader_epoch,
                                end_offset,
                                ..Default::default()
                            }
                        }
                        Err(error) => EpochEndOffset {
                            partition: asked.partition,
                            error_code: error.code(),
                            ..Default::default()
                        },
                    }
                })
                .collect();
            OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions,
            }
        })
        .collect();
    OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    }
    .into()
}
