//! pure: schemas of the request and response of ExpireDelegationToken (API key 40).

use bytes::Bytes;

use crate::wire::message::macros::message;

message! {
    request 40 ExpireDelegationTokenRequest -> ExpireDelegationTokenResponse, versions 0..=2, flexible Some(2);
    {
        hmac: Bytes [0..];
        expiry_time_period_ms: i64 [0..];
    }

    message ExpireDelegationTokenResponse, versions 0..=2, flexible Some(2);
    {
        error_code: i16 [0..];
        expiry_timestamp_ms: i64 [0..];
        throttle_time_ms: i32 [0..];
    }
}
