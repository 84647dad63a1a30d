//! Bugs found with the simulated disk, each as a minimal test. A power loss keeps what was synced, and of the rest what the
//! test says.

use std::path::PathBuf;

use super::crashes::scratch;
use super::disk::{Fault, LyingDisk, SITES};
use super::*;
use crate::log::error::StorageError;
use crate::log::index::transaction::TransactionIndex;
use crate::log::producer_state::Admission;

/// A log on a simulated disk.
struct Lesson {
    _root: tempfile::TempDir,
    dir: PathBuf,
    disk: LyingDisk,
    log: PartitionLog,
    settings: LogSettings,
}

fn lesson(settings: LogSettings) -> Lesson {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    drop(create(&dir, settings.clone()));
    let disk = LyingDisk::over(&dir, 1);
    watch(Some(Arc::new(disk.clone())));
    let log = reopen(&dir, settings.clone(), false, 0);
    Lesson {
        _root: root,
        dir,
        disk,
        log,
        settings,
    }
}

impl Lesson {
    /// Simulates a power loss that keeps what `keeps` says, and opens the log.
    fn power_cut(&mut self, recovery_point: Offset, keeps: impl Fn(&str) -> bool) {
        watch(None);
        self.disk.cut_keeping(&self.dir, keeps);
        self.start(false, recovery_point);
    }

    /// Simulates `kill -9`, and opens the log.
    fn kill(&mut self, recovery_point: Offset) {
        self.disk.0.lock().heal();
        self.log = reopen(&self.dir, self.settings.clone(), false, recovery_point);
    }

    fn start(&mut self, clean: bool, recovery_point: Offset) {
        self.disk = LyingDisk::over(&self.dir, 1);
        watch(Some(Arc::new(self.disk.clone())));
        self.log = reopen(&self.dir, self.settings.clone(), clean, recovery_point);
    }

    /// Opens the log; returns an error if that fails.
    fn try_start(&self, clean: bool, recovery_point: Offset) -> Result<PartitionLog, StorageError> {
        let known = Known {
            clean,
            recovery_point,
            log_start: None,
        };
        let (partition, id) = (TopicPartition::new("t", 0), Uuid([1; 16]));
        let settings = self.settings.clone();
        PartitionLog::open(
            own_disk().dir(&self.dir),
            partition,
            id,
            settings,
            known,
            0,
            NOW,
        )
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(name)).unwrap()
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let names = fs::read_dir(&self.dir).unwrap().map(name);
        let mut names: Vec<_> = names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.ends_with(suffix))
            .collect();
        names.sort();
        names
    }

    /// Appends one record of a producer.
    fn send(&self, producer: i64, sequence: i32, transactional: bool) -> Appended {
        let mut builder = BatchBuilder::default().producer(producer, 0, sequence);
        let mut origin = Origin::Client;
        if transactional {
            builder = builder.transactional();
            origin = Origin::Admitted(Admission {
                last_marker: self.log.reader().last_marker(producer),
                begins_at_zero: false,
                verified: true,
            });
        }
        builder.push(NOW, Some(b"k"), Some(b"v"));
        self.log
            .append_committed(&builder.build(), 0, origin, NOW)
            .unwrap()
    }

    fn end(&self, producer: i64, commit: bool) {
        let mut builder = BatchBuilder::default()
            .producer(producer, 0, -1)
            .transactional()
            .control();
        builder.push(NOW, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]));
        self.log
            .append_committed(&builder.build(), 0, Origin::Internal, NOW)
            .unwrap();
    }

    fn last_sequences(&self) -> Vec<(i64, i32)> {
        let producers = self.log.reader().producers();
        let last = producers
            .iter()
            .map(|producer| (producer.producer_id, producer.state.last_sequence()));
        last.collect()
    }

    fn put(&self, key: &str, value: &str) {
        let mut builder = BatchBuilder::default();
        builder.push(NOW, Some(key.as_bytes()), Some(value.as_bytes()));
        self.log
            .append_committed(&builder.build(), 0, Origin::Client, NOW)
            .unwrap();
    }
}

type Keeps = fn(&str) -> bool;

/// Number of [`STEPS`] that take seconds. They are the first.
pub(super) const SLOW: usize = 2;

