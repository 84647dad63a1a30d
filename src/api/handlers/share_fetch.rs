//! ShareFetch (key 78), v1 to v2. KIP-932; strict record limit and extension of locks (v2).
//!
//! Responses refer to ranges of segment files, whose bytes are never read into the process. Acknowledgements in the request
//! take effect before the fetch, and before the response starts to wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use indexmap::IndexMap;
use tokio::time::Instant;

use super::fetch::room_to_wait;
use super::share_acknowledge::{acknowledge, elsewhere, member, said};
use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::base::memory::Held;
use crate::base::work_pool;
use crate::security::acl::{Operation, ResourceType};
use crate::share::manager::{Given, Told, Wanted};
use crate::share::session::{BEGIN, Place, SessionKey};
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_fetch::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchRequest,
    ShareFetchResponse, ShareFetchableTopicResponse,
};

/// Acquire mode in which a member gets no more records than it asks for.
const RECORD_LIMIT: i8 = 1;

/// Number of a session's partitions up to which a fetch begins on the thread that read it, however few the request names.
const PARTITIONS_IN_PLACE_MAX: usize = 1_000;
/// Longest delay of the answer that there may be no further session. A client says for how long it would wait for records, which
/// may be days.
const REFUSED_MAX: Duration = Duration::from_secs(1);

pub fn handle(context: RequestContext, request: ShareFetchRequest) -> Reply<ShareFetchResponse> {
    if let (Some(group), Some(member)) = (&request.group_id, &request.member_id)
        && !work_pool::is_here()
    {
        let key = SessionKey {
            group: group.clone(),
            member: member.clone(),
        };
        if context.services.shares.places_of(&key) > PARTITIONS_IN_PLACE_MAX {
            return Reply::long(async move { handle(context, request) });
        }
    }
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    match begin(&context, request, wait) {
        Ok(work) => Reply::later(async move { work.finish(&context).await }),
        // The delay keeps the client from retrying at once.
        Err(error @ ErrorCode::ShareSessionLimitReached) => Reply::later(async move {
            tokio::time::sleep(wait.min(REFUSED_MAX)).await;
            refused(error)
        }),
        Err(error) => refused(error).into(),
    }
}

fn refused(error: ErrorCode) -> ShareFetchResponse {
    ShareFetchResponse {
        error_code: error.code(),
        error_message: Some(ByteString::from_static(error.name())),
        ..Default::default()
    }
}

/// Rest of a request, after its session was found.
struct Work {
    wanted: Arc<Wanted>,
    deadline: Instant,
    /// Results of acknowledgements in the request.
    told: IndexMap<Place, Told>,
    /// Partitions that the client may not read.
    denied: Vec<(Place, ErrorCode)>,
    /// Whether the session is new: the response then has every partition.
    is_new: bool,
    /// Memory reserved for waiting.
    _held: Option<Held>,
}

fn begin(
    context: &RequestContext,
    request: ShareFetchRequest,
    wait: Duration,
) -> Result<Work, ErrorCode> {
    let key = member(
        context,
        request.group_id.as_ref(),
        request.member_id.as_ref(),
    )?;
    let fetches = [
        request.max_bytes,
        request.min_bytes,
        request.max_records,
        request.max_wait_ms,
    ];
    if request.is_renew_ack && fetches.iter().any(|limit| *limit != 0) {
        return Err(ErrorCode::InvalidRequest);
    }
    let topics = once(
        request.topics,
        |topic| topic.topic_id,
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    let mut named = Vec::new();
    let mut speaks = false;
    for topic in &topics {
        for partition in &topic.partitions {
            named.push((topic.topic_id, partition.partition_index));
            speaks |= !partition.acknowledgement_batches.is_empty();
        }
    }
    if speaks && request.share_session_epoch == BEGIN {
        return Err(ErrorCode::InvalidRequest);
    }
    let forgotten = request.forgotten_topics_data.iter();
    let forgotten: Vec<Place> = forgotten
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|index| (topic.topic_id, *index))
        })
        .collect();
    let shares = &context.services.shares;
    let connection = context.connection.account.id();
    let epoch = request.share_session_epoch;
    let begun = shares.begin(&key, epoch, connection, &named, &forgotten)?;

    let mut told = IndexMap::new();
    for topic in &topics {
        for partition in &topic.partitions {
            let batches = partition.acknowledgement_batches.iter();
            if batches.len() == 0 {
                continue;
            }
            let place = (topic.topic_id, partition.partition_index);
            let batches =
                batches.map(|one| (one.first_offset, one.last_offset, &*one.acknowledge_types));
            let said = said(context, batches, request.is_renew_ack);
            told.insert(place, acknowledge(context, &key, place, said));
        }
    }
    if begun.ends {
        shares.end(&key);
    }

    let (places, denied) = match request.is_renew_ack {
        true => Default::default(),
        false => allowed(context, begun.partitions),
    };
    let held = match places.is_empty() {
        true => None,
        false => room_to_wait(context, places.len()),
    };
    let waits = held.is_some() && denied.is_empty();
    let settings = &context.services.config.settings;
    let max_bytes = request.max_bytes.min(settings.int("fetch.max.bytes"));
    let wanted = Wanted {
        delivery: shares.delivery(&key.group),
        group: ByteString::from(&*key.group),
        member: begun.member,
        places,
        max_bytes: max_bytes.max(0) as usize,
        min_bytes: request.min_bytes.max(0) as usize,
        records_max: request.max_records.max(0).into(),
        is_strict: request.share_acquire_mode == RECORD_LIMIT,
    };
    Ok(Work {
        wanted: Arc::new(wanted),
        deadline: Instant::now() + if waits { wait } else { Duration::ZERO },
        told,
        denied,
        is_new: begun.is_new,
        _held: held,
    })
}

