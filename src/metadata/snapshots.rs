//! Snapshots of the metadata: files `<end>-<epoch>.checkpoint` in the directory of the metadata log, each with all records that
//! an image consists of. Kafka's `RecordsSnapshotWriter` and `Snapshots`.

use std::path::{Path, PathBuf};

use super::batches::{Piece, control_batch, pieces};
use super::image::Image;
use super::image::records::records_of;
use super::quorum::upkeep::{Snapshot, SnapshotId};
use super::quorum::voters::{KRAFT_VERSION, VOTERS, VoterSet};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk};
use crate::host::file_time::FileTime;
use crate::log::append::{SNAPSHOT_FOOTER, control_kind};
use crate::log::checkpoint;
use crate::log::error::{DiskContext, StorageError, malformed};
use crate::log::recovery::Scanner;
use crate::metadata::record::Record;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::header::MAGIC_V2;
use crate::wire::codec::{DecodeError, EncodeError};
use crate::wire::message::embedded::{SnapshotFooterRecord, SnapshotHeaderRecord};

/// Size in bytes at which a batch of a snapshot is closed.
const BATCH_BYTES: usize = 1 << 20;
/// Kind of the control record at the beginning of a snapshot.
const SNAPSHOT_HEADER: u8 = 3;
/// Extension of an incomplete snapshot. Apache Kafka removes such files at its start too.
const UNFINISHED: &str = ".checkpoint.part";

/// The snapshots in the directory of the metadata log.
#[derive(Debug)]
pub struct SnapshotStore {
    disk: Disk,
    dir: PathBuf,
}

impl SnapshotStore {
    pub fn new(dir: Dir<'_>) -> Self {
        Self {
            disk: dir.disk.clone(),
            dir: dir.path.to_owned(),
        }
    }

    /// The snapshots, oldest first, except the one at offset 0 that formatting writes: it does not hold the cluster's state.
    pub fn list(&self) -> Result<Vec<Snapshot>, StorageError> {
        let mut found = Vec::new();
        for entry in self.disk.list(&self.dir).at("list", &self.dir)? {
            let stem = entry
                .text()
                .and_then(|name| name.strip_suffix(".checkpoint"));
            let parsed = stem.and_then(|stem| {
                let (end, epoch) = stem.split_once('-')?;
                Some((
                    end.parse::<Offset>().ok()?,
                    epoch.parse::<LeaderEpoch>().ok()?,
                ))
            });
            let Some((end, epoch)) = parsed.filter(|(end, _)| *end > 0) else {
                continue;
            };
            let path = entry.path();
            let facts = self.disk.facts(&path).at("look at", path)?;
            let written = facts.modified.and_then(FileTime::millis);
            found.push(Snapshot {
                end,
                epoch,
                bytes: facts.size,
                written: written.unwrap_or(0),
            });
        }
        found.sort_by_key(|snapshot| (snapshot.end, snapshot.epoch));
        Ok(found)
    }

    /// Writes and syncs a snapshot of the image. After a crash the snapshot is either complete or missing.
    pub fn write(
        &self,
        image: &Image,
        voters: &VoterSet,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let path = self.path(SnapshotId {
            end: image.offset + 1,
            epoch: image.epoch,
        });
        write(&self.disk, &path, image, voters, now)
    }

    pub fn remove(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let path = self.path(snapshot.id());
        self.disk.remove_file(&path).at("remove", &path)
    }

    /// Path of the temporary file of a snapshot that another node sends.
    pub fn unfinished(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{id}{UNFINISHED}"))
    }

    /// Renames a complete and synced temporary file to its final name.
    pub fn finish(&self, id: SnapshotId) -> Result<(), StorageError> {
        let (from, to) = (self.unfinished(id), self.path(id));
        self.disk.rename(&from, &to).at("rename", from)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)
    }

    /// Removes temporary files of incomplete snapshots, at a start.
    pub fn remove_unfinished(&self) -> Result<(), StorageError> {
        for entry in self.disk.list(&self.dir).at("list", &self.dir)? {
            if entry.text().is_some_and(|name| name.ends_with(UNFINISHED)) {
                let path = entry.path();
                self.disk.remove_file(&path).at("remove", path)?;
            }
        }
        Ok(())
    }

    /// Path of a snapshot.
    pub fn path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{id}.checkpoint"))
    }
}

/// Writes a snapshot of the image to a file, as [`SnapshotStore::write`] does.
pub fn write(
    disk: &Disk,
    path: &Path,
    image: &Image,
    voters: &VoterSet,
    now: Timestamp,
) -> Result<(), StorageError> {
    let content =
        content(image, voters, now).map_err(|error| malformed(path, error.to_string()))?;
    checkpoint::replace(disk, path, &content, true)
}

/// Calls `apply` for every record of a snapshot. The result of `apply` must be discarded after an error: half of a snapshot
/// would be a cluster that lacks half of its topics.
pub fn read(
    disk: &Disk,
    path: &Path,
    mut apply: impl FnMut(&Record, Offset),
) -> Result<(), StorageError> {
    read_pieces(disk, path, |piece| {
        piece.each_record(&mut apply);
        Ok(())
    })
}

/// Like [`read`], with the control records of the quorum.
pub fn read_pieces(
    disk: &Disk,
    path: &Path,
    mut take: impl FnMut(Piece) -> Result<(), DecodeError>,
) -> Result<(), StorageError> {
    let size = disk.open_small(path).and_then(|file| file.size());
    let size = size.at("read", path)?;
    let mut scanner = Scanner::open(disk, path, size)?;
    let mut is_whole = false;
    let mut at = 0;
    // Metadata were never written in the formats before magic 2.
    while let Some((span, batch)) = scanner.next_batch()?
        && span.magic == MAGIC_V2
    {
        at = span.end();
        pieces(path, &batch, &mut take)?;
        is_whole = control_kind(&batch) == Some(SNAPSHOT_FOOTER);
    }
    if is_whole && at == size {
        return Ok(());
    }
    let what = format!(
        "this snapshot of the metadata was cut or damaged: what follows byte {at} of {size} is not the rest of one; take it \
         from a copy of this directory"
    );
    Err(malformed(path, what))
}

fn content(image: &Image, voters: &VoterSet, now: Timestamp) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    let mut next = 0;
    let mut close = |builder: BatchBuilder| {
        let count = builder.count();
        if count > 0 {
            out.extend_from_slice(&builder.at(next, image.epoch).build());
            next += i64::from(count);
        }
    };
    let header = SnapshotHeaderRecord {
        version: 0,
        last_contained_log_timestamp: now,
    };
    close(control_batch(SNAPSHOT_HEADER, &header, now)?);
    if let Some(version) = &voters.kraft_version {
        close(control_batch(KRAFT_VERSION, version, now)?);
    }
    if let Some(voters) = &voters.voters {
        close(control_batch(VOTERS, voters, now)?);
    }
    let mut builder = BatchBuilder::default();
    for record in records_of(image) {
        let value = record.encode(image.metadata_version())?;
        builder.push(now, None, Some(&value));
        if builder.size() >= BATCH_BYTES {
            close(std::mem::take(&mut builder));
        }
    }
    close(builder);
    let footer = SnapshotFooterRecord { version: 0 };
    close(control_batch(SNAPSHOT_FOOTER, &footer, now)?);
    Ok(out)
}
