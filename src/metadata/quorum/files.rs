//! Files of a quorum member: the metadata log and its snapshots, and the time of the next snapshot.

use std::path::PathBuf;

use super::upkeep::{Snapshot, SnapshotId, Upkeep};
use super::voters::VoterSet;
use crate::base::ids::LeaderEpoch;
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk};
use crate::log::error::StorageError;
use crate::log::manager::METADATA_LOG;
use crate::metadata::image::Image;
use crate::metadata::loader::from_snapshot;
use crate::metadata::metadata_log::MetadataLog;
use crate::metadata::snapshots::SnapshotStore;

/// Files of a quorum member; see the module.
#[derive(Debug)]
pub struct MemberFiles {
    pub disk: Disk,
    pub dir: PathBuf,
    pub log: MetadataLog,
    pub snapshots: SnapshotStore,
    pub upkeep: Upkeep,
    /// Bytes appended since the newest snapshot.
    since_snapshot: u64,
    /// Time at which the oldest record that is not in a snapshot was appended.
    oldest_unsaved: Option<Timestamp>,
}

/// Contents of the newest snapshot.
#[derive(Debug)]
pub struct Saved {
    pub image: Image,
    pub voters: VoterSet,
    /// `None` if there is no snapshot; the image is empty then.
    pub snapshot: Option<Snapshot>,
}

impl MemberFiles {
    /// Opens the files in the metadata directory and reads the newest snapshot. The log is not changed.
    pub fn open(
        place: Dir<'_>,
        clean: bool,
        upkeep: Upkeep,
        now: Timestamp,
    ) -> Result<(Self, Saved), StorageError> {
        let Dir { disk, path } = place;
        let dir = path.join(METADATA_LOG);
        let own = disk.dir(&dir);
        MetadataLog::prepare(own)?;
        let snapshots = SnapshotStore::new(own);
        snapshots.remove_unfinished()?;
        let (image, voters, snapshot) = from_snapshot(own, &snapshots)?;
        let start = snapshot.map(|snapshot| snapshot.end);
        let log = MetadataLog::open(own, &upkeep, clean, start, now)?;
        let files = Self {
            disk: disk.clone(),
            dir,
            log,
            snapshots,
            upkeep,
            since_snapshot: 0,
            oldest_unsaved: None,
        };
        let saved = Saved {
            image,
            voters,
            snapshot,
        };
        Ok((files, saved))
    }

    /// Counts bytes in the log that are not in a snapshot.
    pub fn unsaved(&mut self, bytes: u64, now: Timestamp) {
        if bytes > 0 {
            self.since_snapshot += bytes;
            self.oldest_unsaved.get_or_insert(now);
        }
    }

    /// Milliseconds until a snapshot is due; `None` if it only becomes due with more records.
    pub fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        if self.since_snapshot >= self.upkeep.snapshot_bytes {
            return Some(0);
        }
        self.upkeep.snapshot_wait(self.oldest_unsaved, now)
    }

    /// Writes a snapshot. First the new snapshot is written and synced; then older snapshots are removed, oldest first; then
    /// the segments that end before the oldest remaining one. After a crash in between the rest is removed after the next
    /// snapshot.
    pub fn snapshot(
        &mut self,
        image: &Image,
        voters: &VoterSet,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        // Records that the snapshot includes must not be missing in the log after a power loss.
        self.log.sync(now)?;
        self.snapshots.write(image, voters, now)?;
        self.saved();

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

    /// Lets the log begin anew at the end of an existing snapshot. After a crash in between the log ends below the snapshot,
    /// and begins anew at the next start.
    pub fn begin_behind(&mut self, id: SnapshotId) -> Result<(), StorageError> {
        self.log.start_anew_at(id.end)?;
        self.saved();
        Ok(())
    }

    /// Epoch of the last record in the log; that of the snapshot if the log is empty.
    pub fn last_epoch(&self, snapshot: Option<SnapshotId>) -> LeaderEpoch {
        let of_snapshot = snapshot.map_or(0, |id| id.epoch);
        self.log.latest_epoch().unwrap_or(of_snapshot)
    }

    /// Resets the counts: the next snapshot becomes due with new records.
    pub fn saved(&mut self) {
        self.since_snapshot = 0;
        self.oldest_unsaved = None;
    }
}
