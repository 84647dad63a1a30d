//! Manager of all logs of a node: loads them in parallel, creates and deletes them, and does the work that is due at a given
//! time.
//!
//! A log directory that fails is not used any more, and the others continue: see [`failure`](super::failure).

pub mod crew;
pub mod moves;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::checkpoint;
use super::compaction::Budget;
use super::dir::{self, DirLock, DirName};
use super::error::{DiskContext, StorageError, malformed};
use super::failure::{DirHealth, Failure, FailureChannel};
use super::partition_log::PartitionLog;
use super::recovery::Known;
use super::settings::{LogSettings, SharedSettings};
use crate::base::ids::{BrokerEpoch, Offset, TopicPartition, Uuid};
use crate::base::time::{Timestamp, elapsed_ms, has_passed};
use crate::host::Host;
use crate::host::chance::Chance;
use crate::host::disk::Disk;
use crate::host::threads::scope;

use crew::{Progress, in_parallel};

/// Settings that all logs share.
#[derive(Clone, Debug)]
pub struct ManagerSettings {
    pub file_delete_delay_ms: i64,
}

impl Default for ManagerSettings {
    fn default() -> Self {
        Self {
            file_delete_delay_ms: 60_000,
        }
    }
}

/// One directory of `log.dirs`.
#[derive(Debug)]
pub struct LogDir {
    pub path: PathBuf,
    /// Directory id; zero if it could not be read.
    pub id: Uuid,
    health: Arc<DirHealth>,
    /// Number of replicas in the directory, including those about to be created.
    replicas: Arc<AtomicUsize>,
    _lock: Option<DirLock>,
}

impl LogDir {
    pub fn is_online(&self) -> bool {
        self.health.is_online()
    }
}

/// Reserved place of a replica that is about to be created; it is counted in its log directory already.
#[derive(Debug)]
pub struct Place {
    /// Index in the list of log directories.
    dir: usize,
    replicas: Arc<AtomicUsize>,
    is_taken: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_taken {
            self.replicas.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How much of a log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What lies there and behind.
    At(Offset),
    /// All of it; it goes on there.
    StartAnewAt(Offset),
}

/// A directory of `log.dirs` before it is opened: its path, and its id or the error of reading it.
pub type Identified = (PathBuf, Result<Uuid, StorageError>);

/// Manager of all logs of a node. Logs are always visited in the order of their names, so that each start does the same.
#[derive(Debug)]
pub struct LogManager {
    host: Host,
    dirs: Vec<LogDir>,
    settings: ManagerSettings,
    failures: Arc<FailureChannel>,
    logs: RwLock<BTreeMap<TopicPartition, Arc<PartitionLog>>>,
    /// Future replicas: copies of logs that are moving to another directory.
    futures: RwLock<BTreeMap<TopicPartition, Arc<PartitionLog>>>,
    shared: Mutex<SharedSettings>,
    /// Requested directories of replicas that do not exist yet.
    preferred: Mutex<BTreeMap<TopicPartition, PathBuf>>,
    /// Directories renamed for deletion, with the time of the renaming.
    doomed: Mutex<Vec<(Timestamp, PathBuf)>>,
    /// Start of the dirty part of each compacted log.
    first_dirty: Mutex<BTreeMap<TopicPartition, Offset>>,
    /// Logs that the cleaner skips because they have a batch that cannot be read.
    uncleanable: Mutex<BTreeSet<TopicPartition>>,
    /// Partitions that are gone but may still be in the checkpoint files. After a crash a new log with the same name must not
    /// use these entries: it would get the old log start offset and recovery point.
    outdated: Mutex<BTreeSet<TopicPartition>>,
    /// Held from before the content of checkpoint files is determined until the files are replaced. Two writers at once would
    /// rename the same file, and older offsets could replace newer ones.
    writing_checkpoints: Mutex<()>,
    /// Held while a directory is chosen for a new replica.
    placing: Mutex<()>,
    /// Held while a future replica replaces its log or is abandoned.
    finishing: Mutex<()>,
}

/// Interval of log messages about the progress of a start.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Directory of the metadata log, which is in a log directory but is not a topic.
pub const METADATA_LOG: &str = "__cluster_metadata-0";

impl LogManager {
    /// Opens and locks formatted directories. A directory that cannot be used is offline from the start.
    ///
    /// Errors: a directory is in use by another process, or no directory can be used.
    pub fn open(
        host: &Host,
        dirs: Vec<Identified>,
        settings: ManagerSettings,
    ) -> Result<Self, StorageError> {
        let failures = Arc::new(FailureChannel::default());
        let mut opened = Vec::new();
        let mut last = None;
        for (path, id) in dirs {
            let health = DirHealth::new(path.clone(), Arc::clone(&failures));
            let usable = id.and_then(|id| Ok((id, dir::lock(host.disk.dir(&path))?)));
            let (id, lock) = match usable {
                Ok((id, lock)) => (id, Some(lock)),
                Err(error) if error.source.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error);
                }
                Err(error) => {
                    health.fail(&error);
                    last = Some(error);
                    (Uuid::ZERO, None)
                }
            };
            opened.push(LogDir {
                path,
                id,
                health: Arc::new(health),
                replicas: Arc::default(),
                _lock: lock,
            });
        }
        if let Some(error) = last
            && !opened.iter().any(LogDir::is_online)
        {
            return Err(error);
        }
        Ok(Self {
            host: host.clone(),
            dirs: opened,
            settings,
            failures,
            logs: RwLock::default(),
            futures: RwLock::default(),
            shared: Mutex::default(),
            preferred: Mutex::default(),
            doomed: Mutex::default(),
            first_dirty: Mutex::default(),
            uncleanable: Mutex::default(),
            outdated: Mutex::default(),
            writing_checkpoints: Mutex::default(),
            placing: Mutex::default(),
            finishing: Mutex::default(),
        })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn dirs(&self) -> &[LogDir] {
        &self.dirs
    }

