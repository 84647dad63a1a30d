//! SaslAuthenticate (key 36), v0 to v2. KIP-152, KIP-368 (session lifetime, v1).
//!
//! Requests that reach this handler are out of place; see `sasl_handshake`. The message is Kafka's, also on listeners without
//! SASL.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

pub fn handle(_: RequestContext, _: SaslAuthenticateRequest) -> Reply<SaslAuthenticateResponse> {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some(
            "SaslAuthenticate request received after successful authentication".into(),
        ),
        ..Default::default()
    }
    .into()
}
