//! Fetch (key 1), v0 to v18. KIP-227 (sessions), KIP-392, KIP-516 (topic ids, v13), KIP-595 (diverging epochs).
//!
//! Responses refer to ranges of segment files, whose bytes are never read into the process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fetch_conversion;
use crate::api::context::{Reply, RequestContext};
use crate::api::services::Services;
use crate::base::ids::{BrokerId, Uuid};
use crate::base::memory::{Held, Purpose};
use crate::base::work_pool;
use crate::host::file::Reach;
use crate::replica::fetch::{Fetched, Limits, Outcome, Wanted, read};
use crate::replica::fetch_session::{Begun, Said, SessionKey, SessionRequest};
use crate::replica::partition::{FollowerId, Partition};
use crate::replica::purgatory::{Mark, PLACE_BYTES, Waiter};
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};

const SOFT_LIMIT_SINCE: i16 = 3;
const TOPIC_IDS_SINCE: i16 = 13;
const STORAGE_ERROR_SINCE: i16 = 6;
/// First version whose response has the current leaders (KIP-951).
const LEADERS_SINCE: i16 = 16;
const READ_COMMITTED: i8 = 1;
/// Maximum time for which the response of a fetch that may not wait is delayed: the default maximum wait time of clients.
const HELD_BACK: Duration = Duration::from_millis(500);
/// Number of a session's partitions up to which a fetch is planned on the thread that read it, however few the request names.
const PARTITIONS_IN_PLACE_MAX: usize = 1_000;
/// Bytes of a response without partitions, and of a partition without records, as quotas count them.
const RESPONSE_BYTES: usize = 18;
const PARTITION_BYTES: usize = 38;
/// Maximum number of partitions in a response that is delayed.
const HELD_BACK_PARTITIONS_MAX: usize = 16;

pub fn handle(context: RequestContext, request: FetchRequest) -> Reply<FetchResponse> {
    let partitions = context.services.sessions.partitions_of(request.session_id);
    if partitions > PARTITIONS_IN_PLACE_MAX && !work_pool::is_here() {
        return Reply::long(async move { handle(context, request) });
    }
    let by_id = context.api_version >= TOPIC_IDS_SINCE;
    let services = &context.services;
    let image = services.image.load();
    // Topic names of the ids that exist. Errors of unknown ids refer to the id.
    let name_of = |id: Uuid| {
        image
            .topics
            .by_id(id)
            .map_or_else(|| Arc::from(""), |topic| Arc::clone(&topic.name))
    };
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let name: Arc<str> = if by_id {
            name_of(topic.topic_id)
        } else {
            Arc::from(&*topic.topic)
        };
        for partition in &topic.partitions {
            wanted.push(Wanted {
                topic: Arc::clone(&name),
                topic_id: topic.topic_id,
                index: partition.partition,
                fetch_offset: partition.fetch_offset,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                max_bytes: partition.partition_max_bytes.max(0) as usize,
                denied: None,
            });
        }
    }
    let forgotten = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| {
            let name: Arc<str> = if by_id {
                name_of(topic.topic_id)
            } else {
                Arc::from(&*topic.topic)
            };
            topic
                .partitions
                .iter()
                .map(move |index| SessionKey::new(topic.topic_id, &name, *index))
        })
        .collect();
    let session = SessionRequest {
        id: request.session_id,
        epoch: request.session_epoch,
        by_id,
        wanted,
        forgotten,
    };
    let follower = follower_of(&request);
    let begun = match services.sessions.begin(session, context.now) {
        Ok(mut begun) => {
            deny(&context, &mut begun.wanted, follower.is_some());
            let gone = begun.gone.take();
            if let Some(gone) = gone.filter(|gone| gone.len() > PARTITIONS_IN_PLACE_MAX) {
                drop(services.work.drive(async move { drop(gone) }));
            }
            begun
        }
        Err(error) => {
            return FetchResponse {
                error_code: error.code(),
                ..Default::default()
            }
            .into();
        }
    };
    let converts = context.api_version < fetch_conversion::BATCHES_SINCE;
    // The broker's limit applies to consumers only.
    let max_bytes = match follower {
        Some(_) => usize::MAX,
        None => services.config.settings.int("fetch.max.bytes").max(0) as usize,
    };
    // A single answer must not have more than the client's quota allows at once.
    let quota = match (follower, &context.bill) {
        (Some(_), Some(bill)) => {
            bill.exempt();
            usize::MAX
        }
        (None, Some(_)) => context.records_max().unwrap_or(usize::MAX),
        (_, None) => usize::MAX,
    };
    let limits = Limits {
        max_bytes: (request.max_bytes.max(0) as usize)
            .min(max_bytes)
            .min(quota)
            .min(if converts {
                fetch_conversion::CONVERTED_MAX
            } else {
                usize::MAX
            }),
        read_committed: request.isolation_level == READ_COMMITTED,
        by_id,
        follower,
        hard_limit: context.api_version < SOFT_LIMIT_SINCE,
        reach: Reach::Cache,
    };
    // The response can never have more than `max_bytes`, so a fetch must not wait for more.
    let min_bytes = (request.min_bytes.max(0) as usize).min(limits.max_bytes);
    if converts {
        let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
        return fetch_conversion::handle(context, begun, limits, min_bytes, wait);
    }
    let fetched = read(&services.replicas, &begun.wanted, limits);
    let enough = fetched.bytes >= min_bytes || fetched.urgent || begun.wanted.is_empty();
    if (enough || request.max_wait_ms <= 0) && fetched.cold().is_empty() {
        return answer(&context, &begun, limits, fetched).into();
    }
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let Some(held) = room_to_wait(&context, begun.wanted.len()) else {
        return answer_without_waiting(context, begun, fetched, limits, wait);
    };
    let mut waiting = Waiting::begin(&context, begun, fetched, limits);
    let deadline = Instant::now() + wait;
    Reply::later(async move {
        let _held = held;
        while !waiting.is_enough(min_bytes) {
            let woken = tokio::time::timeout_at(deadline, waiting.waiter.woken());
            if woken.await.is_err() {
                break;
            }
            waiting.look(&context.services, limits).await;
        }
        waiting.answer(&context, limits).await
    })
}

