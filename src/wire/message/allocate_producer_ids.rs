//! pure: schemas of the request and response of AllocateProducerIds (API key 67).

use crate::wire::message::macros::message;

message! {
    request 67 AllocateProducerIdsRequest -> AllocateProducerIdsResponse, versions 0..=0, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
    }

    message AllocateProducerIdsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        producer_id_start: i64 [0..];
        producer_id_len: i32 [0..];
    }
}
