//! pure: schemas of the request and response of DescribeGroups (API key 15).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 15 DescribeGroupsRequest -> DescribeGroupsResponse, versions 0..=6, flexible Some(5);
    {
        groups: Vec<ByteString> [0..];
        include_authorized_operations: bool [3..];
    }

    message DescribeGroupsResponse, versions 0..=6, flexible Some(5);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        groups: Vec<DescribedGroup> [0..];
    }

    struct DescribedGroup {
        error_code: i16 [0..];
        error_message: Option<ByteString> [6..] null [6..];
        group_id: ByteString [0..];
        group_state: ByteString [0..];
        protocol_type: ByteString [0..];
        protocol_data: ByteString [0..];
        members: Vec<DescribedGroupMember> [0..];
        authorized_operations: i32 [3..] = i32::MIN;
    }

    struct DescribedGroupMember {
        member_id: ByteString [0..];
        #[ignorable] group_instance_id: Option<ByteString> [4..] null [4..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        member_metadata: Bytes [0..];
        member_assignment: Bytes [0..];
    }
}
