//! pure: the keys of the records that groups have since Kafka 4.0. The kind of a record stands before its key.

use bytestring::ByteString;

use crate::wire::message::describe::described;
use crate::wire::message::macros::message;

described! {
    message GroupKey, versions 3..=23, flexible None;
    {
        group_id: ByteString [3..];
    }

    message MemberKey, versions 5..=22, flexible None;
    {
        group_id: ByteString [5..];
        member_id: ByteString [5..];
    }

    message RegularExpressionKey, versions 16..=16, flexible None;
    {
        group_id: ByteString [16..];
        regular_expression: ByteString [16..];
    }
}
