//! ConsumerGroupHeartbeat (key 68), v0 to v1. KIP-848; KIP-1082 (member ids chosen by the member, v1), regular expressions
//! (v1).
//!
//! Regular expressions are validated here, on the work pool: compiling one may take long, and the coordinator serves all
//! groups.

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::expression;
use crate::coordinator::group::request::ConsumerHeartbeat;
use crate::metadata::bootstrap::random_uuid;
use crate::security::acl::{EVERYTHING, Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

/// First version whose members choose their member id.
const NAMES_ITSELF: i16 = 1;

pub fn handle(
    context: RequestContext,
    mut request: ConsumerGroupHeartbeatRequest,
) -> Reply<ConsumerGroupHeartbeatResponse> {
    let names_itself = context.api_version >= NAMES_ITSELF;
    if let Err(error) = allowed(&context, &request) {
        return ConsumerGroupHeartbeatResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    if !names_itself && request.member_id.is_empty() && request.member_epoch == 0 {
        // A random UUID without a leading dash, which command line tools would take for an option.
        let Ok(fresh) = random_uuid(&context.services.host.chance) else {
            return ConsumerGroupHeartbeatResponse {
                error_code: ErrorCode::UnknownServerError.code(),
                ..Default::default()
            }
            .into();
        };
        request.member_id = fresh.to_string().into();
    }
    let pattern = request.subscribed_topic_regex.clone();
    let mut beat = ConsumerHeartbeat {
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: context.client_host(),
        names_itself,
        regex_fault: None,
        classic: None,
        request,
    };
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
        return Reply::later(ask(context, beat));
    };
    Reply::long(async move {
        beat.regex_fault = expression::compile(&pattern).err();
        Reply::later(ask(context, beat))
    })
}

/// Checks that the client may join this group and describe the topics. A subscription by regular expression requires the right
/// to describe all topics.
fn allowed(
    context: &RequestContext,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), ErrorCode> {
    let rights = context.rights();
    rights.require(Operation::Read, ResourceType::Group, &request.group_id)?;
    let knows = |topic: &str| rights.require(Operation::Describe, ResourceType::Topic, topic);
    let mut named = request.subscribed_topic_names.iter().flatten();
    named.try_for_each(|topic| knows(topic))?;
    match request.subscribed_topic_regex.as_deref() {
        None | Some("") => Ok(()),
        Some(_) => knows(EVERYTHING),
    }
}

async fn ask(context: RequestContext, beat: ConsumerHeartbeat) -> ConsumerGroupHeartbeatResponse {
    context.services.groups.consumer_heartbeat(beat).await
}
