//! Admission of partitions to transactions whose coordinator is another broker (AddPartitionsToTxn). Kafka's
//! `AddPartitionsToTxnManager`.

use bytestring::ByteString;

use super::machine::Partitions;
use super::request::Speaker;
use crate::base::ids::{BrokerId, PartitionIndex};
use crate::coordinator::elsewhere::Elsewhere;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};

/// Verdict of a coordinator about a partition.
pub type Verdict = (ByteString, PartitionIndex, ErrorCode);

/// Asks another broker to add partitions to a transaction, or only to verify them. Returns the verdict about each.
///
/// Errors: NETWORK_EXCEPTION if there is no answer.
pub(super) async fn ask(
    elsewhere: &Elsewhere,
    broker: BrokerId,
    speaker: Speaker,
    partitions: &Partitions,
    verify_only: bool,
) -> Result<Vec<Verdict>, ErrorCode> {
    let topics = partitions
        .iter()
        .map(|(name, indexes)| AddPartitionsToTxnTopic {
            name: name.clone(),
            partitions: indexes.iter().copied().collect(),
        });
    let request = AddPartitionsToTxnRequest {
        transactions: vec![AddPartitionsToTxnTransaction {
            transactional_id: speaker.transactional_id,
            producer_id: speaker.producer_id,
            producer_epoch: speaker.epoch,
            verify_only,
            topics: topics.collect(),
        }],
        ..Default::default()
    };
    let answer = elsewhere.ask(broker, &request).await.map_err(|error| {
        tracing::debug!(broker, %error, "the coordinator of a transaction does not answer");
        ErrorCode::NetworkException
    })?;
    match ErrorCode::from_code(answer.error_code) {
        Some(ErrorCode::None) => {}
        // Kafka's answer to the producer: nothing that the producer may do would help.
        Some(ErrorCode::ClusterAuthorizationFailed) => return Err(ErrorCode::InvalidTxnState),
        code => return Err(code.unwrap_or(ErrorCode::UnknownServerError)),
    }
    let topics = answer.results_by_transaction.into_iter();
    let topics = topics.flat_map(|transaction| transaction.topic_results);
    let verdicts = topics.flat_map(|topic| {
        let name = topic.name;
        let parts = topic.results_by_partition.into_iter();
        parts.map(move |one| {
            let code = ErrorCode::from_code(one.partition_error_code);
            let code = code.unwrap_or(ErrorCode::UnknownServerError);
            (name.clone(), one.partition_index, code)
        })
    });
    let verdicts: Vec<Verdict> = verdicts.collect();
    let all = partitions
        .values()
        .map(|indexes| indexes.len())
        .sum::<usize>();
    match verdicts.len() == all {
        true => Ok(verdicts),
        // A partition without a verdict must not count as admitted.
        false => Err(ErrorCode::UnknownServerError),
    }
}
