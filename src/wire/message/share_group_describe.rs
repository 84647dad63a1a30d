//! pure: schemas of the request and response of ShareGroupDescribe (API key 77).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 77 ShareGroupDescribeRequest -> ShareGroupDescribeResponse, versions 1..=1, flexible Some(0);
    {
        group_ids: Vec<ByteString> [0..];
        include_authorized_operations: bool [0..];
    }

    message ShareGroupDescribeResponse, versions 1..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        groups: Vec<DescribedGroup> [0..];
    }

    struct DescribedGroup {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        group_id: ByteString [0..];
        group_state: ByteString [0..];
        group_epoch: i32 [0..];
        assignment_epoch: i32 [0..];
        assignor_name: ByteString [0..];
        members: Vec<Member> [0..];
        authorized_operations: i32 [0..] = i32::MIN;
    }

    struct Member {
        member_id: ByteString [0..];
        rack_id: Option<ByteString> [0..] null [0..];
        member_epoch: i32 [0..];
        client_id: ByteString [0..];
        client_host: ByteString [0..];
        subscribed_topic_names: Vec<ByteString> [0..];
        assignment: Assignment [0..];
    }

    struct Assignment {
        topic_partitions: Vec<TopicPartitions> [0..];
    }

    struct TopicPartitions {
        topic_id: Uuid [0..];
        topic_name: ByteString [0..];
        partitions: Vec<i32> [0..];
    }
}