/// The follower that sent a fetch, if a follower sent it. Since version 15 the request also has the follower's broker epoch
/// (KIP-903).
fn follower_of(request: &FetchRequest) -> Option<FollowerId> {
    let state = &request.replica_state;
    let (id, broker_epoch) = match state.replica_id {
        -1 => (request.replica_id, -1),
        id => (id, state.replica_epoch),
    };
    (id >= 0).then_some(FollowerId { id, broker_epoch })
}

/// Marks the partitions that the client may not read. Sessions do not store this: each fetch is authorized anew.
fn deny(context: &RequestContext, wanted: &mut [Wanted], as_replica: bool) {
    let rights = context.rights();
    if !rights.are_checked() {
        return;
    }
    if as_replica {
        let (operation, cluster) = (Operation::ClusterAction, ResourceType::Cluster);
        if rights.require(operation, cluster, CLUSTER_NAME).is_err() {
            for one in wanted {
                one.denied = Some(ErrorCode::TopicAuthorizationFailed);
            }
        }
        return;
    }
    let mut last: Option<(Arc<str>, Option<ErrorCode>)> = None;
    // There is nothing to authorize for an id without a topic.
    for one in wanted.iter_mut().filter(|one| !one.topic.is_empty()) {
        let denied = match &last {
            Some((topic, denied)) if *topic == one.topic => *denied,
            _ => {
                let read = rights.require(Operation::Read, ResourceType::Topic, &one.topic);
                read.err()
            }
        };
        one.denied = denied;
        last = Some((Arc::clone(&one.topic), denied));
    }
}

/// Reserves the memory that a fetch of this many partitions takes while it waits; `None` if other waiting fetches have taken it
/// all.
pub(super) fn room_to_wait(context: &RequestContext, partitions: usize) -> Option<Held> {
    let bytes = partitions * PLACE_BYTES;
    let account = &context.connection.account;
    let has_room = account.memory().has_room_for_waiting(bytes);
    has_room.then(|| account.hold(Purpose::WaitingFetches, bytes))
}

