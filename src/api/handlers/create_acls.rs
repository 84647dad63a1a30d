//! CreateAcls (key 30), v0 to v3. KIP-140, KIP-290 (patterns).

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::metadata::controller::acls;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};

/// Error of a change of ACLs without an authorizer.
pub(super) const NO_AUTHORIZER: (ErrorCode, ByteString) = (
    ErrorCode::SecurityDisabled,
    ByteString::from_static("No Authorizer is configured."),
);

/// Error of a request to change ACLs that is refused as a whole; `None` if it is allowed.
pub(super) fn refusal(context: &RequestContext) -> Option<(ErrorCode, Option<ByteString>)> {
    if let Err(error) = context.requires_of_cluster(Operation::Alter) {
        return Some((error, rights::words(error)));
    }
    let (error, message) = NO_AUTHORIZER;
    let is_off = context.services.authorizer.is_none();
    is_off.then_some((error, Some(message)))
}

pub fn handle(context: RequestContext, request: CreateAclsRequest) -> Reply<CreateAclsResponse> {
    let count = request.creations.len();
    let all = move |error: ErrorCode, error_message| {
        let refused = AclCreationResult {
            error_code: error.code(),
            error_message,
        };
        CreateAclsResponse {
            results: vec![refused; count],
            ..Default::default()
        }
    };
    if let Some((error, message)) = refusal(&context) {
        return all(error, message).into();
    }
    if acls::creates_unknown(&request) {
        return Reply::Close("a CreateAcls with unknown words".to_owned());
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| all(ErrorCode::NotController, None))
    })
}
