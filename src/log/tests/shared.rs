//! Random stories of several logs in two simulated log directories with shared checkpoint files: logs are created, deleted and
//! created again under the same name, moved between the directories, and lose process or power at any step.
//!
//! `MONEDULA_DISK_SEED=17 cargo test --lib logs_of_a_lying_directory` runs one story again, `MONEDULA_DISK_SEEDS=10000` runs
//! that many.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::crashes::{scratch, tell_all};
use super::disk::{Dice, Fault, LyingDisk};
use super::*;
use crate::base::time::Timestamp;
use crate::host::Host;
use crate::host::chance::Chance;
use crate::log::error::{AppendError, StorageError};
use crate::log::manager::{LogManager, ManagerSettings};

const LOGS: u64 = 3;
const DIR: Uuid = DIRS[0];
const DIRS: [Uuid; 2] = [Uuid([9; 16]), Uuid([8; 16])];
const FAULTS: [Fault; 4] = [Fault::Cut, Fault::Kill, Fault::Io, Fault::Full];

/// Expected contents of a log.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Number of the topic with this name; increases with each deletion.
    id: u8,
    /// Index of the log directory in the metadata.
    dir: usize,
    /// Key and value of each record.
    records: BTreeMap<Offset, (u8, u64)>,
    start: Offset,
    end: Offset,
    flushed: Offset,
    /// Log start offset in the checkpoint.
    saved_start: Offset,
}

struct Story {
    dice: Dice,
    dir: PathBuf,
    disk: LyingDisk,
    logs: Option<LogManager>,
    /// Paths of the log directories.
    dirs: Vec<PathBuf>,
    models: Vec<Model>,
    now: Timestamp,
    written: u64,
    did: Vec<String>,
    powerless: bool,
}

fn settings(topic: &str) -> LogSettings {
    let compact = topic == "t2";
    LogSettings {
        segment_bytes: 600,
        index_interval_bytes: 100,
        retention_bytes: 3_000,
        cleanup_compact: compact,
        cleanup_delete: !compact,
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay_ms: 0,
        ..LogSettings::default()
    }
}

fn own_host() -> Host {
    Host {
        disk: own_disk(),
        ..Host::default()
    }
}

fn load(dir: &Path) -> Result<LogManager, StorageError> {
    load_all(&[dir.to_owned()])
}

fn load_all(dirs: &[PathBuf]) -> Result<LogManager, StorageError> {
    load_on(&own_host(), dirs)
}

fn load_on(host: &Host, dirs: &[PathBuf]) -> Result<LogManager, StorageError> {
    let manager = ManagerSettings {
        file_delete_delay_ms: 0,
    };
    let dirs = dirs.iter().cloned().zip(DIRS.map(Ok));
    let logs = LogManager::open(host, dirs.collect(), manager)?;
    logs.load(0, &settings, NOW)?;
    Ok(logs)
}

fn name_of(number: usize) -> TopicPartition {
    TopicPartition::new(format!("t{number}"), 0)
}

impl Story {
    fn logs(&self) -> &LogManager {
        self.logs.as_ref().unwrap()
    }

    fn log(&self, number: usize) -> Result<Arc<PartitionLog>, StorageError> {
        let model = &self.models[number];
        let (name, id, dir) = (name_of(number), Uuid([model.id; 16]), DIRS[model.dir]);
        self.logs()
            .get_or_create(&name, id, dir, &settings(&name.topic), self.now)
    }

    fn is_dead(&self) -> bool {
        self.disk.0.lock().is_dead()
    }

    /// Whether a log directory has failed: the node then stops soon.
    fn has_failed(&self) -> bool {
        self.logs().online().count() < self.dirs.len()
    }