/// Response of a fetch that may not wait, with the available records. A small response is delayed nevertheless, or the client
/// would send its next fetch at once.
fn answer_without_waiting(
    context: RequestContext,
    begun: Begun,
    fetched: Fetched,
    limits: Limits,
    wait: Duration,
) -> Reply<FetchResponse> {
    let is_cold = !fetched.cold().is_empty();
    let until = Instant::now() + wait.min(HELD_BACK);
    if is_cold {
        return Reply::later(async move {
            let fetched = read_warm(&context.services, &begun.wanted, limits).await;
            answer(&context, &begun, limits, fetched)
        });
    }
    let response = answer(&context, &begun, limits, fetched);
    let said: usize = response
        .responses
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    if said > HELD_BACK_PARTITIONS_MAX {
        return response.into();
    }
    Reply::later(async move {
        tokio::time::sleep_until(until).await;
        response
    })
}

/// A waiting fetch, with the size of the available records for each partition, updated when a partition changes.
struct Waiting {
    begun: Begun,
    /// Places in the waiter are those in `begun.wanted`, unless a partition failed or diverged: such a fetch is urgent and does
    /// not wait.
    waiter: Waiter<Arc<Partition>>,
    /// Size of the available records of each partition in `begun.wanted`, in bytes.
    ready: Vec<u32>,
    /// Sum of `ready`, in bytes.
    total: usize,
    /// Whether the response may include the partition at each place of `begun.wanted`.
    changed: Vec<bool>,
    urgent: bool,
}

impl Waiting {
    fn begin(context: &RequestContext, begun: Begun, fetched: Fetched, limits: Limits) -> Self {
        let changed = if begun.incremental.is_some() {
            let said: Vec<Said> = fetched.outcomes.iter().map(said_of).collect();
            begun.news(&said)
        } else {
            vec![true; begun.wanted.len()]
        };
        let waiters = context.services.replicas.waiters();
        let mark = match limits.follower {
            Some(_) => Mark::LogEnd,
            None => Mark::HighWatermark,
        };
        let waiter = Waiter::new(waiters, mark, fetched.partitions);
        for (place, outcome) in fetched.outcomes.iter().enumerate() {
            if let Outcome::Cold(_) = outcome {
                waiter.look_again(place);
            }
        }
        Self {
            ready: fetched.outcomes.iter().map(ready_bytes).collect(),
            total: fetched.bytes,
            changed,
            urgent: fetched.urgent,
            begun,
            waiter,
        }
    }

    fn is_enough(&self, min_bytes: usize) -> bool {
        self.total >= min_bytes || self.urgent
    }

    /// Reads the partitions that have changed, and no others.
    async fn look(&mut self, services: &Arc<Services>, limits: Limits) {
        let places = self.waiter.take();
        let wanted: Vec<Wanted> = places
            .iter()
            .filter_map(|place| self.begun.wanted.get(*place).cloned())
            .collect();
        let fetched = read_warm(services, &wanted, limits).await;
        self.urgent |= fetched.urgent;
        for (place, outcome) in places.into_iter().zip(&fetched.outcomes) {
            let now = ready_bytes(outcome);
            let before = std::mem::replace(&mut self.ready[place], now);
            self.total = self.total - before as usize + now as usize;
            self.changed[place] = true;
        }
    }

    /// Reads the changed partitions again, or all of them for a response that includes every partition, and builds the
    /// response.
    async fn answer(mut self, context: &RequestContext, limits: Limits) -> FetchResponse {
        for place in self.waiter.take() {
            self.changed[place] = true;
        }
        if limits.follower.is_some() {
            // A change of the high watermark does not wake a follower's fetch; the follower learns it with this response.
            self.changed.fill(true);
        }
        let mut changed = self.changed.iter();
        self.begun.wanted.retain(|_| changed.next() != Some(&false));
        let fetched = read_warm(&context.services, &self.begun.wanted, limits).await;
        answer(context, &self.begun, limits, fetched)
    }
}

fn ready_bytes(outcome: &Outcome) -> u32 {
    u32::try_from(outcome.bytes()).unwrap_or(u32::MAX)
}

