//! Truncations of a log of a follower while something else works on the log: a move to another directory, the cleaner, the files
//! of checkpoints.

use std::io;
use std::panic::Location;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::crashes::scratch;
use super::disk::Dice;
use super::following::{bytes, follow, led, old};
use super::watched::meanwhile;
use super::*;
use crate::host::Host;
use crate::host::disk::{Simulation, Step, Verdict};
use crate::log::manager::{Cut, LogManager, ManagerSettings};
use crate::log::partition_log::following::Replicated;
use crate::wire::message::fuzz::{from_environment, seeds_from_environment};

const DIRS: [Uuid; 2] = [Uuid([8; 16]), Uuid([9; 16])];

fn name() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn load(root: &Path, settings: &LogSettings) -> LogManager {
    let host = Host {
        disk: own_disk(),
        ..Host::default()
    };
    let dirs = DIRS.map(|id| {
        let path = root.join(format!("{}", id.0[0]));
        fs::create_dir_all(&path).unwrap();
        (path, Ok(id))
    });
    let logs = LogManager::open(&host, Vec::from(dirs), ManagerSettings::default()).unwrap();
    logs.load(0, &|_| settings.clone(), NOW).unwrap();
    logs
}

fn made(logs: &LogManager, settings: &LogSettings) -> Arc<PartitionLog> {
    let (name, id) = (name(), Uuid([1; 16]));
    logs.get_or_create(&name, id, DIRS[0], settings, NOW)
        .unwrap()
}

/// Appends one record each at these offsets.
fn follow_all(
    log: &PartitionLog,
    offsets: std::ops::Range<Offset>,
    epoch: LeaderEpoch,
    value: &str,
) {
    for base in offsets {
        follow(log, led(base, epoch, value));
    }
}

