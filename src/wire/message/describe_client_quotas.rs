//! pure: schemas of the request and response of DescribeClientQuotas (API key 48).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 48 DescribeClientQuotasRequest -> DescribeClientQuotasResponse, versions 0..=1, flexible Some(1);
    {
        components: Vec<ComponentData> [0..];
        strict: bool [0..];
    }

    struct ComponentData {
        entity_type: ByteString [0..];
        match_type: i8 [0..];
        r#match: Option<ByteString> [0..] null [0..];
    }

    message DescribeClientQuotasResponse, versions 0..=1, flexible Some(1);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        entries: Option<Vec<EntryData>> [0..] null [0..];
    }

    struct EntryData {
        entity: Vec<EntityData> [0..];
        values: Vec<ValueData> [0..];
    }

    struct EntityData {
        entity_type: ByteString [0..];
        entity_name: Option<ByteString> [0..] null [0..];
    }

    struct ValueData {
        key: ByteString [0..];
        value: f64 [0..];
    }
}
