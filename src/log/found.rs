//! Partitions of a log directory, found without opening them, which may be adopted into a new metadata log.

use std::path::PathBuf;

use super::checkpoint;
use super::dir::{self, DirName};
use super::error::{DiskContext, StorageError};
use super::manager::METADATA_LOG;
use crate::base::ids::{LeaderEpoch, TopicPartition, Uuid};
use crate::host::disk::Dir;

/// A directory with segments of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundReplica {
    pub partition: TopicPartition,
    pub path: PathBuf,
    /// Topic id; `None` if the directory is older than topic ids, or the id cannot be read.
    pub topic_id: Option<Uuid>,
    /// Latest leader epoch; `None` if nothing was written since leaders have epochs.
    pub latest_epoch: Option<LeaderEpoch>,
    /// Whether the cleaner has worked on the partition, so the topic is compacted.
    pub compacted: bool,
}

/// The partitions in one of `log.dirs`, in order. Nothing is changed.
pub fn replicas(place: Dir<'_>) -> Result<Vec<FoundReplica>, StorageError> {
    let Dir { disk, path: dir } = place;
    let cleaned =
        checkpoint::read_offsets(disk, &dir.join(checkpoint::CLEANED)).unwrap_or_default();
    let mut found = Vec::new();
    for entry in disk.list(dir).at("list", dir)? {
        let Some(DirName::Partition(partition)) = entry.text().map(DirName::parse) else {
            continue;
        };
        let is_log = entry.text() != Some(METADATA_LOG) && entry.is_a_dir();
        if !is_log || !has_segment(disk.dir(&entry.path()))? {
            continue;
        }
        let path = entry.path();
        let epochs = checkpoint::read_epochs(disk, &path.join(checkpoint::LEADER_EPOCHS))?;
        found.push(FoundReplica {
            topic_id: dir::topic_id(disk.dir(&path))?,
            latest_epoch: epochs.last().map(|(epoch, _)| *epoch),
            compacted: cleaned.iter().any(|(cleaned, _)| *cleaned == partition),
            partition,
            path,
        });
    }
    found.sort_unstable_by(|a, b| {
        (&a.partition.topic, a.partition.partition)
            .cmp(&(&b.partition.topic, b.partition.partition))
    });
    Ok(found)
}

/// A folder without segments is not a partition, for example a backup.
fn has_segment(dir: Dir<'_>) -> Result<bool, StorageError> {
    let is_base = |base: &str| base.len() == 20 && base.bytes().all(|byte| byte.is_ascii_digit());
    let entries = dir.disk.list(dir.path).at("list", dir.path)?;
    let mut bases = entries
        .iter()
        .filter_map(|entry| entry.text()?.strip_suffix(".log"));
    Ok(bases.any(is_base))
}
