//! pure: schemas of the request and response of RenewDelegationToken (API key 39).

use bytes::Bytes;

use crate::wire::message::macros::message;

message! {
    request 39 RenewDelegationTokenRequest -> RenewDelegationTokenResponse, versions 0..=2, flexible Some(2);
    {
        hmac: Bytes [0..];
        renew_period_ms: i64 [0..];
    }

    message RenewDelegationTokenResponse, versions 0..=2, flexible Some(2);
    {
        error_code: i16 [0..];
        expiry_timestamp_ms: i64 [0..];
        throttle_time_ms: i32 [0..];
    }
}
