//! Tests of a log through its public interface: appending, reading, rolling, truncating, closing and opening again.

mod ageing;
mod cold;
mod crashes;
mod cuts;
mod disk;
mod following;
mod lessons;
mod lookups;
mod mutations;
mod overflow;
mod readers;
mod shared;
mod starts;
mod uncleanable;
mod verify;
mod waits;
pub(super) mod watched;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::append::Origin;
use super::compaction::Budget;
use super::error::AppendError;
use super::failure::{DirHealth, FailureChannel};
use super::partition_log::lookup::Effort;
use super::partition_log::{Appended, OPEN_OLD_SEGMENTS, PartitionLog, ReadEnd};
use super::recovery::Known;
use super::segment::file_name;
use super::settings::LogSettings;
use crate::base::ids::{LeaderEpoch, Offset, TopicPartition, Uuid};
use crate::base::time::Timestamp;
use crate::host::file::Reach;

use crate::wire::batch::BatchError;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::legacy::{self, SetBuilder};
use crate::wire::batch::record;
use crate::wire::error_code::ErrorCode;

use watched::{own_disk, watch};

const NOW: i64 = 1_000_000;

fn small() -> LogSettings {
    LogSettings {
        segment_bytes: 1_000,
        index_interval_bytes: 100,
        ..LogSettings::default()
    }
}

fn create(dir: &Path, settings: LogSettings) -> PartitionLog {
    PartitionLog::create(
        own_disk().dir(dir),
        TopicPartition::new("t", 0),
        Uuid([1; 16]),
        settings,
        NOW,
    )
    .unwrap()
}

fn reopen(dir: &Path, settings: LogSettings, clean: bool, recovery_point: Offset) -> PartitionLog {
    let known = Known {
        clean,
        recovery_point,
        log_start: None,
    };
    PartitionLog::open(
        own_disk().dir(dir),
        TopicPartition::new("t", 0),
        Uuid([1; 16]),
        settings,
        known,
        Offset::MAX,
        NOW,
    )
    .unwrap()
}

fn batch(timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::default();
    for (index, value) in values.iter().enumerate() {
        builder.push(timestamp + index as i64, None, Some(value.as_bytes()));
    }
    builder.build()
}

impl PartitionLog {
    /// Appends as the leader of a partition with one replica: durable records are committed.
    pub(crate) fn append_committed(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let appended = self.append_as_leader(records, leader_epoch, origin, now)?;
        if appended.must_flush {
            self.flush_up_to(appended.log_end, now)?;
        }
        self.high_watermark().raise_to(appended.log_end);
        Ok(appended)
    }
}

fn append(log: &PartitionLog, timestamp: i64, values: &[&str]) -> Appended {
    log.append_committed(&batch(timestamp, values), 0, Origin::Client, NOW)
        .unwrap()
}

/// Base offsets of the batches that a read from `from` returns.
fn read(log: &PartitionLog, from: Offset, max_bytes: usize) -> Vec<Offset> {
    let mut offsets = Vec::new();
    let plan = log
        .reader()
        .read(from, max_bytes, ReadEnd::HighWatermark, true)
        .unwrap();
    let Some(range) = plan.records else {
        return offsets;
    };
    let bytes = range.read().unwrap();
    let mut rest = &bytes[..];
    while let Ok(header) = BatchHeader::parse(rest)
        && header.size() <= rest.len()
    {
        header.verify(&rest[..header.size()]).unwrap();
        offsets.push(header.base_offset);
        rest = &rest[header.size()..];
    }
    offsets
}

fn all(log: &PartitionLog) -> Vec<Offset> {
    let mut offsets = Vec::new();
    let mut next = log.reader().watermarks().log_start;
    while next < log.reader().log_end() {
        let got = read(log, next, 400);
        next = got.last().unwrap() + 2;
        offsets.extend(got);
    }
    offsets
}

fn fill(log: &PartitionLog) {
    for n in 0..40 {
        assert_eq!(
            append(log, 500 + n * 10, &["hello", "world"]).first_offset,
            n * 2
        );
    }
}

