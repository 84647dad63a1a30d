//! CreateAcls (key 30), v0 to v3. KIP-140, KIP-290 (patterns). Without an authorizer, which this broker does not have yet.

use super::describe_acls::NO_AUTHORIZER;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};

pub fn handle(_: RequestContext, request: CreateAclsRequest) -> Reply<CreateAclsResponse> {
    let (error, message) = NO_AUTHORIZER;
    let refused = AclCreationResult {
        error_code: error.code(),
        error_message: Some(message),
    };
    CreateAclsResponse {
        results: vec![refused; request.creations.len()],
        ..Default::default()
    }
    .into()
}