/// Tests of steps that no random story would miss.
pub(super) const STEPS: &[(&str, fn())] = &[
    ("compaction", a_compaction_that_is_cut_short_loses_no_key),
    ("split", overflow::a_split_that_is_cut_short_loses_nothing),
    (
        "truncation",
        what_was_cut_off_tells_nothing_of_its_producers,
    ),
    ("retention", snapshots_go_with_their_segments),
    ("stop", a_clean_stop_leaves_nothing_to_remove),
    ("bad snapshot", a_snapshot_that_cannot_be_read_goes),
    (
        "an older attempt",
        what_an_older_attempt_of_the_cleaner_left_is_no_part_of_the_next,
    ),
    ("room", a_segment_has_its_room_from_the_beginning),
    (
        "cut entry",
        an_index_that_ends_amidst_an_entry_is_whole_once_closed,
    ),
    (
        "lost batches",
        a_snapshot_of_lost_batches_is_not_believed_by_their_successors,
    ),
    (
        "former stops",
        of_the_snapshots_that_stops_left_the_newest_stays,
    ),
    ("lost cut", a_cut_that_a_failed_sync_has_lost_is_made_again),
];

const NOTHING: Keeps = |_| false;
const EVERYTHING: Keeps = |_| true;

#[test]
fn what_was_flushed_keeps_its_names() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.flush(NOW).unwrap();
    lesson.power_cut(80, NOTHING);
    assert_eq!(all(&lesson.log), expected(40));
}

/// Apache Kafka flushes during an append, before the records are acknowledged.
#[test]
fn what_is_acknowledged_is_on_disk_where_messages_are_counted() {
    for (flush_messages, records, kept) in [(1, 1, 1), (1, 45, 45), (3, 7, 6), (i64::MAX, 7, 0)] {
        let settings = LogSettings {
            flush_messages,
            ..small()
        };
        let mut lesson = lesson(settings);
        for sequence in 0..records {
            lesson.send(7, sequence, false);
        }
        assert_eq!(
            lesson.log.reader().watermarks().high_watermark,
            i64::from(records)
        );
        assert_eq!(lesson.log.recovery_point(), kept);
        lesson.power_cut(kept, NOTHING);
        assert_eq!(lesson.log.reader().log_end(), kept, "each {flush_messages}");
    }
}

/// The first copy of a repeated batch may not be on disk yet.
#[test]
fn what_is_acknowledged_a_second_time_is_on_disk_too() {
    let settings = LogSettings {
        flush_messages: 1,
        ..small()
    };
    let mut lesson = lesson(settings);
    let mut builder = BatchBuilder::default().producer(7, 0, 0);
    builder.push(NOW, Some(b"k"), Some(b"v"));
    let log = &lesson.log;
    log.append_as_leader(&builder.build(), 0, Origin::Client, NOW)
        .unwrap();
    assert!(lesson.send(7, 0, false).duplicate);
    lesson.power_cut(1, NOTHING);
    assert_eq!(lesson.log.reader().log_end(), 1);
}

#[test]
fn a_clean_stop_leaves_rolled_segments_on_disk() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.close().unwrap();
    watch(None);
    lesson.disk.cut_keeping(&lesson.dir, NOTHING);
    lesson.start(true, 80);
    assert_eq!(all(&lesson.log), expected(40));
}

#[test]
fn the_indexes_of_rolled_segments_are_flushed_with_them() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.send(7, 0, true);
    lesson.end(7, false);
    for n in 0..20 {
        append(&lesson.log, 1_000 + n, &["roll", "on"]);
    }
    lesson.log.flush(NOW).unwrap();
    let sealed = |lesson: &Lesson| {
        let mut contents = Vec::new();
        for suffix in [".index", ".timeindex", ".txnindex"] {
            let active = lesson.names(".log").pop().unwrap();
            let names = lesson.names(suffix).into_iter();
            contents.extend(
                names
                    .filter(|name| name[..20] != active[..20])
                    .map(|name| (lesson.file(&name), name)),
            );
        }
        contents
    };
    let before = sealed(&lesson);
    assert!(before.iter().any(|(_, name)| name.ends_with(".txnindex")));
    lesson.power_cut(lesson.log.reader().log_end(), NOTHING);
    assert_eq!(sealed(&lesson), before);
}

