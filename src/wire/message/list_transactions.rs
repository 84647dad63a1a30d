//! pure: schemas of the request and response of ListTransactions (API key 66).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 66 ListTransactionsRequest -> ListTransactionsResponse, versions 0..=2, flexible Some(0);
    {
        state_filters: Vec<ByteString> [0..];
        producer_id_filters: Vec<i64> [0..];
        duration_filter: i64 [1..] = -1;
        transactional_id_pattern: Option<ByteString> [2..] null [2..];
    }

    message ListTransactionsResponse, versions 0..=2, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        unknown_state_filters: Vec<ByteString> [0..];
        transaction_states: Vec<TransactionState> [0..];
    }

    struct TransactionState {
        transactional_id: ByteString [0..];
        producer_id: i64 [0..];
        transaction_state: ByteString [0..];
    }
}
