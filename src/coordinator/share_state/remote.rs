//! Requests to the share coordinators of other brokers, in Kafka's APIs 83 to 87. Kafka's `PersisterStateManager`.

use bytestring::ByteString;

use super::record::{ShareKey, StateBatch};
use super::request::{Known, Refusal, ShareStateAnswer, ShareStateRequest, Summary};
use crate::base::ids::BrokerId;
use crate::coordinator::elsewhere::Elsewhere;
use crate::peer::connection::CallError;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::{
    delete_share_group_state as delete, initialize_share_group_state as initialize,
    read_share_group_state as read, read_share_group_state_summary as summary,
    write_share_group_state as write,
};

/// Leader epoch in a request for a summary of a sender that leads no partition.
const NO_EPOCH: i32 = -1;

/// Result of a partition in an answer.
macro_rules! only_result {
    ($answer:expr) => {{
        let mut results = $answer.results.into_iter();
        let partition = results
            .next()
            .and_then(|topic| topic.partitions.into_iter().next());
        let partition = partition.ok_or(ErrorCode::UnknownServerError)?;
        match ErrorCode::from_code(partition.error_code) {
            Some(ErrorCode::None) => partition,
            code => return Err(refusal(code, partition.error_message)),
        }
    }};
}

/// Asks another broker once.
pub(super) async fn ask(
    elsewhere: &Elsewhere,
    broker: BrokerId,
    request: ShareStateRequest,
) -> Result<ShareStateAnswer, Refusal> {
    match request {
        ShareStateRequest::Initialise {
            key,
            state_epoch,
            start_offset,
            replaces,
        } => {
            // Kafka's request always replaces a state.
            if !replaces && summarise(elsewhere, broker, &key).await? != Summary::NOTHING {
                return Ok(ShareStateAnswer::Done);
            }
            let partition = initialize::PartitionData {
                partition: key.partition,
                state_epoch,
                start_offset,
            };
            let topic = initialize::InitializeStateData {
                topic_id: key.topic_id,
                partitions: vec![partition],
            };
            let request = initialize::InitializeShareGroupStateRequest {
                group_id: key.group,
                topics: vec![topic],
            };
            only_result!(elsewhere.ask(broker, &request).await.map_err(unanswered)?);
            Ok(ShareStateAnswer::Done)
        }
        ShareStateRequest::Read { key, leader_epoch } => {
            let partition = read::PartitionData {
                partition: key.partition,
                leader_epoch,
            };
            let topic = read::ReadStateData {
                topic_id: key.topic_id,
                partitions: vec![partition],
            };
            let request = read::ReadShareGroupStateRequest {
                group_id: key.group,
                topics: vec![topic],
            };
            let found = only_result!(elsewhere.ask(broker, &request).await.map_err(unanswered)?);
            let batches = found.state_batches.into_iter().map(|batch| StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            });
            Ok(ShareStateAnswer::Known(Known {
                state_epoch: found.state_epoch,
                start_offset: found.start_offset,
                batches: batches.collect(),
            }))
        }
        ShareStateRequest::Write { key, write: wanted } => {
            let batches = wanted.batches.into_iter().map(|batch| write::StateBatch {
                first_offset: batch.first_offset,
                last_offset: batch.last_offset,
                delivery_state: batch.delivery_state,
                delivery_count: batch.delivery_count,
            });
            let partition = write::PartitionData {
                partition: key.partition,
                state_epoch: wanted.state_epoch,
                leader_epoch: wanted.leader_epoch,
                start_offset: wanted.start_offset,
                delivery_complete_count: wanted.complete_count,
                state_batches: batches.collect(),
            };
            let topic = write::WriteStateData {
                topic_id: key.topic_id,
                partitions: vec![partition],
            };
            let request = write::WriteShareGroupStateRequest {
                group_id: key.group,
                topics: vec![topic],
            };
            only_result!(elsewhere.ask(broker, &request).await.map_err(unanswered)?);
            Ok(ShareStateAnswer::Done)
        }
        // The protocol has no epoch here, so a group that begins anew at the same moment loses its state, as with Apache Kafka.
        ShareStateRequest::Delete { key, epoch_max: _ } => {
            let partition = delete::PartitionData {
                partition: key.partition,
            };
            let topic = delete::DeleteStateData {
                topic_id: key.topic_id,
                partitions: vec![partition],
            };
            let request = delete::DeleteShareGroupStateRequest {
                group_id: key.group,
                topics: vec![topic],
            };
            only_result!(elsewhere.ask(broker, &request).await.map_err(unanswered)?);
            Ok(ShareStateAnswer::Done)
        }
        ShareStateRequest::Summarise(key) => {
            let found = summarise(elsewhere, broker, &key).await?;
            Ok(ShareStateAnswer::Summary(found))
        }
        // Each coordinator does these for its own partitions.
        ShareStateRequest::ForgetDeleted(_) | ShareStateRequest::Snapshot(_) => {
            Err(ErrorCode::NotCoordinator.into())
        }
    }
}

async fn summarise(
    elsewhere: &Elsewhere,
    broker: BrokerId,
    key: &ShareKey,
) -> Result<Summary, Refusal> {
    let partition = summary::PartitionData {
        partition: key.partition,
        leader_epoch: NO_EPOCH,
    };
    let topic = summary::ReadStateSummaryData {
        topic_id: key.topic_id,
        partitions: vec![partition],
    };
    let request = summary::ReadShareGroupStateSummaryRequest {
        group_id: key.group.clone(),
        topics: vec![topic],
    };
    let found = only_result!(elsewhere.ask(broker, &request).await.map_err(unanswered)?);
    Ok(Summary {
        state_epoch: found.state_epoch,
        leader_epoch: found.leader_epoch,
        start_offset: found.start_offset,
        complete_count: found.delivery_complete_count,
    })
}

/// A request without an answer. The state's coordinator may be another broker soon, so callers try again.
fn unanswered(error: CallError) -> Refusal {
    tracing::debug!(%error, "a share coordinator does not answer");
    ErrorCode::CoordinatorNotAvailable.into()
}

fn refusal(code: Option<ErrorCode>, message: Option<ByteString>) -> Refusal {
    let error = code.unwrap_or(ErrorCode::UnknownServerError);
    tracing::debug!(%error, ?message, "a share coordinator refuses a request");
    error.into()
}
