//! ShareAcknowledge (key 79), v1 to v2. KIP-932; extension of locks (v2).
//!
//! Acknowledgements take effect before the response starts to wait: later requests may rely on them.

use bytestring::ByteString;
use indexmap::IndexMap;

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::{BrokerId, LeaderEpoch, Offset};
use crate::coordinator::group::share::heartbeat::{MEMBER_ID_MAX, SHARE_VERSION};
use crate::security::acl::{Operation, ResourceType};
use crate::share::machine::{Said, Verdict};
use crate::share::manager::Told;
use crate::share::session::{Place, SessionKey};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_acknowledge::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeRequest,
    ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};

/// First version in which a member may extend its locks.
const RENEW_SINCE: i16 = 2;

pub fn handle(
    context: RequestContext,
    request: ShareAcknowledgeRequest,
) -> Reply<ShareAcknowledgeResponse> {
    match begin(&context, request) {
        Ok((told, lock_ms)) => Reply::later(async move { answer(&context, told, lock_ms).await }),
        Err(error) => ShareAcknowledgeResponse {
            error_code: error.code(),
            error_message: Some(ByteString::from_static(error.name())),
            ..Default::default()
        }
        .into(),
    }
}

/// Results of acknowledgements by partition.
type AllTold = IndexMap<Place, Told>;

fn begin(
    context: &RequestContext,
    request: ShareAcknowledgeRequest,
) -> Result<(AllTold, i32), ErrorCode> {
    let key = member(
        context,
        request.group_id.as_ref(),
        request.member_id.as_ref(),
    )?;
    let shares = &context.services.shares;
    let connection = context.connection.account.id();
    let ends = shares.go_on(&key, request.share_session_epoch, connection)?;
    let topics = once(
        request.topics,
        |topic| topic.topic_id,
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    let mut told = AllTold::new();
    for topic in &topics {
        for partition in &topic.partitions {
            let place = (topic.topic_id, partition.partition_index);
            let batches = partition.acknowledgement_batches.iter();
            let batches =
                batches.map(|one| (one.first_offset, one.last_offset, &*one.acknowledge_types));
            let said = said(context, batches, request.is_renew_ack);
            told.insert(place, acknowledge(context, &key, place, said));
        }
    }
    if ends {
        shares.end(&key);
    }
    Ok((told, shares.delivery(&key.group).lock_ms))
}

/// Session key of the client, if it is authorized for the group.
pub(super) fn member(
    context: &RequestContext,
    group: Option<&ByteString>,
    member: Option<&ByteString>,
) -> Result<SessionKey, ErrorCode> {
    if context.services.image.load().feature(SHARE_VERSION) < 1 {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let group = group.ok_or(ErrorCode::InvalidRequest)?;
    let rights = context.rights();
    rights.require(Operation::Read, ResourceType::Group, group)?;
    let member = member.filter(|id| is_member_id(id));
    Ok(SessionKey {
        group: group.clone(),
        member: member.ok_or(ErrorCode::InvalidRequest)?.clone(),
    })
}

/// Whether a member of a share group may have this id.
fn is_member_id(id: &str) -> bool {
    !id.trim().is_empty() && id.encode_utf16().count() <= MEMBER_ID_MAX
}

/// Converts acknowledgements of a partition. Errors: `InvalidRequest` if they are invalid.
pub(super) fn said<'a>(
    context: &RequestContext,
    batches: impl Iterator<Item = (Offset, Offset, &'a [i8])>,
    may_renew: bool,
) -> Result<Vec<Said>, ErrorCode> {
    let may_renew = may_renew && context.api_version >= RENEW_SINCE;
    let mut all: Vec<Said> = Vec::new();
    let mut before = Offset::MIN;
    for (first, last, types) in batches {
        let count = last.checked_sub(first).and_then(|more| more.checked_add(1));
        let is_whole = count.is_some_and(|count| usize::try_from(count) == Ok(types.len()));
        if first > last || first < before || types.is_empty() || types.len() > 1 && !is_whole {
            return Err(ErrorCode::InvalidRequest);
        }
        before = last;
        let each = types.chunk_by(|a, b| a == b);
        let mut at = first;
        for same in each {
            let verdict = same
                .first()
                .and_then(|number| Verdict::from_number(*number))
                .filter(|verdict| *verdict != Verdict::Renew || may_renew)
                .ok_or(ErrorCode::InvalidRequest)?;
            let until = match types.len() {
                1 => last,
                _ => at + same.len() as Offset - 1,
            };
            all.push(Said {
                first: at,
                last: until,
                verdict,
            });
            at = until.saturating_add(1);
        }
    }
    Ok(all)
}

/// Applies the acknowledgements of a member if it may read the topic.
pub(super) fn acknowledge(
    context: &RequestContext,
    key: &SessionKey,
    place: Place,
    said: Result<Vec<Said>, ErrorCode>,
) -> Told {
    let services = &context.services;
    let allowed = || {
        let said = said?;
        let image = services.image.load();
        let topic = image.topics.by_id(place.0);
        let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
        let rights = context.rights();
        rights.require(Operation::Read, ResourceType::Topic, &topic.name)?;
        topic
            .partition(place.1)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let renews = said.iter().any(|one| one.verdict == Verdict::Renew);
        if renews && !services.shares.delivery(&key.group).renews {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(said)
    };
    match allowed() {
        Ok(said) => services.shares.acknowledge(key, place, &said),
        Err(error) => Told::Done(Err(error)),
    }
}

/// The leader of a partition on another node: its id, leader epoch and address.
pub(super) struct Elsewhere {
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    pub address: Option<(ByteString, i32)>,
}

/// The leader for errors after which a client looks for another one.
pub(super) fn elsewhere(
    context: &RequestContext,
    place: Place,
    error: ErrorCode,
) -> Option<Elsewhere> {
    if !matches!(
        error,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    ) {
        return None;
    }
    let image = context.services.image.load();
    let partition = image.topics.by_id(place.0)?.partition(place.1)?;
    let broker = image.brokers.get(&partition.leader);
    let address = broker.and_then(|broker| context.address_of(broker));
    Some(Elsewhere {
        leader: partition.leader,
        epoch: partition.leader_epoch,
        address: address.map(|(host, port)| (host, port.into())),
    })
}

async fn answer(context: &RequestContext, all: AllTold, lock_ms: i32) -> ShareAcknowledgeResponse {
    let mut response = ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: lock_ms,
        ..Default::default()
    };
    for ((topic_id, index), told) in all {
        let error = told.result().await.err();
        let mut data = PartitionData {
            partition_index: index,
            error_code: error.map_or(0, ErrorCode::code),
            error_message: error.map(|error| ByteString::from_static(error.name())),
            ..Default::default()
        };
        if let Some(at) = error.and_then(|error| elsewhere(context, (topic_id, index), error)) {
            data.current_leader = LeaderIdAndEpoch {
                leader_id: at.leader,
                leader_epoch: at.epoch,
            };
            let is_known = response
                .node_endpoints
                .iter()
                .any(|one| one.node_id == at.leader);
            if let Some((host, port)) = at.address.filter(|_| !is_known) {
                response.node_endpoints.push(NodeEndpoint {
                    node_id: at.leader,
                    host,
                    port,
                    rack: None,
                });
            }
        }
        match response.responses.last_mut() {
            Some(topic) if topic.topic_id == topic_id => topic.partitions.push(data),
            _ => response.responses.push(ShareAcknowledgeTopicResponse {
                topic_id,
                partitions: vec![data],
            }),
        }
    }
    response
}
