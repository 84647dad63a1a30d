//! pure: schemas of the request and response of CreateDelegationToken (API key 38).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 38 CreateDelegationTokenRequest -> CreateDelegationTokenResponse, versions 0..=3, flexible Some(2);
    {
        owner_principal_type: Option<ByteString> [3..] null [3..];
        owner_principal_name: Option<ByteString> [3..] null [3..];
        renewers: Vec<CreatableRenewers> [0..];
        max_lifetime_ms: i64 [0..];
    }

    struct CreatableRenewers {
        principal_type: ByteString [0..];
        principal_name: ByteString [0..];
    }

    message CreateDelegationTokenResponse, versions 0..=3, flexible Some(2);
    {
        error_code: i16 [0..];
        principal_type: ByteString [0..];
        principal_name: ByteString [0..];
        token_requester_principal_type: ByteString [3..];
        token_requester_principal_name: ByteString [3..];
        issue_timestamp_ms: i64 [0..];
        expiry_timestamp_ms: i64 [0..];
        max_timestamp_ms: i64 [0..];
        token_id: ByteString [0..];
        hmac: Bytes [0..];
        throttle_time_ms: i32 [0..];
    }
}
