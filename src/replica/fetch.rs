//! Reads the partitions of one fetch: limits, isolation level, epochs. Only plans are made here; records stay in their files.

use std::sync::Arc;

use super::leader::FollowerFetch;
use super::manager::ReplicaManager;
use super::partition::{FollowerId, Partition};
use super::purgatory::Wish;
use crate::base::file_range::FileRange;
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::base::work_pool::checkpoint;
use crate::host::file::Reach;
use crate::log::error::ReadError;
use crate::log::partition_log::{ReadEnd, ReadPlan};
use crate::telemetry::meters::Meters;
use crate::wire::error_code::ErrorCode;

/// One partition that a fetch asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: PartitionIndex,
    pub fetch_offset: Offset,
    /// Leader epoch that the client knows; -1 when it knows none.
    pub current_leader_epoch: LeaderEpoch,
    /// Leader epoch of the last record that the client has; -1 when it knows none.
    pub last_fetched_epoch: LeaderEpoch,
    pub max_bytes: usize,
    /// Error of a partition that the client may not read; never kept in a session.
    pub denied: Option<ErrorCode>,
}

/// Limits of a whole fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_bytes: usize,
    pub read_committed: bool,
    pub by_id: bool,
    /// The follower that fetches up to the log end; `None` for consumers.
    pub follower: Option<FollowerId>,
    /// Set before version 3 of the request, whose limit also holds for a first batch: the batch is read whole, and the handler
    /// that answers cuts it at the limit.
    pub hard_limit: bool,
    /// Whether planning the reads may wait for a disk.
    pub reach: Reach,
}

/// Result of reading one partition.
#[derive(Clone, Debug)]
pub enum Outcome {
    Read(ReadPlan),
    /// The log of the client diverges from the leader's log; `epoch` and `end_offset` are the leader's largest epoch up to the
    /// client's last one, and its end (KIP-595).
    Diverged {
        epoch: LeaderEpoch,
        end_offset: Offset,
        plan: ReadPlan,
    },
    Failed(ErrorCode, Option<Arc<Partition>>),
    /// The read cannot be planned before this part of a file is in the page cache.
    Cold(FileRange),
}

/// Outcomes of all wanted partitions, in the order of the request, with totals.
#[derive(Debug)]
pub struct Fetched {
    pub outcomes: Vec<Outcome>,
    pub bytes: usize,
    /// Those of `bytes` that are counted against the throttle of followers.
    pub throttled: usize,
    /// Whether the answer must be sent at once: it has an error or a diverging log.
    pub urgent: bool,
    /// Partitions that were read, or are cold, each with the position beyond which a waiting fetch is woken.
    pub partitions: Vec<(Arc<Partition>, Wish)>,
}

impl Outcome {
    /// Number of bytes of records.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Read(plan) => plan.records.as_ref().map_or(0, |range| range.len),
            _ => 0,
        }
    }
}

impl Fetched {
    /// Parts of files that must be in the page cache before the answer can be complete.
    pub fn cold(&self) -> Vec<FileRange> {
        let cold = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Cold(range) => Some(range.clone()),
            _ => None,
        });
        cold.collect()
    }
}

/// Plans one round of reading all wanted partitions.
pub fn read(replicas: &ReplicaManager, wanted: &[Wanted], limits: Limits) -> Fetched {
    let mut fetched = Fetched {
        outcomes: Vec::with_capacity(wanted.len()),
        bytes: 0,
        throttled: 0,
        urgent: false,
        partitions: Vec::with_capacity(wanted.len()),
    };
    let mut left = limits.max_bytes;
    #[cfg(test)]
    replicas
        .looks()
        .fetch_add(wanted.len(), std::sync::atomic::Ordering::Relaxed);
    for want in wanted {
        checkpoint();
        let outcome = read_one(
            replicas,
            want,
            limits,
            left,
            fetched.bytes == 0,
            &mut fetched.partitions,
        );
        match &outcome {
            Outcome::Read(_) => {
                let len = outcome.bytes();
                fetched.bytes += len;
                if limits.follower.is_some()
                    && (fetched.partitions.last()).is_some_and(|(one, _)| one.is_served_slowly())
                {
                    fetched.throttled += len;
                }
                left = left.saturating_sub(len);
            }
            Outcome::Diverged { .. } | Outcome::Failed(..) => fetched.urgent = true,
            Outcome::Cold(_) => {}
        }
        fetched.outcomes.push(outcome);
    }
    fetched
}

