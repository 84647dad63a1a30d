//! Segments whose offsets are too far apart for relative offsets, and offsets near the end of their range.

use super::crashes::scratch;
use super::disk::{Fault, LyingDisk};
use super::following::follow;
use super::*;
use crate::log::recovery::Known;
use crate::log::verify::{Then, verify};

const FAR: Offset = (1 << 31) + 10;
/// An offset beyond the second part of a split segment.
const FARTHER: Offset = 5 << 31;

fn v2(base: Offset) -> Vec<u8> {
    let mut builder = BatchBuilder::default().at(base, -1);
    for key in ["k", "k2"] {
        builder.push(NOW, Some(key.as_bytes()), Some(&base.to_be_bytes()));
    }
    builder.build().to_vec()
}

/// A batch of a producer's transaction, or the marker that aborts it.
fn transactional(base: Offset, abort: bool) -> Vec<u8> {
    let sequence = if abort { -1 } else { 0 };
    let mut builder = BatchBuilder::default()
        .at(base, -1)
        .producer(7, 0, sequence)
        .transactional();
    if abort {
        builder = builder.control();
        builder.push(NOW, Some(&[0, 0, 0, 0]), Some(&[0; 6]));
    } else {
        builder.push(NOW, Some(b"t"), Some(b"v"));
    }
    builder.build().to_vec()
}

/// Two messages in a wrapper, which has the offset of the second one.
fn wrapper(magic: i8, base: Offset) -> Vec<u8> {
    let mut set = SetBuilder::new(magic, Compression::Gzip, false);
    for offset in [base, base + 1] {
        let value = base.to_string();
        set.push(offset, NOW, Some(b"k"), Some(value.as_bytes()));
    }
    set.build()
}

/// A partition with one segment as Kafka before 1.1 could leave it: its indexes of 4,096 bytes have no entries.
fn written(parts: &[Vec<u8>]) -> tempfile::TempDir {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    drop(create(&dir, small()));
    fs::write(dir.join(file_name(0, ".log")), parts.concat()).unwrap();
    root
}

fn contents(dir: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if let Some(base) = name.strip_suffix(".log") {
            let base: Offset = base.parse().unwrap();
            found.push((base.to_string(), entry.metadata().unwrap().len()));
        } else {
            let kept = [".index", ".timeindex", ".txnindex", ".snapshot"];
            let known = kept.iter().any(|kept| name.ends_with(kept))
                || ["partition.metadata", "leader-epoch-checkpoint"].contains(&&*name);
            assert!(known, "{name} is left");
        }
    }
    found.sort_by_key(|(base, _)| base.parse::<Offset>().unwrap());
    found
}

/// All bytes that can be read from an offset on.
fn bytes_from(log: &PartitionLog, from: Offset) -> Vec<u8> {
    let (mut found, mut next) = (Vec::new(), from);
    while next < log.reader().log_end() {
        let plan = log
            .reader()
            .read(next, 1, ReadEnd::HighWatermark, true)
            .unwrap();
        let Some(range) = plan.records else { break };
        let bytes = range.read().unwrap();
        let last = match bytes[16] {
            2 => BatchHeader::parse(&bytes).unwrap().last_offset(),
            _ => i64::from_be_bytes(*bytes.first_chunk().unwrap()),
        };
        next = last + 1;
        found.extend_from_slice(&bytes);
    }
    found
}

fn check(parts: &[Vec<u8>], end: Offset, segments: &[Offset]) {
    for clean in [true, false] {
        let root = written(parts);
        let dir = root.path().join("t-0");
        let foretold = verify(own_disk().dir(&dir)).unwrap().faults;
        let splits = foretold.iter().filter_map(|fault| match fault.then {
            Then::Split { base } => Some(base),
            _ => None,
        });
        assert!(splits.eq(segments[1..].iter().copied()), "{foretold:#?}");
        let log = reopen(&dir, small(), clean, 0);
        let bases: Vec<String> = segments.iter().map(Offset::to_string).collect();
        let found = contents(&dir);
        assert!(found.iter().map(|(base, _)| base).eq(&bases), "{found:?}");
        assert_eq!(
            (log.reader().watermarks().log_start, log.reader().log_end()),
            (0, end)
        );
        assert_eq!(bytes_from(&log, 0), parts.concat(), "clean: {clean}");
        // Lookups find the parts.
        let last = parts.last().unwrap();
        assert_eq!(bytes_from(&log, end - 1), *last);
        // Appends continue.
        assert_eq!(append(&log, NOW, &["more"]).first_offset, end);
        log.close().unwrap();
        let left = verify(own_disk().dir(&dir)).unwrap().faults;
        let only_gaps = left.iter().all(|fault| fault.what.contains("no segment"));
        assert!(only_gaps, "{left:#?}");
        assert_eq!(
            reopen(&dir, small(), true, end + 1).reader().log_end(),
            end + 1
        );
    }
}

