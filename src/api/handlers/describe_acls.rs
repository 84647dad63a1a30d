//! DescribeAcls (key 29), v0 to v3. KIP-140, KIP-290 (patterns).

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::metadata::controller::acls;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

/// Error message without an authorizer. Web consoles show this error as an empty list, but fail if the API does not exist.
const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker";

pub fn handle(
    context: RequestContext,
    request: DescribeAclsRequest,
) -> Reply<DescribeAclsResponse> {
    let refused = |error: ErrorCode, message| DescribeAclsResponse {
        error_code: error.code(),
        error_message: message,
        ..Default::default()
    };
    if let Err(error) = context.requires_of_cluster(Operation::Describe) {
        return refused(error, rights::words(error)).into();
    }
    if context.services.authorizer.is_none() {
        let message = Some(ByteString::from_static(NO_AUTHORIZER));
        return refused(ErrorCode::SecurityDisabled, message).into();
    }
    if acls::describes_unknown(&request) {
        return Reply::Close("a DescribeAcls with unknown words".to_owned());
    }
    acls::describe(&context.services.image.load(), &request).into()
}