/// Seed 3644: no later flush synced the rebuilt indexes.
#[test]
fn indexes_that_a_start_has_built_anew_are_on_disk() {
    for clean in [true, false] {
        let mut lesson = lesson(small());
        fill(&lesson.log);
        lesson.log.close().unwrap();
        let first = "00000000000000000000.timeindex";
        let before = lesson.file(first);
        watch(None);
        fs::remove_file(lesson.dir.join(first)).unwrap();
        lesson.start(clean, 80);
        assert_eq!(lesson.file(first), before);
        lesson.log.flush(NOW).unwrap();
        lesson.power_cut(80, NOTHING);
        assert_eq!(lesson.file(first), before);
    }
}

/// Seed 3715: an offset index was missing. The index of aborted transactions was rewritten too, the start was interrupted
/// before the sync, and the next start did not rebuild it.
#[test]
fn a_start_that_is_cut_short_leaves_aborted_transactions_as_they_were() {
    let keeps: [Keeps; 3] = [NOTHING, EVERYTHING, |step| !step.starts_with("write")];
    for keeps in keeps {
        for steps in 0..6 {
            let mut lesson = lesson(small());
            lesson.send(7, 0, true);
            lesson.end(7, false);
            fill_from(&lesson.log, 2);
            lesson.log.close().unwrap();
            watch(None);
            fs::remove_file(lesson.dir.join("00000000000000000000.index")).unwrap();
            lesson.disk = LyingDisk::over(&lesson.dir, steps);
            watch(Some(Arc::new(lesson.disk.clone())));
            lesson.disk.fail_after(steps, Fault::Io);
            drop(lesson.try_start(true, 82));
            lesson.kill(82);
            lesson.power_cut(82, keeps);
            let plan = lesson
                .log
                .reader()
                .read(0, 1_000, ReadEnd::LastStable, true);
            let aborted = plan.unwrap().aborted.unwrap();
            assert_eq!(aborted.len(), 1, "after {steps} steps: {aborted:?}");
            assert_eq!((aborted[0].first_offset, aborted[0].last_offset), (0, 1));
        }
    }
}

#[test]
fn torn_leader_epochs_do_not_stop_a_start() {
    let mut lesson = lesson(small());
    for epoch in [2, 5] {
        let batch = batch(500, &["hello"]);
        let appended = lesson
            .log
            .append_committed(&batch, epoch, Origin::Client, NOW);
        appended.unwrap();
    }
    for torn in ["0\n2\n2 0\n", "0\n", "", "0\n1\n2 0\n"] {
        fs::write(lesson.dir.join("leader-epoch-checkpoint"), torn).unwrap();
        lesson.start(false, 0);
        assert_eq!(
            lesson.log.reader().end_of_epoch(2),
            Some((2, 1)),
            "{torn:?}"
        );
        assert_eq!(lesson.log.reader().latest_epoch(), Some(5), "{torn:?}");
    }
}

#[test]
fn the_leader_epochs_are_flushed_with_the_records() {
    let mut lesson = lesson(small());
    for epoch in [2, 5] {
        let batch = batch(500, &["hello"]);
        let appended = lesson
            .log
            .append_committed(&batch, epoch, Origin::Client, NOW);
        appended.unwrap();
    }
    fill_from(&lesson.log, 2);
    lesson.log.flush(NOW).unwrap();
    lesson.power_cut(lesson.log.reader().log_end(), NOTHING);
    assert_eq!(lesson.log.reader().end_of_epoch(2), Some((2, 1)));
    assert_eq!(lesson.log.reader().latest_epoch(), Some(5));
}

fn fill_from(log: &PartitionLog, from: Offset) {
    for n in 0..40 {
        let appended =
            log.append_committed(&batch(600, &["hello", "world"]), 5, Origin::Client, NOW);
        assert_eq!(appended.unwrap().first_offset, from + n * 2);
    }
}

#[test]
fn a_snapshot_of_lost_batches_is_not_believed_by_their_successors() {
    let mut lesson = lesson(small());
    for sequence in 0..30 {
        lesson.send(7, sequence, false);
    }
    assert!(!lesson.names(".snapshot").is_empty());
    lesson.power_cut(0, |step| step.contains(".snapshot"));
    assert_eq!(lesson.log.reader().log_end(), 0);
    fill(&lesson.log);
    lesson.kill(0);
    assert_eq!(lesson.last_sequences(), []);
    lesson.log.close().unwrap();
    lesson.start(true, 80);
    assert_eq!(lesson.last_sequences(), []);
}