    fn step(&mut self) {
        self.now += 10;
        let number = self.dice.below(LOGS) as usize;
        let what = self.dice.below(44);
        let done = match what {
            0..=17 => self.append(number),
            18..=20 => self.log(number).and_then(|log| {
                log.flush(self.now)?;
                self.models[number].flushed = self.models[number].end;
                Ok(())
            }),
            21..=22 => self.log(number).and_then(|log| {
                let model = &mut self.models[number];
                let start = self.dice.below(model.end as u64 + 1) as Offset;
                let moved = log.advance_start(start, self.now);
                model.start = model.start.max(log.reader().watermarks().log_start);
                moved.map(drop)
            }),
            23..=26 => {
                self.logs().write_checkpoints();
                if !self.has_failed() {
                    self.note_checkpoints();
                }
                Ok(())
            }
            27 => {
                self.logs().retain(self.now);
                for number in 0..LOGS as usize {
                    if let Some(log) = self.logs().get(&name_of(number)) {
                        let start = log.reader().watermarks().log_start;
                        self.models[number].start = self.models[number].start.max(start);
                    }
                }
                Ok(())
            }
            28..=29 => {
                self.logs().compact(&Budget::of(1 << 16), self.now);
                Ok(())
            }
            30 => {
                self.logs().remove_doomed(self.now);
                Ok(())
            }
            31..=32 => self.make_again(number),
            33 => {
                let fault = FAULTS[self.dice.below(4) as usize];
                self.did.push(format!("{fault:?}"));
                self.disk.fail_after(self.dice.below(60), fault);
                Ok(())
            }
            34 => {
                self.logs().close(0, 1);
                if self.is_dead() || self.has_failed() {
                    return self.end();
                }
                for model in &mut self.models {
                    model.flushed = model.end;
                }
                self.note_checkpoints();
                self.did.push("stop".into());
                return self.start();
            }
            35..=36 => {
                self.did.push("kill".into());
                return self.start();
            }
            37 => return self.power_cut(),
            40 => self.begin_move(number),
            41..=43 => self.go_on_moving(),
            _ => {
                self.look();
                Ok(())
            }
        };
        self.did.push(format!("{what} of {number}: {done:?}"));
        if self.is_dead() || self.has_failed() {
            self.end();
        } else {
            done.unwrap();
        }
    }

    /// Ends the process after a fault of the disk.
    fn end(&mut self) {
        let killed = self.disk.0.lock().revive();
        if killed || !self.is_dead() && self.dice.one_in(2) {
            self.did.push("killed".into());
            self.start();
        } else {
            self.power_cut();
        }
    }

    fn begin_move(&mut self, number: usize) -> Result<(), StorageError> {
        let log = self.log(number)?;
        if self.logs().future(log.partition()).is_some() {
            return self.logs().cancel_move(log.partition(), self.now);
        }
        let to = 1 - self.dir_of(&log);
        let begun = self
            .logs()
            .begin_move(&log, &self.logs().dirs()[to], self.now);
        begun.map_err(of_disk)
    }

    /// One round of the task that moves replicas, with the updates of the metadata.
    fn go_on_moving(&mut self) -> Result<(), StorageError> {
        for copy in self.logs().futures() {
            let copied = self.logs().copy(&copy, 1_000, self.now);
            if copied.map_err(of_disk)? > 0 {
                continue;
            }
            let Some(number) = (0..LOGS as usize).find(|n| name_of(*n) == *copy.partition()) else {
                continue;
            };
            let Some(copy) = self.logs().future(copy.partition()) else {
                continue;
            };
            self.models[number].dir = self.dir_of(&copy);
            let finished = self.logs().finish_move(&copy, self.now);
            finished.map_err(of_disk)?;
        }
        Ok(())
    }

    fn dir_of(&self, log: &PartitionLog) -> usize {
        let dir = log.dir();
        let found = self.dirs.iter().position(|path| dir.starts_with(path));
        found.unwrap()
    }

