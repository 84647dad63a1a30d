//! Produce (key 0), v0 to v13. KIP-98, KIP-467 (record errors), KIP-516 (topic ids, v13), KIP-951 (leader hints).
//!
//! acks=0 has no response; an error closes the connection instead, so that the client looks for the leader again.
//!
//! The cost of a request is not known in advance: records may decompress to much more, be in an old format, or need another
//! codec. The request begins on the thread that read it, with an allowance. When the allowance is used up, the current
//! partition and the remaining ones are left to the work pool.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use bytestring::ByteString;
use indexmap::IndexMap;
use tokio::time::Instant;

use super::transaction_admission as admission;
use crate::api::context::{Reply, RequestContext};
use crate::base::work_pool::{self, Exhausted, spend, with_allowance};
use crate::coordinator::topic::INTERNAL_TOPICS;
use crate::log::append::Origin;
use crate::log::error::{AppendError, RecordError};
use crate::log::partition_log::Appended;
use crate::log::producer_state::Admission;
use crate::replica::leader::Acknowledged;
use crate::replica::partition::{Acks, Terms, Uncommitted};
use crate::replica::produce::until_committed;
use crate::security::acl::{Operation, ResourceType};
use crate::telemetry::meters::TopicMeter;
use crate::wire::batch::header::BatchHeader;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceData, TopicProduceResponse,
};

/// Allowance of a request on the thread that read it: about the cost of decompressing this many bytes. That takes some
/// milliseconds with the slowest codec.
const IN_PLACE_MAX: usize = 1 << 20;
/// Total allowance of a request. Requests have at most 100 MiB by default, and text compresses to a tenth.
const REQUEST_MAX: usize = 4 << 30;
/// Cost of a partition in addition to its records.
const PARTITION_COST: usize = 2 << 10;
/// Maximum number of records that a response lists as refused, over all partitions. Kafka differs: there is no limit.
const RECORD_ERRORS_MAX: usize = 10_000;

/// The client id with which Kafka's own tools may do so all the same.
const ADMIN_CLIENT: &str = "__admin_client";
/// Number of names up to which duplicates are found by comparing all pairs, some hundred comparisons; more names go into a set.
const COMPARED_MAX: usize = 32;
const BATCHES_SINCE: i16 = 3;
const ZSTD_SINCE: i16 = 7;
const ACKS_ALL: i16 = -1;
const TOPIC_IDS_SINCE: i16 = 13;