#[test]
fn a_snapshot_behind_a_gap_of_lost_batches_is_not_believed() {
    let mut lesson = lesson(small());
    for sequence in 0..8 {
        lesson.send(7, sequence, false);
    }
    fill_from(&lesson.log, 8);
    let second = lesson.names(".log")[1].clone();
    let second: Offset = second[..20].parse().unwrap();
    assert!(second > 8);
    // A part of the first segment is lost, at a batch boundary, but nothing of the second segment.
    let position = BatchHeader::parse(&lesson.file("00000000000000000000.log"));
    let one = position.unwrap().size() as u64;
    watch(None);
    let first = OpenOptions::new()
        .write(true)
        .open(lesson.dir.join("00000000000000000000.log"))
        .unwrap();
    first.set_len(one).unwrap();
    lesson.start(false, 0);
    assert_eq!(lesson.last_sequences(), [(7, 0)]);
}

/// Seed 1194: the removal of a segment was half undone.
#[test]
fn a_snapshot_from_before_the_first_segment_opens_no_transaction() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.send(7, 0, true);
    let snapshots = |lesson: &Lesson| lesson.names(".snapshot");
    let mut n = 0;
    while snapshots(&lesson).is_empty() {
        append(&lesson.log, 1_000 + n, &["roll", "on"]);
        n += 1;
    }
    let old = snapshots(&lesson)[0].clone();
    let content = lesson.file(&old);
    lesson.end(7, true);
    for n in 0..40 {
        append(&lesson.log, 2_000 + n, &["roll", "on"]);
    }
    lesson.log.flush(NOW).unwrap();
    lesson
        .log
        .advance_start(lesson.log.reader().log_end() - 2, NOW)
        .unwrap();
    watch(None);
    for name in snapshots(&lesson) {
        fs::remove_file(lesson.dir.join(name)).unwrap();
    }
    fs::write(lesson.dir.join(old), content).unwrap();
    for clean in [true, false] {
        lesson.start(clean, lesson.log.reader().log_end());
        let marks = lesson.log.reader().watermarks();
        assert_eq!(marks.last_stable, marks.log_end);
    }
}

/// Seed 2183 of 2026-11-22: the removal of the segment with the beginning of the transaction was undone, that of the segment
/// with its end was not.
#[test]
fn a_transaction_that_ended_in_a_removed_segment_is_not_open() {
    let mut lesson = lesson(small());
    let roll = |lesson: &Lesson| {
        let segments = lesson.names(".log").len();
        while lesson.names(".log").len() == segments {
            append(&lesson.log, NOW, &["roll", "on"]);
        }
    };
    roll(&lesson);
    let began_in = lesson.names(".log")[1].replace("log", "");
    lesson.send(7, 0, true);
    roll(&lesson);
    lesson.end(7, true);
    roll(&lesson);
    let end = lesson.log.reader().log_end();
    lesson.log.flush(NOW).unwrap();
    lesson.log.advance_start(end - 1, NOW).unwrap();
    let [left] = &lesson.names(".log")[..] else {
        panic!("more than one segment is left");
    };
    let before: Offset = left[..20].parse::<Offset>().unwrap() - 1;
    watch(None);
    lesson.disk.cut_keeping(&lesson.dir, |step| {
        !step.starts_with(&format!("rename {began_in}"))
    });
    assert_eq!(lesson.names(".log").len(), 2);
    let known = Known {
        clean: false,
        recovery_point: before,
        log_start: Some(end - 1),
    };
    let (partition, id) = (TopicPartition::new("t", 0), Uuid([1; 16]));
    let log = PartitionLog::open(
        own_disk().dir(&lesson.dir),
        partition,
        id,
        small(),
        known,
        end,
        NOW,
    )
    .unwrap();
    assert_eq!(log.reader().watermarks().last_stable, end);
    lesson.log = log;
}

/// Seed 5683 of 2026-11-22: an entry of zeros was left by a failed sync.
#[test]
fn an_index_of_one_time_that_is_zero_is_made_again() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.close().unwrap();
    let index = lesson.dir.join("00000000000000000000.timeindex");
    let whole = fs::read(&index).unwrap();
    watch(None);
    fs::write(&index, [0; 12]).unwrap();
    lesson.start(true, 80);
    assert_eq!(fs::read(&index).unwrap(), whole);
}