    /// Finishes moves at a start like the node: see `replica/moves.rs`.
    fn settle_moves(&self, logs: &LogManager) -> Result<(), StorageError> {
        for copy in logs.futures() {
            let name = copy.partition();
            let number = (0..LOGS as usize).find(|number| name_of(*number) == *name);
            let model = &self.models[number.unwrap()];
            if copy.topic_id() != Uuid([model.id; 16]) {
                logs.cancel_move(name, self.now)?;
            } else if logs.get(name).is_none()
                && self.dir_of(&copy) == model.dir
                && logs.online().count() == self.dirs.len()
            {
                logs.settle(name)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, number: usize) -> Result<(), StorageError> {
        let log = self.log(number)?;
        for _ in 0..1 + self.dice.below(6) {
            let key = self.dice.below(5) as u8;
            self.written += 1;
            let mut builder = BatchBuilder::default();
            builder.push(self.now, Some(&[key]), Some(&self.written.to_be_bytes()));
            let appended = log.append_committed(&builder.build(), 0, Origin::Client, self.now);
            let model = &mut self.models[number];
            // A batch whose write failed may be on disk nevertheless.
            model.records.insert(model.end, (key, self.written));
            match appended {
                Ok(appended) => assert_eq!(appended.first_offset, model.end),
                Err(error) => return Err(of_disk(error)),
            }
            model.end += 1;
        }
        Ok(())
    }

    /// Deletes the topic and creates another one with the same name.
    fn make_again(&mut self, number: usize) -> Result<(), StorageError> {
        let name = name_of(number);
        // The metadata changes first.
        self.models[number] = Model {
            id: self.models[number].id + 1,
            dir: self.dice.below(2) as usize,
            ..Model::default()
        };
        self.logs().delete(&name, self.now)?;
        self.log(number).map(drop)
    }

    fn note_checkpoints(&mut self) {
        for number in 0..LOGS as usize {
            if let Some(log) = self.logs().get(&name_of(number)) {
                // As in Kafka, a log start offset that is the base offset of a segment is not written.
                let start = log.log_start_to_remember();
                self.models[number].saved_start = start.unwrap_or(0);
            }
        }
    }

    fn power_cut(&mut self) {
        self.did.push("power cut".into());
        self.lose_power();
        self.start();
    }

    fn lose_power(&mut self) {
        watch(None);
        self.logs = None;
        self.disk.cut(&self.dir);
        for dir in &self.dirs {
            fs::create_dir_all(dir).unwrap();
        }
        self.powerless = true;
        self.disk = LyingDisk::over(&self.dir, self.dice.below(u64::MAX));
        watch(Some(Arc::new(self.disk.clone())));
    }

    /// Starts a new process.
    fn start(&mut self) {
        self.logs = None;
        loop {
            if self.is_dead() && !self.disk.0.lock().revive() {
                self.lose_power();
            }
            self.powerless |= self.disk.0.lock().heal();
            let mut sound = true;
            if self.dice.one_in(5) {
                let fault = FAULTS[self.dice.below(4) as usize];
                self.did.push(format!("start, {fault:?}"));
                self.disk.fail_after(self.dice.below(40), fault);
                sound = false;
            }
            // Names of directories are random, and a story is to be told again by its seed.
            let host = Host {
                chance: Chance::seeded(self.did.len() as u64),
                ..own_host()
            };
            let loaded = load_on(&host, &self.dirs).and_then(|logs| {
                self.settle_moves(&logs)?;
                Ok(logs)
            });
            match loaded {
                Ok(logs) if !self.is_dead() && logs.online().count() == self.dirs.len() => {
                    self.powerless |= self.disk.0.lock().heal();
                    self.logs = Some(logs);
                    break;
                }
                Err(error) if sound => panic!("a start failed: {error}"),
                _ => assert!(!sound, "a start failed"),
            }
            if !self.is_dead() && self.dice.one_in(2) {
                self.lose_power();
            }
        }
        self.settle();
        self.look();
    }

    /// Removes from the models what a power loss has removed.
    fn settle(&mut self) {
        let powerless = std::mem::take(&mut self.powerless);
        for number in 0..LOGS as usize {
            let name = name_of(number);
            let id = Uuid([self.models[number].id; 16]);
            let there = self.logs().get(&name).filter(|log| log.topic_id() == id);
            if there.is_none() {
                let model = &mut self.models[number];
                let lost = powerless && model.flushed == 0;
                // The log could not be created.
                assert!(lost || model.end == 0, "{name} is lost: {model:?}");
                (model.start, model.saved_start) = (0, 0);
            }
            let log = self.log(number).unwrap();
            self.models[number].dir = self.dir_of(&log);
            let (end, found) = (log.reader().log_end(), read_all(&log));
            let model = &mut self.models[number];
            assert!(
                end >= model.flushed,
                "{name}: flushed to {}, found {end}",
                model.flushed
            );
            assert!(
                powerless || end >= model.end,
                "{name} ends at {end}: {model:?}"
            );
            let start = log.reader().watermarks().log_start;
            // The first segments may be lost if they were not flushed.
            let later = powerless && model.flushed <= model.start;
            assert!(
                start >= model.saved_start.min(end) && (later || start <= model.start),
                "{name} begins at {start}: {model:?}"
            );
            if powerless {
                model.start = model.start.max(start);
            }
            let flushed = model.flushed;
            model.records.retain(|offset, _| {
                *offset < end
                    && (!powerless
                        || *offset < flushed
                        || found.contains_key(offset)
                        || *offset < start)
            });
            model.end = end;
            model.start = model.start.min(end);
        }
    }

    fn look(&mut self) {
        if self.is_dead() || self.has_failed() {
            return self.end();
        }
        let calm = self.disk.0.lock().calm(true);
        for number in 0..LOGS as usize {
            let (name, model) = (name_of(number), self.models[number].clone());
            let log = self.log(number).unwrap();
            assert_eq!(log.topic_id(), Uuid([model.id; 16]), "{name}");
            assert_eq!(log.reader().log_end(), model.end, "{name}");
            let found = read_all(&log);
            for (offset, record) in &found {
                assert_eq!(
                    model.records.get(offset),
                    Some(record),
                    "{name} at {offset}"
                );
            }
            let start = model.start.max(log.reader().watermarks().log_start);
            let mut newest = BTreeMap::new();
            for (offset, (key, _)) in model.records.range(start..) {
                newest.insert(*key, *offset);
                if !settings(&name.topic).cleanup_compact {
                    assert!(
                        found.contains_key(offset),
                        "{name}: record {offset} is lost"
                    );
                }
            }
            for offset in newest.values() {
                assert!(
                    found.contains_key(offset),
                    "{name}: the newest at {offset} is lost"
                );
            }
        }
        self.disk.0.lock().calm(calm);
    }
}

fn of_disk(error: AppendError) -> StorageError {
    match error {
        AppendError::Storage(error) => error,
        refused => panic!("{refused}"),
    }
}

fn read_all(log: &PartitionLog) -> BTreeMap<Offset, (u8, u64)> {
    let mut found = BTreeMap::new();
    let mut next = log.reader().watermarks().log_start;
    while next < log.reader().log_end() {
        let plan = log
            .reader()
            .read(next, 1_000, ReadEnd::LogEnd, true)
            .unwrap();
        let Some(range) = plan.records else { break };
        let mut rest = range.read().unwrap();
        while let Ok(header) = BatchHeader::parse(&rest)
            && header.size() <= rest.len()
        {
            let batch = rest.split_to(header.size());
            header.verify(&batch).unwrap();
            for record in record::records(&header, &batch.slice(61..)) {
                let record = record.unwrap();
                let value = u64::from_be_bytes(record.value.unwrap().try_into().unwrap());
                found.insert(record.offset, (record.key.unwrap()[0], value));
            }
            next = header.next_offset();
        }
    }
    let start = log.reader().watermarks().log_start;
    found.split_off(&start)
}

pub(super) fn tell(seed: u64) {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().to_owned();
    let dirs: Vec<_> = ["a", "b"].iter().map(|name| dir.join(name)).collect();
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
    }
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9));
    let disk = LyingDisk::over(&dir, dice.below(u64::MAX));
    watch(Some(Arc::new(disk.clone())));
    let steps = 20 + dice.below(120);
    let logs = load_all(&dirs).unwrap();
    let mut story = Story {
        dice,
        dir,
        disk,
        logs: Some(logs),
        dirs,
        models: vec![Model::default(); LOGS as usize],
        now: NOW,
        written: 0,
        did: Vec::new(),
        powerless: false,
    };
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        story.settle_new();
        for _ in 0..steps {
            story.step();
        }
        story.power_cut();
    }));
    watch(None);
    if let Err(reason) = told {
        let from = story.did.len().saturating_sub(25);
        eprintln!("... {:#?}", &story.did[from..]);
        eprintln!("replay: MONEDULA_DISK_SEED={seed} cargo test --lib logs_of_a_lying_directory");
        std::panic::resume_unwind(reason);
    }
}

