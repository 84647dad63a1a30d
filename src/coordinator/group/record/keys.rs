//! pure: keys of the record types that groups have since Kafka 4.0. A key starts with the number of the type.

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
