//! Replicas that move between log directories: their copies, Kafka's future replicas. See [`moving`].
//!
//! [`moving`]: crate::log::partition_log::moving

use super::*;
use crate::log::error::AppendError;
use crate::log::partition_log::moving::Copied;

/// Replicas that somebody wants in a certain directory once they exist. More are forgotten at random.
const PREFERRED_MAX: usize = 10_000;

impl LogManager {
    /// The directory of this absolute path.
    pub fn find_dir(&self, path: &str) -> Option<&LogDir> {
        self.dirs.iter().find(|dir| {
            std::path::absolute(&dir.path).is_ok_and(|absolute| absolute == Path::new(path))
        })
    }

    /// Where a replica should be made that is not there yet.
    pub fn prefer(&self, partition: &TopicPartition, dir: &LogDir) {
        let mut preferred = self.preferred.lock();
        if preferred.len() < PREFERRED_MAX || preferred.contains_key(partition) {
            preferred.insert(partition.clone(), dir.path.clone());
        }
    }

    pub fn future(&self, partition: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.futures.read().get(partition).cloned()
    }

    /// The copies of all replicas that move, in a steady order.
    pub fn futures(&self) -> Vec<Arc<PartitionLog>> {
        let mut futures: Vec<_> = self.futures.read().values().cloned().collect();
        futures.sort_unstable_by(|a, b| a.partition().cmp(b.partition()));
        futures
    }

    /// Begins to move a log into another directory. Errors: a disk, or any directory is offline, as with Kafka: a copy that
    /// was begun before may be there.
    pub fn begin_move(
        &self,
        log: &PartitionLog,
        dir: &LogDir,
        now: Timestamp,
    ) -> Result<(), AppendError> {
        for dir in &self.dirs {
            dir.health.check()?;
        }
        let partition = log.partition();
        if self.is_outdated(partition) {
            // Of a copy, or a log, that was there before.
            self.write_checkpoints();
        }
        let path = dir.path.join(dir::renamed(
            partition,
            unique(&self.host.chance, &dir.path)?,
            "future",
        ));
        let begun = dir.health.watch(log.begin_copy(&path, now))?;
        let copy = Arc::new(begun.watched(Arc::clone(&dir.health)));
        self.futures.write().insert(partition.clone(), copy);
        dir.replicas.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives up a move; the copy is removed later.
    pub fn cancel_move(
        &self,
        partition: &TopicPartition,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let copy = {
            let _alone = self.finishing.lock();
            self.futures.write().remove(partition)
        };
        let Some(copy) = copy else {
            return Ok(());
        };
        self.outdated.lock().insert(partition.clone());
        let path = copy.dir();
        if let Some(dir) = self.dir_of(&path) {
            dir.replicas.fetch_sub(1, Ordering::Relaxed);
        }
        let doomed = path.with_file_name(dir::renamed(
            partition,
            unique(&self.host.chance, &path)?,
            "delete",
        ));
        copy.rename(&doomed)?;
        self.doomed.lock().push((now, doomed));
        Ok(())
    }

    /// Copies a stretch of at most about `max_bytes` into the copy of a replica; gives how many bytes that were.
    pub fn copy(
        &self,
        copy: &Arc<PartitionLog>,
        max_bytes: usize,
        now: Timestamp,
    ) -> Result<usize, AppendError> {
        let partition = copy.partition();
        let Some(log) = self.get(partition) else {
            return Ok(0);
        };
        match copy.copy_from(&log, max_bytes, now)? {
            Copied::Bytes(bytes) => Ok(bytes),
            Copied::Overtaken => self.begin_anew(copy, &log, now),
        }
    }

    /// Puts the copy of a replica in its place, if it lacks little. The metadata know it there already.
    pub fn finish_move(
        &self,
        copy: &Arc<PartitionLog>,
        now: Timestamp,
    ) -> Result<bool, AppendError> {
        let partition = copy.partition();
        let Some(log) = self.get(partition) else {
            return Ok(false);
        };
        // Most of it without holding up who appends.
        copy.flush(now)?;
        if log.log_start_to_remember().is_some() {
            // The copy's directory must know it too before the log's is gone, or what was deleted would come back.
            self.write_checkpoints();
        }
        let (from, to) = (log.dir(), copy.dir());
        let doomed = from.with_file_name(dir::renamed(
            partition,
            unique(&self.host.chance, &from)?,
            "delete",
        ));
        let place = to.with_file_name(partition.to_string());
        let alone = self.finishing.lock();
        // The copy may have been given up meanwhile.
        let current = self.future(partition);
        if !current.is_some_and(|current| Arc::ptr_eq(&current, copy))
            || !log.take_over(copy, &doomed, &place, now)?
        {
            return Ok(false);
        }
        self.futures.write().remove(partition);
        drop(alone);
        self.outdated.lock().insert(partition.clone());
        if let Some(dir) = self.dir_of(&from) {
            dir.replicas.fetch_sub(1, Ordering::Relaxed);
        }
        self.doomed.lock().push((now, doomed));
        tracing::info!(%partition, from = %from.display(), to = %place.display(), "moved a replica to another log directory");
        Ok(true)
    }

    /// After a start: what a copy has and its log has lost is of a history that does not go on, and what the copy has lost
    /// may lie in its middle. It keeps what was flushed. `unclean` are the directories that were not stopped cleanly.
    pub(super) fn cut_copies(&self, unclean: &[PathBuf], now: Timestamp) {
        let is_unclean = |log: &PartitionLog| {
            let dir = log.dir();
            unclean.iter().any(|unclean| dir.starts_with(unclean))
        };
        for copy in self.futures() {
            let partition = copy.partition();
            let Some(log) = self.get(partition) else {
                continue;
            };
            let mut keep = log.log_end().min(copy.log_end());
            if is_unclean(&copy) {
                keep = keep.min(copy.recovery_point());
            }
            if keep == copy.log_end() {
                continue;
            }
            let cut = if keep > copy.watermarks().log_start {
                copy.truncate_to(keep).map_err(AppendError::from)
            } else {
                self.begin_anew(&copy, &log, now).map(drop)
            };
            if let Err(error) = cut {
                tracing::error!(%partition, %error, "the copy of a replica cannot be gone on with");
            }
        }
    }

    /// Gives up a copy for a new one in the same directory.
    fn begin_anew(
        &self,
        copy: &PartitionLog,
        log: &PartitionLog,
        now: Timestamp,
    ) -> Result<usize, AppendError> {
        let dir = copy.dir();
        self.cancel_move(copy.partition(), now)?;
        match self.dir_of(&dir) {
            Some(dir) => self.begin_move(log, dir, now).map(|()| 1),
            None => Ok(0),
        }
    }

    /// Gives a copy the place of a log that is not there any more: a crash came between the two renames of a move.
    pub fn settle(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let Some(copy) = self.futures.write().remove(partition) else {
            return Ok(());
        };
        let place = copy.dir().with_file_name(partition.to_string());
        copy.settle(&place)?;
        tracing::info!(%partition, to = %place.display(), "finished the move of a replica that was cut short");
        self.logs.write().insert(partition.clone(), copy);
        Ok(())
    }
}
