//! DescribeDelegationToken (key 41), v0 to v3. KIP-48. There are no delegation tokens; see `create_delegation_token`.

use super::create_delegation_token::NOT_ALLOWED;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::describe_delegation_token::{
    DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
};

pub fn handle(
    _: RequestContext,
    _: DescribeDelegationTokenRequest,
) -> Reply<DescribeDelegationTokenResponse> {
    DescribeDelegationTokenResponse {
        error_code: NOT_ALLOWED.code(),
        ..Default::default()
    }
    .into()
}
