//! pure: schemas of the request and response of AddOffsetsToTxn (API key 25).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 25 AddOffsetsToTxnRequest -> AddOffsetsToTxnResponse, versions 0..=4, flexible Some(3);
    {
        transactional_id: ByteString [0..];
        producer_id: i64 [0..];
        producer_epoch: i16 [0..];
        group_id: ByteString [0..];
    }

    message AddOffsetsToTxnResponse, versions 0..=4, flexible Some(3);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
    }
}
