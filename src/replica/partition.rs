//! One partition on this node: its log, its leader epoch, and who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use bytes::Bytes;

use super::purgatory::WaitList;
use crate::base::disk_pool::aside;
use crate::base::ids::{LeaderEpoch, PartitionIndex, Uuid};
use crate::base::time::Timestamp;
use crate::log::append::Origin;
use crate::log::error::AppendError;
use crate::log::partition_log::{Appended, PartitionLog};
use crate::wire::error_code::ErrorCode;

/// See the module.
#[derive(Debug)]
pub struct Partition {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: PartitionIndex,
    pub log: Arc<PartitionLog>,
    leader_epoch: AtomicI32,
    /// Cleared when the partition is deleted or has no leader; whoever still holds it is told to look again.
    leads: AtomicBool,
    waiting: WaitList,
}

impl Partition {
    pub fn new(
        topic: Arc<str>,
        topic_id: Uuid,
        index: PartitionIndex,
        log: Arc<PartitionLog>,
        leader_epoch: LeaderEpoch,
        leads: bool,
    ) -> Self {
        Self {
            topic,
            topic_id,
            index,
            log,
            leader_epoch: AtomicI32::new(leader_epoch),
            leads: AtomicBool::new(leads),
            waiting: WaitList::default(),
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Takes over a new epoch, and whether this node leads in it. Where neither is news, nobody who waits is woken: another
    /// partition of the topic has changed.
    pub fn enter(&self, epoch: LeaderEpoch, leads: bool) {
        let before = self.leader_epoch.fetch_max(epoch, Ordering::AcqRel);
        let led = self.leads.swap(leads, Ordering::AcqRel);
        if epoch > before || leads != led {
            self.waiting.wake();
        }
    }

    /// The partition is gone, or its log directory is.
    pub fn retire(&self) {
        self.leads.store(false, Ordering::Release);
        self.waiting.wake();
    }

    pub fn is_leader(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// Compares the epoch that a client knows (-1 for none) with the partition's.
    pub fn check_epoch(&self, known: LeaderEpoch) -> Result<(), ErrorCode> {
        let current = self.leader_epoch();
        if !self.is_leader() {
            Err(ErrorCode::NotLeaderOrFollower)
        } else if known < 0 || known == current {
            Ok(())
        } else if known < current {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }

    /// Appends and wakes those who wait. The only replica is this one, so the records are committed on return.
    pub fn append(
        &self,
        records: &Bytes,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        if !self.is_leader() {
            return Err(AppendError::refused(
                ErrorCode::NotLeaderOrFollower,
                "this broker does not lead the partition any more",
            ));
        }
        let epoch = self.leader_epoch();
        let appended = self.log.append_as_leader(records, epoch, origin, now)?;
        if appended.must_flush {
            aside(|| self.log.flush_up_to(appended.log_end, now))?;
        }
        self.log.high_watermark().raise_to(appended.log_end);
        if !appended.duplicate {
            self.waiting.wake();
        }
        Ok(appended)
    }
}

/// A partition that somebody waits for.
#[derive(Clone, Debug)]
pub struct Awaited(pub Arc<Partition>);

impl Awaited {
    /// With the number of changes so far: to be asked for before the partition is looked at.
    pub fn now(partition: &Arc<Partition>) -> (Self, u64) {
        (Self(Arc::clone(partition)), partition.waiting.changes())
    }
}

impl AsRef<WaitList> for Awaited {
    fn as_ref(&self) -> &WaitList {
        &self.0.waiting
    }
}
