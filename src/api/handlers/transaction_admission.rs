//! Admission of transactional batches: before the first batch of a transaction is appended to a partition, the transaction's
//! coordinator must know of that partition (KIP-890).
//!
//! Clients that send Produce up to v11 add partitions to the transaction themselves, and the coordinator is asked whether they
//! did. For v12 and later this broker adds the partition. So no transaction is left open that nobody would end.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use crate::api::context::RequestContext;
use crate::base::ids::{ProducerEpoch, ProducerId, Uuid};
use crate::coordinator::txn::machine::Partitions;
use crate::coordinator::txn::request::Speaker;
use crate::log::producer_state::Admission;
use crate::replica::partition::Partition;
use crate::wire::batch::header::BatchHeader;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::produce::ProduceRequest;

/// First version whose batches add their partition to the transaction implicitly.
const JOINS: i16 = 12;
/// First version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;
const TOPIC_IDS: i16 = 13;

/// Partitions of a request in which the producer has no open transaction yet.
#[derive(Default)]
pub struct Unknown {
    producer: Option<(ProducerId, ProducerEpoch)>,
    partitions: Partitions,
    /// Whether the coordinator is asked to verify the partitions.
    verified: bool,
    /// State of the partitions' logs before the coordinator is asked.
    pub admissions: BTreeMap<(ByteString, i32), Admission>,
}

impl Unknown {
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// Partitions of transactional batches in which the producer has no open transaction.
///
/// Errors: the batches are not all of one producer, although a request has only one transactional id.
pub fn unknown_partitions(
    context: &RequestContext,
    request: &ProduceRequest,
) -> Result<Unknown, ErrorCode> {
    let mut unknown = Unknown::default();
    // From version `JOINS` on no verification is needed, because the end of a transaction bumps the producer epoch: a marker
    // that ends the batch's transaction has a higher epoch, and a marker that comes in between belongs to the previous
    // transaction.
    let verified = LazyCell::new(|| context.api_version < JOINS && verifies(context));
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            let Some(Records::Bytes(records)) = &data.records else {
                continue;
            };
            let Ok(header) = BatchHeader::parse(records) else {
                continue;
            };
            if !header.is_transactional() || !header.has_producer_id() {
                continue;
            }
            let Some(partition) = find(context, &topic.name, topic.topic_id, data.index) else {
                continue;
            };
            let producer = (header.producer_id, header.producer_epoch);
            if *unknown.producer.get_or_insert(producer) != producer {
                return Err(ErrorCode::InvalidProducerIdMapping);
            }
            if partition
                .log()
                .has_open_transaction(header.producer_id, header.producer_epoch)
            {
                continue;
            }
            let name = ByteString::from(partition.topic.as_ref());
            unknown.admissions.insert(
                (name.clone(), data.index),
                Admission {
                    last_marker: partition.log().last_marker(header.producer_id),
                    begins_at_zero: context.api_version >= JOINS,
                    verified: *verified,
                },
            );
            unknown.verified = *verified;
            unknown
                .partitions
                .entry(name)
                .or_default()
                .insert(data.index);
        }
    }
    Ok(unknown)
}

/// Asks the coordinator to add or verify the partitions; returns the partitions that it refuses, with the producer's error.
pub async fn admit(
    context: &RequestContext,
    request: &ProduceRequest,
    unknown: &Unknown,
) -> BTreeMap<(ByteString, i32), ErrorCode> {
    let Some((producer_id, epoch)) = unknown.producer else {
        return BTreeMap::new();
    };
    let refuse_all = |error: ErrorCode| {
        let all = unknown.partitions.iter().flat_map(|(topic, some)| {
            let named = some.iter().map(|index| (topic.clone(), *index));
            named.map(|partition| (partition, error))
        });
        all.collect()
    };
    let Some(transactional_id) = request.transactional_id.clone() else {
        return refuse_all(ErrorCode::TransactionalIdAuthorizationFailed);
    };
    let speaker = Speaker {
        transactional_id,
        producer_id,
        epoch,
    };
    let partitions = unknown.partitions.clone();
    let txns = &context.services.txns;
    let adds = context.api_version >= JOINS;
    // Without verification too: no one else adds the partitions to the transaction.
    let verdict = match adds || unknown.verified {
        true => txns.admit(speaker, partitions, adds).await,
        false => Ok(Vec::new()),
    };
    match verdict {
        Ok(refused) => refused
            .into_iter()
            .map(|(topic, index, error)| ((topic, index), told(context, error)))
            .collect(),
        Err(error) => refuse_all(told(context, error)),
    }
}

/// Whether partitions that clients added to a transaction are verified with its coordinator (KIP-890, part 1).
pub fn verifies(context: &RequestContext) -> bool {
    let image = context.services.image.load();
    context
        .services
        .in_force(&image)
        .boolean("transaction.partition.verification.enable")
}

/// Error for the producer in place of the coordinator's error.
fn told(context: &RequestContext, error: ErrorCode) -> ErrorCode {
    let joins = context.api_version >= JOINS;
    match error {
        ErrorCode::TransactionAbortable if context.api_version < ABORTABLE => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::ConcurrentTransactions if joins => error,
        // Old clients retry after this error without looking for a new leader.
        ErrorCode::ConcurrentTransactions
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NetworkException
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        error => error,
    }
}

/// Name of a topic that a request gives by name or by id; empty if the id is unknown.
pub fn name_of(context: &RequestContext, name: &ByteString, id: Uuid) -> ByteString {
    if context.api_version < TOPIC_IDS {
        return name.clone();
    }
    let image = context.services.image.load();
    image
        .topics
        .by_id(id)
        .map(|topic| ByteString::from(topic.name.as_ref()))
        .unwrap_or_default()
}

fn find(context: &RequestContext, name: &str, id: Uuid, index: i32) -> Option<Arc<Partition>> {
    let replicas = &context.services.replicas;
    if context.api_version < TOPIC_IDS {
        replicas.partition(name, index).ok()
    } else {
        replicas.partition_by_id(id, index).ok()
    }
}
