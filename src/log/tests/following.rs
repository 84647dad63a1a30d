//! Appending records of a leader, and truncating the log for a leader.

use super::crashes::scratch;
use super::disk::{Fault, LyingDisk};
use super::*;
use crate::host::Host;
use crate::log::manager::{Cut, LogManager, ManagerSettings};
use crate::log::partition_log::following::{Followed, Replicated};

/// Appends all whole batches as a follower.
pub(super) fn follow(log: &PartitionLog, records: impl Into<Bytes>) -> Followed {
    let records = Replicated::check(records.into()).unwrap();
    let count = records.batches().len();
    log.append_as_follower(&records, count, NOW)
        .unwrap()
        .unwrap()
}

pub(super) fn led(base: Offset, epoch: LeaderEpoch, value: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::default().at(base, epoch);
    builder.push(NOW, Some(b"k"), Some(value.as_bytes()));
    builder.build().to_vec()
}

pub(super) fn old(magic: i8, codec: Compression, base: Offset) -> Vec<u8> {
    let mut set = SetBuilder::new(magic, codec, false);
    for offset in [base, base + 1] {
        set.push(offset, NOW, Some(b"k"), Some(b"an old value"));
    }
    set.build()
}

/// All record bytes, segment by segment.
pub(super) fn bytes(log: &PartitionLog) -> Vec<u8> {
    let mut all = Vec::new();
    let mut from = log.reader().watermarks().log_start;
    while let Some(range) = (log
        .reader()
        .read(from, 1 << 20, ReadEnd::LogEnd, true)
        .unwrap())
    .records
    {
        let records = range.read().unwrap();
        let read = Replicated::check(records.clone()).unwrap();
        from = read.batches().last().unwrap().span.last_offset + 1;
        all.extend_from_slice(&records);
    }
    all
}

/// Contents of all data files in order.
fn content(dir: &Path) -> Vec<u8> {
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    logs.sort();
    logs.iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

fn refused(log: &PartitionLog, records: Vec<u8>) -> ErrorCode {
    let checked = Replicated::check(Bytes::from(records));
    let appended = checked.and_then(|records| {
        let count = records.batches().len();
        log.append_as_follower(&records, count, NOW)
    });
    appended.unwrap_err().code()
}

/// KAFKA-10706: a follower with such an epoch would ask for its end again and again.
#[test]
fn a_cut_at_the_end_takes_the_epochs_that_wrote_nothing() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let log = create(&dir, small());
    follow(&log, led(0, 2, "v"));
    log.flush(NOW).unwrap();
    log.begin_epoch(5).unwrap();
    log.flush(NOW).unwrap();
    for beyond in [1, 9] {
        log.truncate_to(beyond).unwrap();
        assert_eq!(log.reader().latest_epoch(), Some(2));
    }
    assert_eq!(log.reader().log_end(), 1);
    let file = fs::read_to_string(dir.join("leader-epoch-checkpoint")).unwrap();
    assert_eq!(file, "0\n1\n2 0\n");
    // An epoch that is only in memory, too.
    log.note_epoch(7);
    log.truncate_to(1).unwrap();
    assert_eq!(log.reader().latest_epoch(), Some(2));
}

#[test]
fn batches_of_an_answer_go_into_their_segments_as_they_are() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let log = create(&dir, small());
    let mut answer = Vec::new();
    let mut base = 0;
    for round in 0..40 {
        // Gaps in offsets are left by compaction.
        base += 1 + i64::from(round % 3);
        answer.extend(led(base, round / 10, "some value"));
    }
    // The last batch of the answer is cut off.
    let cut_off = led(base + 1, 4, "some value");
    let end = base + 1;
    let sent = [&answer[..], &cut_off[..70]].concat();
    assert_eq!(follow(&log, sent).log_end, end);
    assert_eq!(content(&dir), answer);
    let whole = log.reader().segment_count();
    assert!(whole > 3, "{whole}");
    assert_eq!(log.reader().leader_epochs().entries().len(), 4);
    log.high_watermark().set(end);
    assert_eq!(read(&log, base, 1_000), [base]);
    // Batches that are appended one by one get to the same positions.
    let other = root.path().join("other");
    let alone = create(&other, small());
    let mut rest = &answer[..];
    while !rest.is_empty() {
        let (one, behind) = rest.split_at(BatchHeader::parse(rest).unwrap().size());
        follow(&alone, one.to_vec());
        rest = behind;
    }
    assert_eq!(alone.reader().segment_count(), whole);
    assert_eq!(content(&other), answer);
    // A start finds the same.
    log.close().unwrap();
    let log = reopen(&dir, small(), false, 0);
    assert_eq!(
        (log.reader().log_end(), content(&dir) == answer),
        (end, true)
    );
}

