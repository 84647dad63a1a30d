//! A log's lock, which appends and reads need, is never held while waiting for a disk: syncs, renames, removals and truncations
//! of files, and reads of data that is not in the page cache, happen without it.

use std::collections::BTreeSet;
use std::io;
use std::panic::Location;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::*;
use crate::host::disk::{Simulation, Step, Verdict};
use crate::log::partition_log::moving::Copied;

/// Observes every step of a disk, and records those under a log's lock. Its files are cold until each has been refused once.
#[derive(Debug, Default)]
struct Witness {
    logs: Mutex<Vec<Arc<PartitionLog>>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: BTreeSet<PathBuf>,
    /// A read that may wait for the disk, until the page cache is asked.
    reading: Option<String>,
    all: BTreeSet<String>,
    locked: BTreeSet<String>,
}

impl Seen {
    fn note(&mut self, what: String, is_locked: bool) {
        if is_locked {
            self.locked.insert(what.clone());
        }
        self.all.insert(what);
    }

    fn note_read(&mut self) {
        if let Some(what) = self.reading.take() {
            self.note(what, true);
        }
    }
}

impl Simulation for Witness {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        let is_locked = self.logs.lock().iter().any(|log| log.is_locked());
        let mut seen = self.seen.lock();
        if let Step::Look(path) = step {
            seen.reading = None;
            if !seen.refused.insert(path.to_path_buf()) {
                return Ok(Verdict::Go);
            }
            seen.note(format!("cold {}", kind(path)), false);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        seen.note_read();
        let (what, path) = match step {
            Step::Sync(path) => ("sync", path),
            Step::SyncDir(path) => ("sync of the directory", path),
            Step::Rename(path, _) => ("rename", path),
            Step::Remove(path) => ("removal", path),
            Step::SetLen(path, _) => ("cut", path),
            Step::Fetch(path, ..) => ("read", path),
            _ => return Ok(Verdict::Go),
        };
        let what = format!("{what} {}", kind(path));
        match step {
            Step::Fetch(..) if is_locked => seen.reading = Some(what),
            _ => seen.note(what, is_locked),
        }
        Ok(Verdict::Go)
    }
}

/// The part of a file name after the first dot; the whole name if there is none.
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let kind = name.split_once('.').map_or(&*name, |(_, kind)| kind);
    kind.to_owned()
}

impl Witness {
    /// Steps since the last call, and those of them under a lock.
    fn done(&self) -> (BTreeSet<String>, Vec<String>) {
        let mut seen = self.seen.lock();
        seen.note_read();
        let seen = std::mem::take(&mut *seen);
        (seen.all, seen.locked.into_iter().collect())
    }

    /// Steps under a lock since the last call. Panics if a step in `expected` did not happen at all.
    #[track_caller]
    fn locked(&self, expected: &[&str]) -> Vec<String> {
        let (all, locked) = self.done();
        for step in expected {
            assert!(all.contains(*step), "{step} is not among {all:?}");
        }
        locked
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn nobody_waits_for_a_disk_with_the_lock_of_a_log_in_hand() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("t-0");
    let settings = LogSettings {
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay_ms: 0,
        ..small()
    };
    let log = create(&dir, settings.clone());
    for n in 0..40 {
        append(&log, 500 + n * 10, &["hello", "world"]);
    }
    log.close().unwrap();
    drop(log);

    let log = Arc::new(reopen(&dir, settings.clone(), true, 80));
    let witness = Arc::new(Witness::default());
    witness.logs.lock().push(Arc::clone(&log));
    watch(Some(Arc::clone(&witness) as _));

    // State about the last batches from before the start is read first.
    append(&log, 1_000, &["again"]);
    assert_eq!(witness.locked(&["cold log", "cold timeindex"]), NOTHING);
    let by_another = batch(1_100, &["another", "leader"]);
    log.append_as_leader(&by_another, 7, Origin::Client, NOW)
        .unwrap();
    assert_eq!(witness.locked(&[]), NOTHING);
    log.flush_if_due(NOW).unwrap();
    // The epochs are written to a temporary file, which replaces the old file.
    assert_eq!(witness.locked(&["sync tmp"]), NOTHING);
    for n in 0..20 {
        append(&log, 2_000 + n, &["hello", "world"]);
    }
    assert_eq!(witness.locked(&[]), NOTHING, "appends and rolls");
    log.flush(NOW).unwrap();
    let flushed = [
        "sync log",
        "sync index",
        "sync timeindex",
        "sync of the directory t-0",
    ];
    assert_eq!(witness.locked(&flushed), NOTHING);

    let read = log.reader().read(10, 1_000, ReadEnd::LogEnd, true).unwrap();
    assert!(read.records.is_some());
    assert_eq!(witness.locked(&[]), NOTHING);
    let found = log
        .reader()
        .find_timestamp(700, Offset::MAX, &Effort::any());
    assert!(found.unwrap().is_some());
    assert!(log.reader().find_newest(&Effort::any()).unwrap().is_some());
    assert_eq!(witness.locked(&[]), NOTHING);

    log.advance_start(30, NOW).unwrap();
    assert_eq!(witness.locked(&["rename log", "rename snapshot"]), NOTHING);
    log.remove_doomed(NOW);
    assert_eq!(witness.locked(&["removal log.deleted"]), NOTHING);
    log.update_settings(LogSettings {
        retention_bytes: 2_000,
        ..settings.clone()
    });
    log.retain(NOW).unwrap();
    assert_eq!(witness.locked(&["rename log"]), NOTHING);

    log.update_settings(LogSettings {
        cleanup_compact: true,
        cleanup_delete: false,
        ..settings.clone()
    });
    let value = |key: &[u8]| {
        let mut builder = BatchBuilder::default();
        builder.push(3_000, Some(key), Some(b"a value"));
        builder.build()
    };
    for _ in 0..40 {
        log.append_as_leader(&value(b"k"), 7, Origin::Internal, NOW)
            .unwrap();
    }
    witness.done();
    let compacted = log.compact(0, &Budget::of(1 << 16), NOW).unwrap();
    assert!(compacted.is_some());
    // The files of a finished segment are renamed under the lock, so that readers see all of the new names at once.
    let finished = ["index", "log", "timeindex", "txnindex"];
    let finished = finished.map(|kind| format!("rename {kind}.swap"));
    assert_eq!(
        witness.locked(&["rename log.cleaned", "rename log"]),
        finished
    );

    let (doomed, place) = (root.path().join("t-0.x-delete"), root.path().join("b/t-0"));
    fs::create_dir(root.path().join("b")).unwrap();
    let copy = log.begin_copy(&root.path().join("b/t-0.x-future"), NOW);
    let copy = Arc::new(copy.unwrap());
    witness.logs.lock().push(Arc::clone(&copy));
    while copy.copy_from(&log, 700, NOW).unwrap() != Copied::Bytes(0) {}
    assert_eq!(witness.locked(&[]), NOTHING);
    assert!(log.take_over(&copy, &doomed, &place, NOW).unwrap());
    let moved = ["rename t-0", "sync log", "sync of the directory b"];
    // So is the directory of the copy.
    assert_eq!(witness.locked(&moved), ["rename x-future"]);
    log.append_as_leader(&value(b"k"), 7, Origin::Internal, NOW)
        .unwrap();
    assert_eq!(witness.locked(&[]), NOTHING);

    log.close().unwrap();
    assert_eq!(witness.locked(&["sync log", "sync index"]), NOTHING);
    log.rename(&root.path().join("b/t-0.x-delete")).unwrap();
    assert_eq!(witness.locked(&["rename t-0"]), NOTHING);
    watch(None);
}
