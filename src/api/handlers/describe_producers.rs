//! DescribeProducers (key 61), v0. KIP-664: the active producers of a partition.

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::describe_producers::*;

pub fn handle(
    context: RequestContext,
    request: DescribeProducersRequest,
) -> Reply<DescribeProducersResponse> {
    let named = once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partition_indexes,
        |index| *index,
    );
    let rights = context.rights();
    let topics = named
        .into_iter()
        .map(|topic| {
            let read = rights.require(Operation::Read, ResourceType::Topic, &topic.name);
            let partitions = topic
                .partition_indexes
                .iter()
                .map(|index| {
                    let replicas = &context.services.replicas;
                    match read.and_then(|()| replicas.partition(&topic.name, *index)) {
                        Ok(partition) => PartitionResponse {
                            partition_index: *index,
                            active_producers: partition
                                .log()
                                .producers()
                                .iter()
                                .map(describe)
                                .collect(),
                            ..Default::default()
                        },
                        Err(error) => PartitionResponse {
                            partition_index: *index,
                            error_code: error.code(),
                            ..Default::default()
                        },
                    }
                })
                .collect();
            TopicResponse {
                name: topic.name,
                partitions,
            }
        })
        .collect();
    DescribeProducersResponse {
        topics,
        ..Default::default()
    }
    .into()
}

fn describe(producer: &crate::log::partition_log::ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: i32::from(producer.state.epoch),
        last_sequence: producer.state.last_sequence(),
        last_timestamp: producer.state.last_timestamp,
        coordinator_epoch: producer.state.coordinator_epoch,
        current_txn_start_offset: producer.state.transaction_start.unwrap_or(-1),
    }
}
