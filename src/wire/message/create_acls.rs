//! pure: schemas of the request and response of CreateAcls (API key 30).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 30 CreateAclsRequest -> CreateAclsResponse, versions 0..=3, flexible Some(2);
    {
        creations: Vec<AclCreation> [0..];
    }

    struct AclCreation {
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        resource_pattern_type: i8 [1..] = 3;
        principal: ByteString [0..];
        host: ByteString [0..];
        operation: i8 [0..];
        permission_type: i8 [0..];
    }

    message CreateAclsResponse, versions 0..=3, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<AclCreationResult> [0..];
    }

    struct AclCreationResult {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