pub fn handle(context: RequestContext, mut request: ProduceRequest) -> Reply<ProduceResponse> {
    if !is_plain(&request.topic_data) {
        request.topic_data = distinct(request.topic_data);
    }
    if request.transactional_id.is_none() && has_transaction(&request) {
        return refuse_all(request, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let denied = match take_denied(&context, &mut request) {
        Ok(denied) => denied,
        Err(error) => return refuse_all(request, error),
    };
    let unknown = match admission::unknown_partitions(&context, &request) {
        Ok(unknown) => unknown,
        Err(error) => return refuse_all(request, error),
    };
    if unknown.is_empty() {
        let admissions = unknown.admissions;
        return Appending::new(context, request, admissions, Refusals::new(), denied).go_on();
    }
    if request.acks == 0 {
        return Reply::Close("a transaction without acknowledgements".to_owned());
    }
    // This is the first batch of a transaction in a partition: later requests on this connection must not overtake it.
    Reply::then(async move {
        let refusals = admission::admit(&context, &request, &unknown).await;
        Appending::new(context, request, unknown.admissions, refusals, denied).go_on()
    })
}

/// Removes the topics that the client may not write to from the request, and returns their results. A client without that right
/// does not learn whether the topic exists.
///
/// Errors: the client may not write with the transactional id.
fn take_denied(
    context: &RequestContext,
    request: &mut ProduceRequest,
) -> Result<Vec<TopicProduceResponse>, ErrorCode> {
    let rights = context.rights();
    if !rights.are_checked() {
        return Ok(Vec::new());
    }
    if let Some(id) = &request.transactional_id
        && has_transaction(request)
    {
        rights.require(Operation::Write, ResourceType::TransactionalId, id)?;
    }
    let by_id = context.api_version >= TOPIC_IDS_SINCE;
    let image = by_id.then(|| context.services.image.load());
    let mut denied = Vec::new();
    request.topic_data.retain(|topic| {
        let name = match &image {
            // There is nothing to authorize for an id without a topic.
            Some(image) => match image.topics.by_id(topic.topic_id) {
                Some(found) => &*found.name,
                None => return true,
            },
            None => &*topic.name,
        };
        let Err(error) = rights.require(Operation::Write, ResourceType::Topic, name) else {
            return true;
        };
        denied.push(refuse(topic, error));
        false
    });
    Ok(denied)
}

/// Whether the request names no topic or partition twice and has no topic without partitions, as clients send it.
fn is_plain(topics: &[TopicProduceData]) -> bool {
    let names = topics.iter().map(|topic| (&topic.name, topic.topic_id));
    !has_repeated(names)
        && topics.iter().all(|topic| {
            let partitions = &topic.partition_data;
            !partitions.is_empty() && !has_repeated(partitions.iter().map(|data| data.index))
        })
}

/// Whether a value occurs twice. Few values are compared pairwise, which needs no memory.
fn has_repeated<T: Eq + Hash>(all: impl ExactSizeIterator<Item = T> + Clone) -> bool {
    if all.len() > COMPARED_MAX {
        let mut seen = HashSet::with_capacity(all.len());
        return !all.into_iter().all(|one| seen.insert(one));
    }
    let mut rest = all;
    while let Some(one) = rest.next() {
        if rest.clone().any(|other| other == one) {
            return true;
        }
    }
    false
}

/// As in Kafka, the last records count if a partition is named twice, and topics without partitions are not in the response.
fn distinct(topics: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    let mut by_topic: IndexMap<_, IndexMap<i32, PartitionProduceData>> = IndexMap::new();
    for topic in topics {
        for data in topic.partition_data {
            let partitions = by_topic
                .entry((topic.name.clone(), topic.topic_id))
                .or_default();
            partitions.insert(data.index, data);
        }
    }
    by_topic
        .into_iter()
        .map(|((name, topic_id), partitions)| TopicProduceData {
            name,
            topic_id,
            partition_data: partitions.into_values().collect(),
        })
        .collect()
}

fn has_transaction(request: &ProduceRequest) -> bool {
    let mut data = request
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data);
    data.any(|data| match &data.records {
        Some(Records::Bytes(records)) => {
            BatchHeader::parse(records).is_ok_and(|header| header.is_transactional())
        }
        _ => false,
    })
}

/// Response to a request that is refused as a whole.
fn refuse_all(request: ProduceRequest, error: ErrorCode) -> Reply<ProduceResponse> {
    if request.acks == 0 {
        return Reply::Close(format!("a produce request failed: {error}"));
    }
    let topics = request.topic_data.iter();
    ProduceResponse {
        responses: topics.map(|topic| refuse(topic, error)).collect(),
        ..Default::default()
    }
    .into()
}

fn refuse(topic: &TopicProduceData, error: ErrorCode) -> TopicProduceResponse {
    let partitions = topic.partition_data.iter();
    TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: partitions.map(|data| refused(data.index, error)).collect(),
    }
}

/// Errors of the batches that their transaction's coordinator refuses, by topic and partition.
type Refusals = BTreeMap<(ByteString, i32), ErrorCode>;
/// Admissions of the batches that open a transaction, by topic and partition.
type Admissions = BTreeMap<(ByteString, i32), Admission>;

/// A request whose partitions are being appended one after the other.
struct Appending {
    context: RequestContext,
    request: ProduceRequest,
    admissions: Admissions,
    refusals: Refusals,
    /// Results of the partitions that are done.
    responses: Vec<TopicProduceResponse>,
    /// Appends that wait for other replicas, with their places in `responses`.
    uncommitted: Vec<((usize, usize), Uncommitted)>,
    /// Results of the topics that the client may not write to.
    denied: Vec<TopicProduceResponse>,
    failed: Option<ErrorCode>,
    record_errors_left: usize,
}

