//! AlterUserScramCredentials (key 51), v0. KIP-554.
//!
//! Users are kept as Apache Kafka keeps them, also while no listener asks for them.

use std::collections::BTreeSet;

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
};

pub fn handle(
    context: RequestContext,
    request: AlterUserScramCredentialsRequest,
) -> Reply<AlterUserScramCredentialsResponse> {
    Reply::later(async move {
        let deleted = request.deletions.iter().map(|one| &one.name);
        let set = request.upsertions.iter().map(|one| &one.name);
        let users: BTreeSet<_> = deleted.chain(set).cloned().collect();
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| AlterUserScramCredentialsResponse {
            results: users
                .into_iter()
                .map(|user| AlterUserScramCredentialsResult {
                    user,
                    error_code: ErrorCode::NotController.code(),
                    error_message: None,
                })
                .collect(),
            ..Default::default()
        })
    })
}
