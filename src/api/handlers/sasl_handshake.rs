//! SaslHandshake (key 17), v0 to v1. KIP-43, KIP-152.
//!
//! A login never comes here: `server` has it looked at by `security/sasl/login.rs` before anything is dispatched. This is the
//! answer to whoever is in already, or came by a listener without SASL. The connection stays.

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
