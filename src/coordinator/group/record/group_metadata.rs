//! pure: record of a classic group, type 2 of `__consumer_offsets`: a generation with the members' assignments.

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message GroupMetadataKey, versions 2..=2, flexible None;
    {
        group: ByteString [2..];
    }

    message GroupMetadataValue, versions 0..=4, flexible Some(4);
    {
        protocol_type: ByteString [0..];
        generation: i32 [0..];
        protocol: Option<ByteString> [0..] null [0..];
        leader: Option<ByteString> [0..] null [0..];
        #[ignorable] current_state_timestamp: i64 [2..] = -1;
        members: Vec<MemberMetadata> [0..];
    }

    struct MemberMetadata {
        member_id: ByteString [0..];
        #[ignorable] group_instance_id: Option<ByteString> [3..] null [3..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        #[ignorable] rebalance_timeout: i32 [1..] = -1;
        session_timeout: i32 [0..];
        subscription: Bytes [0..];
        assignment: Bytes [0..];
    }
}