    /// The directories that are online.
    pub fn online(&self) -> impl Iterator<Item = &LogDir> {
        self.dirs.iter().filter(|dir| dir.is_online())
    }

    /// Channel to which failing directories are reported.
    pub fn failures(&self) -> &Arc<FailureChannel> {
        &self.failures
    }

    /// Loads all partitions in all directories in parallel, each directory with `threads` threads
    /// (`num.recovery.threads.per.data.dir`); if `threads` is 0, sequentially in the caller's thread. `settings_of` returns the
    /// settings of a topic. A directory whose disk fails meanwhile goes offline.
    ///
    /// Errors: files contradict each other, or no directory is left.
    pub fn load(
        &self,
        threads: usize,
        settings_of: &(dyn Fn(&str) -> LogSettings + Sync),
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut unclean = Vec::new();
        let loaded = self.in_each_dir(threads, |dir| {
            dir.health
                .watch(self.load_dir(dir, threads, settings_of, now))
        });
        for (dir, loaded) in loaded {
            match loaded {
                Ok(true) => {}
                Err(error) if error.of_disk().is_none() || self.online().next().is_none() => {
                    return Err(error);
                }
                Ok(false) | Err(_) => unclean.push(dir.path.clone()),
            }
        }
        self.cut_copies(&unclean, now);
        Ok(())
    }

    /// Calls `work` for each online directory, in parallel if there are threads for it.
    fn in_each_dir<R: Send>(
        &self,
        threads: usize,
        work: impl Fn(&LogDir) -> R + Sync,
    ) -> Vec<(&LogDir, R)> {
        let dirs: Vec<_> = self.online().collect();
        if self.host.threads.at_once(threads) == 0 || dirs.len() < 2 {
            return dirs.into_iter().map(|dir| (dir, work(dir))).collect();
        }
        let work = &work;
        scope(|scope| {
            let begin = |dir| (dir, scope.spawn(move || work(dir)));
            let begun: Vec<_> = dirs.into_iter().map(begin).collect();
            let finished = begun.into_iter().map(|(dir, thread)| match thread.join() {
                Ok(result) => (dir, result),
                Err(panic) => std::panic::resume_unwind(panic),
            });
            finished.collect()
        })
    }

