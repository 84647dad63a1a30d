//! DeleteAcls (key 31), v0 to v3. KIP-140, KIP-290 (patterns).

use super::create_acls::refusal;
use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::acls;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};

pub fn handle(context: RequestContext, request: DeleteAclsRequest) -> Reply<DeleteAclsResponse> {
    let count = request.filters.len();
    let all = move |error: ErrorCode, error_message| {
        let refused = DeleteAclsFilterResult {
            error_code: error.code(),
            error_message,
            ..Default::default()
        };
        DeleteAclsResponse {
            filter_results: vec![refused; count],
            ..Default::default()
        }
    };
    if let Some((error, message)) = refusal(&context) {
        return all(error, message).into();
    }
    if acls::deletes_unknown(&request) {
        return Reply::Close("a DeleteAcls with unknown words".to_owned());
    }
    Reply::later(async move {
        let decided = context.services.controller.ask(request).await;
        decided.unwrap_or_else(|_| all(ErrorCode::NotController, None))
    })
}
