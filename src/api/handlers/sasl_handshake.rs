//! SaslHandshake (key 17), v0 to v1. KIP-43, KIP-152.
//!
//! Authentication does not use this handler: `server` passes the handshake to `security/sasl/login.rs` before requests are
//! dispatched. This is the response to clients that have already authenticated, or that use a listener without SASL. The
//! connection stays open.

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