/// Number of data files of the log that this process has open.
fn open_files(log: &PartitionLog) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    let data = |path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "log");
    links
        .filter(|path| path.starts_with(log.dir()) && data(path))
        .count()
}

#[test]
fn few_old_segments_stay_open() {
    let scratch = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        segment_bytes: 200,
        ..small()
    };
    let log = create(&scratch.path().join("t-0"), settings);
    fill(&log);
    let most = OPEN_OLD_SEGMENTS + 1;
    assert!(log.reader().segment_count() > most);
    assert!(
        open_files(&log) <= most,
        "{} after rolling",
        open_files(&log)
    );
    all(&log);
    assert!(open_files(&log) > most, "reading opens what it reads");
    log.retain(NOW).unwrap();
    assert!(open_files(&log) <= most, "{} at rest", open_files(&log));
}

fn expected(count: i64) -> Vec<Offset> {
    (0..count).map(|n| n * 2).collect()
}

#[test]
fn reads_begin_at_the_batch_that_holds_the_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    assert_eq!(all(&log), expected(40));
    assert_eq!(read(&log, 7, 1)[0], 6);
    assert!(read(&log, 80, 100).is_empty());
    assert_eq!(
        log.reader()
            .read(81, 1, ReadEnd::LogEnd, true)
            .unwrap_err()
            .code(),
        ErrorCode::OffsetOutOfRange
    );
    let nothing = log
        .reader()
        .read(0, 10, ReadEnd::HighWatermark, false)
        .unwrap();
    assert!(nothing.records.is_none());
}

#[test]
fn a_clean_stop_and_a_crash_both_keep_everything() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    drop(log);
    let log = reopen(dir.path(), small(), false, 0);
    assert_eq!(all(&log), expected(40));
    log.close().unwrap();
    drop(log);
    let log = reopen(dir.path(), small(), true, 80);
    assert_eq!(all(&log), expected(40));
    assert_eq!(append(&log, 9_000, &["more"]).first_offset, 80);
}

#[test]
fn lost_indexes_are_built_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    log.close().unwrap();
    drop(log);
    let before = fs::read(dir.path().join(file_name(0, ".index"))).unwrap();
    let before_times = fs::read(dir.path().join(file_name(0, ".timeindex"))).unwrap();
    assert!(!before.is_empty() && !before_times.is_empty());
    fs::remove_file(dir.path().join(file_name(0, ".index"))).unwrap();
    let log = reopen(dir.path(), small(), true, 80);
    assert_eq!(
        fs::read(dir.path().join(file_name(0, ".index"))).unwrap(),
        before
    );
    assert_eq!(
        fs::read(dir.path().join(file_name(0, ".timeindex"))).unwrap(),
        before_times
    );
    assert_eq!(all(&log), expected(40));
}

#[test]
fn a_torn_zeroed_or_flipped_tail_is_cut_to_whole_batches() {
    for fault in ["torn", "zeroed", "flipped"] {
        let dir = tempfile::tempdir().unwrap();
        let log = create(
            dir.path(),
            LogSettings {
                segment_bytes: 1 << 20,
                ..small()
            },
        );
        fill(&log);
        drop(log);
        let path = dir.path().join(file_name(0, ".log"));
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        match fault {
            "torn" => file.set_len(len - 5).unwrap(),
            "zeroed" => file.set_len(len + 4_096).unwrap(),
            _ => file.write_all_at(&[0xff], len - 3).unwrap(),
        }
        let log = reopen(dir.path(), small(), false, 0);
        let kept = if fault == "zeroed" { 40 } else { 39 };
        assert_eq!(all(&log), expected(kept), "{fault}");
        let newest = log.reader().find_newest(&Effort::any()).unwrap().unwrap();
        assert_eq!(newest.timestamp, 491 + kept * 10, "{fault}");
        assert_eq!(append(&log, 9_000, &["x"]).first_offset, kept * 2);
    }
}

