//! pure: schemas of the request and response of UnregisterController (API key 94).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 94 UnregisterControllerRequest -> UnregisterControllerResponse, versions 0..=0, flexible Some(0);
    {
        controller_id: i32 [0..];
    }

    message UnregisterControllerResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
