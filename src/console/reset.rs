//! The time between two tests: open transactions are aborted, groups forgotten with their members and offsets, and the
//! records of every topic removed, in this order, because aborting writes records.
//!
//! Topics stay, with their settings. Offsets go on: a consumer from before may not mistake new records for old ones.

use std::sync::Arc;
use std::time::Duration;

use crate::api::services::Services;
use crate::coordinator::topic::{GROUP_TOPIC, TRANSACTION_TOPIC};
use crate::coordinator::txn::handle::Granted;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};

/// Aborted transactions whose markers are not written by then are left.
const MARKERS_WITHIN: Duration = Duration::from_secs(5);
/// States in which a transaction may still write.
const OPEN: [&str; 4] = [
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "PrepareEpochFence",
];

/// Says in words what was done, or what could not be.
pub async fn reset(services: &Arc<Services>) -> Result<String, String> {
    let transactions = abort_transactions(services).await?;
    let groups = forget_groups(services).await?;
    let topics = empty_topics(services).await?;
    Ok(format!(
        "{topics} topics emptied, {groups} groups forgotten, {transactions} transactions aborted"
    ))
}

async fn abort_transactions(services: &Services) -> Result<usize, String> {
    let states = OPEN.map(Into::into);
    let list = || async {
        let open = services.txns.list(&states, &[], -1, None).await;
        open.map_err(|error| format!("transactions: {error}"))
    };
    let open = list().await?;
    for transaction in &open {
        let id = &transaction.speaker.transactional_id;
        let mut fresh = None;
        loop {
            // What a successor of the producer would ask: the old one is fenced, its transaction aborted.
            let asked = services
                .txns
                .init(id.clone(), transaction.timeout_ms, None, fresh);
            match asked.await {
                Ok(Granted::NeedsProducerId) => {
                    fresh = services.producer_ids.next(&services.controller).await;
                    if fresh.is_none() {
                        return Err("the controller is gone".to_owned());
                    }
                }
                Ok(Granted::Producer(..)) | Err(ErrorCode::ConcurrentTransactions) => break,
                Err(error) => return Err(format!("transaction of {id}: {error}")),
            }
        }
    }
    let deadline = tokio::time::Instant::now() + MARKERS_WITHIN;
    while !open.is_empty() && !list().await?.is_empty() {
        if tokio::time::Instant::now() > deadline {
            return Err("transactions: markers are still being written".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(open.len())
}

async fn forget_groups(services: &Services) -> Result<usize, String> {
    let listed = services.groups.list(&[], &[]).await;
    let listed = listed.map_err(|error| format!("groups: {error}"))?;
    for group in &listed {
        let id = &group.group_id;
        let described = services.groups.describe(id.clone(), false).await;
        if !described.members.is_empty() {
            let members = described
                .members
                .into_iter()
                .map(|member| MemberIdentity {
                    member_id: member.member_id,
                    group_instance_id: member.group_instance_id,
                    reason: Some("the broker was reset".into()),
                })
                .collect();
            services
                .groups
                .leave(LeaveGroupRequest {
                    group_id: id.clone(),
                    members,
                    ..Default::default()
                })
                .await;
        }
        let gone = services.groups.delete(id.clone()).await.error_code;
        if gone != 0 && gone != ErrorCode::GroupIdNotFound.code() {
            let why = ErrorCode::from_code(gone).map_or("UNKNOWN_SERVER_ERROR", ErrorCode::name);
            return Err(format!("group {id}: {why}"));
        }
    }
    Ok(listed.len())
}

async fn empty_topics(services: &Arc<Services>) -> Result<usize, String> {
    let mut partitions = services.replicas.all();
    partitions.retain(|partition| ![GROUP_TOPIC, TRANSACTION_TOPIC].contains(&&*partition.topic));
    let mut topics: Vec<_> = partitions
        .iter()
        .map(|partition| partition.topic_id)
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let now = services.clock.now();
    // Each one writes a small file.
    let emptied = tokio::task::spawn_blocking(move || {
        for partition in partitions {
            let end = partition.log.watermarks().high_watermark;
            if let Err(error) = partition.log.advance_start(end, now) {
                return Err(format!("{}: {error}", partition.log.partition()));
            }
        }
        Ok(())
    });
    emptied.await.map_err(|error| error.to_string())??;
    Ok(topics.len())
}
