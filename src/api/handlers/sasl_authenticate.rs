//! SaslAuthenticate (key 36), v0 to v2. KIP-152, KIP-368 (sessions that end, v1). Without SASL; see `sasl_handshake`.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

pub fn handle(_: RequestContext, _: SaslAuthenticateRequest) -> Reply<SaslAuthenticateResponse> {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some("The security protocol of this listener has no SASL.".into()),
        ..Default::default()
    }
    .into()
}
