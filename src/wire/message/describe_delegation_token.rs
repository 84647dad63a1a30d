//! pure: schemas of the request and response of DescribeDelegationToken (API key 41).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 41 DescribeDelegationTokenRequest -> DescribeDelegationTokenResponse, versions 0..=3, flexible Some(2);
    {
        owners: Option<Vec<DescribeDelegationTokenOwner>> [0..] null [0..];
    }

    struct DescribeDelegationTokenOwner {
        principal_type: ByteString [0..];
        principal_name: ByteString [0..];
    }

    message DescribeDelegationTokenResponse, versions 0..=3, flexible Some(2);
    {
        error_code: i16 [0..];
        tokens: Vec<DescribedDelegationToken> [0..];
        throttle_time_ms: i32 [0..];
    }

    struct DescribedDelegationToken {
        principal_type: ByteString [0..];
        principal_name: ByteString [0..];
        token_requester_principal_type: ByteString [3..];
        token_requester_principal_name: ByteString [3..];
        issue_timestamp: i64 [0..];
        expiry_timestamp: i64 [0..];
        max_timestamp: i64 [0..];
        token_id: ByteString [0..];
        hmac: Bytes [0..];
        renewers: Vec<DescribedDelegationTokenRenewer> [0..];
    }

    struct DescribedDelegationTokenRenewer {
        principal_type: ByteString [0..];
        principal_name: ByteString [0..];
    }
}
