//! DeleteAcls (key 31), v0 to v3. KIP-140, KIP-290 (patterns). Without an authorizer, which this broker does not have yet.

use super::describe_acls::NO_AUTHORIZER;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};

pub fn handle(_: RequestContext, request: DeleteAclsRequest) -> Reply<DeleteAclsResponse> {
    let (error, message) = NO_AUTHORIZER;
    let refused = DeleteAclsFilterResult {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    };
    DeleteAclsResponse {
        filter_results: vec![refused; request.filters.len()],
        ..Default::default()
    }
    .into()
}
