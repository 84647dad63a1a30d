//! `POST /reset`, for the time between two tests. Open transactions are aborted, all records removed, and groups without
//! members deleted with their offsets, in this order, because aborting writes records.
//!
//! Topics and their settings stay. Offsets continue, so that an old consumer cannot mistake new records for old ones. Groups
//! with members stay, too. Their offsets are raised to the new start of each log, so a running consumer sees each later record
//! once and no earlier one.
//!
//! `?keep=_schemas,connect-*` exempts topics, groups and transactions with such names; only the offsets of exempt groups in
//! emptied topics are still raised. `?members=remove` also deletes groups with members, for tests that left consumers behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::api::services::Services;
use crate::coordinator::group::consumer::group::LEAVE;
use crate::coordinator::group::request::ConsumerHeartbeat;
use crate::coordinator::group::request::LogStarts;
use crate::coordinator::topic::INTERNAL_TOPICS;
use crate::coordinator::txn::handle::Granted;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};

/// Time limit for writing the markers of aborted transactions.
const MARKERS_WITHIN: Duration = Duration::from_secs(5);
/// States in which a transaction is not complete.
const OPEN: [&str; 4] = [
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "PrepareEpochFence",
];

/// Parameters of a reset.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Names to keep. A star at the end matches any suffix.
    keep: Vec<String>,
    remove_members: bool,
}

impl Wishes {
    /// Reads the parameters of a request.
    ///
    /// Errors: an unknown parameter.
    pub(super) fn of(query: &[(String, String)]) -> Result<Self, String> {
        let mut wishes = Self::default();
        for (name, value) in query {
            match (name.as_str(), value.as_str()) {
                ("keep", names) => {
                    let names = names.split(',').map(str::trim);
                    wishes
                        .keep
                        .extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
                }
                ("members", "remove") => wishes.remove_members = true,
                ("members", "keep") => wishes.remove_members = false,
                _ => {
                    return Err(format!(
                        "{name}={value} is unknown; there are keep=NAME,PREFIX* and members=remove"
                    ));
                }
            }
        }
        Ok(wishes)
    }

    fn keeps(&self, name: &str) -> bool {
        is_kept(&self.keep, name)
    }
}

/// Whether `name` is one of `names`, in which a star at the end matches any suffix.
pub fn is_kept(names: &[String], name: &str) -> bool {
    names.iter().any(|kept| match kept.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == kept,
    })
}

/// Carries out a reset. Gives a summary.
///
/// Errors: the step that failed, and the reason.
pub(super) async fn reset(services: &Arc<Services>, wishes: &Wishes) -> Result<String, String> {
    let transactions = abort_transactions(services, wishes).await?;
    let starts = Arc::new(empty_topics(services, wishes).await?);
    let (forgotten, kept) = settle_groups(services, wishes, &starts).await?;
    let topics = starts.len();
    Ok(format!(
        "{topics} topics emptied, {forgotten} groups forgotten, {kept} with members kept, {transactions} transactions aborted"
    ))
}

