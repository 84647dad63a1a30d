//! DescribeClientQuotas (key 48), v0 to v1. KIP-546.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::metadata::controller::quotas;
use crate::security::acl::Operation;
use crate::wire::message::describe_client_quotas::{
    DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};

pub fn handle(
    context: RequestContext,
    request: DescribeClientQuotasRequest,
) -> Reply<DescribeClientQuotasResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::DescribeConfigs) {
        return DescribeClientQuotasResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            entries: None,
            ..Default::default()
        }
        .into();
    }
    quotas::describe(&context.services.image.load(), &request).into()
}