fn read_one(
    replicas: &ReplicaManager,
    want: &Wanted,
    limits: Limits,
    left: usize,
    first: bool,
    seen: &mut Vec<(Arc<Partition>, Wish)>,
) -> Outcome {
    if let Some(error) = want.denied {
        return Outcome::Failed(error, None);
    }
    let found = if limits.by_id {
        replicas.partition_by_id(want.topic_id, want.index)
    } else {
        replicas.partition(&want.topic, want.index)
    };
    let partition = match found {
        Ok(partition) => partition,
        Err(error) => return Outcome::Failed(error, None),
    };
    let meter = partition.meter(replicas.meters());
    meter.add(|counts| &counts.fetch_requests, 1);
    let turn = partition.turn();
    if let Err(error) = partition.check_epoch(want.current_leader_epoch) {
        return Outcome::Failed(error, Some(partition));
    }
    let end = match limits.follower {
        Some(follower) => {
            if let Err(error) = partition.check_follower(follower, want.current_leader_epoch) {
                return Outcome::Failed(error, Some(partition));
            }
            ReadEnd::LogEnd
        }
        None if limits.read_committed => ReadEnd::LastStable,
        None => ReadEnd::HighWatermark,
    };
    if want.last_fetched_epoch >= 0 {
        let ours = partition.log().end_of_epoch(want.last_fetched_epoch);
        let diverged = match ours {
            None => return Outcome::Failed(ErrorCode::OffsetOutOfRange, Some(partition)),
            Some((epoch, end_offset)) => (epoch < want.last_fetched_epoch
                || end_offset < want.fetch_offset)
                .then_some((epoch, end_offset)),
        };
        // The position of a follower whose log has diverged is not recorded: its fetch offset is no position in the leader's
        // log (KAFKA-13141).
        if let Some((epoch, end_offset)) = diverged {
            let at = partition.log().log_start();
            if want.fetch_offset < at {
                return Outcome::Failed(ErrorCode::OffsetOutOfRange, Some(partition));
            }
            return match partition.log().read_within(at, 0, end, false, limits.reach) {
                Ok(plan) => Outcome::Diverged {
                    epoch,
                    end_offset,
                    plan,
                },
                Err(error) => failed(error, partition, replicas.meters()),
            };
        }
    }
    // The first partition with data sends at least one batch, so that a batch beyond all limits can be consumed.
    let at_least_one = if limits.hard_limit { left > 0 } else { first };
    let is_held_back = limits
        .follower
        .is_some_and(|follower| replicas.holds_back(&partition, follower.id));
    let (at_least_one, left) = match is_held_back {
        true => (false, 0),
        false => (at_least_one, left),
    };
    let planned = partition.log().read_within(
        want.fetch_offset,
        want.max_bytes.min(left),
        end,
        at_least_one,
        limits.reach,
    );
    let outcome = match planned {
        Ok(plan) => Outcome::Read(plan),
        Err(error) => failed(error, Arc::clone(&partition), replicas.meters()),
    };
    let read_to = match (&outcome, limits.follower) {
        (Outcome::Read(plan), None) => plan.watermarks.high_watermark,
        (Outcome::Read(plan), Some(follower)) => {
            let log_end = plan.watermarks.log_end;
            if let Err(error) = note(replicas, &partition, want, follower, log_end) {
                return Outcome::Failed(error, Some(partition));
            }
            log_end
        }
        (Outcome::Cold(_), _) => want.fetch_offset,
        (Outcome::Diverged { .. } | Outcome::Failed(..), _) => return outcome,
    };
    let beyond = read_to.max(want.fetch_offset);
    seen.push((partition, Wish { beyond, turn }));
    outcome
}

/// Records a follower's position: it has all records below its fetch offset. May ask the controller for a change of the ISR.
fn note(
    replicas: &ReplicaManager,
    partition: &Arc<Partition>,
    want: &Wanted,
    follower: FollowerId,
    leader_log_end: Offset,
) -> Result<(), ErrorCode> {
    let epoch = partition.leads_in()?;
    partition.check_epoch(want.current_leader_epoch)?;
    let fetch = FollowerFetch {
        replica: follower.id,
        broker_epoch: follower.broker_epoch,
        log_end: want.fetch_offset,
        leader_log_end,
    };
    let proposal = partition.followed(epoch, fetch, replicas.clock().now())?;
    if let Some(proposal) = proposal {
        replicas.isr_changes().put(partition, proposal);
    }
    Ok(())
}

fn failed(error: ReadError, partition: Arc<Partition>, meters: &Meters) -> Outcome {
    if let ReadError::Storage(error) = &error {
        if let Some(range) = error.cold() {
            return Outcome::Cold(range.clone());
        }
        let meter = partition.meter(meters);
        meter.add(|counts| &counts.failed_fetch_requests, 1);
        tracing::error!(partition = %partition.name(), %error, "a read failed");
    }
    Outcome::Failed(error.code(), Some(partition))
}