impl Story {
    fn settle_new(&mut self) {
        for number in 0..LOGS as usize {
            self.models[number].id = 1;
            self.log(number).unwrap();
        }
    }
}

#[test]
fn the_logs_of_a_lying_directory_lose_nothing_to_each_other_or_to_those_before_them() {
    tell_all(60, tell);
}

fn made(logs: &LogManager, id: u8) -> Arc<PartitionLog> {
    let (name, id) = (name_of(0), Uuid([id; 16]));
    logs.get_or_create(&name, id, DIR, &settings(&name.topic), NOW)
        .unwrap()
}

/// Seed 16: the new log lost its first records, as if they had been deleted.
#[test]
fn a_topic_does_not_begin_where_a_deleted_one_of_its_name_began() {
    let dir = tempfile::tempdir().unwrap();
    for killed_between in [false, true] {
        let mut logs = load(dir.path()).unwrap();
        let old = made(&logs, 1);
        for n in 0..10 {
            append(&old, n, &["old", "records"]);
        }
        old.flush(NOW).unwrap();
        old.advance_start(7, NOW).unwrap();
        logs.write_checkpoints();
        logs.delete(&name_of(0), NOW).unwrap();
        if killed_between {
            drop((logs, old));
            logs = load(dir.path()).unwrap();
        }
        append(&made(&logs, 2), 0, &["new", "records"]);
        drop(logs);
        let logs = load(dir.path()).unwrap();
        let marks = made(&logs, 2).reader().watermarks();
        assert_eq!((marks.log_start, marks.log_end), (0, 2));
        logs.delete(&name_of(0), NOW).unwrap();
    }
}

