//! pure: schemas of the request and response of Heartbeat (API key 12).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 12 HeartbeatRequest -> HeartbeatResponse, versions 0..=4, flexible Some(4);
    {
        group_id: ByteString [0..];
        generation_id: i32 [0..];
        member_id: ByteString [0..];
        group_instance_id: Option<ByteString> [3..] null [3..];
    }

    message HeartbeatResponse, versions 0..=4, flexible Some(4);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
    }
}
