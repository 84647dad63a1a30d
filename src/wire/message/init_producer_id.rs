//! pure: schemas of the request and response of InitProducerId (API key 22).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 22 InitProducerIdRequest -> InitProducerIdResponse, versions 0..=6, flexible Some(2);
    {
        transactional_id: Option<ByteString> [0..] null [0..];
        transaction_timeout_ms: i32 [0..];
        producer_id: i64 [3..] = -1;
        producer_epoch: i16 [3..] = -1;
        enable2_pc: bool [6..];
        keep_prepared_txn: bool [6..];
    }

    message InitProducerIdResponse, versions 0..=6, flexible Some(2);
    {
        #[ignorable] throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        producer_id: i64 [0..] = -1;
        producer_epoch: i16 [0..];
        ongoing_txn_producer_id: i64 [6..] = -1;
        ongoing_txn_producer_epoch: i16 [6..] = -1;
    }
}
