//! pure: schemas of the request and response of Envelope (API key 58).

use bytes::Bytes;

use crate::wire::message::macros::message;

message! {
    request 58 EnvelopeRequest -> EnvelopeResponse, versions 0..=0, flexible Some(0);
    {
        request_data: Bytes [0..];
        request_principal: Option<Bytes> [0..] null [0..];
        client_host_address: Bytes [0..];
    }

    message EnvelopeResponse, versions 0..=0, flexible Some(0);
    {
        response_data: Option<Bytes> [0..] null [0..];
        error_code: i16 [0..];
    }
}
