//! pure: schemas of the request and response of DeleteShareGroupOffsets (API key 92).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 92 DeleteShareGroupOffsetsRequest -> DeleteShareGroupOffsetsResponse, versions 0..=0, flexible Some(0);
    {
        group_id: ByteString [0..];
        topics: Vec<DeleteShareGroupOffsetsRequestTopic> [0..];
    }

    struct DeleteShareGroupOffsetsRequestTopic {
        topic_name: ByteString [0..];
    }

    message DeleteShareGroupOffsetsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        responses: Vec<DeleteShareGroupOffsetsResponseTopic> [0..];
    }

    struct DeleteShareGroupOffsetsResponseTopic {
        topic_name: ByteString [0..];
        topic_id: Uuid [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