#[test]
fn times_are_found_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    let find = |timestamp| {
        log.reader()
            .find_timestamp(timestamp, Offset::MAX, &Effort::any())
            .unwrap()
            .map(|found| found.offset)
    };
    assert_eq!(find(0), Some(0));
    assert_eq!(find(501), Some(1));
    assert_eq!(find(502), Some(2));
    assert_eq!(find(690), Some(38));
    assert_eq!(find(10_000), None);
    let newest = log.reader().find_newest(&Effort::any()).unwrap().unwrap();
    assert_eq!((newest.offset, newest.timestamp), (79, 891));
}

#[test]
fn a_time_is_looked_for_where_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    let log = drop_and_reopen(log);
    let found = log
        .reader()
        .find_timestamp(880, Offset::MAX, &Effort::any())
        .unwrap();
    assert_eq!(found.unwrap().offset, 76);
    assert_eq!(open_files(&log), 1, "of {}", log.reader().segment_count());
}

fn drop_and_reopen(log: PartitionLog) -> PartitionLog {
    log.close().unwrap();
    let (dir, end) = (log.dir(), log.reader().log_end());
    drop(log);
    reopen(&dir, small(), true, end)
}

/// Regression: each fetch read the whole index of aborted transactions of a segment, 100 MB with millions of entries.
#[test]
fn aborted_transactions_are_found_among_many() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        segment_bytes: 80_000,
        ..small()
    };
    let log = create(dir.path(), settings);
    let (mut all, mut open) = (Vec::new(), None);
    for n in 0..1_500_i64 {
        // One long transaction is open most of the time, and ends now and then.
        let long = n % 700 == 0;
        if long && let Some(first) = open.take() {
            let marker = transactional(&log, 2, None);
            all.push((first, marker));
        }
        if long {
            open = Some(transactional(&log, 2, Some((n / 700) as i32)));
        }
        let first = transactional(&log, 1, Some(n as i32));
        all.push((first, transactional(&log, 1, None)));
    }
    all.push((open.unwrap(), transactional(&log, 2, None)));
    assert!(log.reader().segment_count() > 2);
    for from in (0..log.reader().log_end()).step_by(97) {
        let plan = log
            .reader()
            .read(from, 2_000, ReadEnd::LastStable, true)
            .unwrap();
        let found = plan.aborted.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.first_offset, one.last_offset))
            .collect();
        // The end is at least that of the next index entry.
        let beyond = found.iter().map(|(first, _)| first + 1).max();
        let end = (from + read(&log, from, 2_000).len() as i64).max(beyond.unwrap_or(0));
        let overlaps = |(first, last): &&(Offset, Offset)| *last >= from && *first < end;
        let expected: Vec<_> = all.iter().filter(overlaps).copied().collect();
        assert_eq!(found, expected, "from {from} on");
    }
}

/// Appends a record of a transaction, or the marker that aborts it; returns its offset.
fn transactional(log: &PartitionLog, producer: i64, sequence: Option<i32>) -> Offset {
    let mut builder = BatchBuilder::default()
        .producer(producer, 0, sequence.unwrap_or(-1))
        .transactional();
    match sequence {
        Some(_) => builder.push(NOW, None, Some(b"v")),
        None => {
            builder = builder.control();
            builder.push(NOW, Some(&[0; 4]), Some(&[0; 6]));
        }
    }
    let appended = log.append_committed(&builder.build(), 0, Origin::Internal, NOW);
    appended.unwrap().first_offset
}

#[test]
fn a_flush_does_not_wait_for_a_clock_that_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        flush_ms: 1_000,
        ..LogSettings::default()
    };
    let log = create(dir.path(), settings);
    append(&log, NOW, &["a"]);
    assert!(!log.flush_due(NOW + 999));
    assert!(log.flush_due(NOW + 1_000) && log.flush_due(NOW - 1));
}