    /// Loads the partitions of a directory; returns whether the last stop was clean.
    fn load_dir(
        &self,
        dir: &LogDir,
        threads: usize,
        settings_of: &(dyn Fn(&str) -> LogSettings + Sync),
        now: Timestamp,
    ) -> Result<bool, StorageError> {
        let (disk, place) = (&self.host.disk, self.host.disk.dir(&dir.path));
        let offsets = |name: &str| -> Result<HashMap<TopicPartition, Offset>, StorageError> {
            match checkpoint::read_offsets(disk, &place.join(name)) {
                Ok(entries) => Ok(entries.into_iter().collect()),
                // A newer program wrote the checkpoint, so it must not be replaced.
                Err(error) if error.source.kind() == io::ErrorKind::Unsupported => Err(error),
                Err(error) => {
                    tracing::warn!(%error, "ignoring a checkpoint");
                    Ok(HashMap::new())
                }
            }
        };
        let recovery_points = offsets(checkpoint::RECOVERY_POINTS)?;
        let log_starts = offsets(checkpoint::LOG_STARTS)?;
        let high_watermarks = offsets(checkpoint::HIGH_WATERMARKS)?;
        let cleaned = offsets(checkpoint::CLEANED)?;
        // From here on files are changed.
        let clean = dir::take_clean_shutdown(place)?;

        let (mut found, mut renamed) = (Vec::new(), false);
        for entry in disk.list(&dir.path).at("list", &dir.path)? {
            let Some(name) = entry.text() else {
                continue;
            };
            if name == METADATA_LOG || !entry.is_a_dir() {
                continue;
            }
            match DirName::parse(name) {
                DirName::Partition(partition) => found.push((partition, entry.path(), false)),
                DirName::Future(partition) => found.push((partition, entry.path(), true)),
                DirName::Delete => {
                    renamed = true;
                    self.doomed.lock().push((now, entry.path()));
                }
                DirName::Stray => {
                    renamed = true;
                    tracing::warn!(path = %entry.path().display(), "a stray replica stays aside");
                }
                DirName::Other => {}
            }
        }
        if !clean && renamed {
            // A power loss could undo a rename from before the crash, while another log with that name is in another directory.
            disk.sync_dir(&dir.path).at("sync", &dir.path)?;
        }
        if !clean && !found.is_empty() {
            tracing::info!(dir = %dir.path.display(), logs = found.len(), "recovering after an unclean stop");
        }
        let there: HashSet<_> = found.iter().map(|(partition, ..)| partition).collect();
        for checkpoint in [&recovery_points, &log_starts, &cleaned] {
            let gone = checkpoint.keys().filter(|name| !there.contains(name));
            self.outdated.lock().extend(gone.cloned());
        }
        let cleaned = cleaned.into_iter().filter(|(name, _)| there.contains(name));
        self.first_dirty.lock().extend(cleaned);
        let cut_short = AtomicBool::new(false);
        let (begun, total) = (self.host.clock.now(), found.len());
        let open = |(partition, path, future): &(TopicPartition, PathBuf, bool)| {
            let topic_id = dir::topic_id(disk.dir(path))?.unwrap_or_default();
            let known = Known {
                clean,
                recovery_point: recovery_points.get(partition).copied().unwrap_or(0),
                log_start: log_starts.get(partition).copied(),
            };
            let high_watermark = high_watermarks.get(partition).copied().unwrap_or(0);
            let settings = self.share(settings_of(&partition.topic));
            PartitionLog::open(
                disk.dir(path),
                partition.clone(),
                topic_id,
                settings,
                known,
                high_watermark,
                now,
            )
            .map(|log| {
                log_loaded(&log);
                if log.recovery_point() < known.recovery_point {
                    cut_short.store(true, Ordering::Relaxed);
                }
                (log.watched(Arc::clone(&dir.health)), *future)
            })
        };
        let tell = |progress: &Progress<'_, (TopicPartition, PathBuf, bool)>| {
            log_progress(&dir.path, clean, progress)
        };
        let loaded = in_parallel(
            self.host.threads.at_once(threads),
            &found,
            PROGRESS_EVERY,
            open,
            tell,
        )?;
        if total > 0 {
            tracing::info!(dir = %dir.path.display(), logs = total, ms = elapsed_ms(begun, self.host.clock.now()), "loaded the logs of a directory");
        }
        let mut logs = self.logs.write();
        let mut futures = self.futures.write();
        for (log, future) in loaded {
            let partition = log.partition().clone();
            let path = log.dir();
            let kind = if future { &mut *futures } else { &mut *logs };
            if let Some(other) = kind.insert(partition.clone(), Arc::new(log)) {
                return Err(malformed(
                    path,
                    format!(
                        "{partition} is in {} too; remove one of the two, if a directory has failed lately the one in it",
                        other.dir().display()
                    ),
                ));
            }
            dir.replicas.fetch_add(1, Ordering::Relaxed);
        }
        if cut_short.into_inner() {
            // Records appended from now on would be trusted as far as those that were cut off.
            let logs: Vec<_> = logs.values().chain(futures.values()).cloned().collect();
            write_checkpoints_of(&self.host.disk, dir, &logs)?;
        }
        Ok(clean)
    }

    /// The same settings, in one place for all logs that have them.
    pub fn share(&self, settings: LogSettings) -> Arc<LogSettings> {
        self.shared.lock().share(settings)
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.logs.read().get(partition).cloned()
    }

    pub fn all(&self) -> Vec<Arc<PartitionLog>> {
        self.logs.read().values().cloned().collect()
    }

    /// Reserves a place for a new replica: in the directory that it is assigned to, or in the directory with the fewest
    /// replicas. Callers that create several replicas at once reserve all places first, one after the other, so that each one
    /// counts those before.
    pub fn place_for(&self, partition: &TopicPartition, directory: Uuid) -> Option<Place> {
        let _one = self.placing.lock();
        let preferred = self.preferred.lock().get(partition).cloned();
        let wanted = self.wanted_dir(preferred.as_ref(), directory);
        let dir = wanted.or_else(|| self.emptiest_dir().ok())?;
        Some(self.place_in(dir))
    }

    /// The directory requested for a replica that does not exist yet, or else the directory that it is assigned to, if the node
    /// has it.
    fn wanted_dir(&self, preferred: Option<&PathBuf>, directory: Uuid) -> Option<usize> {
        let mut dirs = self.dirs.iter();
        let wanted = dirs.position(|dir| dir.is_online() && Some(&dir.path) == preferred);
        wanted.or_else(|| self.dirs.iter().position(|dir| dir.id == directory))
    }

    fn place_in(&self, dir: usize) -> Place {
        let replicas = Arc::clone(&self.dirs[dir].replicas);
        replicas.fetch_add(1, Ordering::Relaxed);
        Place {
            dir,
            replicas,
            is_taken: false,
        }
    }

    /// Like [`Self::get_or_create_at`], for callers that create one replica at a time.
    pub fn get_or_create(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        directory: Uuid,
        settings: &LogSettings,
        now: Timestamp,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        self.get_or_create_at(None, partition, topic_id, directory, settings, now)
    }

    /// The log of a partition of this topic id; it is created if it does not exist: in the directory that it is assigned to, or
    /// in the reserved place, or in the directory with the fewest replicas. A log with the same name but another topic id
    /// belongs to a deleted topic and is put aside.
    ///
    /// Errors: a disk error, or the replica may be in a directory that is offline.
    pub fn get_or_create_at(
        &self,
        mut place: Option<Place>,
        partition: &TopicPartition,
        topic_id: Uuid,
        directory: Uuid,
        settings: &LogSettings,
        now: Timestamp,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        if let Some(log) = self.get(partition) {
            if log.topic_id().is_zero() && log.can_be_of_its_name()? {
                log.identify(topic_id)?;
            }
            if log.topic_id() == topic_id {
                return Ok(log);
            }
            // The log is not deleted, because a damaged file may have a wrong id.
            self.put_aside(partition)?;
        }
        let preferred = self.preferred.lock().remove(partition);
        if let Some(dir) = self.wanted_dir(preferred.as_ref(), directory) {
            let place = place.filter(|place| place.dir == dir);
            let place = place.unwrap_or_else(|| self.place_in(dir));
            return self.create_in(place, partition, topic_id, settings, now);
        }
        loop {
            let place = match place.take() {
                Some(place) => place,
                None => {
                    // Held so that the next caller counts this replica.
                    let _one = self.placing.lock();
                    self.place_in(self.emptiest_dir()?)
                }
            };
            let dir = &self.dirs[place.dir];
            match self.create_in(place, partition, topic_id, settings, now) {
                // The disk of this directory has failed; another directory may work.
                Err(_) if !dir.is_online() => {}
                done => return done,
            }
        }
    }

    fn create_in(
        &self,
        mut place: Place,
        partition: &TopicPartition,
        topic_id: Uuid,
        settings: &LogSettings,
        now: Timestamp,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        if self.is_outdated(partition) {
            let before = self.online().count();
            self.write_checkpoints();
            if self.online().count() < before {
                // The former log with that name may reappear after a power loss, and would then exist beside this one.
                return Err(StorageError {
                    doing: "forget the former log of",
                    path: partition.to_string().into(),
                    source: io::Error::other("a log directory failed meanwhile"),
                });
            }
        }
        let dir = &self.dirs[place.dir];
        dir.health.check()?;
        let path = dir.path.join(partition.to_string());
        let within = self.host.disk.dir(&path);
        let settings = self.share(settings.clone());
        let created = PartitionLog::create(within, partition.clone(), topic_id, settings, now);
        let log = dir.health.watch(created)?;
        let log = Arc::new(log.watched(Arc::clone(&dir.health)));
        self.logs
            .write()
            .insert(partition.clone(), Arc::clone(&log));
        place.is_taken = true;
        Ok(log)
    }

    /// Whether checkpoint files may still have entries of a partition that is gone.
    fn is_outdated(&self, partition: &TopicPartition) -> bool {
        // A writer that has already taken the list may not have replaced the files yet.
        let _alone = self.writing_checkpoints.lock();
        self.outdated.lock().contains(partition)
    }

    /// Index of the online directory with the fewest replicas. Kafka also places new replicas there.
    fn emptiest_dir(&self) -> Result<usize, StorageError> {
        let online = (0..).zip(&self.dirs).filter(|(_, dir)| dir.is_online());
        online
            .min_by_key(|(_, dir)| dir.replicas.load(Ordering::Relaxed))
            .map(|(number, _)| number)
            .ok_or_else(|| StorageError {
                doing: "use",
                path: "log.dirs".into(),
                source: io::Error::other("every log directory is offline"),
            })
    }

    /// Drops all logs of a failed directory; returns their partitions.
    pub fn drop_dir(&self, path: &Path) -> Vec<TopicPartition> {
        self.doomed
            .lock()
            .retain(|(_, doomed)| !doomed.starts_with(path));
        let mut lost = Vec::new();
        let _alone = self.finishing.lock();
        let mut logs = self.logs.write();
        logs.retain(|partition, log| {
            let is_lost = log.dir().starts_with(path);
            if is_lost {
                lost.push(partition.clone());
            }
            !is_lost
        });
        // A copy without its log is not usable now, but may be after the next start.
        self.futures
            .write()
            .retain(|partition, copy| !copy.dir().starts_with(path) && !lost.contains(partition));
        lost
    }

    /// Removes a partition: its directory is renamed at once and deleted after `file.delete.delay.ms`.
    pub fn delete(&self, partition: &TopicPartition, now: Timestamp) -> Result<(), StorageError> {
        if let Err(error) = self.cancel_move(partition, now) {
            tracing::error!(%partition, %error, "the copy of a deleted replica stays");
        }
        if let Some(doomed) = self.take_out(partition, "delete")? {
            self.doomed.lock().push((now, doomed));
        }
        Ok(())
    }

    /// Removes a partition that is not in the metadata: its directory is renamed so that it is ignored, and stays.
    pub fn put_aside(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        if let Some(aside) = self.take_out(partition, "stray")? {
            tracing::warn!(
                %partition,
                path = %aside.display(),
                "a log belongs to a topic that is not in the metadata; it was put aside, remove it if nobody misses it"
            );
        }
        Ok(())
    }

    fn take_out(
        &self,
        partition: &TopicPartition,
        kind: &str,
    ) -> Result<Option<PathBuf>, StorageError> {
        let Some(log) = self.logs.write().remove(partition) else {
            return Ok(None);
        };
        let path = log.dir();
        let renamed = path.with_file_name(dir::renamed(
            partition,
            unique(&self.host.chance, &path)?,
            kind,
        ));
        if let Some(dir) = self.dir_of(&path) {
            dir.replicas.fetch_sub(1, Ordering::Relaxed);
        }
        self.first_dirty.lock().remove(partition);
        self.uncleanable.lock().remove(partition);
        self.outdated.lock().insert(partition.clone());
        log.rename(&renamed)?;
        Ok(Some(renamed))
    }

    /// Deletes directories that were renamed for deletion long enough ago.
    pub fn remove_doomed(&self, now: Timestamp) {
        let delay = self.settings.file_delete_delay_ms;
        let due: Vec<_> = self
            .doomed
            .lock()
            .extract_if(.., |(since, _)| has_passed(*since, delay, now))
            .collect();
        for (_, path) in due {
            match self.host.disk.remove_dir(&path) {
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

    /// Applies retention to all logs.
    pub fn retain(&self, now: Timestamp) {
        for log in self.all() {
            if let Err(error) = log.retain(now) {
                tracing::error!(partition = %log.partition(), %error, "retention failed");
            }
        }
    }

    /// If the limit of open data files is reached, closes all of them. Those in use are opened again.
    pub fn release_files(&self) {
        if self.host.disk.keeps_all_it_may() {
            for log in self.all() {
                log.release_files();
            }
        }
    }

    /// Removes producers that have not written for `expiration_ms` milliseconds and have no open transaction.
    pub fn expire_producers(&self, now: Timestamp, expiration_ms: i64) {
        for log in self.all() {
            log.expire_producers(now, expiration_ms);
        }
    }

    /// Compacts the logs that are due, one after the other. A log with a batch that cannot be read is reported once and skipped
    /// until the next start. Returns whether anything was compacted.
    pub fn compact(&self, budget: &Budget, now: Timestamp) -> bool {
        let mut got_on = false;
        for log in self.all() {
            let partition = log.partition();
            if budget.is_stopped() {
                break;
            }
            if self.future(partition).is_some() || self.uncleanable.lock().contains(partition) {
                // Compaction would rewrite a log that is being copied, or fail as it did before.
                continue;
            }
            let first_dirty = self.first_dirty.lock().get(partition).copied().unwrap_or(0);
            let cuts = log.cuts();
            match log.compact(first_dirty, budget, now) {
                Ok(Some(next)) => {
                    tracing::info!(%partition, from = first_dirty, to = next, bytes = log.reader().size(), "compacted a log");
                    {
                        let mut all = self.first_dirty.lock();
                        // A truncation has another beginning of the dirty part, and corrects it only after its count.
                        if log.cuts() == cuts {
                            all.insert(partition.clone(), next);
                        }
                    }
                    let _alone = self.writing_checkpoints.lock();
                    self.write_cleaned();
                    got_on |= next > first_dirty;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%partition, %error, "a log cannot be compacted");
                    if error.of_disk().is_none() {
                        self.uncleanable.lock().insert(partition.clone());
                    }
                }
            }
        }
        got_on
    }

    /// The logs that compaction skips until the next start.
    pub fn uncleanable(&self) -> Vec<TopicPartition> {
        self.uncleanable.lock().iter().cloned().collect()
    }

    /// Writes the cleaner's checkpoints; a directory in which this fails goes offline. The caller holds `writing_checkpoints`.
    fn write_cleaned(&self) {
        let first_dirty = self.first_dirty.lock().clone();
        for dir in self.online() {
            let mine: Vec<_> = first_dirty
                .iter()
                .filter(|(partition, _)| {
                    self.get(partition)
                        .is_some_and(|log| log.dir().starts_with(&dir.path))
                })
                .map(|(partition, offset)| (partition, *offset))
                .collect();
            let path = dir.path.join(checkpoint::CLEANED);
            let written = checkpoint::write_offsets(&self.host.disk, &path, mine.into_iter());
            // The failure is reported by the directory's health.
            drop(dir.health.watch(written));
        }
    }

    /// Flushes the logs whose settings require it.
    pub fn flush_due(&self, now: Timestamp) {
        for log in self.all().into_iter().chain(self.futures()) {
            if let Err(error) = log.flush_if_due(now) {
                tracing::error!(partition = %log.partition(), %error, "flush failed");
            }
        }
    }

    /// Writes the checkpoint files of all directories; a directory in which this fails goes offline.
    pub fn write_checkpoints(&self) {
        let _alone = self.writing_checkpoints.lock();
        // Partitions that are removed from here on may or may not be in the files.
        if !std::mem::take(&mut *self.outdated.lock()).is_empty() {
            self.write_cleaned();
        }
        let mut logs = self.all();
        // The directories of future replicas have no other entry for the partition.
        logs.extend(self.futures());
        for dir in self.online() {
            // The failure is reported by the directory's health.
            drop(
                dir.health
                    .watch(write_checkpoints_of(&self.host.disk, dir, &logs)),
            );
        }
    }

    /// Truncates or restarts logs of followers; returns the result of each, in order. Checkpoint files with offsets that a log does
    /// not have any more are replaced before records are appended to it: after a crash, recovery would trust new records up to
    /// those offsets without having checked them, or take them for committed.
    pub fn cut(&self, cuts: &[(Arc<PartitionLog>, Cut)]) -> Vec<Result<(), StorageError>> {
        let (mut is_outdated, mut was_cleaned) = (false, false);
        let cut = |(log, cut): &(Arc<PartitionLog>, Cut)| {
            // Files have these offsets or lower ones.
            let before = [
                log.recovery_point(),
                log.high_watermark().get(),
                log.reader().log_start(),
            ];
            let done = self.cut_with_copy(log, *cut);
            let (Cut::At(end) | Cut::StartAnewAt(end)) = *cut;
            // The log may end before the offset, where a batch began.
            let end = end.min(log.reader().log_end());
            is_outdated |=
                before.iter().any(|offset| end < *offset) || matches!(cut, Cut::StartAnewAt(_));
            if let Some(dirty) = self.first_dirty.lock().get_mut(log.partition())
                && *dirty > end
            {
                *dirty = end;
                was_cleaned = true;
            }
            done
        };
        let done = cuts.iter().map(cut).collect();
        if is_outdated {
            self.write_checkpoints();
        }
        if was_cleaned {
            let _alone = self.writing_checkpoints.lock();
            self.write_cleaned();
        }
        done
    }

    /// Closes all logs, with `threads` threads for each directory, and marks the stop as clean: 1. logs, 2. checkpoints, 3. the
    /// mark. After a crash before 3 the next start recovers the logs and finds all records. A directory that fails meanwhile
    /// gets no mark.
    pub fn close(&self, threads: usize, broker_epoch: BrokerEpoch) {
        let mut logs = self.all();
        logs.extend(self.futures());
        let close = |log: &Arc<PartitionLog>| {
            if let Err(error) = log.close() {
                tracing::error!(partition = %log.partition(), %error, "a log was not closed cleanly");
            }
            Ok(())
        };
        self.in_each_dir(threads, |dir| {
            let inside = |log: &&Arc<PartitionLog>| log.dir().starts_with(&dir.path);
            let logs: Vec<_> = logs.iter().filter(inside).cloned().collect();
            let tell = |progress: &Progress<'_, Arc<PartitionLog>>| {
                let (done, total) = (progress.done, progress.total);
                tracing::debug!(dir = %dir.path.display(), done, total, "closing logs");
            };
            let threads = self.host.threads.at_once(threads);
            drop(in_parallel(threads, &logs, PROGRESS_EVERY, close, tell));
        });
        self.write_checkpoints();
        for dir in self.online() {
            let place = self.host.disk.dir(&dir.path);
            let marked = dir::write_clean_shutdown(place, broker_epoch);
            drop(dir.health.watch(marked));
        }
    }

    /// The log directory that contains a path.
    pub fn dir_of(&self, path: &Path) -> Option<&LogDir> {
        self.dirs.iter().find(|dir| path.starts_with(&dir.path))
    }
}

