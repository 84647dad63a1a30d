//! All logs of a node: loads them in parallel, creates and deletes them, and says what is due at `now`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::checkpoint;
use super::dir::{self, DirLock, DirName};
use super::error::{DiskContext, StorageError, malformed};
use super::partition_log::PartitionLog;
use super::recovery::Known;
use super::settings::LogSettings;
use crate::base::ids::{Offset, TopicPartition, Uuid};
use crate::base::time::Timestamp;

/// Settings of all logs together.
#[derive(Clone, Debug)]
pub struct ManagerSettings {
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: usize,
    pub producer_id_expiration_ms: i64,
    pub file_delete_delay_ms: i64,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            recovery_threads: 2,
            producer_id_expiration_ms: 24 * 3_600_000,
            file_delete_delay_ms: 60_000,
        }
    }
}

/// One of `log.dirs`.
#[derive(Debug)]
pub struct LogDir {
    pub path: PathBuf,
    pub id: Uuid,
    _lock: DirLock,
}

/// See the module.
#[derive(Debug)]
pub struct LogManager {
    dirs: Vec<LogDir>,
    settings: ManagerSettings,
    logs: RwLock<HashMap<TopicPartition, Arc<PartitionLog>>>,
    /// Renamed directories and when they were.
    doomed: Mutex<Vec<(Timestamp, PathBuf)>>,
    /// Where the dirty part of each compacted log begins.
    first_dirty: Mutex<HashMap<TopicPartition, Offset>>,
}

/// The directory of the metadata log: lives beside the topics but is not one of them.
pub const METADATA_LOG: &str = "__cluster_metadata-0";

impl LogManager {
    /// Takes directories that are already formatted and locks them.
    pub fn open(
        dirs: Vec<(PathBuf, Uuid)>,
        settings: ManagerSettings,
    ) -> Result<Self, StorageError> {
        let mut locked = Vec::new();
        for (path, id) in dirs {
            let lock = dir::lock(&path)?;
            locked.push(LogDir {
                path,
                id,
                _lock: lock,
            });
        }
        Ok(Self {
            dirs: locked,
            settings,
            logs: RwLock::default(),
            doomed: Mutex::default(),
            first_dirty: Mutex::default(),
        })
    }

    pub fn dirs(&self) -> &[LogDir] {
        &self.dirs
    }

    /// Loads every partition found in the directories. `settings_of` gives a topic's settings.
    pub fn load(
        &self,
        settings_of: &(dyn Fn(&str) -> LogSettings + Sync),
        now: Timestamp,
    ) -> Result<(), StorageError> {
        for dir in &self.dirs {
            self.load_dir(dir, settings_of, now)?;
        }
        Ok(())
    }

    fn load_dir(
        &self,
        dir: &LogDir,
        settings_of: &(dyn Fn(&str) -> LogSettings + Sync),
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let clean = dir::take_clean_shutdown(&dir.path)?;
        let offsets = |name: &str| -> HashMap<TopicPartition, Offset> {
            match checkpoint::read_offsets(&dir.path.join(name)) {
                Ok(entries) => entries.into_iter().collect(),
                Err(error) => {
                    tracing::warn!(%error, "ignoring a checkpoint");
                    HashMap::new()
                }
            }
        };
        let recovery_points = offsets(checkpoint::RECOVERY_POINTS);
        let log_starts = offsets(checkpoint::LOG_STARTS);
        let high_watermarks = offsets(checkpoint::HIGH_WATERMARKS);

        self.first_dirty.lock().extend(offsets(checkpoint::CLEANED));

        let mut found = Vec::new();
        for entry in fs::read_dir(&dir.path).at("list", &dir.path)? {
            let entry = entry.at("list", &dir.path)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if name == METADATA_LOG || !entry.path().is_dir() {
                continue;
            }
            match DirName::parse(&name) {
                DirName::Partition(partition) => found.push((partition, entry.path())),
                DirName::Delete => self.doomed.lock().push((now, entry.path())),
                DirName::Future(_) => {
                    tracing::warn!(path = %entry.path().display(), "removing a replica whose move was cut short");
                    self.doomed.lock().push((now, entry.path()));
                }
                DirName::Stray => {
                    tracing::warn!(path = %entry.path().display(), "a stray replica stays aside");
                }
                DirName::Other => {}
            }
        }
        if !clean && !found.is_empty() {
            tracing::info!(dir = %dir.path.display(), logs = found.len(), "recovering after an unclean stop");
        }
        let open = |(partition, path): &(TopicPartition, PathBuf)| {
            let topic_id = dir::read_partition_metadata(path)?.unwrap_or_default();
            let known = Known {
                clean,
                recovery_point: recovery_points.get(partition).copied().unwrap_or(0),
                log_start: log_starts.get(partition).copied(),
            };
            let high_watermark = high_watermarks.get(partition).copied().unwrap_or(0);
            let settings = settings_of(&partition.topic);
            PartitionLog::open(
                path,
                partition.clone(),
                topic_id,
                settings,
                known,
                high_watermark,
                now,
            )
        };
        let loaded = in_parallel(self.settings.recovery_threads, &found, open)?;
        let mut logs = self.logs.write();
        for log in loaded {
            let partition = log.partition().clone();
            let path = log.dir();
            if logs.insert(partition.clone(), Arc::new(log)).is_some() {
                return Err(malformed(
                    path,
                    format!("{partition} is already in another log directory"),
                ));
            }
        }
        Ok(())
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.logs.read().get(partition).cloned()
    }

