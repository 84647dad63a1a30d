//! pure: schemas of the request and response of ControlledShutdown (API key 7).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 7 ControlledShutdownRequest -> ControlledShutdownResponse, versions 0..=3, flexible Some(3);
    {
        broker_id: i32 [0..];
        #[ignorable] broker_epoch: i64 [2..] = -1;
    }

    message ControlledShutdownResponse, versions 0..=3, flexible Some(3);
    {
        error_code: i16 [0..];
        remaining_partitions: Vec<RemainingPartition> [0..];
    }

    struct RemainingPartition {
        topic_name: ByteString [0..];
        partition_index: i32 [0..];
    }
}
