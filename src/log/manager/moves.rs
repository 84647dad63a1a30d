//! Future replicas: copies of replicas that are moving between log directories. See [`moving`].
//!
//! [`moving`]: crate::log::partition_log::moving

use super::*;
use crate::log::error::AppendError;
use crate::log::partition_log::moving::Copied;

/// Limit of the replicas with a requested directory. Further requests are ignored.
const PREFERRED_MAX: usize = 10_000;

impl LogManager {
    /// The log directory with this absolute path.
    pub fn find_dir(&self, path: &str) -> Option<&LogDir> {
        self.dirs.iter().find(|dir| {
            std::path::absolute(&dir.path).is_ok_and(|absolute| absolute == Path::new(path))
        })
    }

    /// Requests a directory for a replica that does not exist yet.
    pub fn prefer(&self, partition: &TopicPartition, dir: &LogDir) {
        let mut preferred = self.preferred.lock();
        if preferred.len() < PREFERRED_MAX || preferred.contains_key(partition) {
            preferred.insert(partition.clone(), dir.path.clone());
        }
    }

    pub fn future(&self, partition: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.futures.read().get(partition).cloned()
    }

    /// All future replicas, in the order of their partitions.
    pub fn futures(&self) -> Vec<Arc<PartitionLog>> {
        let mut futures: Vec<_> = self.futures.read().values().cloned().collect();
        futures.sort_unstable_by(|a, b| a.partition().cmp(b.partition()));
        futures
    }

    /// Begins to move a log to another directory.
    ///
    /// Errors: a disk error, or some directory is offline. As in Kafka, any offline directory prevents a move, because it may
    /// have a copy from an earlier one.
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
            // The checkpoints may have entries of an earlier copy or log.
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

    /// Cancels a move; the copy is deleted later.
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

    /// Copies up to about `max_bytes` bytes to a future replica; returns the number of bytes copied.
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
            Copied::Truncated => {
                // The truncation of the copy may be under way.
                drop(self.finishing.lock());
                match copy.is_truncated_like(&log) {
                    true => Ok(1),
                    false => self.begin_anew(copy, &log, now),
                }
            }
        }
    }

    /// Truncates or restarts the log of a follower, and its future replica, if there is one, before other records can be
    /// appended to the log. Kafka truncates a future replica by the leader epochs of its log; so does a start
    /// ([`Self::cut_copies`]).
    pub(super) fn cut_with_copy(
        &self,
        log: &Arc<PartitionLog>,
        cut: Cut,
    ) -> Result<(), StorageError> {
        let partition = log.partition();
        // The lock is held so that the copy neither takes the place of the log nor goes meanwhile.
        let _alone = self.future(partition).map(|_| self.finishing.lock());
        match cut {
            Cut::At(offset) => log.truncate_to(offset)?,
            Cut::StartAnewAt(offset) => log.start_anew_at(offset)?,
        }
        let is_current = self.get(partition).is_some_and(|it| Arc::ptr_eq(&it, log));
        if let Some(copy) = self.future(partition).filter(|_| is_current) {
            let marks = log.reader().watermarks();
            let anew = marks.log_start == marks.log_end;
            if let Err(error) = copy.truncate_like(log, marks.log_end, anew) {
                // The next round of copying begins anew.
                tracing::error!(%partition, %error, "the copy of a replica cannot be truncated with it");
            }
        }
        Ok(())
    }

    /// Replaces a log by its future replica, if only little is missing. The metadata already have the new directory.
    pub fn finish_move(
        &self,
        copy: &Arc<PartitionLog>,
        now: Timestamp,
    ) -> Result<bool, AppendError> {
        let partition = copy.partition();
        let Some(log) = self.get(partition) else {
            return Ok(false);
        };
        // Most of the data is flushed before appends are blocked.
        copy.flush(now)?;
        if log.log_start_to_remember().is_some() {
            // The log start offset must be in the checkpoint of the copy's directory before the log is removed; otherwise
            // deleted records would reappear.
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
        // The move may have been cancelled meanwhile.
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

    /// Truncates future replicas after a start. Records that a copy has but its log has lost belong to an abandoned history:
    /// those behind the log's end, and those of leader epochs that end earlier in the log, which may have been truncated while
    /// the directory of the copy was offline. Records that the copy itself has lost may be in its middle, so only flushed
    /// records are kept. `unclean` are the directories without a clean stop.
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
            let (end, epochs) = copy.with_ends(|_, end, epochs| (end, epochs.clone()));
            let mut keep = log.with_ends(|log_start, log_end, theirs| {
                let common = epochs.common_end(end, theirs, log_end);
                // A log that began anew below the copy has records that the copy would leave out.
                let begins_below = log_start < copy.reader().log_start();
                if begins_below { Offset::MIN } else { common }
            });
            if is_unclean(&copy) {
                keep = keep.min(copy.recovery_point());
            }
            if keep == end {
                continue;
            }
            let cut = if keep > copy.reader().watermarks().log_start {
                copy.truncate_to(keep).map_err(AppendError::from)
            } else {
                self.begin_anew(&copy, &log, now).map(drop)
            };
            if let Err(error) = cut {
                tracing::error!(%partition, %error, "the copy of a replica cannot be gone on with");
            }
        }
    }

    /// Replaces a future replica by a new one in the same directory.
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

    /// Puts a copy in the place of a log that does not exist any more, after a crash between the two renames of a move.
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
