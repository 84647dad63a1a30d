//! Rolling and removal of segments by size, age and keys.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::base::time::Timestamp;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::record;

const DAY: Timestamp = 24 * 3_600_000;
/// Modification time of the files of these logs: later than all other times here unless a comment says otherwise.
const WRITTEN: Timestamp = 2_000_000_000_000;

pub(super) fn compacted() -> LogSettings {
    LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1_000,
        ..small()
    }
}

pub(super) fn bases(dir: &Path) -> Vec<Offset> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut bases: Vec<Offset> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.strip_suffix(".log")?.parse().ok()
        })
        .collect();
    bases.sort_unstable();
    bases
}

fn write_at(dir: &Path, base: Offset, when: Timestamp) {
    let file = OpenOptions::new()
        .write(true)
        .open(dir.join(file_name(base, ".log")))
        .unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_millis(when as u64))
        .unwrap();
}

pub(super) fn put(log: &PartitionLog, at: Timestamp, records: &[(&str, Option<&str>)]) {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        builder.push(at, Some(key.as_bytes()), value.map(str::as_bytes));
    }
    log.append_committed(&builder.build(), 0, Origin::Client, NOW)
        .unwrap();
}

/// The newest value of each key, and the number of records.
fn keys(log: &PartitionLog) -> (BTreeMap<String, Option<String>>, usize) {
    let (mut found, mut count, mut next) = (BTreeMap::new(), 0, 0);
    while next < log.reader().log_end() {
        let plan = log
            .reader()
            .read(next, 1, ReadEnd::HighWatermark, true)
            .unwrap();
        let Some(range) = plan.records else { break };
        let bytes = range.read().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let body = record::decompressed(&header, &bytes, 1 << 20).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for record in record::records(&header, &body) {
            let record = record.unwrap();
            found.insert(text(record.key.unwrap()), record.value.map(text));
            count += 1;
        }
        next = header.next_offset();
    }
    (found, count)
}

#[test]
fn records_without_times_are_as_old_as_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        retention_ms: DAY,
        ..small()
    };
    let mut log = create(dir.path(), settings.clone());
    for restart in [false, true] {
        put(&log, -1, &[("when was", Some("this"))]);
        if restart {
            let end = log.reader().log_end();
            log.close().unwrap();
            drop(log);
            log = reopen(dir.path(), settings.clone(), true, end);
        }
        for base in bases(dir.path()) {
            write_at(dir.path(), base, WRITTEN);
        }
        let start = log.reader().watermarks().log_start;
        log.retain(WRITTEN + DAY).unwrap();
        assert_eq!(
            log.reader().watermarks().log_start,
            start,
            "it is not a day old"
        );
        log.retain(WRITTEN + DAY + 1).unwrap();
        assert_eq!(log.reader().watermarks().log_start, log.reader().log_end());
    }
}

#[test]
fn no_bytes_to_keep_means_none() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        retention_bytes: 0,
        ..small()
    };
    let log = create(dir.path(), settings);
    append(&log, NOW, &["v"]);
    log.retain(NOW).unwrap();
    assert_eq!(
        (log.reader().watermarks().log_start, log.reader().size()),
        (1, 0)
    );
}

#[test]
fn jitter_is_never_more_than_the_age_of_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        segment_ms: 10_000,
        segment_jitter_ms: i64::MAX,
        ..LogSettings::default()
    };
    let log = create(dir.path(), settings);
    for _ in 0..5 {
        append(&log, NOW, &["v"]);
    }
    assert_eq!(log.reader().segment_count(), 1);
    append(&log, NOW + 10_001, &["v"]);
    assert_eq!(log.reader().segment_count(), 2);
}

#[test]
fn a_record_that_must_be_compacted_soon_does_not_wait_in_an_open_segment() {
    for (compacts, segments) in [(true, 2), (false, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            max_compaction_lag_ms: 10_000,
            cleanup_compact: compacts,
            ..LogSettings::default()
        };
        let log = create(dir.path(), settings);
        put(&log, NOW, &[("k", Some("v"))]);
        put(&log, NOW + 10_001, &[("k", Some("v"))]);
        assert_eq!(log.reader().segment_count(), segments);
    }
}

