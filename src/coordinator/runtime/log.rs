//! Log of a coordinator's records: a trait for the partitions of an internal topic, and an implementation in memory for tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::shard::Condition;
use crate::base::ids::{LeaderEpoch, Offset, PartitionIndex};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Records appended to a partition in a leader epoch, up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    pub partition: PartitionIndex,
    pub leader_epoch: LeaderEpoch,
    pub until: Offset,
}

/// Callback for when a high watermark may have moved.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The partitions of one internal topic that this node leads. Appends go to the page cache and may run in place; reads are for
/// loading and run where blocking is allowed.
pub trait RecordLog: Send + Sync + 'static {
    /// Appends one batch as the leader of this epoch; returns the offset after it. The append fails in any other epoch:
    /// decisions of an older epoch may contradict records of a later leader.
    fn append(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        batch: &Bytes,
        now: Timestamp,
    ) -> Result<Offset, ErrorCode>;

    /// High watermark: records below it that were appended in this leader epoch are committed. -1 if the epoch is over or the
    /// partition is not on this node, because another leader may commit other records at these offsets.
    fn high_watermark(&self, partition: PartitionIndex, leader_epoch: LeaderEpoch) -> Offset;

    /// Leader epoch in which this node leads, and log end offset. Errors: NOT_LEADER_OR_FOLLOWER.
    fn leads_from(&self, partition: PartitionIndex) -> Result<(LeaderEpoch, Offset), ErrorCode>;

    /// Log start offset and log end offset.
    ///
    /// Errors: NOT_LEADER_OR_FOLLOWER if this node does not lead in this epoch. The log of a follower may hold records that are
    /// about to be truncated, and metadata may name a leader before its log is.
    fn bounds(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
    ) -> Result<(Offset, Offset), ErrorCode>;

    /// Complete batches from `from` on, about `max_bytes` but at least one batch; empty at the end of the log. Errors: as of
    /// [`Self::bounds`].
    fn read(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Bytes, ErrorCode>;

    /// Deletes the records before `offset`, all of which are committed. May wait for a disk. Errors: as of [`Self::bounds`], and
    /// those of the disk.
    fn delete_before(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        offset: Offset,
        now: Timestamp,
    ) -> Result<(), ErrorCode>;

    /// Checks whether a condition holds now.
    fn check(&self, partition: PartitionIndex, condition: &Condition) -> Result<(), ErrorCode>;

    /// Limit of the size of one batch in bytes.
    fn batch_bytes_max(&self) -> usize;

    /// Calls `wake` once all records below `until` are committed, or can no longer be because this node does not lead in that
    /// epoch any more; at the latest after `within`.
    fn watch(&self, append: Append, within: Duration, wake: Wake);
}

#[cfg(test)]
pub mod memory {
    //! A log in memory that holds commits back and fails on request.

    use std::collections::BTreeMap;

    use bytes::BytesMut;
    use parking_lot::Mutex;

    use super::*;
    use crate::wire::batch::header::{BatchHeader, stamp};

    #[derive(Default)]
    struct Inner {
        partitions: BTreeMap<PartitionIndex, Vec<(Offset, Bytes)>>,
        ends: BTreeMap<PartitionIndex, Offset>,
        high_watermarks: BTreeMap<PartitionIndex, Offset>,
        held: bool,
        failing: Option<ErrorCode>,
        refusing: Option<ErrorCode>,
        leader_epoch: Option<LeaderEpoch>,
        wakes: Vec<Wake>,
    }

    #[derive(Default)]
    pub struct MemoryLog(Mutex<Inner>);

    impl MemoryLog {
        /// Stops or resumes committing.
        pub fn hold(&self, held: bool) {
            let wakes = {
                let mut inner = self.0.lock();
                inner.held = held;
                if !held {
                    inner.high_watermarks = inner.ends.clone();
                }
                std::mem::take(&mut inner.wakes)
            };
            for wake in wakes {
                wake();
            }
        }

        pub fn fail(&self, error: Option<ErrorCode>) {
            self.0.lock().failing = error;
        }

