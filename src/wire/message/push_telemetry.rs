//! pure: schemas of the request and response of PushTelemetry (API key 72).

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 72 PushTelemetryRequest -> PushTelemetryResponse, versions 0..=0, flexible Some(0);
    {
        client_instance_id: Uuid [0..];
        subscription_id: i32 [0..];
        terminating: bool [0..];
        compression_type: i8 [0..];
        metrics: Bytes [0..];
    }

    message PushTelemetryResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
    }
}
