//! pure: schemas of the request and response of DescribeAcls (API key 29).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 29 DescribeAclsRequest -> DescribeAclsResponse, versions 0..=3, flexible Some(2);
    {
        resource_type_filter: i8 [0..];
        resource_name_filter: Option<ByteString> [0..] null [0..];
        pattern_type_filter: i8 [1..] = 3;
        principal_filter: Option<ByteString> [0..] null [0..];
        host_filter: Option<ByteString> [0..] null [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }

    message DescribeAclsResponse, versions 0..=3, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        resources: Vec<DescribeAclsResource> [0..];
    }

    struct DescribeAclsResource {
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        pattern_type: i8 [1..] = 3;
        acls: Vec<AclDescription> [0..];
    }

    struct AclDescription {
        principal: ByteString [0..];
        host: ByteString [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }
}