#[test]
fn retention_and_deleted_records_move_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    assert_eq!(log.advance_start(5, NOW).unwrap(), 5);
    assert_eq!(
        log.reader()
            .read(4, 1, ReadEnd::LogEnd, true)
            .unwrap_err()
            .code(),
        ErrorCode::OffsetOutOfRange
    );
    assert_eq!(log.log_start_to_remember(), Some(5));
    log.update_settings(LogSettings {
        retention_bytes: 1_000,
        ..small()
    });
    log.retain(NOW).unwrap();
    let start = log.reader().watermarks().log_start;
    assert!(start > 40 && log.reader().size() >= 1_000, "{start}");
    log.update_settings(LogSettings {
        retention_ms: 1,
        ..small()
    });
    log.retain(NOW + 10_000_000).unwrap();
    assert_eq!(log.reader().watermarks().log_start, 80);
    assert_eq!(append(&log, NOW, &["again"]).first_offset, 80);
    // The clock was set back meanwhile.
    log.remove_doomed(NOW - 1);
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".deleted")),
        "{left:?}"
    );
}

/// Like Apache Kafka, a clean stop writes no log start offset that the name of the first segment tells.
#[test]
fn a_clean_stop_leaves_no_log_start_to_remember() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    for n in 0..40 {
        let values = batch(500 + n, &["hello", "world"]);
        log.append_committed(&values, n as LeaderEpoch / 4, Origin::Client, NOW)
            .unwrap();
    }
    log.flush(NOW).unwrap();
    // Retention removes the oldest leader epochs too, so the stop writes their file again.
    log.update_settings(LogSettings {
        retention_bytes: 1_000,
        ..small()
    });
    log.retain(NOW).unwrap();
    assert!(log.reader().watermarks().log_start > 0);
    log.close().unwrap();
    assert_eq!(log.log_start_to_remember(), None);
}

/// Other processes read the files of a running broker.
#[test]
fn a_flush_writes_what_the_indexes_of_the_active_segment_have_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), LogSettings::default());
    let of_producer = || BatchBuilder::default().producer(7, 0, 0).transactional();
    let mut records = of_producer();
    records.push(NOW, None, Some(b"v"));
    let mut marker = of_producer().producer(7, 0, -1).control();
    marker.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]));
    for batch in [records, marker] {
        log.append_committed(&batch.build(), 0, Origin::Internal, NOW)
            .unwrap();
    }
    log.flush(NOW).unwrap();
    assert!(dir.path().join(file_name(0, ".txnindex")).exists());
}

#[test]
fn truncation_forgets_what_came_after() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    // The batch of 20 and 21 goes as a whole.
    log.truncate_to(21).unwrap();
    assert_eq!(log.reader().log_end(), 20);
    assert_eq!(read(&log, 18, 10_000), [18]);
    // Retention uses the newest timestamp even though no index has it any more.
    let newest = log.reader().find_newest(&Effort::any()).unwrap().unwrap();
    assert_eq!((newest.offset, newest.timestamp), (19, 591));
}

#[test]
fn duplicates_are_answered_with_their_first_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    let send = |sequence: i32| {
        let mut builder = BatchBuilder::default().producer(9, 0, sequence);
        builder.push(600, None, Some(b"v"));
        log.append_committed(&builder.build(), 0, Origin::Client, NOW)
    };
    assert_eq!(send(0).unwrap().first_offset, 0);
    assert_eq!(send(1).unwrap().first_offset, 1);
    let again = send(0).unwrap();
    assert!(again.duplicate && again.first_offset == 0);
    assert_eq!(
        send(5).unwrap_err().code(),
        ErrorCode::OutOfOrderSequenceNumber
    );
    log.close().unwrap();
    let log = reopen(dir.path(), small(), true, 2);
    let mut builder = BatchBuilder::default().producer(9, 0, 1);
    builder.push(600, None, Some(b"v"));
    assert!(
        log.append_committed(&builder.build(), 0, Origin::Client, NOW)
            .unwrap()
            .duplicate
    );
}