#[test]
fn a_segment_with_offsets_too_far_apart_becomes_several() {
    check(&[v2(0), v2(FAR)], FAR + 2, &[0, FAR]);
    check(
        &[v2(3), v2(9), v2(FAR), v2(FAR + 7), v2(FARTHER)],
        FARTHER + 2,
        &[0, FAR, FARTHER],
    );
    for magic in [0, 1] {
        let parts = [wrapper(magic, 0), wrapper(magic, FAR), v2(FARTHER)];
        check(&parts, FARTHER + 2, &[0, FAR, FARTHER]);
    }
    // The largest distance that fits.
    let most = i64::from(i32::MAX) - 1;
    check(&[v2(0), v2(most)], most + 2, &[0]);
    check(&[v2(0), v2(most + 1)], most + 3, &[0, most + 1]);
}

#[test]
fn an_index_that_has_wrapped_around_is_not_believed() {
    for relative in [i32::MAX as u32 + 11, u32::MAX] {
        let root = written(&[v2(0), v2(FAR), v2(FARTHER)]);
        let dir = root.path().join("t-0");
        // More segments follow, so the end of this one is not recovered.
        fs::write(dir.join(file_name(FARTHER * 2, ".log")), v2(FARTHER * 2)).unwrap();
        let entry = [relative.to_be_bytes(), 83_u32.to_be_bytes()].concat();
        fs::write(dir.join(file_name(0, ".index")), entry).unwrap();
        let log = reopen(&dir, small(), true, FARTHER * 2 + 2);
        let bases: Vec<_> = contents(&dir).into_iter().map(|(base, _)| base).collect();
        let expected = [0, FAR, FARTHER, FARTHER * 2].map(|base| base.to_string());
        assert_eq!(bases, expected);
        assert_eq!(bytes_from(&log, 0).len(), 4 * v2(0).len());
    }
}

#[test]
fn aborted_transactions_go_with_their_markers() {
    for clean in [true, false] {
        let root = tempfile::tempdir_in(scratch()).unwrap();
        let dir = root.path().join("t-0");
        let log = create(&dir, small());
        for part in [transactional(0, false), transactional(1, true)] {
            follow(&log, part);
        }
        log.close().unwrap();
        drop(log);
        let path = dir.join(file_name(0, ".log"));
        let mut whole = fs::read(&path).unwrap();
        whole.extend(v2(FAR));
        fs::write(&path, whole).unwrap();
        let log = reopen(&dir, small(), clean, 2);
        log.high_watermark().set(log.reader().log_end());
        assert_eq!(contents(&dir).len(), 2);
        let plan = log
            .reader()
            .read(0, 1_000, ReadEnd::LastStable, true)
            .unwrap();
        let aborted = plan.aborted.unwrap();
        let told = aborted
            .iter()
            .map(|one| (one.first_offset, one.last_offset));
        assert_eq!(told.collect::<Vec<_>>(), [(0, 1)], "clean: {clean}");
    }
}

/// A torn tail of an overflowed segment does not prevent the split.
#[test]
fn a_torn_tail_behind_the_far_offsets_is_cut_as_any_other() {
    let mut torn = v2(FAR + 2);
    torn.truncate(70);
    let root = written(&[v2(0), v2(FAR), torn]);
    let dir = root.path().join("t-0");
    let log = reopen(&dir, small(), false, 0);
    assert_eq!(log.reader().log_end(), FAR + 2);
    assert_eq!(bytes_from(&log, 0), [v2(0), v2(FAR)].concat());
    assert_eq!(contents(&dir).len(), 2);
}

/// After a power loss or a kill at any step of a split, the next start has all records.
#[test]
pub(super) fn a_split_that_is_cut_short_loses_nothing() {
    let parts = [v2(0), v2(FAR), v2(FAR + 5), v2(FARTHER)];
    let known = Known {
        clean: false,
        recovery_point: FARTHER + 2,
        log_start: None,
    };
    for power_cut in [true, false] {
        for seed in 0..6 {
            let mut steps = 0;
            loop {
                let root = written(&parts);
                let dir = root.path().join("t-0");
                let watched = LyingDisk::over(&dir, seed);
                watch(Some(Arc::new(watched.clone())));
                watched.fail_after(steps, if power_cut { Fault::Cut } else { Fault::Io });
                let partition = TopicPartition::new("t", 0);
                let (id, end) = (Uuid([1; 16]), Offset::MAX);
                let opened = PartitionLog::open(
                    own_disk().dir(&dir),
                    partition,
                    id,
                    small(),
                    known,
                    end,
                    NOW,
                );
                let done = watched.0.lock().is_sound();
                drop(opened);
                watch(None);
                if power_cut {
                    watched.cut(&dir);
                }
                let log = reopen(&dir, small(), false, FARTHER + 2);
                assert_eq!(
                    bytes_from(&log, 0),
                    parts.concat(),
                    "seed {seed}, after {steps} steps, power cut: {power_cut}"
                );
                let split = contents(&dir).into_iter().map(|(base, _)| base);
                let expected = [0, FAR, FARTHER].map(|base| base.to_string());
                assert!(split.eq(expected), "{:?}", contents(&dir));
                if steps > 5 && !power_cut && done || steps > 60 {
                    break;
                }
                steps += 1;
            }
        }
    }
}

