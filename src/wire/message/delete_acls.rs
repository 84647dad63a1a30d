//! pure: schemas of the request and response of DeleteAcls (API key 31).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 31 DeleteAclsRequest -> DeleteAclsResponse, versions 0..=3, flexible Some(2);
    {
        filters: Vec<DeleteAclsFilter> [0..];
    }

    struct DeleteAclsFilter {
        resource_type_filter: i8 [0..];
        resource_name_filter: Option<ByteString> [0..] null [0..];
        pattern_type_filter: i8 [1..] = 3;
        principal_filter: Option<ByteString> [0..] null [0..];
        host_filter: Option<ByteString> [0..] null [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }

    message DeleteAclsResponse, versions 0..=3, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        filter_results: Vec<DeleteAclsFilterResult> [0..];
    }

    struct DeleteAclsFilterResult {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        matching_acls: Vec<DeleteAclsMatchingAcl> [0..];
    }

    struct DeleteAclsMatchingAcl {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        pattern_type: i8 [1..] = 3;
        principal: ByteString [0..];
        host: ByteString [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }
}