/// Properties of a partition's result that decide whether the response includes it.
fn said_of(outcome: &Outcome) -> Said {
    let (watermarks, special) = match outcome {
        Outcome::Read(plan) => (Some(plan.watermarks), false),
        Outcome::Diverged { plan, .. } => (Some(plan.watermarks), true),
        Outcome::Failed(..) | Outcome::Cold(_) => (None, false),
    };
    Said {
        has_records: outcome.bytes() > 0,
        failed: watermarks.is_none(),
        special,
        high_watermark: watermarks.map_or(-1, |at| at.high_watermark),
        log_start: watermarks.map_or(-1, |at| at.log_start),
    }
}

/// Reads the partitions. Cold data is read on the disk pool: neither this thread nor the holder of a log's lock waits for a
/// disk.
pub(super) async fn read_warm(
    services: &Arc<Services>,
    wanted: &[Wanted],
    limits: Limits,
) -> Fetched {
    let fetched = read(&services.replicas, wanted, limits);
    let cold = fetched.cold();
    if cold.is_empty() {
        return fetched;
    }
    let (theirs, wanted) = (Arc::clone(services), wanted.to_vec());
    let look = move |reach| {
        let fetched = read(&theirs.replicas, &wanted, Limits { reach, ..limits });
        let cold = fetched.cold();
        (fetched, cold)
    };
    services.disk.patiently(cold, look).await.unwrap_or(fetched)
}

fn answer(
    context: &RequestContext,
    begun: &Begun,
    limits: Limits,
    fetched: Fetched,
) -> FetchResponse {
    context.services.replicas.note_throttled(fetched.throttled);
    let answers: Vec<PartitionData> = begun
        .wanted
        .iter()
        .zip(fetched.outcomes)
        .map(|(wanted, outcome)| {
            work_pool::checkpoint();
            partition_data(context, wanted, outcome)
        })
        .collect();
    respond(context, begun, limits, answers)
}

/// The response of a fetch in the session `begun`, from the results of its partitions.
pub(super) fn respond(
    context: &RequestContext,
    begun: &Begun,
    limits: Limits,
    answers: Vec<PartitionData>,
) -> FetchResponse {
    let said: Vec<Said> = answers
        .iter()
        .map(|data| Said {
            has_records: data
                .records
                .as_ref()
                .is_some_and(|records| !records.is_empty()),
            failed: data.error_code != 0,
            special: data.diverging_epoch != EpochEndOffset::default(),
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
        })
        .collect();
    if let Some(throttle_ms) = throttle(context, begun, limits, &said, &answers) {
        return FetchResponse {
            throttle_time_ms: throttle_ms,
            session_id: context.services.sessions.give_up(begun),
            ..Default::default()
        };
    }
    let include = begun.finish(&said);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for ((wanted, data), include) in begun.wanted.iter().zip(answers).zip(include) {
        if !include {
            continue;
        }
        match responses.last_mut() {
            Some(topic) if *topic.topic == *wanted.topic && topic.topic_id == wanted.topic_id => {
                topic.partitions.push(data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: (*wanted.topic).into(),
                topic_id: wanted.topic_id,
                partitions: vec![data],
            }),
        }
    }
    for topic in &responses {
        let records = topic
            .partitions
            .iter()
            .filter_map(|data| data.records.as_ref());
        let bytes: usize = records.map(Records::len).sum();
        if bytes > 0 {
            let meter = context.services.meters().topic(&topic.topic);
            meter.add(|counts| &counts.bytes_out, bytes as u64);
        }
    }
    FetchResponse {
        session_id: begun.session_id,
        // Followers know the endpoints from the metadata.
        node_endpoints: match limits.follower {
            Some(_) => Vec::new(),
            None => endpoints_of(context, &responses),
        },
        responses,
        ..Default::default()
    }
}

/// Time for which a consumer must wait instead of getting an answer with these partitions, in milliseconds; `None` if it is
/// within its quota.
fn throttle(
    context: &RequestContext,
    begun: &Begun,
    limits: Limits,
    said: &[Said],
    answers: &[PartitionData],
) -> Option<i32> {
    if context.bill.is_none() || limits.follower.is_some() {
        return None;
    }
    let news = begun.incremental.map(|_| begun.news(said));
    let is_sent = |at: usize| news.as_ref().is_none_or(|news| news.get(at) == Some(&true));
    let sent = answers.iter().enumerate().filter(|(at, _)| is_sent(*at));
    let records = sent.map(|(_, data)| data.records.as_ref().map_or(0, Records::len));
    let bytes: usize = records.map(|records| records + PARTITION_BYTES).sum();
    context.charge_records(RESPONSE_BYTES + bytes)
}

