//! The quorum of one node: the node's own metadata log, which it leads in every epoch.
//!
//! ```text
//! 1. records are appended as one batch; 2. the file is synced; 3. the records are committed, and the image has them.
//! ```
//!
//! After a crash before 2 the batch is either complete, or missing or cut off by recovery; nothing that depends on it was
//! published.

use std::path::PathBuf;

use super::upkeep::Upkeep;
use super::{Leadership, ProposeError, Quorum};
use crate::base::ids::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk};
use crate::log::checkpoint;
use crate::log::error::{StorageError, malformed};
use crate::log::manager::METADATA_LOG;
use crate::metadata::batches::Batch;
use crate::metadata::image::Image;
use crate::metadata::loader::{from_log, from_snapshot};
use crate::metadata::metadata_log::MetadataLog;
use crate::metadata::record::Record;
use crate::metadata::record::schema::NoOpRecord;
use crate::metadata::snapshots::SnapshotStore;
use crate::wire::message::embedded::{LeaderChangeMessage, LeaderChangeVoter};

/// Kind of the control record with which a leader begins its epoch.
const LEADER_CHANGE: u8 = 2;

/// Limit of the NoOpRecords that a power loss may have removed from the end of the log. They span more than an hour, while the
/// operating system writes its pages within seconds.
const LOST_MAX: Offset = 10_000;

/// The quorum of one node.
#[derive(Debug)]
pub struct SingleQuorum {
    disk: Disk,
    dir: PathBuf,
    node_id: BrokerId,
    log: MetadataLog,
    snapshots: SnapshotStore,
    epoch: LeaderEpoch,
    upkeep: Upkeep,
    /// Batches that were appended but not yet returned as committed.
    proposed: Vec<Batch>,
    /// Bytes appended since the newest snapshot.
    since_snapshot: u64,
    /// Time at which the oldest record was appended that is not in a snapshot.
    oldest_unsaved: Option<Timestamp>,
}

impl SingleQuorum {
    /// Opens the metadata log, builds the image, and begins a new epoch as leader.
    pub fn open(
        place: Dir<'_>,
        node_id: BrokerId,
        clean: bool,
        upkeep: Upkeep,
        now: Timestamp,
    ) -> Result<(Self, Image), StorageError> {
        let Dir { disk, path } = place;
        let dir = path.join(METADATA_LOG);
        let own = disk.dir(&dir);
        MetadataLog::prepare(own)?;
        let snapshots = SnapshotStore::new(own);
        let (mut image, newest) = from_snapshot(&dir, &snapshots)?;
        let start = newest.map(|snapshot| snapshot.end);
        let mut log = MetadataLog::open(own, &upkeep, clean, start, now)?;
        // The log is read before anything is written.
        let unsaved = from_log(&dir, &log, &mut image)?;

        let epoch = log.latest_epoch().unwrap_or(0).max(image.epoch).max(0) + 1;
        log.written_at(image.metadata_version());
        let mut this = Self {
            disk: disk.clone(),
            dir,
            node_id,
            log,
            snapshots,
            epoch,
            upkeep,
            proposed: Vec::new(),
            since_snapshot: unsaved,
            oldest_unsaved: (unsaved > 0).then_some(now),
        };
        this.write_quorum_state()?;
        this.announce_leader(now)?;
        this.reach(image.offset + 1, now)?;
        image.epoch = epoch;
        image.offset = this.log.log_end() - 1;
        Ok((this, image))
    }

    /// Fills the log with NoOpRecords up to the end of the newest snapshot. NoOpRecords are not synced, so a power loss may
    /// have removed some that the snapshot includes. New records at their offsets would be ignored, because they would seem to
    /// be in the snapshot.
    fn reach(&mut self, end: Offset, now: Timestamp) -> Result<(), StorageError> {
        let lost = end - self.log.log_end();
        if lost <= 0 {
            return Ok(());
        }
        if lost > LOST_MAX {
            let what = format!(
                "the metadata log ends at {}, and the newest snapshot at {end}; take the segments from a copy of this directory",
                self.log.log_end()
            );
            return Err(malformed(&self.dir, what));
        }
        let nothing = vec![Record::NoOp(NoOpRecord {}); lost as usize];
        let filled = self.log.append(&nothing, self.epoch, now);
        filled.map_err(|error| error.into_storage(&self.dir))?;
        self.log.sync(now)
    }

    fn write_quorum_state(&self) -> Result<(), StorageError> {
        let node_id = self.node_id;
        let text = format!(
            "{{\"clusterId\":\"\",\"leaderId\":{node_id},\"leaderEpoch\":{},\"votedId\":-1,\"appliedOffset\":0,\
             \"currentVoters\":[{{\"voterId\":{node_id}}}],\"data_version\":0}}",
            self.epoch
        );
        let path = self.dir.join("quorum-state");
        checkpoint::replace(&self.disk, &path, text.as_bytes(), true)
    }

    fn announce_leader(&mut self, now: Timestamp) -> Result<(), StorageError> {
        let voter = LeaderChangeVoter {
            voter_id: self.node_id,
            voter_directory_id: Uuid::ZERO,
        };
        let message = LeaderChangeMessage {
            version: 0,
            leader_id: self.node_id,
            voters: vec![voter.clone()],
            granting_voters: vec![voter],
        };
        self.log
            .append_control(LEADER_CHANGE, &message, self.epoch, now)?;
        self.log.sync(now)
    }
}

impl Quorum for SingleQuorum {
    fn leadership(&self) -> Leadership {
        Leadership {
            epoch: self.epoch,
            leader: Some(self.node_id),
        }
    }

    fn propose(
        &mut self,
        epoch: LeaderEpoch,
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<Offset, ProposeError> {
        if epoch != self.epoch {
            return Err(ProposeError::NotLeader(epoch));
        }
        let (first, bytes) = self.log.append(&records, epoch, now)?;
        self.since_snapshot += bytes as u64;
        self.oldest_unsaved.get_or_insert(now);
        self.proposed.push(Batch {
            first,
            epoch,
            records,
        });
        Ok(first)
    }

    /// Syncs everything that was proposed at once. NoOpRecords need no sync, because nothing depends on them.
    fn committed(&mut self, now: Timestamp) -> Result<Vec<Batch>, StorageError> {
        if !self.proposed.iter().all(Batch::says_nothing) {
            self.log.sync(now)?;
        }
        Ok(std::mem::take(&mut self.proposed))
    }

    fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        if self.since_snapshot >= self.upkeep.snapshot_bytes {
            return Some(0);
        }
        self.upkeep.snapshot_wait(self.oldest_unsaved, now)
    }

    /// Writes and syncs the new snapshot, then removes older snapshots, oldest first, then the segments that end before the
    /// oldest remaining snapshot. After a crash in between, the rest is removed after the next snapshot.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError> {
        assert_eq!(
            image.offset + 1,
            self.log.log_end(),
            "an image of everything committed"
        );
        // Records in the snapshot must not be missing from the end of the log.
        self.log.sync(now)?;
        self.snapshots.write(image, now)?;
        self.since_snapshot = 0;
        self.oldest_unsaved = None;

        let mut snapshots = self.snapshots.list()?;
        let gone = self.upkeep.obsolete(&snapshots, self.log.size(), now);
        for old in snapshots.drain(..gone) {
            self.snapshots.remove(&old)?;
        }
        if let Some(oldest) = snapshots.first().filter(|_| gone > 0) {
            self.log.advance_start(oldest.end, now)?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.log.close()
    }
}