fn cut(logs: &LogManager, log: &Arc<PartitionLog>, cut: Cut) {
    let done = logs.cut(&[(Arc::clone(log), cut)]);
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// The follower of a log that moves between two directories, with the batches that it must have.
struct Story {
    root: tempfile::TempDir,
    logs: Option<LogManager>,
    dice: Dice,
    /// First offset and bytes of each batch.
    batches: Vec<(Offset, Vec<u8>)>,
    start: Offset,
    end: Offset,
    epoch: LeaderEpoch,
    is_told: bool,
}

impl Story {
    fn new(seed: u64, is_told: bool) -> Self {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let logs = load(root.path(), &small());
        made(&logs, &small());
        Self {
            root,
            logs: Some(logs),
            dice: Dice(seed),
            batches: Vec::new(),
            start: 0,
            end: 0,
            epoch: 0,
            is_told,
        }
    }

    fn logs(&self) -> &LogManager {
        self.logs.as_ref().unwrap()
    }

    fn log(&self) -> Arc<PartitionLog> {
        self.logs().get(&name()).unwrap()
    }

    fn append(&mut self) {
        for _ in 0..=self.dice.below(12) {
            let base = self.end + i64::from(self.dice.one_in(9));
            let value = format!("{} {}", self.epoch, self.dice.below(1_000_000));
            let batch = led(base, self.epoch, &value);
            self.end = follow(&self.log(), batch.clone()).log_end;
            self.batches.push((base, batch));
        }
        let log = self.log();
        let committed = self.dice.below(self.end as u64 + 1) as Offset;
        log.high_watermark().raise_to(committed.max(self.start));
    }

    fn cut(&mut self) {
        let to = self.start - 3 + self.dice.below((self.end - self.start + 9) as u64) as Offset;
        let to = to.max(0);
        let what = match self.dice.one_in(4) {
            true => Cut::StartAnewAt(to),
            false => Cut::At(to),
        };
        cut(self.logs(), &self.log(), what);
        if to < self.start || matches!(what, Cut::StartAnewAt(_)) {
            self.batches.clear();
            (self.start, self.end) = (to, to);
        } else if to < self.end {
            self.batches.retain(|(base, _)| *base < to);
            self.end = to;
        }
        // The new leader's records.
        self.epoch += 1;
        if !self.dice.one_in(5) {
            self.append();
        }
    }

    fn delete_before(&mut self) {
        let to = self.start + self.dice.below((self.end - self.start + 1) as u64) as Offset;
        self.start = self.log().advance_start(to, NOW).unwrap();
        let start = self.start;
        self.batches.retain(|(base, _)| *base >= start);
    }

    fn step(&mut self) {
        let what = self.dice.below(20);
        if self.is_told {
            eprintln!("{what}, log {}..{}", self.start, self.end);
        }
        let logs = self.logs();
        match what {
            0..=4 => self.append(),
            5..=7 => self.cut(),
            8 => {
                let to = logs.dirs().iter();
                let dir = self.log().dir();
                let mut to = to.filter(|to| !dir.starts_with(&to.path));
                if logs.future(&name()).is_none() {
                    logs.begin_move(&self.log(), to.next().unwrap(), NOW)
                        .unwrap();
                }
            }
            9..=14 => {
                let most = 1 << self.dice.below(12);
                let logs = self.logs();
                if let Some(copy) = logs.future(&name()) {
                    logs.copy(&copy, most, NOW).unwrap();
                }
                // The copy may have begun anew.
                if let Some(copy) = logs.future(&name())
                    && logs.copy(&copy, 1 << 20, NOW).unwrap() == 0
                {
                    logs.finish_move(&copy, NOW).unwrap();
                }
            }
            15 => self.log().flush(NOW).unwrap(),
            16 => logs.write_checkpoints(),
            17 => self.delete_before(),
            18 => self.start_again(),
            _ => self.cut_while_the_copy_is_away(),
        }
        self.check();
    }

    fn start_again(&mut self) {
        let logs = self.logs.take().unwrap();
        logs.close(0, 1);
        drop(logs);
        self.load();
    }

    fn load(&mut self) {
        self.logs = Some(load(self.root.path(), &small()));
        // A gap at the end is in no file.
        let last = self.batches.last().map_or(self.start, |(base, _)| base + 1);
        let end = self.log().reader().log_end();
        assert!((last.max(self.start)..=self.end).contains(&end), "{end}");
        self.end = end;
    }

    /// The directory with the copy is offline while the log is truncated, and comes back with the next start.
    fn cut_while_the_copy_is_away(&mut self) {
        let logs = self.logs();
        let Some(copy) = logs.future(&name()) else {
            return;
        };
        let dir = logs.dir_of(&copy.dir()).unwrap().path.clone();
        let away = self.root.path().join("away");
        self.start_again();
        drop(self.logs.take());
        fs::rename(&dir, &away).unwrap();
        self.load();
        self.cut();
        self.start_again();
        drop(self.logs.take());
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&away, &dir).unwrap();
        self.load();
    }

    fn check(&self) {
        let log = self.log();
        let marks = log.reader().watermarks();
        assert_eq!((marks.log_start, marks.log_end), (self.start, self.end));
        let expected: Vec<u8> = (self.batches.iter())
            .flat_map(|(_, batch)| batch.clone())
            .collect();
        assert!(bytes(&log) == expected, "{}", log.dir().display());
        let epochs = log.reader().leader_epochs();
        for (base, batch) in &self.batches {
            let header = BatchHeader::parse(batch).unwrap();
            assert_eq!(epochs.epoch_of(*base), Some(header.leader_epoch), "{base}");
        }
        assert!(self.logs().dirs().iter().all(|dir| dir.is_online()));
    }
}

fn tell(seed: u64, is_told: bool) {
    let mut story = Story::new(seed, is_told);
    for _ in 0..60 {
        story.step();
    }
}

#[test]
fn a_log_has_what_its_leader_had_whatever_is_truncated_during_its_moves() {
    if let Some(seed) = from_environment("MONEDULA_CUT_SEED") {
        return tell(seed, true);
    }
    for seed in seeds_from_environment("MONEDULA_CUT_SEEDS", 60) {
        if std::panic::catch_unwind(|| tell(seed, false)).is_err() {
            panic!("MONEDULA_CUT_SEED={seed} tells what has failed");
        }
    }
}