/// Seed 17: the removal of the mark of a clean stop was undone, and records appended afterwards were not recovered.
#[test]
fn a_clean_stop_counts_once_whatever_a_power_cut_brings_back() {
    let dir = tempfile::tempdir().unwrap();
    made(&load(dir.path()).unwrap(), 1);
    load(dir.path()).unwrap().close(0, 1);
    let mark = dir.path().join(".kafka_cleanshutdown");
    assert!(mark.exists());
    let disk = LyingDisk::over(dir.path(), 1);
    watch(Some(Arc::new(disk.clone())));
    drop(load(dir.path()).unwrap());
    watch(None);
    disk.cut_keeping(dir.path(), |_| false);
    assert!(!mark.exists());
}

/// Seed 18: the files were on disk, but not the name of their directory.
#[test]
fn a_new_partition_that_was_flushed_is_there_after_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let disk = LyingDisk::over(dir.path(), 1);
    watch(Some(Arc::new(disk.clone())));
    let logs = load(dir.path()).unwrap();
    let log = made(&logs, 1);
    append(&log, 0, &["some", "records"]);
    log.flush(NOW).unwrap();
    watch(None);
    drop((logs, log));
    disk.cut_keeping(dir.path(), |_| false);
    let logs = load(dir.path()).unwrap();
    assert_eq!(
        logs.get(&name_of(0)).map(|log| log.reader().log_end()),
        Some(2)
    );
}

fn moving() -> (tempfile::TempDir, Vec<PathBuf>) {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dirs: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| root.path().join(name))
        .collect();
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
    }
    (root, dirs)
}

fn copied(logs: &LogManager, log: &PartitionLog) -> Arc<PartitionLog> {
    if logs.futures().is_empty() {
        logs.begin_move(log, &logs.dirs()[1], NOW).unwrap();
    }
    while logs.copy(&logs.futures()[0], 1_000, NOW).unwrap() > 0 {}
    logs.futures().remove(0)
}

