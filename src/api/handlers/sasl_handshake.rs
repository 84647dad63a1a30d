//! SaslHandshake (key 17), v0 to v1. KIP-43, KIP-152.
//!
//! No listener of this broker has SASL. A client that is set to it learns so from this answer, which is that of Apache
//! Kafka's listeners without SASL, and goes on or gives up as it likes: the connection stays.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

pub fn handle(_: RequestContext, _: SaslHandshakeRequest) -> Reply<SaslHandshakeResponse> {
    SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        mechanisms: Vec::new(),
    }
    .into()
}
