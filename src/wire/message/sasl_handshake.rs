//! pure: SaslHandshake (key 17), the declared form of its request and response.

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