#[test]
fn a_batch_that_cannot_be_read_takes_no_other_with_it() {
    // Damages in the second batch of a sealed segment: its length, its format, a byte of its records.
    for (at, what) in [(8, "length"), (16, "format"), (70, "content")] {
        for first_dirty in [0, 20] {
            let dir = tempfile::tempdir().unwrap();
            let log = create(dir.path(), compacted());
            for n in 0..40 {
                put(&log, 500 + n, &[(&format!("k{}", n % 30), Some("value"))]);
            }
            let size = reopen_first_batch_len(&log);
            let path = dir.path().join(file_name(0, ".log"));
            let mut bytes = fs::read(&path).unwrap();
            bytes[size + at] ^= 0x15;
            fs::write(&path, &bytes).unwrap();
            let before: Vec<_> = bases(dir.path());
            let error = log.compact(first_dirty, &Budget::of(1 << 20), NOW);
            let error = error.expect_err(what).to_string();
            assert!(error.contains("00000000000000000000.log"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
            assert_eq!(bases(dir.path()), before);
            let odd = fs::read_dir(dir.path()).unwrap().any(|entry| {
                let name = entry.unwrap().file_name();
                name.to_string_lossy().contains(".cleaned")
            });
            assert!(!odd, "{what}");
        }
    }
}

fn reopen_first_batch_len(log: &PartitionLog) -> usize {
    let plan = log
        .reader()
        .read(0, 1, ReadEnd::HighWatermark, true)
        .unwrap();
    plan.records.unwrap().len
}

#[test]
fn a_batch_with_more_keys_than_the_map_holds_takes_several_passes() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogSettings {
        segment_bytes: 4_000,
        ..compacted()
    };
    let log = create(dir.path(), settings);
    for n in 0..20_i64 {
        let names: Vec<String> = (0..50).map(|m| format!("k{}", (m + n * 7) % 90)).collect();
        let records: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), Some("v")))
            .collect();
        put(&log, 500 + n, &records);
    }
    let (before, all) = keys(&log);
    let (mut from, mut passes) = (0, 0);
    while let Some(next) = log.compact(from, &Budget::of(24 * 12), NOW).unwrap() {
        assert!(next > from, "a pass that comes to nothing");
        from = next;
        passes += 1;
    }
    let (after, left) = keys(&log);
    assert_eq!(after, before);
    assert!(
        passes > 20 && left < all / 4,
        "{passes} passes, {left} of {all}"
    );
}

#[test]
fn a_compaction_that_is_told_to_stop_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), compacted());
    for n in 0..60 {
        put(&log, 500 + n, &[("k", Some("value"))]);
    }
    let names = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let budget = Budget::of(1 << 20);
    budget.stop();
    assert_eq!(log.compact(0, &budget, NOW).unwrap(), None);
    assert_eq!(names(), before);
}

#[test]
fn tombstones_of_the_old_formats_go_when_their_file_is_old_enough() {
    for (magic, codec) in [(0, Compression::None), (1, Compression::Gzip)] {
        for (age, left) in [(DAY - 1, 30), (DAY, 25)] {
            let dir = tempfile::tempdir().unwrap();
            // Two compacted segments, the second younger by `age`, and one more.
            for (base, written) in [(0, WRITTEN), (10, WRITTEN + age), (20, WRITTEN + 2 * DAY)] {
                let mut set = SetBuilder::new(magic, codec, false);
                for offset in base..base + 10 {
                    let key = format!("k{offset}");
                    let value = (offset % 2 > 0).then_some(&b"v"[..]);
                    set.push(offset, 1_000, Some(key.as_bytes()), value);
                }
                fs::write(dir.path().join(file_name(base, ".log")), set.build()).unwrap();
                write_at(dir.path(), base, written);
            }
            let settings = LogSettings {
                delete_retention_ms: DAY,
                segment_bytes: 100,
                ..compacted()
            };
            let log = reopen(dir.path(), settings, false, 0);
            // A segment is compacted only if another segment follows it.
            put(&log, 2_000, &[("last", Some("v"))]);
            log.compact(20, &Budget::of(1 << 20), NOW).unwrap().unwrap();
            log.truncate_to(30).unwrap();
            let records = old_records(&log);
            assert_eq!(records.len(), left, "v{magic}, {age}");
            let modified = fs::metadata(dir.path().join(file_name(0, ".log"))).unwrap();
            let expected = UNIX_EPOCH + Duration::from_millis(WRITTEN as u64);
            assert_eq!(
                modified.modified().unwrap(),
                expected,
                "it is as old as before"
            );
        }
    }
}