#[test]
fn compaction_keeps_the_newest_record_of_each_key_and_no_tombstone_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        delete_retention_ms: 1_000,
        min_cleanable_dirty_ratio: 0.0,
        ..small()
    };
    let log = create(dir.path(), settings.clone());
    let put = |n: i64, key: &str, value: Option<&str>| {
        let mut builder = BatchBuilder::default().producer(3, 0, n as i32);
        builder.push(500 + n, Some(key.as_bytes()), value.map(str::as_bytes));
        builder.push(500 + n, Some(b"other"), Some(n.to_string().as_bytes()));
        log.append_committed(&builder.build(), 0, Origin::Client, NOW)
            .unwrap();
    };
    for n in 0..60 {
        put(n * 2, &format!("key-{}", n % 7), Some("value"));
    }
    put(120, "key-3", None);
    for n in 61..90 {
        put(n * 2, "filler", Some("value"));
    }
    let records = |log: &PartitionLog| {
        let mut found = std::collections::BTreeMap::new();
        let mut count = 0;
        let mut next = 0;
        while next < log.reader().log_end() {
            let plan = log
                .reader()
                .read(next, 1, ReadEnd::HighWatermark, true)
                .unwrap();
            let range = plan.records.unwrap();
            let bytes = range.read().unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            let body = record::decompressed(&header, &bytes, 1 << 20).unwrap();
            for record in record::records(&header, &body) {
                let record = record.unwrap();
                found.insert(
                    record.key.unwrap().to_vec(),
                    (record.offset, record.value.is_some()),
                );
                count += 1;
            }
            next = header.next_offset();
        }
        (found, count)
    };
    let (before, all) = records(&log);
    let size = log.reader().size();
    let next = log.compact(0, &Budget::of(1 << 20), NOW).unwrap().unwrap();
    let (after, remaining) = records(&log);
    assert_eq!(after, before);
    assert!(
        remaining < all / 2 && log.reader().size() < size / 2,
        "{remaining} of {all} records"
    );
    assert!(
        !before[&b"key-3"[..]].1,
        "the newest of key-3 is its tombstone"
    );

    // A restart finds the compacted segments. The tombstone is removed when its retention time has passed.
    log.close().unwrap();
    drop(log);
    let log = reopen(dir.path(), settings, true, next);
    assert_eq!(records(&log).0, before);
    log.compact(0, &Budget::of(1 << 20), NOW + 5_000)
        .unwrap()
        .unwrap();
    let (last, _) = records(&log);
    assert!(!last.contains_key(&b"key-3"[..]) && last.len() == before.len() - 1);
    // A map with few keys needs more passes, with the same result.
    let mut from = 0;
    for _ in 0..50 {
        from = log
            .compact(from, &Budget::of(96), NOW + 5_000)
            .unwrap()
            .unwrap_or(from);
    }
    assert_eq!(records(&log).0, last);
    log.remove_doomed(NOW + 100_000_000);
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let odd = |name: &std::ffi::OsString| {
        [".cleaned", ".swap", ".deleted"]
            .iter()
            .any(|suffix| name.to_string_lossy().ends_with(suffix))
    };
    assert!(!names.iter().any(odd), "{names:?}");
}

/// Offset, timestamp, key and value.
type OldRecord = (Offset, i64, Option<Vec<u8>>, Vec<u8>);