/// Seed 672: a truncation above the log start forgot the producer, so it could begin anew.
#[test]
fn a_producer_that_began_anew_is_not_told_that_its_batches_are_there() {
    let mut lesson = lesson(LogSettings::default());
    for sequence in 0..4 {
        lesson.send(7, sequence, false);
    }
    append(&lesson.log, 500, &["hello", "world"]);
    lesson.log.advance_start(4, NOW).unwrap();
    lesson.log.truncate_to(4).unwrap();
    lesson.send(7, 0, false);
    lesson.kill(0);
    let appended = lesson.send(7, 1, false);
    assert!(!appended.duplicate);
    assert_eq!(appended.first_offset, 5);
}

#[test]
fn a_truncation_does_not_come_undone_behind_new_batches() {
    let mut lesson = lesson(LogSettings::default());
    fill(&lesson.log);
    lesson.log.flush(NOW).unwrap();
    lesson.log.truncate_to(20).unwrap();
    append(&lesson.log, 900, &["other", "words"]);
    lesson.power_cut(20, |step| step.starts_with("write"));
    assert_eq!(all(&lesson.log), expected(11));
}

/// Seed 5170: the truncation failed after its first step, and the next start did not finish it.
#[test]
fn a_truncation_that_a_kill_cut_short_does_not_come_undone_either() {
    for steps in 0..10 {
        let mut lesson = lesson(LogSettings::default());
        fill(&lesson.log);
        lesson.log.flush(NOW).unwrap();
        lesson.disk.fail_after(steps, Fault::Io);
        let done = lesson.log.truncate_to(20).is_ok();
        lesson.kill(20);
        let end = lesson.log.reader().log_end();
        assert!(end == 20 || end == 80 && !done, "after {steps} steps");
        append(&lesson.log, 900, &["other", "words"]);
        lesson.power_cut(20, |step| step.starts_with("write"));
        let bases = all(&lesson.log);
        assert_eq!(bases, expected(end / 2 + 1), "after {steps} steps");
    }
}

/// The start that truncated a torn tail was killed, and the next start found nothing to truncate.
#[test]
fn what_a_start_has_cut_off_does_not_come_back_because_it_was_killed() {
    for steps in 0..20 {
        let mut lesson = lesson(LogSettings::default());
        fill(&lesson.log);
        lesson.log.flush(NOW).unwrap();
        let name = "00000000000000000000.log";
        let mut content = lesson.file(name);
        let one = BatchHeader::parse(&content).unwrap().size();
        content[10 * one + 17] ^= 1;
        watch(None);
        fs::write(lesson.dir.join(name), content).unwrap();
        lesson.disk = LyingDisk::over(&lesson.dir, steps);
        watch(Some(Arc::new(lesson.disk.clone())));
        lesson.disk.fail_after(steps, Fault::Io);
        drop(lesson.try_start(false, 0));
        lesson.kill(0);
        assert_eq!(lesson.log.reader().log_end(), 20);
        append(&lesson.log, 900, &["hello", "world"]);
        lesson.power_cut(20, |step| step.starts_with("write"));
        assert_eq!(all(&lesson.log), expected(11), "after {steps} steps");
    }
}

/// Otherwise ten thousand logs would be synced one after the other.
#[test]
fn a_start_that_finds_nothing_to_cut_off_syncs_nothing() {
    let nothing_is_done = |lesson: &mut Lesson, recovery_point| {
        SITES.take();
        lesson.kill(recovery_point);
        assert_eq!(all(&lesson.log), expected(40));
        let steps: Vec<_> = SITES.take().into_iter().collect();
        assert_eq!(steps, []);
    };
    // A log of which nothing was flushed.
    let mut one = lesson(LogSettings::default());
    fill(&one.log);
    nothing_is_done(&mut one, 0);
    // A log whose closed segments were flushed.
    let mut several = lesson(small());
    fill(&several.log);
    several.log.flush(NOW).unwrap();
    nothing_is_done(&mut several, 80);
    // A log that was killed after a clean stop, before any write.
    several.log.close().unwrap();
    several.start(true, 80);
    nothing_is_done(&mut several, 80);
    assert!(several.names(".snapshot").len() > 1);
}

