//! AddPartitionsToTxn (key 24), v0 to v5. KIP-98, KIP-588 (PRODUCER_FENCED, v2), KIP-890 (v4: sent by brokers, for several
//! transactions, to add partitions or only to verify them).
//!
//! Up to v3 a client sends the request for its own transaction. Either all of its partitions are added or none.

use std::collections::{BTreeMap, HashMap};

use bytestring::ByteString;

use crate::api::answer::{latest, once};
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::txn::machine::{BUMPING, Partitions};
use crate::coordinator::txn::request::Speaker;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult, AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
};

/// First version whose clients know PRODUCER_FENCED.
const FENCED: i16 = 2;
/// First version that brokers send.
const MANY: i16 = 4;
/// First version for clients of `transaction.version` 2.
const BUMPING_CLIENTS: i16 = 5;

pub fn handle(
    context: RequestContext,
    request: AddPartitionsToTxnRequest,
) -> Reply<AddPartitionsToTxnResponse> {
    Reply::later(async move {
        if context.api_version < MANY {
            let transaction = AddPartitionsToTxnTransaction {
                transactional_id: request.v3_and_below_transactional_id,
                producer_id: request.v3_and_below_producer_id,
                producer_epoch: request.v3_and_below_producer_epoch,
                verify_only: false,
                topics: request.v3_and_below_topics,
            };
            return AddPartitionsToTxnResponse {
                results_by_topic_v3_and_below: one(&context, transaction).await,
                ..Default::default()
            };
        }
        if let Err(error) = context.requires_of_cluster(Operation::ClusterAction) {
            return AddPartitionsToTxnResponse {
                error_code: error.code(),
                ..Default::default()
            };
        }
        let transactions = latest(request.transactions, |one| one.transactional_id.clone());
        let mut results = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            results.push(AddPartitionsToTxnResult {
                transactional_id: transaction.transactional_id.clone(),
                topic_results: one(&context, transaction).await,
            });
        }
        AddPartitionsToTxnResponse {
            results_by_transaction: results,
            ..Default::default()
        }
    })
}

async fn one(
    context: &RequestContext,
    mut transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    transaction.topics = once(
        transaction.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |index| *index,
    );
    // Brokers send v4 and later for clients whose rights they have checked already.
    let denied = match context.api_version < MANY {
        true => match denied(context, &transaction) {
            Ok(denied) => denied,
            Err(error) => return results(&transaction.topics, |_, _| error),
        },
        false => BTreeMap::new(),
    };
    let image = context.services.image.load();
    let is_known = |topic: &str, partition: i32| {
        image
            .topics
            .by_name(topic)
            .is_some_and(|found| found.partition(partition).is_some())
    };
    let topics = &transaction.topics;
    let all_known = topics.iter().all(|topic| {
        topic
            .partitions
            .iter()
            .all(|one| is_known(&topic.name, *one))
    });
    if !all_known || !denied.is_empty() {
        return results(topics, |topic, partition| {
            if let Some(error) = denied.get(topic) {
                *error
            } else if is_known(topic, partition) {
                ErrorCode::OperationNotAttempted
            } else {
                ErrorCode::UnknownTopicOrPartition
            }
        });
    }
    let speaker = Speaker {
        transactional_id: transaction.transactional_id,
        producer_id: transaction.producer_id,
        epoch: transaction.producer_epoch,
    };
    let partitions = collect(topics);
    let version = context.api_version;
    let told = |error: ErrorCode| match error {
        ErrorCode::ProducerFenced if version < FENCED => ErrorCode::InvalidProducerEpoch,
        error => error,
    };
    if transaction.verify_only {
        return match context.services.txns.verify(speaker, partitions).await {
            Ok(verdicts) => {
                let verdicts = verdicts
                    .into_iter()
                    .map(|(topic, partition, error)| ((topic, partition), error));
                let verdicts: HashMap<_, _> = verdicts.collect();
                results(topics, |topic, partition| {
                    let verdict = verdicts.get(&(topic.clone(), partition));
                    *verdict.unwrap_or(&ErrorCode::UnknownServerError)
                })
            }
            Err(error) => results(topics, |_, _| error),
        };
    }
    let client_version = if version >= BUMPING_CLIENTS {
        BUMPING
    } else {
        0
    };
    let added = context
        .services
        .txns
        .add(speaker, partitions, client_version)
        .await;
    let error = told(added.err().unwrap_or(ErrorCode::None));
    results(topics, |_, _| error)
}

/// Topics that the client may not write to, with their errors.
///
/// Errors: the client may not write with the transactional id.
fn denied(
    context: &RequestContext,
    transaction: &AddPartitionsToTxnTransaction,
) -> Result<BTreeMap<ByteString, ErrorCode>, ErrorCode> {
    let rights = context.rights();
    let id = &transaction.transactional_id;
    rights.require(Operation::Write, ResourceType::TransactionalId, id)?;
    let topics = transaction.topics.iter();
    let denied = topics.filter_map(|topic| {
        let write = rights.require(Operation::Write, ResourceType::Topic, &topic.name);
        Some((topic.name.clone(), write.err()?))
    });
    Ok(denied.collect())
}

fn collect(topics: &[AddPartitionsToTxnTopic]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics {
        // Copied, because the coordinator keeps it and must not keep the whole request in memory.
        partitions
            .entry(ByteString::from(topic.name.to_string()))
            .or_default()
            .extend(&topic.partitions);
    }
    partitions
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    verdict: impl Fn(&ByteString, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    topics
        .iter()
        .map(|topic| AddPartitionsToTxnTopicResult {
            name: topic.name.clone(),
            results_by_partition: topic
                .partitions
                .iter()
                .map(|partition| AddPartitionsToTxnPartitionResult {
                    partition_index: *partition,
                    partition_error_code: verdict(&topic.name, *partition).code(),
                })
                .collect(),
        })
        .collect()
}
