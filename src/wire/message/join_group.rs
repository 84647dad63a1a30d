//! pure: schemas of the request and response of JoinGroup (API key 11).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 11 JoinGroupRequest -> JoinGroupResponse, versions 0..=9, flexible Some(6);
    {
        group_id: ByteString [0..];
        session_timeout_ms: i32 [0..];
        #[ignorable] rebalance_timeout_ms: i32 [1..] = -1;
        member_id: ByteString [0..];
        group_instance_id: Option<ByteString> [5..] null [5..];
        protocol_type: ByteString [0..];
        protocols: Vec<JoinGroupRequestProtocol> [0..];
        #[ignorable] reason: Option<ByteString> [8..] null [8..];
    }

    struct JoinGroupRequestProtocol {
        name: ByteString [0..];
        metadata: Bytes [0..];
    }

    message JoinGroupResponse, versions 0..=9, flexible Some(6);
    {
        #[ignorable] throttle_time_ms: i32 [2..];
        error_code: i16 [0..];
        generation_id: i32 [0..] = -1;
        #[ignorable] protocol_type: Option<ByteString> [7..] null [7..];
        protocol_name: Option<ByteString> [0..] null [7..];
        leader: ByteString [0..];
        skip_assignment: bool [9..];
        member_id: ByteString [0..];
        members: Vec<JoinGroupResponseMember> [0..];
    }

    struct JoinGroupResponseMember {
        member_id: ByteString [0..];
        #[ignorable] group_instance_id: Option<ByteString> [5..] null [5..];
        metadata: Bytes [0..];
    }
}
