//! DescribeAcls (key 29), v0 to v3. KIP-140, KIP-290 (patterns). Without an authorizer, which this broker does not have yet.

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

/// Why there is nothing to show or to change, as Apache Kafka without an authorizer says it by code. Administrators'
/// pages take this answer for an empty list; an API that is not there is an error to them.
pub(super) const NO_AUTHORIZER: (ErrorCode, ByteString) = (
    ErrorCode::SecurityDisabled,
    ByteString::from_static("there is no authorizer"),
);

pub fn handle(_: RequestContext, _: DescribeAclsRequest) -> Reply<DescribeAclsResponse> {
    let (error, message) = NO_AUTHORIZER;
    DescribeAclsResponse {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    }
    .into()
}
