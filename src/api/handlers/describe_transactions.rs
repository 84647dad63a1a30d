//! DescribeTransactions (key 65), v0. KIP-664.

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::message::describe_transactions::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, TopicData, TransactionState,
};

pub fn handle(
    context: RequestContext,
    request: DescribeTransactionsRequest,
) -> Reply<DescribeTransactionsResponse> {
    Reply::later(async move {
        let named = distinct(request.transactional_ids);
        let mut states = Vec::with_capacity(named.len());
        let rights = context.rights();
        let describe = Operation::Describe;
        for id in named {
            let described = match rights.require(describe, ResourceType::TransactionalId, &id) {
                Ok(()) => context.services.txns.describe(id.clone()).await,
                Err(error) => Err(error),
            };
            states.push(match described {
                Ok(found) => TransactionState {
                    transactional_id: id,
                    transaction_state: found.state.into(),
                    transaction_timeout_ms: found.timeout_ms,
                    transaction_start_time_ms: found.since,
                    producer_id: found.speaker.producer_id,
                    producer_epoch: found.speaker.epoch,
                    topics: found
                        .partitions
                        .into_iter()
                        .filter(|(topic, _)| rights.has(describe, ResourceType::Topic, topic))
                        .map(|(topic, partitions)| TopicData {
                            topic,
                            partitions: partitions.into_iter().collect(),
                        })
                        .collect(),
                    ..Default::default()
                },
                Err(error) => TransactionState {
                    error_code: error.code(),
                    transactional_id: id,
                    ..Default::default()
                },
            });
        }
        DescribeTransactionsResponse {
            transaction_states: states,
            ..Default::default()
        }
    })
}
