//! pure: schemas of the request and response of DescribeTransactions (API key 65).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 65 DescribeTransactionsRequest -> DescribeTransactionsResponse, versions 0..=0, flexible Some(0);
    {
        transactional_ids: Vec<ByteString> [0..];
    }

    message DescribeTransactionsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        transaction_states: Vec<TransactionState> [0..];
    }

    struct TransactionState {
        error_code: i16 [0..];
        transactional_id: ByteString [0..];
        transaction_state: ByteString [0..];
        transaction_timeout_ms: i32 [0..];
        transaction_start_time_ms: i64 [0..];
        producer_id: i64 [0..];
        producer_epoch: i16 [0..];
        topics: Vec<TopicData> [0..];
    }

    struct TopicData {
        topic: ByteString [0..];
        partitions: Vec<i32> [0..];
    }
}