/// A follower gives up records of the epoch before, and gets as many of the next one, between two rounds of the mover.
#[test]
fn a_copy_is_truncated_with_its_log() {
    for (what, restarts) in [
        (Cut::At(4), false),
        (Cut::At(4), true),
        (Cut::StartAnewAt(4), false),
    ] {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let mut logs = load(root.path(), &small());
        let log = made(&logs, &small());
        follow_all(&log, 0..9, 5, "old");
        logs.begin_move(&log, &logs.dirs()[1], NOW).unwrap();
        let copy = logs.future(&name()).unwrap();
        while logs.copy(&copy, 1 << 20, NOW).unwrap() > 0 {}
        cut(&logs, &log, what);
        follow_all(&log, 4..15, 6, "new");
        let all = bytes(&log);
        drop((log, copy));
        if restarts {
            logs.close(0, 1);
            drop(logs);
            logs = load(root.path(), &small());
        }
        let copy = logs.future(&name()).unwrap();
        while logs.copy(&copy, 1 << 20, NOW).unwrap() > 0 {}
        let copy = logs.future(&name()).unwrap();
        assert!(logs.finish_move(&copy, NOW).unwrap());
        let log = logs.get(&name()).unwrap();
        assert!(log.dir().starts_with(&logs.dirs()[1].path));
        assert!(bytes(&log) == all, "{what:?}");
    }
}

/// Copying and truncating at the same time, in two threads.
#[test]
fn a_log_that_moves_all_the_time_is_truncated_meanwhile() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let logs = load(root.path(), &small());
    let log = made(&logs, &small());
    std::thread::scope(|scope| {
        let truncates = scope.spawn(|| {
            for epoch in 0..150 {
                let end = log.reader().log_end();
                cut(&logs, &log, Cut::At((end - 7).max(0)));
                for base in log.reader().log_end()..end + 9 {
                    let batch = led(base, epoch, "a value of some length");
                    let records = Replicated::check(batch.into()).unwrap();
                    while log.append_as_follower(&records, 1, NOW).unwrap().is_none() {
                        log.wait_for_move();
                    }
                }
            }
        });
        while !truncates.is_finished() {
            let from = log.dir();
            let mut to = logs.dirs().iter().filter(|to| !from.starts_with(&to.path));
            if logs.future(&name()).is_none() {
                logs.begin_move(&log, to.next().unwrap(), NOW).unwrap();
            }
            let copy = logs.future(&name()).unwrap();
            if logs.copy(&copy, 1 << 10, NOW).unwrap() == 0 {
                logs.finish_move(&copy, NOW).unwrap();
            }
        }
        truncates.join().unwrap();
    });
    assert!(logs.dirs().iter().all(|dir| dir.is_online()));
    let epochs = log.reader().leader_epochs();
    let all = bytes(&log);
    let (mut rest, mut next) = (&all[..], 0);
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).unwrap();
        assert_eq!(header.base_offset, next);
        assert_eq!(epochs.epoch_of(next), Some(header.leader_epoch), "{next}");
        next = header.next_offset();
        rest = &rest[header.size()..];
    }
    assert_eq!(next, log.reader().log_end());
}

/// An unclean election truncates below the high watermark, which is as far as the cleaner goes.
#[test]
fn the_cleaner_does_not_put_back_what_was_truncated() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let settings = LogSettings {
        cleanup_compact: true,
        min_cleanable_dirty_ratio: 0.0,
        ..small()
    };
    let logs = Arc::new(load(root.path(), &settings));
    let log = made(&logs, &settings);
    for base in 0..40 {
        follow(&log, led(base, 4, "an old value"));
    }
    log.high_watermark().set(40);
    let (theirs, all) = (Arc::clone(&logs), Arc::new(Mutex::new(Vec::new())));
    let (cut_log, expected) = (Arc::clone(&log), Arc::clone(&all));
    let truncate = move || {
        cut(&theirs, &cut_log, Cut::At(3));
        for base in 3..60 {
            follow(&cut_log, led(base, 5, "a newer one."));
        }
        cut_log.high_watermark().set(60);
        *expected.lock() = bytes(&cut_log);
    };
    // The records of the segment were read.
    let amidst = |step: &Step<'_>| matches!(step, Step::Sync(path) if path.ends_with("00000000000000000000.log.cleaned"));
    meanwhile(amidst, truncate);
    logs.compact(&Budget::of(1 << 16), NOW);
    watch(None);
    assert!(!all.lock().is_empty(), "there was no time for it");
    assert!(bytes(&log) == *all.lock());
    assert_eq!(logs.uncleanable(), []);
    assert!(logs.dirs()[0].is_online());
    // The next pass begins where the truncation was.
    assert!(logs.compact(&Budget::of(1 << 16), NOW));
    let last = log.reader().read(0, 1, ReadEnd::LogEnd, true).unwrap();
    assert!(last.base_offset > 40, "{}", last.base_offset);
}

