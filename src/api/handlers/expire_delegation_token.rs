//! ExpireDelegationToken (key 40), v0 to v2. KIP-48. There are no delegation tokens; see `create_delegation_token`.

use super::create_delegation_token::{NO_TIME, NOT_ALLOWED};
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::expire_delegation_token::{
    ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
};

pub fn handle(
    _: RequestContext,
    _: ExpireDelegationTokenRequest,
) -> Reply<ExpireDelegationTokenResponse> {
    ExpireDelegationTokenResponse {
        error_code: NOT_ALLOWED.code(),
        expiry_timestamp_ms: NO_TIME,
        ..Default::default()
    }
    .into()
}