impl Appending {
    fn new(
        context: RequestContext,
        request: ProduceRequest,
        admissions: Admissions,
        refusals: Refusals,
        denied: Vec<TopicProduceResponse>,
    ) -> Self {
        let failed = (!denied.is_empty()).then_some(ErrorCode::TopicAuthorizationFailed);
        Self {
            responses: Vec::with_capacity(request.topic_data.len()),
            context,
            request,
            admissions,
            refusals,
            uncommitted: Vec::new(),
            denied,
            failed,
            record_errors_left: RECORD_ERRORS_MAX,
        }
    }

    fn go_on(mut self) -> Reply<ProduceResponse> {
        if work_pool::is_here() {
            with_allowance(REQUEST_MAX, || self.append_some(Exhaustion::Refuse));
            return self.answer();
        }
        match with_allowance(IN_PLACE_MAX, || self.append_some(Exhaustion::Stop)) {
            true => self.answer(),
            false => Reply::long(async move { self.go_on() }),
        }
    }

    /// Appends to the remaining partitions as far as the allowance suffices; returns whether none remains.
    fn append_some(&mut self, exhaustion: Exhaustion) -> bool {
        let acks_known = (-1..=1).contains(&self.request.acks);
        let mut done = self.responses.len().saturating_sub(1);
        while let Some(topic) = self.request.topic_data.get(done) {
            if self.responses.len() == done {
                self.responses.push(TopicProduceResponse {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition_responses: Vec::with_capacity(topic.partition_data.len()),
                });
            }
            let Some(response) = self.responses.last_mut() else {
                break;
            };
            let answered = &mut response.partition_responses;
            while let Some(data) = topic.partition_data.get(answered.len()) {
                let opening = (!self.admissions.is_empty()).then(|| {
                    let name = admission::name_of(&self.context, &topic.name, topic.topic_id);
                    (name, data.index)
                });
                let refusal = opening.as_ref().and_then(|one| self.refusals.get(one));
                let admitted = opening.as_ref().and_then(|one| self.admissions.get(one));
                let answer = if let Some(error) = refusal {
                    Ok((refused(data.index, *error), None))
                } else if acks_known {
                    let partition = Sent {
                        topic,
                        data,
                        acks: self.request.acks,
                    };
                    append(
                        &self.context,
                        partition,
                        admitted,
                        &mut self.record_errors_left,
                    )
                } else {
                    Ok((refused(data.index, ErrorCode::InvalidRequiredAcks), None))
                };
                let answer = match (answer, exhaustion) {
                    (Ok((answer, uncommitted)), _) => {
                        let place = (done, answered.len());
                        self.uncommitted.extend(uncommitted.map(|one| (place, one)));
                        answer
                    }
                    (Err(Exhausted), Exhaustion::Stop) => return false,
                    (Err(Exhausted), Exhaustion::Refuse) => {
                        refused(data.index, ErrorCode::MessageTooLarge)
                    }
                };
                if answer.error_code != 0 {
                    self.failed = ErrorCode::from_code(answer.error_code);
                }
                answered.push(answer);
            }
            done += 1;
        }
        true
    }

    fn answer(mut self) -> Reply<ProduceResponse> {
        if self.request.acks == 0 {
            return match self.failed {
                Some(error) => Reply::Close(format!(
                    "a produce request without acknowledgement failed: {error}"
                )),
                None => Reply::Nothing,
            };
        }
        if !self.uncommitted.is_empty() {
            return Reply::later(async move {
                self.wait().await;
                self.response()
            });
        }
        self.response().into()
    }

