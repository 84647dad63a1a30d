//! pure: schemas of the request and response of GetTelemetrySubscriptions (API key 71).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 71 GetTelemetrySubscriptionsRequest -> GetTelemetrySubscriptionsResponse, versions 0..=0, flexible Some(0);
    {
        client_instance_id: Uuid [0..];
    }

    message GetTelemetrySubscriptionsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        client_instance_id: Uuid [0..];
        subscription_id: i32 [0..];
        accepted_compression_types: Vec<i8> [0..];
        push_interval_ms: i32 [0..];
        telemetry_max_bytes: i32 [0..];
        delta_temporality: bool [0..];
        requested_metrics: Vec<ByteString> [0..];
    }
}
