//! Lookups by timestamp read and decompress no more than necessary to find the first match, and do not block appends.

use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::host::disk::{Simulation, Step, Verdict};
use crate::log::partition_log::lookup::LookupError;

/// Decompressed size of the second record, in bytes.
const LARGE: usize = 16 << 20;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn bomb(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.push(NOW, None, Some(b"small"));
    builder.push(NOW + 1, None, Some(&vec![0; LARGE]));
    builder.push(NOW + 2, None, Some(b"small"));
    builder.build()
}

#[test]
fn no_more_is_unpacked_than_the_first_record_that_fits() {
    for codec in CODECS {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogSettings {
            max_message_bytes: 2 * LARGE as u32,
            ..LogSettings::default()
        };
        let log = create(dir.path(), settings);
        log.append_committed(&bomb(codec), 0, Origin::Client, NOW)
            .unwrap();
        let find = |timestamp, effort: &Effort| {
            log.reader().find_timestamp(timestamp, Offset::MAX, effort)
        };
        let found = find(NOW, &Effort::small()).unwrap().unwrap();
        assert_eq!(found.offset, 0, "{codec:?}");

        // Records after the large one are left to a thread for long work.
        let small = Effort::small();
        assert!(matches!(find(NOW + 2, &small), Err(LookupError::TooMuch)));
        assert!(small.spent() < 1 << 20, "{codec:?}: {}", small.spent());
        assert!(matches!(
            log.reader().find_newest(&Effort::small()),
            Err(LookupError::TooMuch)
        ));
        let any = Effort::any();
        let found = find(NOW + 2, &any).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (2, NOW + 2), "{codec:?}");
        assert!(any.spent() > LARGE, "{codec:?}");
        let newest = log.reader().find_newest(&Effort::any()).unwrap().unwrap();
        assert_eq!(newest, found, "{codec:?}");
    }
}

#[test]
fn the_newest_record_counts_although_it_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), LogSettings::default());
    fill(&log);
    let newest = log.reader().find_newest(&Effort::any()).unwrap().unwrap();
    log.advance_start(log.reader().log_end(), NOW).unwrap();
    assert_eq!(
        log.reader().find_newest(&Effort::any()).unwrap(),
        Some(newest)
    );
    let found = log.reader().find_timestamp(0, Offset::MAX, &Effort::any());
    assert_eq!(found.unwrap(), None);
}

/// All lookups of a request share one effort limit: a hundred small lookups are not small.
#[test]
fn many_small_lookups_are_not_small() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path(), small());
    fill(&log);
    let effort = Effort::small();
    let done = (0..1_000)
        .take_while(|_| {
            log.reader()
                .find_timestamp(690, Offset::MAX, &effort)
                .is_ok()
        })
        .count();
    assert!((10..100).contains(&done), "{done}");
}

/// Records reads under the log's lock. At the first read of records it runs an action on another thread.
struct Bystander<F> {
    log: Arc<PartitionLog>,
    reads: Arc<AtomicUsize>,
    /// Whether a read under the lock has not been confirmed yet to need only the page cache.
    waits: AtomicBool,
    meanwhile: Mutex<Option<F>>,
}

impl<F> std::fmt::Debug for Bystander<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bystander")
    }
}

impl<F: FnOnce(&PartitionLog) + Send + 'static> Simulation for Bystander<F> {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        match step {
            Step::Fetch(path, ..) => {
                let waits = self.waits.swap(self.log.is_locked(), Ordering::Relaxed);
                assert!(!waits, "a disk was waited for with the lock in hand");
                if path.extension().is_some_and(|kind| kind == "log") {
                    let waits = self.waits.load(Ordering::Relaxed);
                    assert!(!waits, "records were read with the lock in hand");
                    self.reads.fetch_add(1, Ordering::Relaxed);
                    let meanwhile = self.meanwhile.lock().take();
                    if let Some(meanwhile) = meanwhile {
                        let log = Arc::clone(&self.log);
                        std::thread::spawn(move || meanwhile(&log)).join().unwrap();
                    }
                }
            }
            Step::Look(_) => self.waits.store(false, Ordering::Relaxed),
            _ => {}
        }
        Ok(Verdict::Go)
    }
}

/// Looks up a timestamp while `meanwhile` happens to the log.
fn find_while(
    log: &Arc<PartitionLog>,
    timestamp: i64,
    meanwhile: impl FnOnce(&PartitionLog) + Send + 'static,
) -> Option<Offset> {
    let reads = Arc::<AtomicUsize>::default();
    watch(Some(Arc::new(Bystander {
        log: Arc::clone(log),
        reads: Arc::clone(&reads),
        waits: AtomicBool::new(false),
        meanwhile: Mutex::new(Some(meanwhile)),
    })));
    let found = log
        .reader()
        .find_timestamp(timestamp, Offset::MAX, &Effort::any());
    let newest = log.reader().find_newest(&Effort::any());
    watch(None);
    assert!(reads.load(Ordering::Relaxed) > 1);
    assert_eq!(newest.unwrap().map(|found| found.offset), Some(79));
    found.unwrap().map(|found| found.offset)
}

#[test]
fn appends_need_not_wait_for_a_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(create(dir.path(), small()));
    fill(&log);
    let appended = |log: &PartitionLog| {
        append(log, 100, &["meanwhile"]);
    };
    assert_eq!(find_while(&log, 690, appended), Some(38));
    assert_eq!(log.reader().log_end(), 81);
}

#[test]
fn records_that_are_deleted_meanwhile_are_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(create(dir.path(), small()));
    fill(&log);
    let deleted = |log: &PartitionLog| {
        log.advance_start(41, NOW).unwrap();
    };
    assert_eq!(find_while(&log, 501, deleted), Some(41));
}

#[test]
fn a_log_that_moves_meanwhile_is_looked_through_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(create(dir.path(), small()));
    fill(&log);
    let compacted = |log: &PartitionLog| {
        let mut settings = small();
        (settings.cleanup_compact, settings.cleanup_delete) = (true, false);
        (settings.min_cleanable_dirty_ratio, settings.segment_bytes) = (0.0, 100_000);
        log.update_settings(settings);
        log.compact(0, &Budget::of(1 << 20), NOW).unwrap();
    };
    let segments = log.reader().segment_count();
    assert_eq!(find_while(&log, 801, compacted), Some(61));
    assert!(log.reader().segment_count() < segments);
}