#[test]
fn messages_of_old_formats_are_taken_over_as_they_are() {
    for magic in [0, 1] {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let dir = root.path().join("t-0");
        let log = create(&dir, small());
        let parts = [
            old(magic, Compression::None, 0),
            old(magic, Compression::Gzip, 2),
            led(4, 3, "new"),
        ];
        assert_eq!(follow(&log, parts.concat()).log_end, 5);
        assert_eq!(bytes(&log), parts.concat());
        assert_eq!(log.reader().leader_epochs().entries(), [(3, 4)]);
        let mut damaged = old(magic, Compression::None, 5);
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(refused(&log, damaged), ErrorCode::CorruptMessage);
        assert_eq!(log.reader().log_end(), 5);
    }
}

/// KAFKA-17375: `segment.bytes` of the topic was larger when the leader accepted the batch.
#[test]
fn a_batch_that_is_larger_than_a_segment_gets_one_of_its_own() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let log = create(&dir, small());
    let large = "large".repeat(1_000);
    let parts = [led(0, 0, "v"), led(1, 0, &large), led(2, 0, "v")];
    assert_eq!(follow(&log, parts.concat()).log_end, 3);
    assert_eq!(
        (log.reader().segment_count(), log.reader().size()),
        (3, parts.concat().len() as u64)
    );
}

#[test]
fn what_a_follower_cannot_use_changes_nothing() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let log = create(&dir, small());
    follow(&log, led(7, 0, "v"));
    let before = [led(8, 0, "v"), led(7, 0, "v")].concat();
    assert_eq!(refused(&log, before), ErrorCode::InvalidRecord);
    let mut damaged = led(8, 0, "v");
    *damaged.last_mut().unwrap() ^= 1;
    let behind_a_good_one = [led(8, 0, "v"), damaged].concat();
    assert_eq!(refused(&log, behind_a_good_one), ErrorCode::CorruptMessage);
    assert_eq!(refused(&log, vec![0xff; 100]), ErrorCode::CorruptMessage);
    let nothing_whole = Replicated::check(Bytes::from(led(8, 0, "v")).slice(..62)).unwrap();
    assert!(nothing_whole.is_cut_off());
    assert_eq!((log.reader().log_end(), content(&dir)), (8, led(7, 0, "v")));
    // Batches of an epoch that the fetch did not know are left out.
    let two = Replicated::check([led(8, 0, "a"), led(9, 1, "b")].concat().into()).unwrap();
    log.append_as_follower(&two, 1, NOW).unwrap().unwrap();
    assert_eq!(
        (log.reader().log_end(), log.reader().latest_epoch()),
        (9, Some(0))
    );
}

#[test]
fn aborted_transactions_of_an_answer_are_in_the_index() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let log = create(&root.path().join("t-0"), LogSettings::default());
    let of_producer = |base, sequence| {
        let builder = BatchBuilder::default().at(base, 0);
        builder.producer(7, 0, sequence).transactional()
    };
    let mut records = of_producer(0, 0);
    records.push(NOW, Some(b"t"), Some(b"v"));
    let mut abort = of_producer(1, -1).control();
    abort.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]));
    let answer = [&records.build()[..], &abort.build()[..]].concat();
    follow(&log, answer);
    assert_eq!(log.reader().watermarks().last_stable, 0);
    log.high_watermark().set(2);
    assert_eq!(log.reader().watermarks().last_stable, 2);
    let plan = log
        .reader()
        .read(0, 1_000, ReadEnd::LastStable, true)
        .unwrap();
    let aborted = plan.aborted.unwrap();
    assert_eq!((aborted.len(), aborted[0].last_offset), (1, 1));
}