/// Seed 6063: the sync of the truncation failed, and later records were lost. The system considered the truncation written, and
/// so did the next start.
#[test]
fn a_cut_that_a_failed_sync_has_lost_is_made_again() {
    for steps in 0..20 {
        // Whether a failed sync loses data is random.
        for seed in 0..4 {
            let mut lesson = lesson(LogSettings::default());
            fill(&lesson.log);
            lesson.log.flush(NOW).unwrap();
            lesson.disk = LyingDisk::over(&lesson.dir, seed);
            watch(Some(Arc::new(lesson.disk.clone())));
            lesson.disk.fail_after(steps, Fault::Io);
            if lesson.log.truncate_to(4).is_ok() {
                return;
            }
            lesson.kill(4);
            let end = lesson.log.reader().log_end();
            // The batch is as long as the one before, so that the old batches after it would fit.
            append(&lesson.log, 900, &["hello", "world"]);
            lesson.log.flush(NOW).unwrap();
            lesson.power_cut(end + 2, NOTHING);
            assert_eq!(
                lesson.log.reader().log_end(),
                end + 2,
                "after {steps} steps"
            );
        }
    }
}

#[test]
fn zeros_at_the_end_of_a_full_segment_cost_no_record() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    watch(None);
    for name in &lesson.names(".log")[1..3] {
        let file = OpenOptions::new().write(true).open(lesson.dir.join(name));
        file.unwrap().set_len(1_000).unwrap();
    }
    lesson.start(false, 0);
    assert_eq!(all(&lesson.log), expected(40));
    lesson.power_cut(0, EVERYTHING);
    assert_eq!(all(&lesson.log), expected(40));
}

#[test]
fn a_truncation_that_is_cut_short_leaves_no_hole() {
    for steps in 0..60 {
        let mut lesson = lesson(small());
        fill(&lesson.log);
        lesson.log.flush(NOW).unwrap();
        lesson.disk.fail_after(steps, Fault::Cut);
        let done = lesson.log.truncate_to(4).is_ok();
        lesson.power_cut(4, EVERYTHING);
        let bases = all(&lesson.log);
        assert_eq!(bases, expected(bases.len() as i64), "after {steps} steps");
        assert!(bases.len() >= 2 && (!done || bases.len() == 2));
    }
}

#[test]
fn nothing_is_unstable_after_a_truncation_that_kept_the_end_of_a_transaction() {
    let lesson = lesson(LogSettings::default());
    lesson.send(7, 0, true);
    lesson.end(7, true);
    fill_from(&lesson.log, 2);
    lesson.log.truncate_to(10).unwrap();
    assert_eq!(lesson.log.reader().watermarks().last_stable, 10);
}

#[test]
fn an_abort_whose_marker_was_lost_is_told_no_more() {
    let mut lesson = lesson(LogSettings::default());
    lesson.send(7, 0, true);
    lesson.log.flush(NOW).unwrap();
    lesson.end(7, false);
    // The indexes were written early.
    lesson.log.close().unwrap();
    lesson.disk = LyingDisk::over(&lesson.dir, 1);
    watch(None);
    let name = "00000000000000000000.log";
    let size = BatchHeader::parse(&lesson.file(name)).unwrap().size() as u64;
    let file = OpenOptions::new().write(true).open(lesson.dir.join(name));
    file.unwrap().set_len(size).unwrap();
    lesson.start(false, 1);
    lesson.end(7, true);
    let plan = lesson
        .log
        .reader()
        .read(0, 1_000, ReadEnd::LastStable, true)
        .unwrap();
    assert_eq!(plan.aborted.unwrap(), []);
}

#[test]
fn removed_segments_do_not_go_before_their_successors_are_there() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.advance_start(70, NOW).unwrap();
    let first = lesson.names(".log")[0].clone();
    lesson.power_cut(0, |step| step.starts_with("rename"));
    let first: Offset = first[..20].parse().unwrap();
    assert!(
        lesson.log.reader().log_end() >= first,
        "offsets are given a second time"
    );
}

/// Seed 1276: the torn end of the removed segment would have ended the log before flushed records.
#[test]
fn a_removed_segment_does_not_come_back_once_the_log_was_flushed() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.advance_start(70, NOW).unwrap();
    let before = lesson.names(".log");
    lesson.log.flush(NOW).unwrap();
    lesson.power_cut(80, NOTHING);
    assert_eq!(lesson.names(".log"), before);
}

