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

/// Asks about one state: a request of the message `$api`, whose two inner structures have other names in each API. Gives the result
/// of the partition.
macro_rules! ask_about {
    ($key:expr, $to:expr, $api:ident :: $request:ident / $topic:ident { $($rest:tt)* }) => {{
        let (key, (elsewhere, broker)) = ($key, $to);
        let request = $api::$request {
            group_id: key.group.clone(),
            topics: vec![$api::$topic {
                topic_id: key.topic_id,
                partitions: vec![$api::PartitionData {
                    partition: key.partition,
                    $($rest)*
                }],
            }],
        };
        let answer = elsewhere.ask(broker, &request).await.map_err(unanswered)?;
        let mut topics = answer.results.into_iter();
        let partition = topics
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
    let to = (elsewhere, broker);
    match request {
        ShareStateRequest::Initialise {
            key,
            state_epoch,
            start_offset,
            replaces,
        } => {
            // Kafka's request always replaces a state.
            if !replaces && summarise(to, &key).await? != Summary::NOTHING {
                return Ok(ShareStateAnswer::Done);
            }
            ask_about!(
                &key,
                to,
                initialize::InitializeShareGroupStateRequest
                    / InitializeStateData {
                        state_epoch,
                        start_offset,
                    }
            );
            Ok(ShareStateAnswer::Done)
        }
        ShareStateRequest::Read { key, leader_epoch } => {
            let found = ask_about!(
                &key,
                to,
                read::ReadShareGroupStateRequest / ReadStateData { leader_epoch }
            );
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
            ask_about!(
                &key,
                to,
                write::WriteShareGroupStateRequest
                    / WriteStateData {
                        state_epoch: wanted.state_epoch,
                        leader_epoch: wanted.leader_epoch,
                        start_offset: wanted.start_offset,
                        delivery_complete_count: wanted.complete_count,
                        state_batches: batches.collect(),
                    }
            );
            Ok(ShareStateAnswer::Done)
        }
        // The protocol has no epoch here, so a group that begins anew at the same moment loses its state, as with Apache Kafka.
        ShareStateRequest::Delete { key, epoch_max: _ } => {
            ask_about!(
                &key,
                to,
                delete::DeleteShareGroupStateRequest / DeleteStateData {}
            );
            Ok(ShareStateAnswer::Done)
        }
        ShareStateRequest::Summarise(key) => {
            let found = summarise(to, &key).await?;
            Ok(ShareStateAnswer::Summary(found))
        }
        // Each coordinator does these for its own partitions.
        ShareStateRequest::ForgetDeleted(_) | ShareStateRequest::Snapshot(_) => {
            Err(ErrorCode::NotCoordinator.into())
        }
    }
}

async fn summarise(to: (&Elsewhere, BrokerId), key: &ShareKey) -> Result<Summary, Refusal> {
    let found = ask_about!(
        key,
        to,
        summary::ReadShareGroupStateSummaryRequest
            / ReadStateSummaryData {
                leader_epoch: NO_EPOCH,
            }
    );
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
