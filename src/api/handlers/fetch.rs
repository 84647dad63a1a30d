//! Fetch (key 1), v0 to v18. KIP-227 (sessions), KIP-392, KIP-516 (topic ids, v13), KIP-595 (diverging epochs).
//!
//! The answer carries stretches of segment files; their bytes never enter the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fetch_conversion;
use crate::api::context::{Reply, RequestContext};
use crate::api::services::Services;
use crate::base::file_range::Reach;
use crate::base::ids::Uuid;
use crate::replica::fetch::{Fetched, Limits, Outcome, Wanted, read};
use crate::replica::fetch_session::{Begun, Said, SessionKey, SessionRequest};
use crate::replica::partition::Awaited;
use crate::replica::purgatory::Waiter;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse,
    LeaderIdAndEpoch, PartitionData,
};

const SOFT_LIMIT_SINCE: i16 = 3;
const TOPIC_IDS_SINCE: i16 = 13;
const STORAGE_ERROR_SINCE: i16 = 6;
const READ_COMMITTED: i8 = 1;

pub fn handle(context: RequestContext, request: FetchRequest) -> Reply<FetchResponse> {
    let by_id = context.api_version >= TOPIC_IDS_SINCE;
    let services = &context.services;
    let image = services.image.load();
    // Names of ids, for those that exist: errors of the others are told by id.
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
    let begun = match services.sessions.lock().begin(session, context.now) {
        Ok(begun) => begun,
        Err(error) => {
            return FetchResponse {
                error_code: error.code(),
                ..Default::default()
            }
            .into();
        }
    };
    let converts = context.api_version < fetch_conversion::BATCHES_SINCE;
    let limits = Limits {
        max_bytes: (request.max_bytes.max(0) as usize)
            .min(services.config.settings.int("fetch.max.bytes").max(0) as usize)
            .min(if converts {
                fetch_conversion::CONVERTED_MAX
            } else {
                usize::MAX
            }),
        read_committed: request.isolation_level == READ_COMMITTED,
        by_id,
        as_replica: request.replica_id.max(request.replica_state.replica_id) >= 0,
        hard_limit: context.api_version < SOFT_LIMIT_SINCE,
        reach: Reach::Cache,
    };
    // More than may be sent is never there.
    let min_bytes = (request.min_bytes.max(0) as usize).min(limits.max_bytes);
    if converts {
        let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
        return fetch_conversion::handle(context, begun, limits, min_bytes, wait);
    }
    let fetched = read(&services.replicas, &begun.wanted, limits);
    let enough = fetched.bytes >= min_bytes || fetched.urgent || begun.wanted.is_empty();
    if (enough || request.max_wait_ms <= 0) && fetched.cold().is_empty() {
        return answer(&context, &begun, fetched).into();
    }
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let partitions = fetched.partitions;
    Reply::later(async move {
        let waiter = Waiter::new(partitions.into_iter().map(Awaited).collect());
        loop {
            // Read after the waiter is known: an append between the first look and now is seen.
            let fetched = read_warm(&context.services, &begun.wanted, limits).await;
            if fetched.bytes >= min_bytes || fetched.urgent {
                return answer(&context, &begun, fetched);
            }
            if tokio::time::timeout_at(deadline, waiter.woken())
                .await
                .is_err()
            {
                let fetched = read_warm(&context.services, &begun.wanted, limits).await;
                return answer(&context, &begun, fetched);
            }
        }
    })
}

/// A round of reading for which neither this thread nor, with a log's lock in hand, somebody else waits for a disk.
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

fn answer(context: &RequestContext, begun: &Begun, fetched: Fetched) -> FetchResponse {
    let answers: Vec<PartitionData> = begun
        .wanted
        .iter()
        .zip(fetched.outcomes)
        .map(|(wanted, outcome)| partition_data(context, wanted, outcome))
        .collect();
    respond(context, begun, answers)
}

/// The answer of a fetch whose session is `begun`, from those of its partitions.
pub(super) fn respond(
    context: &RequestContext,
    begun: &Begun,
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
    let include = if begun.session_id == 0 {
        vec![true; said.len()]
    } else {
        context.services.sessions.lock().finish(begun, &said)
    };
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
    FetchResponse {
        session_id: begun.session_id,
        responses,
        ..Default::default()
    }
}

pub(super) fn partition_data(
    context: &RequestContext,
    wanted: &Wanted,
    outcome: Outcome,
) -> PartitionData {
    let (plan, diverging) = match outcome {
        // Only while the node ends: there is nobody left who could read it.
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
            // Clients of those days know nothing of log directories that fail, and should look for another leader.
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
            let current_leader = match partition
                .as_ref()
                .filter(|_| hint && context.api_version >= 16)
            {
                Some(partition) => LeaderIdAndEpoch {
                    leader_id: context.services.node_id,
                    leader_epoch: partition.leader_epoch(),
                },
                None => LeaderIdAndEpoch::default(),
            };
            return PartitionData {
                partition_index: wanted.index,
                error_code: error.code(),
                high_watermark: -1,
                current_leader,
                // Kafka writes no list here, but an empty one where there is no such partition.
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