/// Random bytes that make the name of a renamed directory unique.
fn unique(chance: &Chance, path: &Path) -> Result<[u8; 16], StorageError> {
    chance
        .bytes()
        .map_err(|error| malformed(path, error.to_string()))
}

/// Logs a debug message for a loaded log.
fn log_loaded(log: &PartitionLog) {
    // Reading these numbers takes the log's lock.
    if tracing::enabled!(tracing::Level::DEBUG) {
        let marks = log.reader().watermarks();
        tracing::debug!(
            partition = %log.partition(), segments = log.reader().segment_count(),
            log_start = marks.log_start, log_end = marks.log_end,
            "loaded a log"
        );
    }
}

/// Logs the progress of loading. It is called at intervals, so that a quick start after a clean stop logs nothing.
fn log_progress(dir: &Path, clean: bool, progress: &Progress<'_, (TopicPartition, PathBuf, bool)>) {
    let Progress { done, total, at } = progress;
    let at: Vec<_> = at.iter().map(|(name, ..)| name.to_string()).collect();
    let (dir, remaining, at) = (dir.display(), total - done, at.join(" "));
    if clean {
        tracing::info!(%dir, done, total, remaining, at, "loading logs");
    } else {
        tracing::info!(%dir, done, total, remaining, at, "recovering logs");
    }
}

fn write_checkpoints_of(
    disk: &Disk,
    dir: &LogDir,
    logs: &[Arc<PartitionLog>],
) -> Result<(), StorageError> {
    let mine: Vec<_> = logs
        .iter()
        .filter(|log| log.dir().starts_with(&dir.path))
        .collect();
    let write = |name: &str, of: &dyn Fn(&PartitionLog) -> Option<Offset>| {
        let offsets: Vec<_> = mine
            .iter()
            .filter_map(|log| Some((log.partition(), of(log)?)))
            .collect();
        checkpoint::write_offsets(disk, &dir.path.join(name), offsets.into_iter())
    };
    write(checkpoint::RECOVERY_POINTS, &|log| {
        Some(log.recovery_point())
    })?;
    write(checkpoint::LOG_STARTS, &|log| log.log_start_to_remember())?;
    write(checkpoint::HIGH_WATERMARKS, &|log| {
        Some(log.reader().watermarks().high_watermark)
    })
}
