//! TxnOffsetCommit (key 28), v0 to v6. KIP-98, KIP-447 (members and generations, v3), KIP-890 (offsets join the
//! transaction by themselves, v5), topic ids (v6).

use std::sync::Arc;

use bytestring::ByteString;

use super::add_offsets_to_txn::offsets_of;
use super::transaction_admission::verifies;
use crate::api::answer::{merged, once};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::request::Precondition;
use crate::coordinator::topic::GROUP_TOPIC;
use crate::coordinator::txn::machine::BUMPING;
use crate::coordinator::txn::request::Speaker;
use crate::log::producer_state::Admission;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

/// The first version that names topics by id.
const TOPIC_IDS: i16 = 6;
/// The first version whose offsets need no AddOffsetsToTxn.
const JOINS: i16 = 5;
/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 4;

pub fn handle(
    context: RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> Reply<TxnOffsetCommitResponse> {
    let image = context.services.image.load();
    let rights = context.rights();
    let (id, group) = (&request.transactional_id, &request.group_id);
    let allowed = rights
        .require(Operation::Write, ResourceType::TransactionalId, id)
        .and_then(|()| rights.require(Operation::Read, ResourceType::Group, group));
    let mut known = Vec::with_capacity(request.topics.len());
    let mut refused = Vec::new();
    let named = once(
        std::mem::take(&mut request.topics),
        |topic| (topic.name.clone(), topic.topic_id),
        |topic| &mut topic.partitions,
        |one| one.partition_index,
    );
    for mut topic in named {
        if let Err(error) = allowed {
            refused.push(refuse(&topic, error));
            continue;
        }
        let (found, unknown) = if context.api_version >= TOPIC_IDS {
            let found = image.topics.by_id(topic.topic_id);
            (found, ErrorCode::UnknownTopicId)
        } else {
            let found = image.topics.by_name(&topic.name);
            (found, ErrorCode::UnknownTopicOrPartition)
        };
        let name = match context.api_version >= TOPIC_IDS {
            true => found.map(|found| &*found.name),
            false => Some(&*topic.name),
        };
        let read = name.map(|name| rights.require(Operation::Read, ResourceType::Topic, name));
        if let Some(Err(error)) = read {
            refused.push(refuse(&topic, error));
            continue;
        }
        match found {
            Some(found) => {
                topic.name = ByteString::from(found.name.as_ref());
                topic.topic_id = found.id;
                let count = found.partitions.len() as i32;
                let there = |partition: i32| (0..count).contains(&partition);
                let mut missing = topic.clone();
                missing
                    .partitions
                    .retain(|partition| !there(partition.partition_index));
                topic
                    .partitions
                    .retain(|partition| there(partition.partition_index));
                if !missing.partitions.is_empty() {
                    refused.push(refuse(&missing, ErrorCode::UnknownTopicOrPartition));
                }
                if !topic.partitions.is_empty() {
                    known.push(topic);
                }
            }
            None => refused.push(refuse(&topic, unknown)),
        }
    }
    drop(rights);
    request.topics = known;
    if request.topics.is_empty() {
        return answer(refused).into();
    }
    if request.group_id.is_empty() {
        let error = ErrorCode::InvalidGroupId;
        refused.extend(request.topics.iter().map(|topic| refuse(topic, error)));
        return answer(refused).into();
    }
    Reply::later(async move {
        match admit(&context, &request).await {
            Err(error) => refused.extend(request.topics.iter().map(|topic| refuse(topic, error))),
            Ok(still) => {
                let groups = &context.services.groups;
                let committed = groups.commit_offsets_in_transaction(request, still).await;
                refused.extend(committed.topics);
            }
        }
        answer(refused)
    })
}

fn answer(topics: Vec<TxnOffsetCommitResponseTopic>) -> TxnOffsetCommitResponse {
    TxnOffsetCommitResponse {
        topics: merged(
            topics,
            |topic| (topic.name.clone(), topic.topic_id),
            |topic| &mut topic.partitions,
        ),
        ..Default::default()
    }
}

/// Offsets may only be part of a transaction that knows of them: the coordinator is told, or asked. What it said may be
/// old news when the offsets are appended; by then the log knows better.
async fn admit(
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> Result<Precondition, ErrorCode> {
    let (producer_id, epoch) = (request.producer_id, request.producer_epoch);
    let partition = context.services.groups.partition_of(&request.group_id);
    let log = context
        .services
        .replicas
        .partition(GROUP_TOPIC, partition)
        .map(|partition| Arc::clone(&partition.log));
    let admission = Admission {
        last_marker: log
            .as_ref()
            .ok()
            .and_then(|log| log.last_marker(producer_id)),
        begins_at_zero: false,
        // Since then the epoch tells.
        verified: context.api_version < JOINS && verifies(context),
    };
    if context.api_version >= JOINS || admission.verified {
        ask(context, request).await?;
    }
    let log = log.map_err(|_| ErrorCode::NotCoordinator)?;
    Ok(Precondition::new(move || {
        log.check_joining(producer_id, epoch, admission)
    }))
}

async fn ask(context: &RequestContext, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
    let txns = &context.services.txns;
    let speaker = Speaker {
        transactional_id: request.transactional_id.clone(),
        producer_id: request.producer_id,
        epoch: request.producer_epoch,
    };
    let partitions = offsets_of(context, &request.group_id);
    let result = if context.api_version >= JOINS {
        txns.add(speaker, partitions, BUMPING).await
    } else {
        txns.verify(speaker, partitions)
            .await
            .and_then(|verdicts| match verdicts.first() {
                Some((_, _, ErrorCode::None)) => Ok(()),
                Some((_, _, error)) => Err(*error),
                None => Err(ErrorCode::UnknownServerError),
            })
    };
    result.map_err(|error| match error {
        ErrorCode::TransactionAbortable if context.api_version < ABORTABLE => {
            ErrorCode::InvalidTxnState
        }
        // Clients of TxnOffsetCommit know the older name only.
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        // It is not about this coordinator: let them try again.
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::ConcurrentTransactions if context.api_version < JOINS => {
            ErrorCode::CoordinatorLoadInProgress
        }
        error => error,
    })
}

fn refuse(topic: &TxnOffsetCommitRequestTopic, error: ErrorCode) -> TxnOffsetCommitResponseTopic {
    TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
            .collect(),
    }
}
