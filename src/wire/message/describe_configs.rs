//! pure: schemas of the request and response of DescribeConfigs (API key 32).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 32 DescribeConfigsRequest -> DescribeConfigsResponse, versions 0..=4, flexible Some(4);
    {
        resources: Vec<DescribeConfigsResource> [0..];
        include_synonyms: bool [1..];
        include_documentation: bool [3..];
    }

    struct DescribeConfigsResource {
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        configuration_keys: Option<Vec<ByteString>> [0..] null [0..];
    }

    message DescribeConfigsResponse, versions 0..=4, flexible Some(4);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<DescribeConfigsResult> [0..];
    }

    struct DescribeConfigsResult {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        resource_type: i8 [0..];
        resource_name: ByteString [0..];
        configs: Vec<DescribeConfigsResourceResult> [0..];
    }

    struct DescribeConfigsResourceResult {
        name: ByteString [0..];
        value: Option<ByteString> [0..] null [0..];
        read_only: bool [0..];
        is_default: bool [0..=0];
        #[ignorable] config_source: i8 [1..] = -1;
        is_sensitive: bool [0..];
        #[ignorable] synonyms: Vec<DescribeConfigsSynonym> [1..];
        #[ignorable] config_type: i8 [3..];
        #[ignorable] documentation: Option<ByteString> [3..] null [0..];
    }

    struct DescribeConfigsSynonym {
        name: ByteString [1..];
        value: Option<ByteString> [1..] null [0..];
        source: i8 [1..];
    }
}