    /// Waits until the other replicas have the appended records.
    async fn wait(&mut self) {
        let timeout = Duration::from_millis(self.request.timeout_ms.max(0) as u64);
        let deadline = Instant::now() + timeout;
        let appends = std::mem::take(&mut self.uncommitted).into_iter();
        let (places, appends): (Vec<_>, Vec<_>) = appends.unzip();
        let waiters = self.context.services.replicas.waiters();
        let results = until_committed(waiters, &appends, deadline).await;
        for ((topic, partition), result) in places.into_iter().zip(results) {
            let topic = self.responses.get_mut(topic);
            let response = topic.and_then(|topic| topic.partition_responses.get_mut(partition));
            if let (Some(response), Err(error)) = (response, result) {
                response.error_code = error.code();
            }
        }
    }

    fn response(self) -> ProduceResponse {
        let mut responses = self.responses;
        responses.extend(self.denied);
        ProduceResponse {
            responses,
            ..Default::default()
        }
    }
}

/// The records for one partition.
#[derive(Clone, Copy)]
struct Sent<'a> {
    topic: &'a TopicProduceData,
    data: &'a PartitionProduceData,
    acks: i16,
}

/// Action for a partition whose records cost more than the allowance: stop and continue later, or refuse the records.
#[derive(Clone, Copy)]
enum Exhaustion {
    Stop,
    Refuse,
}

/// Result of a partition, and its append if that waits for other replicas. On `Exhausted` nothing has been appended.
fn append(
    context: &RequestContext,
    Sent { topic, data, acks }: Sent<'_>,
    admitted: Option<&Admission>,
    record_errors_left: &mut usize,
) -> Result<(PartitionProduceResponse, Option<Uncommitted>), Exhausted> {
    spend(PARTITION_COST)?;
    let index = data.index;
    let replicas = &context.services.replicas;
    let found = if context.api_version >= TOPIC_IDS_SINCE {
        replicas.partition_by_id(topic.topic_id, index)
    } else {
        replicas.partition(&topic.name, index)
    };
    let partition = match found {
        Ok(partition) => partition,
        Err(error) => return Ok((refused(index, error), None)),
    };
    if INTERNAL_TOPICS.contains(&&*partition.topic)
        && context.client_id.as_deref() != Some(ADMIN_CLIENT)
    {
        return Ok((refused(index, ErrorCode::InvalidTopicException), None));
    }
    let records = match &data.records {
        Some(Records::Bytes(records)) => records.clone(),
        _ => Default::default(),
    };
    if context.api_version < ZSTD_SINCE && is_zstd(&records) {
        return Ok((refused(index, ErrorCode::UnsupportedCompressionType), None));
    }
    let origin = if context.api_version < BATCHES_SINCE {
        Origin::OldClient
    } else {
        admitted.map_or(Origin::Client, |admission| Origin::Admitted(*admission))
    };
    let terms = Terms {
        epoch: partition.leader_epoch(),
        acks: if acks == ACKS_ALL {
            Acks::All
        } else {
            Acks::Leader
        },
        origin,
    };
    let outcome = partition.append(&records, terms, context.now);
    let meter = partition.meter(context.services.meters());
    count(meter, &outcome, records.len());
    let response = match outcome {
        Err(AppendError::Exhausted(exhausted)) => return Err(exhausted),
        Ok((appended, acknowledged)) => {
            let response = PartitionProduceResponse {
                index,
                base_offset: appended.first_offset,
                log_append_time_ms: appended.log_append_time.unwrap_or(-1),
                log_start_offset: appended.log_start,
                ..Default::default()
            };
            let uncommitted = || Uncommitted {
                epoch: terms.epoch,
                end: appended.last_offset + 1,
                partition,
            };
            let waits = terms.acks == Acks::All && acknowledged != Acknowledged::Yes;
            return Ok((response, waits.then(uncommitted)));
        }
        Err(AppendError::Refused {
            code,
            message,
            records: faults,
        }) => PartitionProduceResponse {
            record_errors: told(&faults, record_errors_left),
            log_start_offset: if is_about_records(code) && holds_one_batch(&records) {
                partition.log().log_start()
            } else {
                -1
            },
            error_message: matches!(code, ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp)
                .then(|| message.into()),
            ..refused(index, code.without_epochs())
        },
        Err(AppendError::Storage(error)) => {
            tracing::error!(partition = %partition.name(), %error, "an append failed");
            refused(index, ErrorCode::KafkaStorageError)
        }
    };
    Ok((response, None))
}

