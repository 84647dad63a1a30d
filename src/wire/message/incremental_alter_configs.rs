//! pure: schemas of the request and response of IncrementalAlterConfigs (API key 44).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 44 IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse, versions 0..=1, flexible Some(1);
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
        config_operation: i8 [0..];
        value: Option<ByteString> [0..] null [0..];
    }

    message IncrementalAlterConfigsResponse, versions 0..=1, flexible Some(1);
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
