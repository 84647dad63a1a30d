//! ListTransactions (key 66), v0 to v2. KIP-664, KIP-994 (filter by duration, v1), KIP-1152 (filter by pattern, v2).

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::txn::machine::STATE_NAMES;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};

pub fn handle(
    context: RequestContext,
    request: ListTransactionsRequest,
) -> Reply<ListTransactionsResponse> {
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        Some(pattern) => match whole(pattern) {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                return ListTransactionsResponse {
                    error_code: ErrorCode::InvalidRegularExpression.code(),
                    ..Default::default()
                }
                .into();
            }
        },
    };
    Reply::later(async move {
        let (known, unknown): (Vec<_>, Vec<_>) = distinct(request.state_filters)
            .into_iter()
            .partition(|name| STATE_NAMES.contains(&&**name));
        let states = (!known.is_empty() || !unknown.is_empty()).then_some(known);
        let listed = context
            .services
            .txns
            .list(
                states,
                Arc::new(request.producer_id_filters.into_iter().collect()),
                request.duration_filter,
                pattern.as_ref(),
            )
            .await;
        let rights = context.rights();
        let is_shown = |id: &str| {
            let (describe, kind) = (Operation::Describe, ResourceType::TransactionalId);
            rights.has(describe, kind, id)
        };
        match listed {
            Ok(found) => ListTransactionsResponse {
                unknown_state_filters: unknown,
                transaction_states: found
                    .into_iter()
                    .filter(|one| is_shown(&one.speaker.transactional_id))
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

/// Compiles a pattern that must match the whole transactional id. The frame's size bounds the pattern, `PATTERN_BYTES_MAX` the
/// compiled one.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // The pattern must be valid by itself: `a)|(b` is not, but would be in the group.
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
    };
    build(pattern)?;
    build(&format!("^(?:{pattern})$"))
}

/// Maximum size of the compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