/// Seed 2967: after one error the space was not freed until the next start.
#[test]
fn a_file_that_cannot_be_removed_goes_with_the_next_round() {
    let lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.advance_start(70, NOW).unwrap();
    assert_ne!(lesson.names(".deleted"), [""; 0]);
    lesson.disk.fail_after(1, Fault::Io);
    for left in [1, 0] {
        lesson.log.remove_doomed(NOW + 20_000_000);
        assert_eq!(lesson.names(".deleted").len(), left);
        lesson.disk.0.lock().heal();
    }
}

/// Seed 4757: the system considered lost data written, and the next sync succeeded.
#[test]
fn what_a_failed_sync_has_lost_is_not_there_for_the_next_start() {
    for steps in 0..30 {
        let mut lesson = lesson(LogSettings::default());
        fill(&lesson.log);
        lesson.disk.fail_after(steps, Fault::Io);
        let flushed = lesson.log.flush(NOW);
        lesson.kill(0);
        let end = lesson.log.reader().log_end();
        assert!(flushed.is_err() || end == 80);
        lesson.log.flush(NOW).unwrap();
        lesson.power_cut(end, NOTHING);
        assert_eq!(lesson.log.reader().log_end(), end, "after {steps} steps");
    }
}

/// Power losses at every step of a compaction, with every order of the steps that are not durable.
#[test]
fn a_compaction_that_is_cut_short_loses_no_key() {
    let settings = LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1 << 40,
        ..small()
    };
    let orders: [(&str, Keeps); 5] = [
        ("nothing", NOTHING),
        ("everything", EVERYTHING),
        ("removals", |step| step.ends_with(".deleted")),
        ("all but removals", |step| !step.ends_with(".deleted")),
        ("names", |step| step.starts_with("rename")),
    ];
    for (order, keeps) in orders {
        for steps in 0.. {
            let mut lesson = lesson(settings.clone());
            for n in 0..40 {
                lesson.put(&format!("key {}", n % 3), "some value");
            }
            lesson.log.flush(NOW).unwrap();
            for n in 0..40 {
                lesson.put(&format!("key {}", n % 3), "some other value");
            }
            lesson.disk.fail_after(steps, Fault::Cut);
            let done = lesson.log.compact(0, &Budget::of(1 << 16), NOW).is_ok();
            lesson.power_cut(40, keeps);
            let mut found = std::collections::BTreeSet::new();
            let mut next = 0;
            while next < lesson.log.reader().log_end() {
                let plan = lesson
                    .log
                    .reader()
                    .read(next, 1, ReadEnd::LogEnd, true)
                    .unwrap();
                let Some(range) = plan.records else { break };
                let bytes = range.read().unwrap();
                let header = BatchHeader::parse(&bytes).unwrap();
                for n in 0..3 {
                    let key = format!("key {n}");
                    if bytes.windows(5).any(|window| window == key.as_bytes()) {
                        found.insert(key);
                    }
                }
                next = header.next_offset();
            }
            assert_eq!(found.len(), 3, "{order} after {steps} steps: {found:?}");
            if done {
                break;
            }
        }
    }
}

/// Seed 785: the last batch of a producer may be lost, and then the batch before it is the last one.
#[test]
fn compaction_keeps_the_last_batch_of_a_producer_that_is_on_disk() {
    let settings = LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..small()
    };
    let mut lesson = lesson(settings);
    lesson.send(7, 0, false);
    while lesson.names(".log").len() < 3 {
        lesson.put("k", "some value");
    }
    lesson.log.flush(NOW).unwrap();
    let end = lesson.log.reader().log_end();
    lesson.send(7, 1, false);
    lesson
        .log
        .compact(0, &Budget::of(1 << 16), NOW)
        .unwrap()
        .unwrap();
    lesson.power_cut(0, NOTHING);
    assert_eq!(lesson.log.reader().log_end(), end);
    assert_eq!(lesson.last_sequences(), [(7, 0)]);
}