/// Kafka's producer snapshots are optional: their contents can be rebuilt from the batches, also after compaction.
#[test]
fn what_is_known_of_producers_outlives_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), compacted());
    let send = |producer: i64, timestamp: i64| {
        let mut batch = BatchBuilder::new(Compression::Lz4).producer(producer, 2, 0);
        batch.push(timestamp, Some(b"k"), Some(b"replaced"));
        log.append_committed(&batch.build(), 0, Origin::Client, NOW)
            .unwrap();
    };
    send(7, NOW + 50);
    // A newer instance of a transactional producer fenced this one, which had not written here for a long time.
    let mut marker = BatchBuilder::default()
        .producer(8, 5, -1)
        .transactional()
        .control();
    marker.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]));
    log.append_committed(&marker.build(), 0, Origin::Internal, NOW)
        .unwrap();
    while log.reader().segment_count() < 3 {
        put(&log, 600, &[("k", Some("new")), ("other", Some("value"))]);
    }
    log.flush(NOW).unwrap();
    let known = |log: &PartitionLog| -> Vec<_> {
        let producers = log.reader().producers();
        let facts = producers.iter().map(|producer| {
            let state = &producer.state;
            let last = state.batches.back().map(|batch| batch.last_offset);
            (
                producer.producer_id,
                state.epoch,
                last,
                state.last_timestamp,
            )
        });
        facts.collect()
    };
    let expected = [(7, 2, Some(0), NOW + 50), (8, 5, None, NOW)];
    assert_eq!(known(&log), expected);
    for pass in 0..4 {
        let now = NOW + pass * 5_000;
        log.compact(0, &Budget::of(1 << 20), now).unwrap().unwrap();
    }
    log.close().unwrap();
    drop(log);
    assert_eq!(recorded(dir.path())[..2], [(0, 7), (0, 8)]);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "snapshot") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(known(&reopen(dir.path(), compacted(), true, 0)), expected);
}

/// Number of records and producer id of each batch in the first segment.
fn recorded(dir: &Path) -> Vec<(i32, i64)> {
    let mut rest = fs::read(dir.join(file_name(0, ".log"))).unwrap();
    let mut found = Vec::new();
    while let Ok(header) = BatchHeader::parse(&rest) {
        found.push((header.record_count, header.producer_id));
        rest.drain(..header.size().min(rest.len()));
    }
    found
}

/// The batch stays without records: otherwise the log would seem to have lost its end.
#[test]
fn the_last_batch_of_a_round_stays() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), compacted());
    while log.reader().segment_count() < 3 {
        put(&log, 600, &[("k", Some("value"))]);
    }
    let end = *bases(dir.path()).last().unwrap();
    // The last record of the first round replaces all records before, and is then removed as a tombstone.
    put(&log, 600, &[("k", None)]);
    while log.reader().segment_count() < 4 {
        put(&log, 600, &[("k", None)]);
    }
    for pass in 0..4 {
        let now = NOW + pass * 5_000;
        log.compact(0, &Budget::of(1 << 20), now).unwrap().unwrap();
    }
    assert_eq!(recorded(dir.path()), [(0, -1)]);
    let last = *bases(dir.path()).last().unwrap();
    assert!(end < last && keys(&log).0.len() == 1);
    log.close().unwrap();
    drop(log);
    let first = fs::read(dir.path().join(file_name(0, ".log"))).unwrap();
    assert_eq!(BatchHeader::parse(&first).unwrap().next_offset(), last);
}

#[test]
fn a_batch_that_unpacks_to_much_is_compacted_like_any_other() {
    for codec in [Compression::Gzip, Compression::Zstd] {
        let root = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            segment_bytes: 16_000,
            ..compacted()
        };
        let log = create(root.path(), settings);
        // More data than the buffer holds, and records longer than the decompression window.
        let value = vec![b'v'; 1_500_000];
        let mut large = BatchBuilder::new(codec);
        for key in ["a", "b", "c", "d"] {
            large.push(NOW, Some(key.as_bytes()), Some(&value));
        }
        log.append_committed(&large.build(), 0, Origin::Client, NOW)
            .unwrap();
        put(&log, NOW, &[("a", Some("newer")), ("c", None)]);
        while log.reader().segment_count() < 3 {
            put(&log, NOW, &[("filler", Some("value"))]);
        }
        log.compact(0, &Budget::of(1 << 16), NOW).unwrap().unwrap();
        let plan = log
            .reader()
            .read(0, 1, ReadEnd::HighWatermark, true)
            .unwrap();
        let bytes = plan.records.unwrap().read().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let body = record::decompressed(&header, &bytes, 10 << 20).unwrap();
        let left: Vec<_> = record::records(&header, &body)
            .map(Result::unwrap)
            .map(|record| (record.offset, record.key.unwrap(), record.value))
            .collect();
        let expected = [(1, &b"b"[..], Some(&value[..])), (3, b"d", Some(&value))];
        assert!(left == expected, "{}", codec.name());
        assert_eq!(header.last_offset(), 3);
        assert_eq!(header.compression().unwrap(), codec);
    }
}
