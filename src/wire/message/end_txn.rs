//! pure: schemas of the request and response of EndTxn (API key 26).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 26 EndTxnRequest -> EndTxnResponse, versions 0..=5, flexible Some(3);
    {
        transactional_id: ByteString [0..];
        producer_id: i64 [0..];
        producer_epoch: i16 [0..];
        committed: bool [0..];
    }

    message EndTxnResponse, versions 0..=5, flexible Some(3);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        #[ignorable] producer_id: i64 [5..] = -1;
        #[ignorable] producer_epoch: i16 [5..] = -1;
    }
}
