//! pure: schemas of the request and response of DeleteGroups (API key 42).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 42 DeleteGroupsRequest -> DeleteGroupsResponse, versions 0..=3, flexible Some(2);
    {
        groups_names: Vec<ByteString> [0..];
    }

    message DeleteGroupsResponse, versions 0..=3, flexible Some(2);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<DeletableGroupResult> [0..];
    }

    struct DeletableGroupResult {
        group_id: ByteString [0..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [3..] null [3..];
    }
}