/// Kafka's `truncateFullyAndStartAt`; KAFKA-9491 for the high watermark.
#[test]
fn a_log_that_begins_anew_has_nothing_of_before() {
    for (offset, clean) in [(500, true), (500, false), (3, true), (3, false)] {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let dir = root.path().join("t-0");
        let log = create(&dir, small());
        follow(&log, led(100, 4, "v"));
        for base in 101..140 {
            follow(&log, led(base, 4, "some longer value"));
        }
        log.high_watermark().set(140);
        log.advance_start(105, NOW).unwrap();
        log.flush(NOW).unwrap();
        log.start_anew_at(offset).unwrap();
        let marks = log.reader().watermarks();
        let ends = (marks.log_start, marks.high_watermark, marks.log_end);
        assert_eq!(ends, (offset, offset, offset));
        assert_eq!(
            (log.reader().latest_epoch(), log.recovery_point()),
            (None, offset)
        );
        assert_eq!(log.reader().segment_count(), 1);
        assert!(log.reader().producers().is_empty());
        let found = if clean {
            log.close().unwrap();
            reopen(&dir, small(), true, offset)
        } else {
            reopen(&dir, small(), false, offset)
        };
        assert_eq!(
            (found.reader().log_end(), found.reader().latest_epoch()),
            (offset, None)
        );
        assert_eq!(follow(&found, led(offset, 6, "new")).log_end, offset + 1);
        assert_eq!(bytes(&found), led(offset, 6, "new"));
    }
}

#[test]
fn a_cut_below_the_start_begins_anew_there() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let log = create(&root.path().join("t-0"), small());
    for base in 0..9 {
        follow(&log, led(base, 4, "v"));
    }
    log.high_watermark().set(9);
    log.advance_start(6, NOW).unwrap();
    log.truncate_to(4).unwrap();
    let marks = log.reader().watermarks();
    assert_eq!((marks.log_start, marks.log_end), (4, 4));
}

#[test]
fn a_log_whose_new_beginning_was_cut_short_is_one_again() {
    for power_cut in [true, false] {
        for steps in 0..40 {
            let root = tempfile::tempdir_in(scratch()).unwrap();
            let dir = root.path().join("t-0");
            drop(create(&dir, small()));
            let disk = LyingDisk::over(&dir, 1);
            watch(Some(Arc::new(disk.clone())));
            let log = reopen(&dir, small(), false, 0);
            for base in 0..40 {
                follow(&log, led(base, 4, "some longer value"));
            }
            log.flush(NOW).unwrap();
            disk.fail_after(steps, if power_cut { Fault::Cut } else { Fault::Io });
            let done = log.start_anew_at(90).is_ok();
            drop(log);
            watch(None);
            if power_cut {
                disk.cut(&dir);
            }
            let log = reopen(&dir, small(), false, 0);
            let end = log.reader().log_end();
            assert!(
                (0..=40).contains(&end) && !done || end == 90,
                "{steps}: {end}"
            );
            // There are no holes, and appends continue.
            let held = log.reader().watermarks().log_start..end;
            let count = held.end - held.start;
            assert_eq!(
                bytes(&log).len() as i64,
                count * led(0, 4, "some longer value").len() as i64
            );
            assert_eq!(follow(&log, led(end, 5, "new")).log_end, end + 1);
        }
    }
}

/// Records appended after the truncation would be trusted like those that were removed.
#[test]
fn checkpoint_files_say_no_more_of_a_log_that_was_cut() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dirs = vec![(root.path().to_owned(), Ok(Uuid([9; 16])))];
    let logs = LogManager::open(&Host::default(), dirs, ManagerSettings::default()).unwrap();
    logs.load(0, &|_| small(), NOW).unwrap();
    let name = TopicPartition::new("t", 0);
    let log = logs
        .get_or_create(&name, Uuid([1; 16]), Uuid([9; 16]), &small(), NOW)
        .unwrap();
    for base in 0..9 {
        follow(&log, led(base, 4, "v"));
    }
    log.flush(NOW).unwrap();
    logs.write_checkpoints();
    let recovery_points = || {
        let file = root.path().join("recovery-point-offset-checkpoint");
        fs::read_to_string(file).unwrap()
    };
    assert_eq!(recovery_points(), "0\n1\nt 0 9\n");
    for (cut, left) in [
        (Cut::At(5), "0\n1\nt 0 5\n"),
        (Cut::StartAnewAt(7), "0\n1\nt 0 7\n"),
    ] {
        let done = logs.cut(&[(Arc::clone(&log), cut)]);
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(recovery_points(), left);
    }
}