    pub fn all(&self) -> Vec<Arc<PartitionLog>> {
        self.logs.read().values().cloned().collect()
    }

    /// The log of a partition of this topic id, made if it is not there. A log of another id with the same name is
    /// that of a deleted topic and is put aside.
    pub fn get_or_create(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        settings: LogSettings,
        now: Timestamp,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        if let Some(log) = self.get(partition) {
            if log.topic_id().is_zero() {
                // Made before topics had ids: from now on it can be told from another of the same name.
                dir::write_partition_metadata(&log.dir(), topic_id)?;
                return Ok(log);
            }
            if log.topic_id() == topic_id {
                return Ok(log);
            }
            self.delete(partition, now)?;
        }
        let dir = self.emptiest_dir()?;
        let path = dir.path.join(partition.to_string());
        let log = PartitionLog::create(&path, partition.clone(), topic_id, settings, now)?;
        let log = Arc::new(log);
        self.logs
            .write()
            .insert(partition.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// Kafka places a new replica where the fewest are.
    fn emptiest_dir(&self) -> Result<&LogDir, StorageError> {
        if let [only] = self.dirs.as_slice() {
            return Ok(only);
        }
        let logs = self.logs.read();
        let count = |dir: &LogDir| {
            logs.values()
                .filter(|log| log.dir().starts_with(&dir.path))
                .count()
        };
        self.dirs
            .iter()
            .min_by_key(|dir| count(dir))
            .ok_or_else(|| malformed("log.dirs", "there is no log directory"))
    }

    /// Takes a partition out: its directory is renamed now and removed after `file.delete.delay.ms`.
    pub fn delete(&self, partition: &TopicPartition, now: Timestamp) -> Result<(), StorageError> {
        let Some(log) = self.logs.write().remove(partition) else {
            return Ok(());
        };
        let path = log.dir();
        let mut unique = [0; 16];
        getrandom::fill(&mut unique).map_err(|error| malformed(&path, error.to_string()))?;
        let doomed = path.with_file_name(dir::deleted_name(partition, unique));
        log.rename(&doomed)?;
        self.doomed.lock().push((now, doomed));
        Ok(())
    }

    /// Removes what was deleted long enough ago.
    pub fn remove_doomed(&self, now: Timestamp) {
        let delay = self.settings.file_delete_delay_ms;
        let due: Vec<_> = self
            .doomed
            .lock()
            .extract_if(.., |(since, _)| now.saturating_sub(*since) >= delay)
            .collect();
        for (_, path) in due {
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "removed a deleted partition"),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot remove a deleted partition")
                }
            }
        }
        for log in self.all() {
            log.remove_doomed(now);
        }
    }

    /// Applies retention and forgets idle producers.
    pub fn retain(&self, now: Timestamp) {
        for log in self.all() {
            if let Err(error) = log.retain(now) {
                tracing::error!(partition = %log.partition(), %error, "retention failed");
            }
            log.expire_producers(now, self.settings.producer_id_expiration_ms);
        }
    }

    /// Compacts the logs that are due, one after the other, with `map_bytes` for the keys of each. A log that cannot be
    /// compacted is left as it is, and the others go on.
    pub fn compact(&self, map_bytes: usize, now: Timestamp) {
        for log in self.all() {
            let partition = log.partition();
            let first_dirty = self.first_dirty.lock().get(partition).copied().unwrap_or(0);
            match log.compact(first_dirty, map_bytes, now) {
                Ok(Some(next)) => {
                    tracing::info!(%partition, from = first_dirty, to = next, bytes = log.size(), "compacted a log");
                    self.first_dirty.lock().insert(partition.clone(), next);
                    if let Err(error) = self.write_cleaned() {
                        tracing::error!(%error, "the cleaner's checkpoint cannot be written");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%partition, %error, "a log cannot be compacted"),
            }
        }
    }

    fn write_cleaned(&self) -> Result<(), StorageError> {
        let first_dirty = self.first_dirty.lock().clone();
        for dir in &self.dirs {
            let mine: Vec<_> = first_dirty
                .iter()
                .filter(|(partition, _)| {
                    self.get(partition)
                        .is_some_and(|log| log.dir().starts_with(&dir.path))
                })
                .map(|(partition, offset)| (partition, *offset))
                .collect();
            checkpoint::write_offsets(&dir.path.join(checkpoint::CLEANED), mine.into_iter())?;
        }
        Ok(())
    }

    /// Flushes the logs whose settings ask for it.
    pub fn flush_due(&self, now: Timestamp) {
        for log in self.all() {
            if log.flush_due(now)
                && let Err(error) = log.flush(now)
            {
                tracing::error!(partition = %log.partition(), %error, "flush failed");
            }
        }
    }

    /// Writes the checkpoint files of every directory.
    pub fn write_checkpoints(&self) -> Result<(), StorageError> {
        let logs = self.all();
        for dir in &self.dirs {
            let mine: Vec<_> = logs
                .iter()
                .filter(|log| log.dir().starts_with(&dir.path))
                .collect();
            let write = |name: &str, of: &dyn Fn(&PartitionLog) -> Option<Offset>| {
                let offsets: Vec<_> = mine
                    .iter()
                    .filter_map(|log| Some((log.partition(), of(log)?)))
                    .collect();
                checkpoint::write_offsets(&dir.path.join(name), offsets.into_iter())
            };
            write(checkpoint::RECOVERY_POINTS, &|log| {
                Some(log.recovery_point())
            })?;
            write(checkpoint::LOG_STARTS, &|log| log.log_start_to_remember())?;
            write(checkpoint::HIGH_WATERMARKS, &|log| {
                Some(log.watermarks().high_watermark)
            })?;
        }
        Ok(())
    }

    /// Closes every log and marks the stop as clean: 1. logs, 2. checkpoints, 3. the mark. After a crash before 3 the
    /// next start recovers, and finds everything there.
    pub fn close(&self, broker_epoch: i64) -> Result<(), StorageError> {
        let logs = self.all();
        in_parallel(self.settings.recovery_threads, &logs, |log| log.close())?;
        self.write_checkpoints()?;
        for dir in &self.dirs {
            dir::write_clean_shutdown(&dir.path, broker_epoch)?;
        }
        Ok(())
    }

    /// Where the log of a partition lies, and the directory's id.
    pub fn dir_of(&self, path: &Path) -> Option<&LogDir> {
        self.dirs.iter().find(|dir| path.starts_with(&dir.path))
    }
}

/// Does `work` for every item on some threads; the first error ends it.
fn in_parallel<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, StorageError> + Sync,
) -> Result<Vec<R>, StorageError> {
    let threads = threads.clamp(1, items.len().max(1));
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let share = items.len().div_ceil(threads);
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> = items
            .chunks(share)
            .map(|items| scope.spawn(move || items.iter().map(work).collect::<Result<Vec<_>, _>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        for worker in workers {
            match worker.join() {
                Ok(part) => results.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
}