/// Otherwise a start after a crash would take the new records for committed.
#[test]
fn no_file_has_a_high_watermark_above_a_truncation() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let logs = load(root.path(), &small());
    let log = made(&logs, &small());
    follow_all(&log, 0..9, 4, "v");
    log.flush(NOW).unwrap();
    follow_all(&log, 9..20, 4, "v");
    log.high_watermark().set(15);
    logs.write_checkpoints();
    let of = |name: &str| fs::read_to_string(logs.dirs()[0].path.join(name)).unwrap();
    let high_watermarks = || of("replication-offset-checkpoint");
    assert_eq!(high_watermarks(), "0\n1\nt 0 15\n");
    cut(&logs, &log, Cut::At(12));
    assert_eq!(high_watermarks(), "0\n1\nt 0 12\n");
    // A log start offset above the new beginning.
    log.advance_start(11, NOW).unwrap();
    logs.write_checkpoints();
    cut(&logs, &log, Cut::At(10));
    assert_eq!(high_watermarks(), "0\n1\nt 0 10\n");
    assert!(!of("log-start-offset-checkpoint").contains("11"));
}

/// No answer of a leader continues inside of a batch.
#[test]
fn a_log_that_is_truncated_inside_of_a_batch_ends_before_it() {
    let three = |base, epoch| {
        let mut builder = BatchBuilder::default().at(base, epoch);
        (0..3).for_each(|_| builder.push(NOW, Some(b"k"), Some(b"v")));
        builder.build().to_vec()
    };
    let settings = LogSettings::default();
    for format in [0, 1, 2] {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let logs = load(root.path(), &settings);
        let log = made(&logs, &settings);
        let [first, second] = match format {
            2 => [three(0, 4), three(5, 4)],
            // A wrapper has the offset of its last message, and two messages.
            magic => [0, 5].map(|base| old(magic, Compression::Gzip, base)),
        };
        follow(&log, [first.clone(), second.clone()].concat());
        let end = log.reader().log_end();
        log.high_watermark().set(end);
        log.flush(NOW).unwrap();
        // Between the two batches there is a gap.
        cut(&logs, &log, Cut::At(6));
        let marks = log.reader().watermarks();
        assert_eq!((marks.log_end, marks.high_watermark), (5, 5), "{format}");
        assert_eq!(log.recovery_point(), 5);
        cut(&logs, &log, Cut::At(4));
        assert_eq!(log.reader().log_end(), 4);
        follow(&log, second.clone());
        assert_eq!(bytes(&log), [first.clone(), second.clone()].concat());
        // The log start offset lies in the batch too: the log goes on there, and is empty.
        log.high_watermark().set(end);
        log.advance_start(6, NOW).unwrap();
        cut(&logs, &log, Cut::At(if format == 2 { 7 } else { 6 }));
        let marks = log.reader().watermarks();
        assert_eq!((marks.log_start, marks.log_end), (6, 6));
    }
}

/// Counts the bytes that are read.
#[derive(Debug, Default)]
struct Reads(std::sync::atomic::AtomicUsize);

impl Simulation for Reads {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        if let Step::Fetch(_, _, len) = step {
            self.0.fetch_add(*len, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Verdict::Go)
    }
}

/// The lock of the log is held meanwhile, for which the thread that applies metadata waits.
#[test]
fn a_truncation_reads_as_much_of_a_long_log_as_of_a_short_one() {
    let read_of = |batches: i64| {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let path: PathBuf = root.path().join("t-0");
        let log = create(&path, small());
        for base in 0..batches {
            let mut builder = BatchBuilder::default().at(base, 4);
            builder = builder.producer(base % 3, 0, (base / 3) as i32);
            builder.push(NOW, Some(b"k"), Some(b"some value"));
            follow(&log, builder.build());
        }
        let reads = Arc::new(Reads::default());
        watch(Some(Arc::clone(&reads) as _));
        log.truncate_to(batches - 2).unwrap();
        watch(None);
        let known = log.reader().producers();
        let mut last: Vec<_> = (known.iter())
            .map(|one| one.state.batches.back().unwrap().last_offset)
            .collect();
        last.sort_unstable();
        assert_eq!(last, [batches - 5, batches - 4, batches - 3]);
        reads.0.load(std::sync::atomic::Ordering::Relaxed)
    };
    let (short, long) = (read_of(40), read_of(400));
    assert!(long < 2 * short + 1_000, "{short} {long}");
}