async fn abort_transactions(services: &Services, wishes: &Wishes) -> Result<usize, String> {
    let states = OPEN.map(Into::into);
    let list = || async {
        let open = services
            .txns
            .list(Some(states.to_vec()), Arc::default(), -1, None)
            .await;
        let mut open = open.map_err(|error| format!("transactions: {error}"))?;
        open.retain(|transaction| !wishes.keeps(&transaction.speaker.transactional_id));
        Ok::<_, String>(open)
    };
    let open = list().await?;
    for transaction in &open {
        let id = &transaction.speaker.transactional_id;
        let mut fresh = None;
        loop {
            // The same request as from a new instance of the producer: it fences the old one and aborts its transaction.
            let asked = services
                .txns
                .init(id.clone(), transaction.timeout_ms, None, fresh);
            match asked.await {
                Ok(Granted::NeedsProducerId) => {
                    fresh = services.next_producer_id().await;
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

/// Deletes groups or raises their offsets. Gives the number of deleted groups, and of groups that stay because they have
/// members.
async fn settle_groups(
    services: &Services,
    wishes: &Wishes,
    starts: &Arc<LogStarts>,
) -> Result<(usize, usize), String> {
    let listed = services.groups.list(&[], &[]).await;
    let listed = listed.map_err(|error| format!("groups: {error}"))?;
    let (mut forgotten, mut kept) = (0, 0);
    for group in &listed {
        let id = &group.group_id;
        let raise = || async {
            let raised = services.groups.raise_offsets(id, starts).await;
            raised.map_err(|error| format!("offsets of group {id}: {error}"))
        };
        if wishes.keeps(id) {
            raise().await?;
            continue;
        }
        if wishes.remove_members {
            remove_members(services, id).await;
        }
        match services.groups.delete(id.clone()).await.error_code {
            0 => forgotten += 1,
            code if code == ErrorCode::GroupIdNotFound.code() => forgotten += 1,
            code if code == ErrorCode::NonEmptyGroup.code() && !wishes.remove_members => {
                raise().await?;
                kept += 1;
            }
            // A group of a type that the broker stores but does not serve.
            code if code == ErrorCode::UnsupportedVersion.code() => kept += 1,
            code => {
                let why =
                    ErrorCode::from_code(code).map_or("UNKNOWN_SERVER_ERROR", ErrorCode::name);
                return Err(format!("group {id}: {why}"));
            }
        }
    }
    Ok((forgotten, kept))
}

async fn remove_members(services: &Services, group: &ByteString) {
    let consumers = services.groups.describe_consumer(group.clone()).await;
    for member in consumers.members {
        let leave = ConsumerGroupHeartbeatRequest {
            group_id: group.clone(),
            member_id: member.member_id,
            instance_id: member.instance_id,
            member_epoch: LEAVE,
            ..Default::default()
        };
        let beat = ConsumerHeartbeat {
            request: leave,
            client_id: ByteString::new(),
            client_host: ByteString::new(),
            names_itself: true,
            regex_fault: None,
            classic: None,
        };
        services.groups.consumer_heartbeat(beat).await;
    }
    let described = services.groups.describe(group.clone(), false).await;
    if described.members.is_empty() {
        return;
    }
    let members = described
        .members
        .into_iter()
        .map(|member| MemberIdentity {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            reason: Some("the broker was reset".into()),
        })
        .collect();
    let leave = LeaveGroupRequest {
        group_id: group.clone(),
        members,
        ..Default::default()
    };
    services.groups.leave(leave).await;
}

/// Empties topics. Gives their partitions with their new start offsets.
async fn empty_topics(services: &Arc<Services>, wishes: &Wishes) -> Result<LogStarts, String> {
    let mut partitions = services.replicas.all();
    partitions.retain(|partition| {
        !INTERNAL_TOPICS.contains(&&*partition.topic) && !wishes.keeps(&partition.topic)
    });
    let now = services.host.clock.now();
    // Each call writes a small file.
    let threads = services.host.threads.clone();
    threads
        .blocking(move || {
            let mut starts = LogStarts::new();
            for partition in partitions {
                let end = partition.high_watermark();
                if let Err(error) = partition.delete_records(end, now) {
                    return Err(format!("{}: {error}", partition.name()));
                }
                let of_topic: &mut BTreeMap<_, _> =
                    starts.entry(partition.topic.as_ref().into()).or_default();
                of_topic.insert(partition.index, end);
            }
            Ok(starts)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prefixes_are_kept() {
        let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = [
            given("keep", "_schemas, connect-*,"),
            given("members", "remove"),
        ];
        let wishes = Wishes::of(&query).unwrap();
        let kept = ["_schemas", "connect-", "connect-offsets"];
        assert!(kept.iter().all(|name| wishes.keeps(name)));
        let emptied = ["_schemas2", "connect", "x", ""];
        assert!(!emptied.iter().any(|name| wishes.keeps(name)));
        assert!(wishes.remove_members);
        assert!(Wishes::of(&[given("kept", "x")]).is_err());
        assert!(!Wishes::default().keeps("x"));
    }
}
