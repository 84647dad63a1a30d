//! Looking at the partitions of a log directory without opening them: what may be adopted into a new metadata log.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::dir::{self, DirName};
use super::error::{DiskContext, StorageError};
use super::manager::METADATA_LOG;
use crate::base::ids::{LeaderEpoch, TopicPartition, Uuid};

/// A directory that holds segments of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundReplica {
    pub partition: TopicPartition,
    pub path: PathBuf,
    /// `None` where it was made before topics had ids, or cannot be read.
    pub topic_id: Option<Uuid>,
    /// `None` where nothing was written since leaders have epochs.
    pub latest_epoch: Option<LeaderEpoch>,
    /// Whether the cleaner has worked here: the topic is compacted.
    pub compacted: bool,
}

/// The partitions in one of `log.dirs`, in order. Nothing is changed.
pub fn replicas(dir: &Path) -> Result<Vec<FoundReplica>, StorageError> {
    let cleaned = checkpoint::read_offsets(&dir.join(checkpoint::CLEANED)).unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let name = entry.file_name().into_string();
        let Ok(DirName::Partition(partition)) = name.as_deref().map(DirName::parse) else {
            continue;
        };
        let path = entry.path();
        if name.as_deref() == Ok(METADATA_LOG) || !path.is_dir() || !has_segment(&path)? {
            continue;
        }
        let epochs = checkpoint::read_epochs(&path.join(checkpoint::LEADER_EPOCHS))?;
        found.push(FoundReplica {
            topic_id: dir::topic_id(&path)?,
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

/// A folder that only looks like a partition, a backup perhaps, has none.
fn has_segment(path: &Path) -> Result<bool, StorageError> {
    for entry in fs::read_dir(path).at("list", path)? {
        let name = entry.at("list", path)?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
        if base
            .is_some_and(|base| base.len() == 20 && base.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
