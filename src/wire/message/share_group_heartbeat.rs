//! pure: schemas of the request and response of ShareGroupHeartbeat (API key 76).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 76 ShareGroupHeartbeatRequest -> ShareGroupHeartbeatResponse, versions 1..=1, flexible Some(0);
    {
        group_id: ByteString [0..];
        member_id: ByteString [0..];
        member_epoch: i32 [0..];
        rack_id: Option<ByteString> [0..] null [0..];
        subscribed_topic_names: Option<Vec<ByteString>> [0..] null [0..];
    }

    message ShareGroupHeartbeatResponse, versions 1..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        member_id: Option<ByteString> [0..] null [0..];
        member_epoch: i32 [0..];
        heartbeat_interval_ms: i32 [0..];
        assignment: Option<Assignment> [0..] null [0..];
    }

    struct Assignment {
        topic_partitions: Vec<TopicPartitions> [0..];
    }

    struct TopicPartitions {
        topic_id: Uuid [0..];
        partitions: Vec<i32> [0..];
    }
}