/// Splits the partitions of a session into those that the member may read, and the others.
fn allowed(
    context: &RequestContext,
    partitions: Vec<Place>,
) -> (Vec<Place>, Vec<(Place, ErrorCode)>) {
    let image = context.services.image.load();
    let rights = context.rights();
    let mut of_topic = HashMap::new();
    let (mut places, mut denied) = (Vec::with_capacity(partitions.len()), Vec::new());
    for place in partitions {
        let may = of_topic.entry(place.0).or_insert_with(|| {
            let topic = image.topics.by_id(place.0);
            let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
            rights.require(Operation::Read, ResourceType::Topic, &topic.name)
        });
        match *may {
            Ok(()) => places.push(place),
            Err(error) => denied.push((place, error)),
        }
    }
    (places, denied)
}

impl Work {
    async fn finish(self, context: &RequestContext) -> ShareFetchResponse {
        let services = &context.services;
        let given = match self.wanted.places.is_empty() {
            true => Vec::new(),
            false => {
                let wanted = Arc::clone(&self.wanted);
                let shares = &services.shares;
                let pools = (&services.disk, &services.work);
                shares.fetch(wanted, pools, self.deadline).await
            }
        };
        let mut answers: IndexMap<Place, PartitionData> = IndexMap::new();
        let mut endpoints: Vec<NodeEndpoint> = Vec::new();
        for Given { place, records } in given {
            let data = answers.entry(place).or_insert_with(|| nothing(place));
            match records {
                Ok((range, acquired)) => {
                    data.records = Some(Records::File(range));
                    let acquired = acquired.iter().map(|one| AcquiredRecords {
                        first_offset: one.first,
                        last_offset: one.last,
                        delivery_count: one.count,
                    });
                    data.acquired_records = acquired.collect();
                }
                Err(error) => fail(context, place, error, data, &mut endpoints),
            }
        }
        for (place, error) in self.denied {
            let data = answers.entry(place).or_insert_with(|| nothing(place));
            fail(context, place, error, data, &mut endpoints);
        }
        for (place, told) in self.told {
            let error = told.result().await.err();
            let data = answers.entry(place).or_insert_with(|| nothing(place));
            data.acknowledge_error_code = error.map_or(0, ErrorCode::code);
            data.acknowledge_error_message = error.map(|error| error.name().into());
            if let Some(error) = error {
                lead(context, place, error, data, &mut endpoints);
            }
        }
        if self.is_new {
            for place in &self.wanted.places {
                answers.entry(*place).or_insert_with(|| nothing(*place));
            }
        }
        count_bytes(context, &answers);
        let mut topics: IndexMap<_, Vec<PartitionData>> = IndexMap::new();
        for ((topic_id, _), data) in answers {
            topics.entry(topic_id).or_default().push(data);
        }
        let responses = topics.into_iter();
        let responses = responses.map(|(topic_id, partitions)| ShareFetchableTopicResponse {
            topic_id,
            partitions,
        });
        ShareFetchResponse {
            acquisition_lock_timeout_ms: self.wanted.delivery.lock_ms,
            responses: responses.collect(),
            node_endpoints: endpoints,
            ..Default::default()
        }
    }
}

fn nothing(place: Place) -> PartitionData {
    PartitionData {
        partition_index: place.1,
        records: Some(Records::default()),
        ..Default::default()
    }
}

fn fail(
    context: &RequestContext,
    place: Place,
    error: ErrorCode,
    data: &mut PartitionData,
    endpoints: &mut Vec<NodeEndpoint>,
) {
    data.error_code = error.code();
    data.error_message = Some(error.name().into());
    lead(context, place, error, data, endpoints);
}

/// Adds the current leader to an error that says that this node does not lead.
fn lead(
    context: &RequestContext,
    place: Place,
    error: ErrorCode,
    data: &mut PartitionData,
    endpoints: &mut Vec<NodeEndpoint>,
) {
    let Some(at) = elsewhere(context, place, error) else {
        return;
    };
    data.current_leader = LeaderIdAndEpoch {
        leader_id: at.leader,
        leader_epoch: at.epoch,
    };
    let is_known = endpoints.iter().any(|one| one.node_id == at.leader);
    if let Some((host, port)) = at.address.filter(|_| !is_known) {
        endpoints.push(NodeEndpoint {
            node_id: at.leader,
            host,
            port,
            rack: None,
        });
    }
}

fn count_bytes(context: &RequestContext, answers: &IndexMap<Place, PartitionData>) {
    let image = context.services.image.load();
    for ((topic_id, _), data) in answers {
        let bytes = data.records.as_ref().map_or(0, Records::len);
        if bytes > 0
            && let Some(topic) = image.topics.by_id(*topic_id)
        {
            let meter = context.services.meters().topic(&topic.name);
            meter.add(|counts| &counts.bytes_out, bytes as u64);
        }
    }
}