/// Seed 108: the two names are on different disks, and a start refuses a partition that exists twice.
#[test]
fn a_power_cut_never_leaves_a_moved_replica_in_both_directories() {
    let one_disk = |step: &str| step.ends_with(" t0-0") || !step.starts_with("rename t0-0");
    let nothing = |_: &str| false;
    let orders: [&dyn Fn(&str) -> bool; 2] = [&one_disk, &nothing];
    for (steps, keeps) in (0..40).flat_map(|steps| orders.map(|keeps| (steps, keeps))) {
        let (root, dirs) = moving();
        let disk = LyingDisk::over(root.path(), 1);
        watch(Some(Arc::new(disk.clone())));
        let logs = load_all(&dirs).unwrap();
        let log = made(&logs, 1);
        append(&log, 0, &["some", "records"]);
        log.flush(NOW).unwrap();
        let copy = copied(&logs, &log);
        disk.fail_after(steps, Fault::Cut);
        // The metadata has the new directory already.
        let _ = logs.finish_move(&copy, NOW);
        watch(None);
        drop((logs, log, copy));
        disk.cut_keeping(root.path(), keeps);
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
        }
        let logs = load_all(&dirs).unwrap();
        if logs.get(&name_of(0)).is_none() {
            logs.settle(&name_of(0)).unwrap();
        }
        let end = logs.get(&name_of(0)).map(|log| log.reader().log_end());
        assert_eq!(end, Some(2), "after {steps} steps");
    }
}

/// Seed 30: the log lost records that its copy had, got other records, and would have been replaced by a different history.
#[test]
fn a_copy_goes_on_with_no_more_than_its_log_has_after_a_crash() {
    let (root, dirs) = moving();
    let disk = LyingDisk::over(root.path(), 1);
    watch(Some(Arc::new(disk.clone())));
    let logs = load_all(&dirs).unwrap();
    let log = made(&logs, 1);
    append(&log, 0, &["some", "records"]);
    log.flush(NOW).unwrap();
    append(&log, 0, &["that", "are", "lost"]);
    copied(&logs, &log).flush(NOW).unwrap();
    watch(None);
    drop((logs, log));
    disk.cut_keeping(root.path(), |step| step.starts_with("dir"));
    let logs = load_all(&dirs).unwrap();
    let log = made(&logs, 1);
    assert_eq!(
        (log.reader().log_end(), logs.futures()[0].reader().log_end()),
        (2, 0)
    );
    append(&log, 7, &["others", "instead"]);
    let copy = copied(&logs, &log);
    assert!(logs.finish_move(&copy, NOW).unwrap());
    let plan = made(&logs, 1)
        .reader()
        .read(2, 1_000, ReadEnd::LogEnd, true)
        .unwrap();
    let range = plan.records.unwrap();
    let bytes = range.read().unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().base_timestamp, 7);
}

/// Names in the old directory were synced, those in the new one were not.
#[test]
fn a_moved_replica_is_there_after_a_clean_stop_and_a_power_cut() {
    let (root, dirs) = moving();
    let disk = LyingDisk::over(root.path(), 1);
    watch(Some(Arc::new(disk.clone())));
    let logs = load_all(&dirs).unwrap();
    let log = made(&logs, 1);
    log.begin_epoch(0).unwrap();
    log.flush(NOW).unwrap();
    append(&log, 0, &["some", "records"]);
    let copy = copied(&logs, &log);
    assert!(logs.finish_move(&copy, NOW).unwrap());
    logs.close(0, 1);
    watch(None);
    drop((logs, log, copy));
    disk.cut_keeping(root.path(), |_| false);
    let logs = load_all(&dirs).unwrap();
    assert_eq!(
        logs.get(&name_of(0)).map(|log| log.reader().log_end()),
        Some(2)
    );
}

/// Seed 2044: the checkpoint relied on the name of a segment, and a power loss restored the segments before it.
#[test]
fn a_log_start_is_remembered_until_its_segment_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = LyingDisk::over(dir.path(), 1);
    watch(Some(Arc::new(disk.clone())));
    let logs = load(dir.path()).unwrap();
    let log = made(&logs, 1);
    for _ in 0..40 {
        append(&log, 0, &["some", "records"]);
    }
    log.flush(NOW).unwrap();
    let starts = log.reader().segment_starts(NOW);
    let (start, _) = starts[starts.len() - 2];
    assert!(start > 0);
    log.advance_start(start, NOW).unwrap();
    logs.write_checkpoints();
    watch(None);
    drop((logs, log));
    disk.cut_keeping(dir.path(), |_| false);
    let logs = load(dir.path()).unwrap();
    assert_eq!(made(&logs, 1).reader().watermarks().log_start, start);
}