        /// Sets the result of all condition checks.
        pub fn refuse(&self, error: Option<ErrorCode>) {
            self.0.lock().refusing = error;
        }

        /// From now on, this node leads only in this leader epoch.
        pub fn lead_from(&self, epoch: LeaderEpoch) {
            self.0.lock().leader_epoch = Some(epoch);
        }

        pub fn batches(&self, partition: PartitionIndex) -> usize {
            self.0.lock().partitions.get(&partition).map_or(0, Vec::len)
        }
    }

    impl Inner {
        fn check(&self, leader_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
            match self.leader_epoch {
                Some(epoch) if epoch != leader_epoch => Err(ErrorCode::NotLeaderOrFollower),
                _ => Ok(()),
            }
        }
    }

    impl RecordLog for MemoryLog {
        fn append(
            &self,
            partition: PartitionIndex,
            leader_epoch: LeaderEpoch,
            batch: &Bytes,
            _now: Timestamp,
        ) -> Result<Offset, ErrorCode> {
            let mut inner = self.0.lock();
            if let Some(error) = inner.failing {
                return Err(error);
            }
            inner.check(leader_epoch)?;
            let base = inner.ends.get(&partition).copied().unwrap_or(0);
            let mut bytes = BytesMut::from(&batch[..]);
            stamp(&mut bytes, base, leader_epoch);
            let header = BatchHeader::parse(&bytes).map_err(|_| ErrorCode::CorruptMessage)?;
            let end = header.next_offset();
            inner
                .partitions
                .entry(partition)
                .or_default()
                .push((base, bytes.freeze()));
            inner.ends.insert(partition, end);
            if !inner.held {
                inner.high_watermarks.insert(partition, end);
            }
            Ok(end)
        }

        fn high_watermark(&self, partition: PartitionIndex, _: LeaderEpoch) -> Offset {
            let inner = self.0.lock();
            inner.high_watermarks.get(&partition).copied().unwrap_or(0)
        }

        fn leads_from(
            &self,
            partition: PartitionIndex,
        ) -> Result<(LeaderEpoch, Offset), ErrorCode> {
            let inner = self.0.lock();
            let end = inner.ends.get(&partition).copied().unwrap_or(0);
            Ok((inner.leader_epoch.unwrap_or(0), end))
        }

        fn bounds(
            &self,
            partition: PartitionIndex,
            leader_epoch: LeaderEpoch,
        ) -> Result<(Offset, Offset), ErrorCode> {
            let inner = self.0.lock();
            inner.check(leader_epoch)?;
            let end = inner.ends.get(&partition).copied().unwrap_or(0);
            let batches = inner.partitions.get(&partition);
            let first = batches.and_then(|batches| batches.first());
            Ok((first.map_or(end, |(base, _)| *base), end))
        }

        fn read(
            &self,
            partition: PartitionIndex,
            leader_epoch: LeaderEpoch,
            from: Offset,
            max_bytes: usize,
        ) -> Result<Bytes, ErrorCode> {
            let inner = self.0.lock();
            inner.check(leader_epoch)?;
            let mut out = BytesMut::new();
            for (base, batch) in inner.partitions.get(&partition).into_iter().flatten() {
                if *base >= from && (out.is_empty() || out.len() < max_bytes) {
                    out.extend_from_slice(batch);
                }
            }
            Ok(out.freeze())
        }

        fn delete_before(
            &self,
            partition: PartitionIndex,
            _: LeaderEpoch,
            offset: Offset,
            _: Timestamp,
        ) -> Result<(), ErrorCode> {
            let mut inner = self.0.lock();
            if let Some(batches) = inner.partitions.get_mut(&partition) {
                batches.retain(|(base, _)| *base >= offset);
            }
            Ok(())
        }

        fn check(&self, _: PartitionIndex, _: &Condition) -> Result<(), ErrorCode> {
            self.0.lock().refusing.map_or(Ok(()), Err)
        }

        fn batch_bytes_max(&self) -> usize {
            1 << 20
        }

        fn watch(&self, _: Append, _: Duration, wake: Wake) {
            self.0.lock().wakes.push(wake);
        }
    }
}
