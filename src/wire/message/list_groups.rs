//! pure: schemas of the request and response of ListGroups (API key 16).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 16 ListGroupsRequest -> ListGroupsResponse, versions 0..=5, flexible Some(3);
    {
        states_filter: Vec<ByteString> [4..];
        types_filter: Vec<ByteString> [5..];
    }

    message ListGroupsResponse, versions 0..=5, flexible Some(3);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        error_code: i16 [0..];
        groups: Vec<ListedGroup> [0..];
    }

    struct ListedGroup {
        group_id: ByteString [0..];
        protocol_type: ByteString [0..];
        #[ignorable] group_state: ByteString [4..];
        #[ignorable] group_type: ByteString [5..];
    }
}