/// Records appended after a truncation would have been trusted like those that were removed.
#[test]
fn a_log_that_is_found_shorter_is_trusted_no_further_than_that() {
    let dir = tempfile::tempdir().unwrap();
    let logs = load(dir.path()).unwrap();
    let log = made(&logs, 1);
    append(&log, 0, &["some", "records"]);
    append(&log, 0, &["more", "records"]);
    log.flush(NOW).unwrap();
    logs.write_checkpoints();
    drop((logs, log));
    let file = dir.path().join("t0-0").join(file_name(0, ".log"));
    let mut content = fs::read(&file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&file, content).unwrap();
    drop(load(dir.path()).unwrap());
    let points = fs::read_to_string(dir.path().join("recovery-point-offset-checkpoint"));
    assert_eq!(points.unwrap(), "0\n1\nt0 0 2\n");
}

/// The directory name tells the topic; one damaged file should not take the partition offline.
#[test]
fn a_partition_whose_metadata_cannot_be_read_is_that_of_the_topic_of_its_name() {
    let zero = format!("version: 0\ntopic_id: {}", Uuid::ZERO);
    let damages: [&[u8]; 6] = [
        b"",
        b"version: 0\n",
        b"version: 0\ntopic_id: AQEB",
        &[0; 43],
        &[0xff; 43],
        zero.as_bytes(),
    ];
    for damage in damages {
        let dir = tempfile::tempdir().unwrap();
        append(
            &made(&load(dir.path()).unwrap(), 1),
            0,
            &["some", "records"],
        );
        let file = dir.path().join("t0-0/partition.metadata");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, damage).unwrap();
        let logs = load(dir.path()).unwrap();
        for _ in 0..2 {
            let log = made(&logs, 1);
            assert_eq!((log.topic_id(), log.reader().log_end()), (Uuid([1; 16]), 2));
        }
        assert_eq!(fs::read(&file).unwrap(), whole);
    }
}

/// Number of logs with records that were put aside.
fn aside(dir: &Path) -> usize {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let aside = paths.filter(|path| {
        let log = path.join(file_name(0, ".log"));
        path.to_string_lossy().ends_with("-stray") && fs::metadata(log).unwrap().len() > 0
    });
    aside.count()
}

/// A power loss can leave a log without its unsynced file names; the topic may have been deleted and created again since.
#[test]
fn records_without_a_partition_metadata_are_nobodys() {
    for records in [&["some", "records"][..], &[]] {
        let dir = tempfile::tempdir().unwrap();
        let log = made(&load(dir.path()).unwrap(), 1);
        if !records.is_empty() {
            append(&log, 0, records);
        }
        drop(log);
        fs::remove_file(dir.path().join("t0-0/partition.metadata")).unwrap();
        let logs = load(dir.path()).unwrap();
        for _ in 0..2 {
            let log = made(&logs, 2);
            assert_eq!((log.topic_id(), log.reader().log_end()), (Uuid([2; 16]), 0));
        }
        drop(logs);
        assert_eq!(aside(dir.path()), records.len() / 2);
    }
}

/// A flipped bit changes a topic id: the log was taken for that of a deleted topic and removed.
#[test]
fn a_log_of_another_topic_is_put_aside_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    append(
        &made(&load(dir.path()).unwrap(), 1),
        0,
        &["some", "records"],
    );
    let logs = load(dir.path()).unwrap();
    assert_eq!(made(&logs, 2).reader().log_end(), 0);
    logs.remove_doomed(NOW + 1);
    drop(logs);
    load(dir.path()).unwrap().remove_doomed(NOW + 1);
    assert_eq!(aside(dir.path()), 1);
}

/// Moves and new topics write checkpoints too, at any time.
#[test]
fn checkpoints_that_several_write_at_once_break_no_directory() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let identified = vec![(root.path().to_owned(), Ok(DIRS[0]))];
    let logs = LogManager::open(&own_host(), identified, ManagerSettings::default()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..200).for_each(|_| logs.write_checkpoints()));
        }
    });
    assert!(logs.dirs()[0].is_online());
}