/// Seed 2249: a power loss left the new file name without contents, and epochs of records that no start reads again were lost.
#[test]
fn an_unsynced_replacement_of_the_leader_epochs_leaves_the_old_ones() {
    let mut lesson = lesson(small());
    fill_from(&lesson.log, 0);
    lesson.log.flush(NOW).unwrap();
    let end = lesson.log.reader().log_end();
    let later = batch(900, &["of", "another", "leader"]);
    let appended = lesson.log.append_committed(&later, 8, Origin::Client, NOW);
    appended.unwrap();
    lesson.power_cut(end, |step| step.starts_with("rename"));
    assert_eq!(lesson.log.reader().epoch_of(0), 5);
    assert_eq!(lesson.log.reader().epoch_of(end - 1), 5);
}

#[test]
fn what_was_cut_off_tells_nothing_of_its_producers() {
    let mut lesson = lesson(small());
    lesson.send(7, 0, false);
    let mut sequence = 0;
    while lesson.names(".snapshot").len() < 2 {
        sequence += 1;
        lesson.send(7, sequence, false);
    }
    let (end, old) = (lesson.log.reader().log_end(), lesson.names(".snapshot"));
    lesson.log.truncate_to(1).unwrap();
    while lesson.log.reader().log_end() < end + 20 {
        append(&lesson.log, 900, &["another", "history"]);
    }
    lesson.log.flush(NOW).unwrap();
    let end = lesson.log.reader().log_end();
    // No producer snapshot is synced. The power loss removes those of the new history.
    lesson.power_cut(end, |step| {
        !step.ends_with(".snapshot") || old.iter().any(|name| step.ends_with(name))
    });
    assert_eq!(lesson.last_sequences(), [(7, 0)]);
}

#[test]
fn snapshots_go_with_their_segments() {
    let lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.advance_start(70, NOW).unwrap();
    let first = &lesson.names(".log")[0][..20];
    let snapshots = lesson.names(".snapshot");
    assert!(snapshots.iter().all(|name| &name[..20] >= first));
}

#[test]
fn a_clean_stop_leaves_nothing_to_remove() {
    let lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.advance_start(70, NOW).unwrap();
    assert_ne!(lesson.names(".deleted"), [""; 0]);
    lesson.log.close().unwrap();
    assert_eq!(lesson.names(".deleted"), [""; 0]);
}

/// Otherwise each start would add one, because only retention removes them.
#[test]
fn of_the_snapshots_that_stops_left_the_newest_stays() {
    let mut lesson = lesson(small());
    for sequence in 0..3 {
        lesson.send(7, sequence, false);
        lesson.log.close().unwrap();
        lesson.start(true, i64::from(sequence) + 1);
    }
    assert_eq!(lesson.names(".snapshot"), ["00000000000000000003.snapshot"]);
}

#[test]
fn a_snapshot_that_cannot_be_read_goes() {
    let mut lesson = lesson(small());
    fill(&lesson.log);
    lesson.log.close().unwrap();
    let newest = lesson.names(".snapshot").pop().unwrap();
    assert_eq!(newest, "00000000000000000080.snapshot");
    fs::write(lesson.dir.join(&newest), "no snapshot").unwrap();
    lesson.start(true, 80);
    assert!(!lesson.names(".snapshot").contains(&newest));
}

#[test]
fn what_an_older_attempt_of_the_cleaner_left_is_no_part_of_the_next() {
    let lesson = lesson(LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        ..small()
    });
    for n in 0..40 {
        lesson.put(&format!("key {}", n % 3), "some value");
    }
    let left = lesson.dir.join("00000000000000000000.log.cleaned");
    fs::write(left, [7; 5_000]).unwrap();
    let compacted = lesson.log.compact(0, &Budget::of(1 << 16), NOW);
    assert!(compacted.unwrap().is_some());
    let first = &lesson.names(".log")[0];
    assert!(lesson.file(first).len() < 1_000);
}

#[test]
fn a_segment_has_its_room_from_the_beginning() {
    let lesson = lesson(LogSettings {
        preallocate: true,
        ..small()
    });
    fill(&lesson.log);
    let newest = lesson.names(".log").pop().unwrap();
    assert_eq!(lesson.file(&newest).len(), 1_000);
}

#[test]
fn an_index_that_ends_amidst_an_entry_is_whole_once_closed() {
    let lesson = lesson(LogSettings::default());
    let path = lesson.dir.join("00000000000000000000.txnindex");
    fs::write(&path, [0; 40]).unwrap();
    TransactionIndex::new(&own_disk(), path.clone(), 40)
        .close()
        .unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), 34);
}