/// All records of a log in the old message formats, also after compaction.
fn old_records(log: &PartitionLog) -> Vec<OldRecord> {
    let mut found = Vec::new();
    let mut next = log.reader().watermarks().log_start;
    while next < log.reader().log_end() {
        let plan = log
            .reader()
            .read(next, 1, ReadEnd::HighWatermark, true)
            .unwrap();
        let range = plan.records.unwrap();
        let bytes = range.read().unwrap();
        if let Ok(header) = BatchHeader::parse(&bytes) {
            let body = record::decompressed(&header, &bytes, 1 << 20).unwrap();
            for record in record::records(&header, &body) {
                let record = record.unwrap();
                found.push((
                    record.offset,
                    record.timestamp,
                    record.key.map(<[u8]>::to_vec),
                    record.value.unwrap_or_default().to_vec(),
                ));
            }
            next = header.next_offset();
            continue;
        }
        let message = legacy::read_message(&mut &bytes[..]).unwrap();
        message
            .each_record(1 << 20, |record| {
                found.push((
                    record.offset,
                    record.timestamp,
                    record.key.map(<[u8]>::to_vec),
                    record.value.unwrap_or_default().to_vec(),
                ));
                Ok::<(), BatchError>(())
            })
            .unwrap();
        next = message.offset + 1;
    }
    found
}

#[test]
fn segments_of_the_old_formats_are_recovered_searched_compacted_and_continued() {
    for (magic, codec) in [
        (0, Compression::None),
        (0, Compression::Lz4),
        (1, Compression::None),
        (1, Compression::Snappy),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut file = Vec::new();
        for set_at in (0..60).step_by(3) {
            let mut set = SetBuilder::new(magic, codec, false);
            for offset in set_at..set_at + 3 {
                let key = format!("key-{}", offset % 5);
                set.push(offset, 1_000 + offset, Some(key.as_bytes()), Some(b"value"));
            }
            file.extend_from_slice(&set.build());
        }
        let whole = file.len() as u64;
        file.extend_from_within(..40);
        fs::write(dir.path().join(file_name(0, ".log")), &file).unwrap();

        let settings = LogSettings {
            cleanup_compact: true,
            cleanup_delete: false,
            min_cleanable_dirty_ratio: 0.0,
            ..small()
        };
        let log = reopen(dir.path(), settings.clone(), false, 0);
        assert_eq!((log.reader().log_end(), log.reader().size()), (60, whole));
        let before = old_records(&log);
        assert_eq!(
            before.iter().map(|record| record.0).collect::<Vec<_>>(),
            Vec::from_iter(0..60)
        );
        let found = log
            .reader()
            .find_timestamp(1_031, Offset::MAX, &Effort::any())
            .unwrap();
        assert_eq!(
            found.map(|found| (found.offset, found.timestamp)),
            (magic > 0).then_some((31, 1_031))
        );

        // A new batch follows in the next segment.
        let mut new = BatchBuilder::default();
        new.push(2_000, Some(b"new"), Some(b"value"));
        log.append_committed(&new.build(), 0, Origin::Client, NOW)
            .unwrap();
        log.compact(0, &Budget::of(1 << 20), NOW).unwrap().unwrap();
        log.close().unwrap();
        drop(log);
        let log = reopen(dir.path(), settings, true, 61);
        assert_eq!(
            (log.reader().log_end(), log.reader().size() < whole),
            (61, true)
        );
        log.advance_start(55, NOW).unwrap();
        log.truncate_to(60).unwrap();
        assert_eq!(old_records(&log), before[55..]);
    }
}

#[test]
fn preallocated_segments_are_cut_when_they_are_full_or_closed() {
    let settings = LogSettings {
        preallocate: true,
        ..small()
    };
    let dir = tempfile::tempdir().unwrap();
    let lengths = || {
        let mut files: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
            .collect();
        files.sort();
        let len = |path: &std::path::PathBuf| fs::metadata(path).unwrap().len();
        files.iter().map(len).collect::<Vec<_>>()
    };
    let log = create(dir.path(), settings.clone());
    assert_eq!((lengths(), log.reader().size()), (vec![1_000], 0));
    // An empty log is closed: the next start must not take the preallocated zeros for those of a crash.
    log.close().unwrap();
    assert_eq!(lengths(), [0]);
    drop(log);

    let log = reopen(dir.path(), settings.clone(), true, 0);
    fill(&log);
    assert_eq!(all(&log), expected(40));
    let crashed = lengths();
    let (active, sealed) = crashed.split_last().unwrap();
    assert!(*active == 1_000 && sealed.len() > 2 && sealed.iter().all(|len| *len < 1_000));
    assert!(log.reader().size() < crashed.iter().sum());
    drop(log);

    // A crash leaves zeros after the last batch.
    let log = reopen(dir.path(), settings.clone(), false, 0);
    assert_eq!(all(&log), expected(40));
    assert_eq!(log.reader().size(), lengths().iter().sum::<u64>());
    assert_eq!(append(&log, 9_000, &["more"]).first_offset, 80);
    while lengths().len() == crashed.len() {
        append(&log, 9_000, &["another"]);
    }
    assert_eq!(lengths().last(), Some(&1_000));
    log.close().unwrap();
    assert_eq!(log.reader().size(), lengths().iter().sum::<u64>());
}