/// Updates the topic's meters for one partition of a request, whose records have a size of `bytes`.
fn count(
    meter: &TopicMeter,
    outcome: &Result<(Appended, Acknowledged), AppendError>,
    bytes: usize,
) {
    let bytes = bytes as u64;
    match outcome {
        // The append will be tried again.
        Err(AppendError::Exhausted(_)) => return,
        Ok((appended, _)) if appended.duplicate => {}
        Ok((appended, _)) => {
            let messages = appended.last_offset - appended.first_offset + 1;
            let messages = u64::try_from(messages).unwrap_or_default();
            meter.add(|counts| &counts.messages_in, messages);
            meter.add(|counts| &counts.bytes_in, bytes);
        }
        Err(AppendError::Refused {
            code: ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge,
            ..
        }) => meter.add(|counts| &counts.bytes_rejected, bytes),
        // Like Kafka, does not count frequent errors of clients, nor errors of disks.
        Err(
            AppendError::Storage(_)
            | AppendError::Refused {
                code:
                    ErrorCode::NotLeaderOrFollower
                    | ErrorCode::FencedLeaderEpoch
                    | ErrorCode::CorruptMessage
                    | ErrorCode::UnknownTopicOrPartition,
                ..
            },
        ) => {}
        Err(AppendError::Refused { .. }) => meter.add(|counts| &counts.failed_produce_requests, 1),
    }
    meter.add(|counts| &counts.produce_requests, 1);
}

/// The record errors for the response, as many as the limit `left` allows.
fn told(faults: &[RecordError], left: &mut usize) -> Vec<BatchIndexAndErrorMessage> {
    let told = faults
        .iter()
        .take(*left)
        .map(|error| BatchIndexAndErrorMessage {
            batch_index: error.batch_index,
            batch_index_error_message: Some(error.fault.to_string().into()),
        });
    let told: Vec<_> = told.collect();
    *left -= told.len();
    told
}

/// Whether an error is about the records themselves. For these errors only, Kafka's response has the log start offset.
fn is_about_records(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::CorruptMessage
            | ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::KafkaStorageError
    )
}

fn holds_one_batch(records: &[u8]) -> bool {
    BatchHeader::parse(records).is_ok_and(|header| header.size() == records.len())
}

fn is_zstd(records: &[u8]) -> bool {
    records.get(16) == Some(&2)
        && records
            .get(22)
            .is_some_and(|attributes| attributes & 7 == 4)
}

fn refused(index: i32, error: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(named: &[(&str, &[i32])]) -> Vec<TopicProduceData> {
        let data = |index: &i32| PartitionProduceData {
            index: *index,
            ..Default::default()
        };
        named
            .iter()
            .map(|(name, partitions)| TopicProduceData {
                name: ByteString::from(*name),
                partition_data: partitions.iter().map(data).collect(),
                ..Default::default()
            })
            .collect()
    }

    #[test]
    fn a_request_is_made_anew_only_where_something_is_named_twice_or_nothing_at_all() {
        let many: Vec<i32> = (0..1_000).rev().collect();
        let again: Vec<i32> = (0..1_000).chain([500]).collect();
        for (named, plain) in [
            (&[][..], true),
            (&[("t", &[0][..])], true),
            (&[("t", &[2, 0, 1][..]), ("u", &[0, 1][..])], true),
            (&[("t", &many[..])], true),
            (&[("t", &[0, 1, 0][..])], false),
            (&[("t", &again[..])], false),
            (&[("t", &[0][..]), ("u", &[0][..]), ("t", &[1][..])], false),
            (&[("t", &[0][..]), ("u", &[][..])], false),
        ] {
            let topics = topics(named);
            assert_eq!(is_plain(&topics), plain, "{named:?}");
            assert_eq!(distinct(topics.clone()) == topics, plain, "{named:?}");
        }
    }
}
