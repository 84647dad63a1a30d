//! Before the first batch of a transaction enters a partition, its coordinator must know of it (KIP-890).
//!
//! Produce up to v11 comes from clients that told the coordinator themselves: it is asked whether they did. Since v12
//! it is told by us. So no transaction can be left open that nobody would ever end.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use crate::api::context::RequestContext;
use crate::base::ids::{ProducerEpoch, ProducerId, Uuid};
use crate::coordinator::txn::machine::{BUMPING, Partitions};
use crate::coordinator::txn::request::Speaker;
use crate::log::producer_state::Admission;
use crate::replica::partition::Partition;
use crate::wire::batch::header::BatchHeader;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::produce::ProduceRequest;

/// The first version whose batches join their transaction by themselves.
const JOINS: i16 = 12;
/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 11;
const TOPIC_IDS: i16 = 13;

/// Partitions that the request is the first to write to in a transaction.
#[derive(Default)]
pub struct Unknown {
    producer: Option<(ProducerId, ProducerEpoch)>,
    partitions: Partitions,
    /// Whether the coordinator is asked about them.
    verified: bool,
    /// What their logs knew before the coordinator was asked.
    pub admissions: BTreeMap<(ByteString, i32), Admission>,
}

impl Unknown {
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// The partitions of transactional batches that have no transaction of the producer open. The request has one
/// transactional id, so all have to be of one producer.
pub fn unknown_partitions(
    context: &RequestContext,
    request: &ProduceRequest,
) -> Result<Unknown, ErrorCode> {
    let mut unknown = Unknown::default();
    // Since then the epoch tells: a marker of this transaction has a higher one. One that comes between is of the
    // transaction before.
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
                .log
                .has_open_transaction(header.producer_id, header.producer_epoch)
            {
                continue;
            }
            let name = ByteString::from(partition.topic.as_ref());
            unknown.admissions.insert(
                (name.clone(), data.index),
                Admission {
                    last_marker: partition.log.last_marker(header.producer_id),
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

/// Asks or tells the coordinator; gives the partitions that it does not want, and what to say about them.
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
    let verdict = if context.api_version >= JOINS {
        // Also where nothing is verified: who else would tell the coordinator?
        txns.add(speaker, partitions, BUMPING)
            .await
            .map(|()| Vec::new())
    } else if unknown.verified {
        txns.verify(speaker, partitions).await
    } else {
        Ok(Vec::new())
    };
    match verdict {
        Ok(verdicts) => verdicts
            .into_iter()
            .filter(|(_, _, error)| error.is_error())
            .map(|(topic, index, error)| ((topic, index), told(context, error)))
            .collect(),
        Err(error) => refuse_all(told(context, error)),
    }
}

/// Whether a transaction's coordinator is asked about what others told it (KIP-890, part 1).
pub fn verifies(context: &RequestContext) -> bool {
    let image = context.services.image.load();
    context
        .services
        .in_force(&image)
        .boolean("transaction.partition.verification.enable")
}

/// What a producer makes of the coordinator's error.
fn told(context: &RequestContext, error: ErrorCode) -> ErrorCode {
    let joins = context.api_version >= JOINS;
    match error {
        ErrorCode::TransactionAbortable if context.api_version < ABORTABLE => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::ConcurrentTransactions if joins => error,
        // Old clients try again after this one, and look for no new leader.
        ErrorCode::ConcurrentTransactions
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        error => error,
    }
}

/// The name of a topic that a request names by name or by id.
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
