//! pure: times of snapshots of the metadata log, and the snapshots and records that can be removed.

use std::fmt;

use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::config::broker::BrokerSettings;

/// Settings of the metadata log and its snapshots (`metadata.log.*`, `metadata.max.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// Bytes of records after which a snapshot is due.
    pub snapshot_bytes: u64,
    /// Milliseconds after which records must be in a snapshot; no limit if 0 or less.
    pub snapshot_ms: i64,
    pub segment_bytes: u32,
    pub segment_ms: i64,
    /// Limit of the total size of log and snapshots in bytes; no limit if negative.
    pub retention_bytes: i64,
    /// Age in milliseconds from which on snapshots are removed; no limit if negative.
    pub retention_ms: i64,
    /// Milliseconds between two NoOpRecords, by which observers can measure their lag; no NoOpRecords if 0 or less.
    pub idle_ms: i64,
}

/// Identity of a snapshot: the state after all records before `end`, the last of which is of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end: Offset,
    pub epoch: LeaderEpoch,
}

impl fmt::Display for SnapshotId {
    /// Formats the id as in the file name, without its extension.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}-{:010}", self.end, self.epoch)
    }
}

/// A snapshot: the state after all records below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub end: Offset,
    pub epoch: LeaderEpoch,
    pub bytes: u64,
    pub written: Timestamp,
}

impl Snapshot {
    pub fn id(&self) -> SnapshotId {
        SnapshotId {
            end: self.end,
            epoch: self.epoch,
        }
    }
}

impl Upkeep {
    pub fn new(settings: &BrokerSettings) -> Self {
        let positive = |name| u64::try_from(settings.long(name)).unwrap_or_default();
        Self {
            snapshot_bytes: positive("metadata.log.max.record.bytes.between.snapshots").max(1),
            snapshot_ms: settings.long("metadata.log.max.snapshot.interval.ms"),
            segment_bytes: positive("metadata.log.segment.bytes").min(u64::from(u32::MAX >> 1))
                as u32,
            segment_ms: settings.long("metadata.log.segment.ms"),
            retention_bytes: settings.long("metadata.max.retention.bytes"),
            retention_ms: settings.long("metadata.max.retention.ms"),
            idle_ms: settings.long("metadata.max.idle.interval.ms"),
        }
    }

    /// Milliseconds until a snapshot is due by time; `oldest` is the time of the oldest record that is not in a snapshot.
    pub fn snapshot_wait(&self, oldest: Option<Timestamp>, now: Timestamp) -> Option<u64> {
        let oldest = oldest.filter(|_| self.snapshot_ms > 0)?;
        let due = oldest.saturating_add(self.snapshot_ms);
        Some(u64::try_from(due.saturating_sub(now)).unwrap_or_default())
    }

    /// Milliseconds until a NoOpRecord is due, if the last one was at `last`; at most the interval, even if the clock was set
    /// back.
    pub fn idle_wait(&self, last: Timestamp, now: Timestamp) -> Option<u64> {
        let interval = u64::try_from(self.idle_ms).ok().filter(|ms| *ms > 0)?;
        let due = last.saturating_add(self.idle_ms);
        let wait = u64::try_from(due.saturating_sub(now)).unwrap_or_default();
        Some(wait.min(interval))
    }

    /// Number of `snapshots` (oldest first) that can be removed. The newest one always stays, and the log then begins at the
    /// oldest one that stays.
    pub fn obsolete(&self, snapshots: &[Snapshot], log_bytes: u64, now: Timestamp) -> usize {
        let mut bytes = log_bytes + snapshots.iter().map(|one| one.bytes).sum::<u64>();
        let mut gone = 0;
        for snapshot in snapshots.iter().take(snapshots.len().saturating_sub(1)) {
            let too_many = u64::try_from(self.retention_bytes).is_ok_and(|limit| bytes > limit);
            let too_old =
                self.retention_ms >= 0 && now.saturating_sub(snapshot.written) > self.retention_ms;
            if !too_many && !too_old {
                break;
            }
            bytes -= snapshot.bytes;
            gone += 1;
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &[(i64, u64)], log_bytes: u64, gone: usize) {
        let upkeep = Upkeep {
            retention_bytes: 1_000,
            retention_ms: 50,
            ..Upkeep::new(&BrokerSettings::default())
        };
        let snapshots: Vec<_> = written
            .iter()
            .map(|&(written, bytes)| Snapshot {
                end: written,
                epoch: 1,
                bytes,
                written,
            })
            .collect();
        assert_eq!(upkeep.obsolete(&snapshots, log_bytes, 100), gone);
    }

    #[test]
    fn old_and_surplus_snapshots_go_but_never_the_newest() {
        check(&[], 5_000, 0);
        check(&[(1, 5_000)], 5_000, 0);
        check(&[(49, 10), (50, 10), (51, 10)], 0, 1);
        check(&[(1, 10), (2, 10), (3, 10)], 0, 2);
        check(&[(90, 400), (91, 400), (92, 400)], 100, 1);
        check(&[(90, 400), (91, 400), (92, 400)], 1_000, 2);
    }

    #[test]
    fn a_snapshot_is_due_an_interval_after_the_oldest_record() {
        let upkeep = Upkeep::new(&BrokerSettings::default());
        assert_eq!(upkeep.snapshot_wait(None, 5), None);
        assert_eq!(upkeep.snapshot_wait(Some(5), 5), Some(3_600_000));
        assert_eq!(upkeep.snapshot_wait(Some(5), 9_000_000), Some(0));
    }

    #[test]
    fn a_record_that_says_nothing_is_due_an_interval_after_the_last() {
        let mut upkeep = Upkeep::new(&BrokerSettings::default());
        assert_eq!(upkeep.idle_wait(1_000, 1_000), Some(500));
        assert_eq!(upkeep.idle_wait(1_000, 1_400), Some(100));
        assert_eq!(upkeep.idle_wait(1_000, 9_000), Some(0));
        assert_eq!(upkeep.idle_wait(9_000, 1_000), Some(500));
        upkeep.idle_ms = 0;
        assert_eq!(upkeep.idle_wait(1_000, 9_000), None);
    }
}
