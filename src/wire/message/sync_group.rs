//! pure: schemas of the request and response of SyncGroup (API key 14).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 14 SyncGroupRequest -> SyncGroupResponse, versions 0..=5, flexible Some(4);
    {
        group_id: ByteString [0..];
        generation_id: i32 [0..];
        member_id: ByteString [0..];
        group_instance_id: Option<ByteString> [3..] null [3..];
        #[ignorable] protocol_type: Option<ByteString> [5..] null [5..];
        #[ignorable] protocol_name: Option<ByteString> [5..] null [5..];
        assignments: Vec<SyncGroupRequestAssignment> [0..];
    }

    struct SyncGroupRequestAssignment {
        member_id: ByteString [0..];
        assignment: Bytes [0..];
    }

    message SyncGroupResponse, versions 0..=5, flexible Some(4);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
        #[ignorable] protocol_type: Option<ByteString> [5..] null [5..];
        #[ignorable] protocol_name: Option<ByteString> [5..] null [5..];
        assignment: Bytes [0..];
    }
}
