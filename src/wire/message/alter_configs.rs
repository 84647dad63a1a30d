//! pure: schemas of the request and response of AlterConfigs (API key 33).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 33 AlterConfigsRequest -> AlterConfigsResponse, versions 0..=2, flexible Some(2);
    {
        resources: Vec<AlterConfigsResource> [0..];
        validate_only: bool [0..];
    }

    struct AlterConfigsResource {
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        configs: Vec<AlterableConfig> [0..];
    }

    struct AlterableConfig {
        name: ByteString [0..];
        value: Option<ByteString> [0..] null [0..];
    }

    message AlterConfigsResponse, versions 0..=2, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        responses: Vec<AlterConfigsResourceResponse> [0..];
    }

    struct AlterConfigsResourceResponse {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
    }
}
