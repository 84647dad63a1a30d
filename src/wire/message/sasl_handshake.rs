//! pure: schemas of the request and response of SaslHandshake (API key 17).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 17 SaslHandshakeRequest -> SaslHandshakeResponse, versions 0..=1, flexible None;
    {
        mechanism: ByteString [0..];
    }

    message SaslHandshakeResponse, versions 0..=1, flexible None;
    {
        error_code: i16 [0..];
        mechanisms: Vec<ByteString> [0..];
    }
}