#[test]
fn a_follower_rolls_before_offsets_lie_too_far_apart() {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let settings = LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        index_interval_bytes: 0,
        ..LogSettings::default()
    };
    let log = create(&dir, settings.clone());
    let most = i64::from(i32::MAX) - 1;
    let bases = [0, 2, most, most + 2, FAR, FAR + most, FARTHER];
    for base in bases {
        follow(&log, v2(base));
    }
    log.high_watermark().set(log.reader().log_end());
    let names =
        |dir: &Path| -> Vec<_> { contents(dir).into_iter().map(|(base, _)| base).collect() };
    let rolled = [0, most + 2, FAR + most, FARTHER].map(|base| base.to_string());
    assert_eq!(names(&dir), rolled);
    let all: Vec<u8> = bases.into_iter().flat_map(v2).collect();
    assert_eq!(bytes_from(&log, 0), all);
    for base in bases {
        assert_eq!(bytes_from(&log, base)[..8], base.to_be_bytes());
    }
    let found = log
        .reader()
        .find_timestamp(NOW, Offset::MAX, &Effort::any())
        .unwrap();
    assert_eq!(found.map(|found| found.offset), Some(0));
    log.close().unwrap();
    drop(log);

    // Compaction does not merge such segments either.
    let log = reopen(&dir, settings, true, FARTHER + 2);
    log.high_watermark().set(log.reader().log_end());
    log.compact(0, &Budget::of(1 << 16), NOW).unwrap().unwrap();
    log.remove_doomed(NOW + 60_000);
    assert_eq!(names(&dir), rolled);
    let left = [v2(FAR + most), v2(FARTHER)].concat();
    assert!(bytes_from(&log, 0).ends_with(&left[v2(0).len()..]));
    log.close().unwrap();
    drop(log);
    let faults = verify(own_disk().dir(&dir)).unwrap().faults;
    let only_gaps = faults.iter().all(|fault| fault.what.contains("no segment"));
    assert!(only_gaps, "{faults:#?}");
}

/// No broker ever wrote such files. Reading them gives a log or an error, without integer overflow.
#[test]
fn offsets_at_the_end_of_all_numbers_do_no_harm() {
    let open = |dir: &Path, clean: bool| {
        let known = Known {
            clean,
            recovery_point: 0,
            log_start: None,
        };
        let partition = TopicPartition::new("t", 0);
        let end = Offset::MAX;
        PartitionLog::open(
            own_disk().dir(dir),
            partition,
            Uuid([1; 16]),
            small(),
            known,
            end,
            NOW,
        )
    };
    for clean in [true, false] {
        for name in [0, Offset::MAX - 3, Offset::MAX] {
            for base in [
                0,
                Offset::MAX - 3,
                Offset::MAX - 2,
                Offset::MAX - 1,
                Offset::MAX,
            ] {
                let root = tempfile::tempdir_in(scratch()).unwrap();
                let dir = root.path().join("t-0");
                drop(create(&dir, small()));
                let mut batch = v2(0);
                batch[..8].copy_from_slice(&base.to_be_bytes());
                fs::write(dir.join(file_name(name, ".log")), [v2(0), batch].concat()).unwrap();
                drop(verify(own_disk().dir(&dir)).unwrap());
                let Ok(log) = open(&dir, clean) else { continue };
                log.high_watermark().set(log.reader().log_end());
                let from = log.reader().watermarks().log_start;
                drop(log.reader().read(from, 1_000, ReadEnd::HighWatermark, true));
                drop(
                    log.reader()
                        .find_timestamp(NOW, Offset::MAX, &Effort::any()),
                );
                for _ in 0..3 {
                    let records = batch_of_two();
                    drop(log.append_committed(&records, 0, Origin::Client, NOW));
                }
                drop(log.close());
            }
        }
    }
}

fn batch_of_two() -> Bytes {
    batch(NOW, &["one", "two"])
}
