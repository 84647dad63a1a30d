//! The quorum of one node: the node's own metadata log, which it leads in every epoch.
//!
//! ```text
//! 1. records are appended as one batch; 2. the file is synced; 3. the records are committed, and the image has them.
//! ```
//!
//! After a crash before 2 the batch is either complete, or missing or cut off by recovery; nothing that depends on it was
//! published.

use super::files::MemberFiles;
use super::upkeep::Upkeep;
use super::voters::VoterSet;
use super::{Leadership, ProposeError, Quorum, state};
use crate::base::ids::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::base::time::Timestamp;
use crate::host::disk::Dir;
use crate::log::error::{StorageError, malformed};
use crate::metadata::batches::Batch;
use crate::metadata::image::Image;
use crate::metadata::loader::{Committed, from_log};
use crate::metadata::record::Record;
use crate::metadata::record::schema::NoOpRecord;
use crate::wire::message::embedded::{LeaderChangeMessage, LeaderChangeVoter};

/// Kind of the control record with which a leader begins its epoch.
const LEADER_CHANGE: u8 = 2;

/// Limit of the NoOpRecords that a power loss may have removed from the end of the log. They span more than an hour, while the
/// operating system writes its pages within seconds.
const LOST_MAX: Offset = 10_000;

/// The quorum of one node.
#[derive(Debug)]
pub struct SingleQuorum {
    node_id: BrokerId,
    files: MemberFiles,
    voters: VoterSet,
    epoch: LeaderEpoch,
    /// Batches that are appended and not returned by `committed` yet.
    proposed: Vec<Batch>,
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
        let (mut files, saved) = MemberFiles::open(place, clean, upkeep, now)?;
        let mut image = saved.image;
        // The image is complete before anything is written.
        let unsaved = from_log(&files.dir, &files.log, &mut image)?;
        files.unsaved(unsaved, now);

        let epoch = files.log.latest_epoch().unwrap_or(0);
        let epoch = epoch.max(image.epoch).max(0) + 1;
        files.log.written_at(image.metadata_version());
        let mut this = Self {
            node_id,
            files,
            voters: saved.voters,
            epoch,
            proposed: Vec::new(),
        };
        this.write_quorum_state()?;
        this.announce_leader(now)?;
        this.reach(image.offset + 1, now)?;
        image.epoch = epoch;
        image.offset = this.files.log.log_end() - 1;
        Ok((this, image))
    }

    /// Fills the log with NoOpRecords up to the end of the newest snapshot. NoOpRecords are not synced, so a power loss may
    /// have removed some that the snapshot includes. New records at their offsets would be ignored, because they would seem to
    /// be in the snapshot.
    fn reach(&mut self, end: Offset, now: Timestamp) -> Result<(), StorageError> {
        let lost = end - self.files.log.log_end();
        if lost <= 0 {
            return Ok(());
        }
        if lost > LOST_MAX {
            let what = format!(
                "the metadata log ends at {}, and the newest snapshot at {end}; take the segments from a copy of this directory",
                self.files.log.log_end()
            );
            return Err(malformed(&self.files.dir, what));
        }
        let nothing = vec![Record::NoOp(NoOpRecord {}); lost as usize];
        let filled = self.files.log.append(&nothing, self.epoch, now);
        filled.map_err(|error| error.into_storage(&self.files.dir))?;
        self.files.log.sync(now)
    }

    fn write_quorum_state(&self) -> Result<(), StorageError> {
        let MemberFiles { disk, dir, .. } = &self.files;
        state::write(disk, dir, self.leadership(), Some(&[self.node_id]))
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
        self.files
            .log
            .append_control(LEADER_CHANGE, &message, self.epoch, now)?;
        self.files.log.sync(now)
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
        let (first, bytes) = self.files.log.append(&records, epoch, now)?;
        self.files.unsaved(bytes as u64, now);
        self.proposed.push(Batch {
            first,
            epoch,
            records,
        });
        Ok(first)
    }

    /// Syncs everything that was proposed at once. NoOpRecords need no sync, because nothing depends on them.
    fn committed(&mut self, now: Timestamp) -> Result<Committed, StorageError> {
        if !self.proposed.iter().all(Batch::says_nothing) {
            self.files.log.sync(now)?;
        }
        Ok(std::mem::take(&mut self.proposed).into())
    }

    fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        self.files.snapshot_wait(now)
    }

    fn snapshot(&mut self, image: &Image, now: Timestamp) -> Result<(), StorageError> {
        assert_eq!(
            image.offset + 1,
            self.files.log.log_end(),
            "an image of everything committed"
        );
        self.files.snapshot(image, &self.voters, now)
    }

    fn close(&mut self) -> Result<(), StorageError> {
        self.files.log.close()
    }
}
