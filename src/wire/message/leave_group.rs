//! pure: schemas of the request and response of LeaveGroup (API key 13).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 13 LeaveGroupRequest -> LeaveGroupResponse, versions 0..=5, flexible Some(4);
    {
        group_id: ByteString [0..];
        member_id: ByteString [0..=2];
        members: Vec<MemberIdentity> [3..];
    }

    struct MemberIdentity {
        member_id: ByteString [3..];
        group_instance_id: Option<ByteString> [3..] null [3..];
        #[ignorable] reason: Option<ByteString> [5..] null [5..];
    }

    message LeaveGroupResponse, versions 0..=5, flexible Some(4);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
        members: Vec<MemberResponse> [3..];
    }

    struct MemberResponse {
        member_id: ByteString [3..];
        group_instance_id: Option<ByteString> [3..] null [3..];
        error_code: i16 [3..];
    }
}
