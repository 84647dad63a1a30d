//! AlterUserScramCredentials (key 51), v0. KIP-554.
//!
//! Credentials are stored as in Apache Kafka, even if no listener uses SCRAM.

use std::collections::BTreeSet;

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
};

pub fn handle(
    context: RequestContext,
    request: AlterUserScramCredentialsRequest,
) -> Reply<AlterUserScramCredentialsResponse> {
    let deleted = request.deletions.iter().map(|one| &one.name);
    let set = request.upsertions.iter().map(|one| &one.name);
    let users: BTreeSet<_> = deleted.chain(set).cloned().collect();
    let refused = |users: BTreeSet<ByteString>, error: ErrorCode| {
        let refused = |user| AlterUserScramCredentialsResult {
            user,
            error_code: error.code(),
            error_message: rights::words(error),
        };
        AlterUserScramCredentialsResponse {
            results: users.into_iter().map(refused).collect(),
            ..Default::default()
        }
    };
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        return refused(users, error).into();
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| refused(users, ErrorCode::NotController))
    })
}
