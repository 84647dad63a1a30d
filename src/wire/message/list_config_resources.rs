//! pure: schemas of the request and response of ListConfigResources (API key 74).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 74 ListConfigResourcesRequest -> ListConfigResourcesResponse, versions 0..=1, flexible Some(0);
    {
        resource_types: Vec<i8> [1..];
    }

    message ListConfigResourcesResponse, versions 0..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        config_resources: Vec<ConfigResource> [0..];
    }

    struct ConfigResource {
        resource_name: ByteString [0..];
        #[ignorable] resource_type: i8 [1..] = 16;
    }
}
