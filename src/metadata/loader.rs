//! Loader of committed metadata: makes images of it, and publishes them to the publishers in a fixed order. Kafka's
//! `MetadataLoader`.
//!
//! The loader does not depend on the controller: records of this node's controller also arrive through the quorum.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::batches::{Batch, Piece};
use super::bootstrap::check_features;
use super::image::{Delta, Image};
use super::metadata_log::MetadataLog;
use super::quorum::upkeep::{Snapshot, SnapshotId};
use super::quorum::voters::VoterSet;
use super::record::Record;
use super::snapshots::{self, SnapshotStore};
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk};
use crate::log::error::{StorageError, malformed};

/// File in which Apache Kafka's formatter leaves the first records for the first start.
const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

/// Component that follows the metadata. Publishers are called for every change, in a fixed order, before the request that
/// caused the change is answered. The controller decides nothing else meanwhile, so publishers must be quick: logs are created
/// and deleted by other tasks, and files are read only for settings of listeners.
pub trait Publisher: Debug + Send + Sync {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>);
}

/// Handle of the newest committed image. It is cheap to clone and to read.
#[derive(Clone, Debug)]
pub struct ImageHandle {
    current: Arc<ArcSwap<Image>>,
}

impl ImageHandle {
    pub fn new(image: Arc<Image>) -> Self {
        Self {
            current: Arc::new(ArcSwap::new(image)),
        }
    }

    pub fn load(&self) -> Arc<Image> {
        self.current.load_full()
    }
}

/// Newly committed metadata.
#[derive(Debug, Default, PartialEq)]
pub struct Committed {
    /// Image of a snapshot that replaces everything before it.
    pub image: Option<Box<Image>>,
    /// Batches committed after the snapshot, in the order of offsets.
    pub batches: Vec<Batch>,
}

impl From<Vec<Batch>> for Committed {
    fn from(batches: Vec<Batch>) -> Self {
        Self {
            image: None,
            batches,
        }
    }
}

/// Loader of committed metadata.
#[derive(Debug)]
pub struct Loader {
    image: Image,
    handle: ImageHandle,
    publishers: Vec<Arc<dyn Publisher>>,
}

impl Loader {
    /// A loader that continues from the image built at start.
    pub fn new(image: Image) -> Self {
        Self {
            handle: ImageHandle::new(Arc::new(image.clone())),
            image,
            publishers: Vec::new(),
        }
    }

    /// The newest committed image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn handle(&self) -> ImageHandle {
        self.handle.clone()
    }

    /// Adds a publisher after the others.
    pub fn add(&mut self, publisher: Arc<dyn Publisher>) {
        self.publishers.push(publisher);
    }

    /// Applies batches that have been committed since the last call. Publishers are not called for batches of NoOpRecords only.
    pub fn take(&mut self, committed: Committed) {
        let Committed { image, batches } = committed;
        let mut delta = Delta::default();
        let is_replaced = image.is_some();
        if let Some(image) = image {
            delta = Delta::between(&self.image, &image);
            self.image = *image;
        }
        for batch in &batches {
            for (offset, record) in batch.numbered() {
                self.image.apply(record, offset, &mut delta);
            }
            self.image.epoch = batch.epoch;
        }
        if batches.is_empty() && !is_replaced {
            return;
        }
        let image = Arc::new(self.image.clone());
        if is_replaced || !batches.iter().all(Batch::says_nothing) {
            for publisher in &self.publishers {
                publisher.on_update(&delta, &image);
            }
        }
        self.handle.current.store(image);
    }
}

/// The image of the newest snapshot, with that snapshot; an empty image if there is none.
pub fn from_snapshot(
    place: Dir<'_>,
    store: &SnapshotStore,
) -> Result<(Image, VoterSet, Option<Snapshot>), StorageError> {
    let Some(snapshot) = store.list()?.pop() else {
        return Ok((Image::empty(), VoterSet::default(), None));
    };
    let id = snapshot.id();
    let (image, voters, read) = read_snapshot(place.disk, &store.path(id), id);
    named(read, place.path, &image)?;
    Ok((image, voters, Some(snapshot)))
}

/// Reads the image and the voters of a snapshot from a file. Both are incomplete if the read has failed.
pub fn read_snapshot(
    disk: &Disk,
    path: &Path,
    id: SnapshotId,
) -> (Image, VoterSet, Result<(), StorageError>) {
    let (mut image, mut voters) = (Image::empty(), VoterSet::default());
    let last = id.end - 1;
    let read = snapshots::read_pieces(disk, path, |piece| {
        match piece {
            Piece::Control(kind, value) => voters.apply(kind, &value)?,
            Piece::Data(batch) => {
                for record in &batch.records {
                    image.apply(record, last, &mut Delta::default());
                }
            }
        }
        Ok(())
    });
    image.offset = last;
    image.epoch = id.epoch;
    (image, voters, read)
}

/// Applies the log to the image, from the offset after the image's; returns the number of bytes read.
pub fn from_log(dir: &Path, log: &MetadataLog, image: &mut Image) -> Result<u64, StorageError> {
    let log_start = log.log_start();
    if log_start > image.offset + 1 {
        let what = format!(
            "the metadata log begins at {log_start}, and no snapshot says what was before; take the .checkpoint file \
             from a copy of this directory"
        );
        return named(Err(malformed(dir, what)), dir, image);
    }
    let mut delta = Delta::default();
    let read = log.read(image.offset + 1, |record, offset| {
        image.apply(record, offset, &mut delta);
    });
    named(read, dir, image)
}

/// The records that a formatter chose for a cluster that has not been started yet: features of a release, and SCRAM users.
/// `None` if no formatter wrote any.
pub fn formatted_with(metadata_dir: Dir<'_>) -> Result<Option<Vec<Record>>, StorageError> {
    let Dir { disk, path: dir } = metadata_dir;
    let path = dir.join(BOOTSTRAP_CHECKPOINT);
    if !disk.exists(&path).unwrap_or_default() {
        return Ok(None);
    }
    let mut image = Image::empty();
    let mut records = Vec::new();
    let read = snapshots::read(disk, &path, |record, offset| {
        image.apply(record, offset, &mut Delta::default());
        records.push(record.clone());
    });
    named(read, dir, &image)?;
    Ok((!image.features.is_empty()).then_some(records))
}

/// Writes the file that [`formatted_with`] reads.
pub fn write_formatted(
    metadata_dir: Dir<'_>,
    records: &[Record],
    now: Timestamp,
) -> Result<(), StorageError> {
    let mut image = Image::empty();
    image.epoch = 0;
    for record in records {
        image.apply(record, 0, &mut Delta::default());
    }
    let path = metadata_dir.join(BOOTSTRAP_CHECKPOINT);
    snapshots::write(metadata_dir.disk, &path, &image, &VoterSet::default(), now)
}

/// Refuses unknown features. They are checked before read errors, because an unreadable record most likely belongs to one of
/// them.
fn named<T>(read: Result<T, StorageError>, dir: &Path, image: &Image) -> Result<T, StorageError> {
    match (check_features(image), read) {
        (Ok(()), read) => read,
        (Err(what), Ok(_)) => Err(malformed(dir, what)),
        (Err(what), Err(error)) => {
            Err(malformed(&error.path, format!("{what} ({})", error.source)))
        }
    }
}
