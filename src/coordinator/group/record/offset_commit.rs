//! pure: record of a committed offset, types 0 and 1 of `__consumer_offsets`.

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message OffsetCommitKey, versions 0..=1, flexible None;
    {
        group: ByteString [0..];
        topic: ByteString [0..];
        partition: i32 [0..];
    }

    message OffsetCommitValue, versions 0..=4, flexible Some(4);
    {
        offset: i64 [0..];
        #[ignorable] leader_epoch: i32 [3..] = -1;
        metadata: ByteString [0..];
        commit_timestamp: i64 [0..];
        expire_timestamp: i64 [1..=1] = -1;
        #[ignorable] topic_id: Uuid [4..] tag 0;
    }
}
