//! pure: schemas of the request and response of SaslAuthenticate (API key 36).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 36 SaslAuthenticateRequest -> SaslAuthenticateResponse, versions 0..=2, flexible Some(2);
    {
        auth_bytes: Bytes [0..];
    }

    message SaslAuthenticateResponse, versions 0..=2, flexible Some(2);
    {
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        auth_bytes: Bytes [0..];
        #[ignorable] session_lifetime_ms: i64 [1..];
    }
}
