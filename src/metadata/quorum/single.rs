//! The quorum of one: this node's own metadata log, in whose every epoch it leads.
//!
//! ```text
//! 1. records are appended as one batch; 2. the file is synced; 3. they are committed, and the image shows them.
//! ```
//! After a crash before 2 the batch is there or not, whole or cut off by recovery: nobody was told of it.

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

/// The control record with which a leader begins its epoch.
const LEADER_CHANGE: u8 = 2;

/// Records that say nothing and that a power loss may have taken from the end of the log: those of over an hour, where the
/// system writes within seconds.
const LOST_MAX: Offset = 10_000;

/// See the module.
#[derive(Debug)]
pub struct SingleQuorum {
    disk: Disk,
    dir: PathBuf,
    node_id: BrokerId,
    log: MetadataLog,
    snapshots: SnapshotStore,
    epoch: LeaderEpoch,
    upkeep: Upkeep,
    /// Appended, and not yet given out as committed.
    proposed: Vec<Batch>,
    /// Bytes appended since the newest snapshot.
    since_snapshot: u64,
    /// When the oldest record was appended that is in no snapshot.
    oldest_unsaved: Option<Timestamp>,
}

impl SingleQuorum {
    /// Opens the metadata log, folds it, and begins a new epoch as its leader.
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
        // Before anything is written.
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

    /// Fills the log up to the end of the newest snapshot. Records that say nothing are not synced: a power loss may have taken
    /// some that the snapshot counts, and what came in their place would be taken for what the snapshot has.
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

    /// One sync for everything that was proposed. Nobody is told of a record that says nothing, so that one may be lost.
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

    /// The snapshot is there first, whole and synced; then older snapshots go, oldest first; then the segments that end
    /// before the oldest remaining one. After a crash between them the rest is removed after the next snapshot.
    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError> {
        assert_eq!(
            image.offset + 1,
            self.log.log_end(),
            "an image of everything committed"
        );
        // What the snapshot counts must not be lost behind it.
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
