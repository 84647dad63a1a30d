//! pure: schemas of the request and response of ControllerRegistration (API key 70).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 70 ControllerRegistrationRequest -> ControllerRegistrationResponse, versions 0..=0, flexible Some(0);
    {
        controller_id: i32 [0..];
        incarnation_id: Uuid [0..];
        zk_migration_ready: bool [0..];
        listeners: Vec<Listener> [0..];
        features: Vec<Feature> [0..];
    }

    struct Listener {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
        security_protocol: i16 [0..];
    }

    struct Feature {
        name: ByteString [0..];
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    message ControllerRegistrationResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
