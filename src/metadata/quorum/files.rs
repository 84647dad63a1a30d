//! The files of a quorum's member: the metadata log, the snapshots beside it, and when the next one is due.

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

/// See the module.
#[derive(Debug)]
pub struct MemberFiles {
    pub disk: Disk,
    pub dir: PathBuf,
    pub log: MetadataLog,
    pub snapshots: SnapshotStore,
    pub upkeep: Upkeep,
    /// Bytes appended since the newest snapshot.
    since_snapshot: u64,
    /// When the oldest record was appended that is in no snapshot.
    oldest_unsaved: Option<Timestamp>,
}

/// What the newest snapshot says.
#[derive(Debug)]
pub struct Saved {
    pub image: Image,
    pub voters: VoterSet,
    /// `None` if there is no snapshot, and the image is empty.
    pub snapshot: Option<Snapshot>,
}

impl MemberFiles {
    /// Opens the files in the metadata directory, and reads the newest snapshot. The log is as it was found.
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
        let (image, voters, snapshot) = from_snapshot(&dir, &snapshots)?;
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

    /// So many bytes are in the log that no snapshot has.
    pub fn unsaved(&mut self, bytes: u64, now: Timestamp) {
        if bytes > 0 {
            self.since_snapshot += bytes;
            self.oldest_unsaved.get_or_insert(now);
        }
    }

    /// Milliseconds until a snapshot is due; `None` when only more records can make it so.
    pub fn snapshot_wait(&self, now: Timestamp) -> Option<u64> {
        if self.since_snapshot >= self.upkeep.snapshot_bytes {
            return Some(0);
        }
        self.upkeep.snapshot_wait(self.oldest_unsaved, now)
    }

    /// The snapshot is there first, whole and synced; then older snapshots go, oldest first; then the segments that end
    /// before the oldest remaining one. After a crash between them the rest is removed after the next snapshot.
    pub fn snapshot(
        &mut self,
        image: &Image,
        voters: &VoterSet,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        // What the snapshot counts must not be lost behind it.
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

    /// Has the log begin anew behind a snapshot, which is there already. After a crash before the end the log ends below the
    /// snapshot, and begins anew at the next start.
    pub fn begin_behind(&mut self, id: SnapshotId, now: Timestamp) -> Result<(), StorageError> {
        let place = self.disk.dir(&self.dir);
        self.log.start_anew(place, &self.upkeep, id.end, now)?;
        self.saved();
        Ok(())
    }

    /// The epoch of the last record in the log; that of the snapshot if there is none behind it.
    pub fn last_epoch(&self, snapshot: Option<SnapshotId>) -> LeaderEpoch {
        let of_snapshot = snapshot.map_or(0, |id| id.epoch);
        self.log.latest_epoch().unwrap_or(of_snapshot)
    }

    /// The next snapshot is not due before as much again has been appended.
    pub fn saved(&mut self) {
        self.since_snapshot = 0;
        self.oldest_unsaved = None;
    }
}
