//! TxnOffsetCommit (key 28), v0 to v5. KIP-98, KIP-447 (members and generations, v3), KIP-890 (offsets join the
//! transaction by themselves, v5).

use bytestring::ByteString;

use super::add_offsets_to_txn::offsets_of;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::txn::machine::BUMPING;
use crate::coordinator::txn::request::Speaker;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

/// The first version whose offsets need no AddOffsetsToTxn.
const JOINS: i16 = 5;
/// The first version whose clients know TRANSACTION_ABORTABLE.
const ABORTABLE: i16 = 4;

pub fn handle(
    context: RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> Reply<TxnOffsetCommitResponse> {
    let image = context.services.image.load();
    let mut known = Vec::with_capacity(request.topics.len());
    let mut refused = Vec::new();
    for mut topic in std::mem::take(&mut request.topics) {
        match image.topics.by_name(&topic.name) {
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
            None => refused.push(refuse(&topic, ErrorCode::UnknownTopicOrPartition)),
        }
    }
    request.topics = known;
    if request.topics.is_empty() {
        return TxnOffsetCommitResponse {
            topics: refused,
            ..Default::default()
        }
        .into();
    }
    if request.group_id.is_empty() {
        let error = ErrorCode::InvalidGroupId;
        refused.extend(request.topics.iter().map(|topic| refuse(topic, error)));
        return TxnOffsetCommitResponse {
            topics: refused,
            ..Default::default()
        }
        .into();
    }
    Reply::later(async move {
        if let Err(error) = admit(&context, &request).await {
            refused.extend(request.topics.iter().map(|topic| refuse(topic, error)));
        } else {
            let groups = &context.services.groups;
            let answer = groups.commit_offsets_in_transaction(request).await;
            refused.extend(answer.topics);
        }
        TxnOffsetCommitResponse {
            topics: refused,
            ..Default::default()
        }
    })
}

/// Offsets may only be part of a transaction that knows of them: the coordinator is told, or asked.
async fn admit(
    context: &RequestContext,
    request: &TxnOffsetCommitRequest,
) -> Result<(), ErrorCode> {
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
