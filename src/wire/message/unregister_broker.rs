//! pure: schemas of the request and response of UnregisterBroker (API key 64).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 64 UnregisterBrokerRequest -> UnregisterBrokerResponse, versions 0..=0, flexible Some(0);
    {
        broker_id: i32 [0..];
    }

    message UnregisterBrokerResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
