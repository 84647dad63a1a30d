//! ListTransactions (key 66), v0 and v1. KIP-664, KIP-994 (by duration, v1).

use crate::api::context::{Reply, RequestContext};
use crate::wire::message::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};

/// The names of all states; who filters by another one is told.
const STATES: &[&str] = &[
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
];

pub fn handle(
    context: RequestContext,
    request: ListTransactionsRequest,
) -> Reply<ListTransactionsResponse> {
    Reply::later(async move {
        let unknown_state_filters: Vec<_> = request
            .state_filters
            .iter()
            .filter(|name| !STATES.contains(&&***name))
            .cloned()
            .collect();
        let listed = context
            .services
            .txns
            .list(
                &request.state_filters,
                &request.producer_id_filters,
                request.duration_filter,
            )
            .await;
        match listed {
            Ok(found) => ListTransactionsResponse {
                unknown_state_filters,
                transaction_states: found
                    .into_iter()
                    .map(|one| TransactionState {
                        transactional_id: one.speaker.transactional_id,
                        producer_id: one.speaker.producer_id,
                        transaction_state: one.state.into(),
                    })
                    .collect(),
                ..Default::default()
            },
            Err(error) => ListTransactionsResponse {
                error_code: error.code(),
                ..Default::default()
            },
        }
    })
}