/// Current leader of a partition, from the newest metadata.
fn leader_of(
    context: &RequestContext,
    wanted: &Wanted,
    partition: Option<&Partition>,
) -> LeaderIdAndEpoch {
    let image = context.services.image.load();
    let id = partition.map_or(wanted.topic_id, |partition| partition.topic_id);
    let topic = image.topics.by_id(id);
    let found = topic.and_then(|topic| topic.partition(wanted.index));
    found.map_or_else(LeaderIdAndEpoch::default, |found| LeaderIdAndEpoch {
        leader_id: found.leader,
        leader_epoch: found.leader_epoch,
    })
}

/// Endpoints of the leaders that a response names.
fn endpoints_of(
    context: &RequestContext,
    responses: &[FetchableTopicResponse],
) -> Vec<NodeEndpoint> {
    let parts = responses.iter().flat_map(|topic| &topic.partitions);
    let leaders: BTreeSet<_> = parts
        .map(|part| part.current_leader.leader_id)
        .filter(|id| *id >= 0)
        .collect();
    if leaders.is_empty() {
        return Vec::new();
    }
    let image = context.services.image.load();
    let endpoint = |id: BrokerId| {
        let broker = image.brokers.get(&id)?;
        let (host, port) = context.address_of(broker)?;
        Some(NodeEndpoint {
            node_id: id,
            host,
            port: i32::from(port),
            rack: broker.rack.as_deref().map(Into::into),
        })
    };
    leaders.into_iter().filter_map(endpoint).collect()
}

pub(super) fn partition_data(
    context: &RequestContext,
    wanted: &Wanted,
    outcome: Outcome,
) -> PartitionData {
    let (plan, diverging) = match outcome {
        // Only happens while the node stops, when no one can read the response.
        Outcome::Cold(_) => {
            let failed = Outcome::Failed(ErrorCode::KafkaStorageError, None);
            return partition_data(context, wanted, failed);
        }
        Outcome::Read(plan) => (plan, None),
        Outcome::Diverged {
            epoch,
            end_offset,
            plan,
        } => (plan, Some(EpochEndOffset { epoch, end_offset })),
        Outcome::Failed(error, partition) => {
            let offline = error == ErrorCode::KafkaStorageError;
            // Older clients do not know errors of log directories, and should look for another leader.
            let error = match error {
                ErrorCode::KafkaStorageError if context.api_version < STORAGE_ERROR_SINCE => {
                    ErrorCode::NotLeaderOrFollower
                }
                error => error,
            };
            let hint = matches!(
                error,
                ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
            );
            let current_leader = match hint && context.api_version >= LEADERS_SINCE {
                true => leader_of(context, wanted, partition.as_deref()),
                false => LeaderIdAndEpoch::default(),
            };
            return PartitionData {
                partition_index: wanted.index,
                error_code: error.code(),
                high_watermark: -1,
                current_leader,
                // As in Kafka, the list is null in this response, and empty if the partition does not exist.
                aborted_transactions: (partition.is_none() && !offline).then(Vec::new),
                records: Some(Records::default()),
                ..Default::default()
            };
        }
    };
    PartitionData {
        partition_index: wanted.index,
        high_watermark: plan.watermarks.high_watermark,
        last_stable_offset: plan.watermarks.last_stable,
        log_start_offset: plan.watermarks.log_start,
        diverging_epoch: diverging.unwrap_or_default(),
        aborted_transactions: plan.aborted.map(|aborted| {
            aborted
                .iter()
                .map(|transaction| AbortedTransaction {
                    producer_id: transaction.producer_id,
                    first_offset: transaction.first_offset,
                })
                .collect()
        }),
        records: Some(plan.records.map_or_else(Records::default, Records::File)),
        ..Default::default()
    }
}