#[test]
fn a_segment_is_as_old_after_a_restart_as_before() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            segment_ms: 10_000,
            ..LogSettings::default()
        };
        let log = create(dir.path(), settings.clone());
        append(&log, NOW, &["old"]);
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = reopen(dir.path(), settings, clean, if clean { 1 } else { 0 });
        append(&log, NOW + 9_000, &["in time"]);
        assert_eq!(
            log.reader().segment_starts(NOW).len(),
            2,
            "one, and the end"
        );
        append(&log, NOW + 11_000, &["too late"]);
        assert_eq!(log.reader().segment_starts(NOW).len(), 3);
    }
}

#[test]
fn segments_say_where_they_begin_and_when_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    let offsets = |now| -> Vec<Offset> {
        let starts = log.reader().segment_starts(now);
        starts.into_iter().map(|(offset, _)| offset).collect()
    };
    assert_eq!(offsets(NOW), [0]);
    for index in 0..3 {
        append(&log, NOW + index, &["x".repeat(700).as_str()]);
    }
    assert_eq!(offsets(NOW), [0, 1, 2, 3]);
    let starts = log.reader().segment_starts(i64::MAX);
    assert_eq!(starts.last(), Some(&(3, i64::MAX)));
    // File times come from the real clock.
    assert!(
        starts
            .iter()
            .all(|(_, written)| *written > 1_700_000_000_000)
    );
    log.advance_start(2, NOW).unwrap();
    assert_eq!(offsets(NOW), [2, 3]);
}

#[test]
fn a_log_that_was_deleted_is_no_failure_of_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let health = || {
        let channel = Arc::new(FailureChannel::default());
        Arc::new(DirHealth::new(root.path().to_owned(), channel))
    };
    let fill = |log: &PartitionLog| {
        for value in 0..20 {
            append(log, NOW, &[&value.to_string().repeat(200)]);
        }
    };
    let dir = root.path().join("t-0");
    let deleted = health();
    let log = create(&dir, small()).watched(Arc::clone(&deleted));
    fill(&log);
    log.rename(&root.path().join("t-0.x-delete")).unwrap();
    let late = log.append_committed(&batch(NOW, &["v"]), 0, Origin::Client, NOW);
    assert_eq!(late.unwrap_err().code(), ErrorCode::NotLeaderOrFollower);
    assert!(log.reader().read(0, 1_000, ReadEnd::LogEnd, true).is_err());
    assert!(
        log.flush(NOW).is_err()
            && log.retain(NOW).is_err()
            && log.reader().find_newest(&Effort::any()).is_err()
    );
    assert!(deleted.is_online());

    // A log whose directory is removed reports the failure.
    let broken = health();
    let log = create(&dir, small()).watched(Arc::clone(&broken));
    fill(&log);
    fs::rename(&dir, root.path().join("elsewhere")).unwrap();
    let mut last = Ok(());
    for value in 0..20 {
        let long = batch(NOW, &[&value.to_string().repeat(200)]);
        last = log
            .append_committed(&long, 0, Origin::Client, NOW)
            .map(|_| ());
    }
    assert_eq!(last.unwrap_err().code(), ErrorCode::KafkaStorageError);
    assert!(!broken.is_online());
}
