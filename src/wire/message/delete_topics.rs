//! pure: schemas of the request and response of DeleteTopics (API key 20).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 20 DeleteTopicsRequest -> DeleteTopicsResponse, versions 0..=6, flexible Some(4);
    {
        topics: Vec<DeleteTopicState> [6..];
        #[ignorable] topic_names: Vec<ByteString> [0..=5];
        timeout_ms: i32 [0..];
    }

    struct DeleteTopicState {
        name: Option<ByteString> [6..] null [6..];
        topic_id: Uuid [6..];
    }

    message DeleteTopicsResponse, versions 0..=6, flexible Some(4);
    {
        #[ignorable] throttle_time_ms: i32 [1..];
        responses: Vec<DeletableTopicResult> [0..];
    }

    struct DeletableTopicResult {
        name: Option<ByteString> [0..] null [6..];
        #[ignorable] topic_id: Uuid [6..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [5..] null [5..];
    }
}
