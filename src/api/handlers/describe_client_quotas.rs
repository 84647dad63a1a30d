//! DescribeClientQuotas (key 48), v0 to v1. KIP-546.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::quotas;
use crate::wire::message::describe_client_quotas::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

pub fn handle(
    context: RequestContext,
    request: DescribeClientQuotasRequest,
) -> Reply<DescribeClientQuotasResponse> {
    quotas::describe(&context.services.image.load(), &request).into()
}
