//! CreateDelegationToken (key 38), v0 to v3. KIP-48, KIP-373 (tokens for others, v3).
//!
//! A token represents a client that authenticated by SASL or by a certificate. This broker has no delegation tokens, and
//! answers every client as Apache Kafka answers an anonymous one, whether tokens are switched on there or not.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};

/// Error of a client that has not authenticated.
pub(super) const NOT_ALLOWED: ErrorCode = ErrorCode::DelegationTokenRequestNotAllowed;
/// Principal of such a client.
const ANONYMOUS: (&str, &str) = ("User", "ANONYMOUS");
/// Timestamp that stands for no time.
pub(super) const NO_TIME: i64 = -1;

pub fn handle(
    _: RequestContext,
    request: CreateDelegationTokenRequest,
) -> Reply<CreateDelegationTokenResponse> {
    let (kind, name) = ANONYMOUS;
    let owner = |asked: Option<bytestring::ByteString>, own: &'static str| {
        let asked = asked.filter(|asked| !asked.is_empty());
        asked.unwrap_or_else(|| own.into())
    };
    CreateDelegationTokenResponse {
        error_code: NOT_ALLOWED.code(),
        principal_type: owner(request.owner_principal_type, kind),
        principal_name: owner(request.owner_principal_name, name),
        token_requester_principal_type: kind.into(),
        token_requester_principal_name: name.into(),
        issue_timestamp_ms: NO_TIME,
        expiry_timestamp_ms: NO_TIME,
        max_timestamp_ms: NO_TIME,
        ..Default::default()
    }
    .into()
}
