//! pure: schemas of the request and response of FindCoordinator (API key 10).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 10 FindCoordinatorRequest -> FindCoordinatorResponse, versions 0..=6, flexible Some(3);
    {
        key: ByteString [0..=3];
        key_type: i8 [1..];
        coordinator_keys: Vec<ByteString> [4..];
    }

    message FindCoordinatorResponse, versions 0..=6, flexible Some(3);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        error_code: i16 [0..=3];
        #[ignorable] error_message: Option<ByteString> [1..=3] null [1..=3];
        node_id: i32 [0..=3];
        host: ByteString [0..=3];
        port: i32 [0..=3];
        coordinators: Vec<Coordinator> [4..];
    }

    struct Coordinator {
        key: ByteString [4..];
        node_id: i32 [4..];
        host: ByteString [4..];
        port: i32 [4..];
        error_code: i16 [4..];
        #[ignorable] error_message: Option<ByteString> [4..] null [4..];
    }
}
