//! pure: schemas of the request and response of AlterClientQuotas (API key 49).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 49 AlterClientQuotasRequest -> AlterClientQuotasResponse, versions 0..=1, flexible Some(1);
    {
        entries: Vec<AlterClientQuotasRequestEntryData> [0..];
        validate_only: bool [0..];
    }

    struct AlterClientQuotasRequestEntryData {
        entity: Vec<EntityData> [0..];
        ops: Vec<OpData> [0..];
    }

    struct EntityData {
        entity_type: ByteString [0..];
        entity_name: Option<ByteString> [0..] null [0..];
    }

    struct OpData {
        key: ByteString [0..];
        value: f64 [0..];
        remove: bool [0..];
    }

    message AlterClientQuotasResponse, versions 0..=1, flexible Some(1);
    {
        throttle_time_ms: i32 [0..];
        entries: Vec<AlterClientQuotasResponseEntryData> [0..];
    }

    struct AlterClientQuotasResponseEntryData {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        entity: Vec<EntityData> [0..];
    }
}
