//! Data that is not in the page cache is never read under a log's lock: the caller gets the missing range, lets another thread
//! read it, and asks again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::base::file_range::FileRange;
use crate::host::disk::{Simulation, Step, Verdict};
use crate::log::error::ReadError;
use crate::log::partition_log::lookup::{Effort, LookupError};

/// A disk whose files are cold until each has been refused once; records the refusals.
#[derive(Clone, Debug, Default)]
struct ColdDisk(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Simulation for ColdDisk {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        match step {
            Step::Look(path) if self.0.lock().insert(path.to_path_buf()) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            _ => Ok(Verdict::Go),
        }
    }
}

/// Asks until nothing is cold; returns the result and the cold ranges in order.
fn warmed<T>(ask: impl Fn(Reach) -> Result<T, ReadError>) -> (T, Vec<FileRange>) {
    let mut cold = Vec::new();
    loop {
        match ask(Reach::Cache) {
            Ok(answer) => return (answer, cold),
            Err(ReadError::Storage(error)) => cold.push(error.cold().unwrap().clone()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_cold_is_named_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let health = Arc::new(DirHealth::new(root.path().to_owned(), Default::default()));
    let dir = root.path().join("t-0");
    let log = create(&dir, small());
    fill(&log);
    log.close().unwrap();
    let log = reopen(&dir, small(), true, 80).watched(Arc::clone(&health));
    let storage = |result: Result<_, LookupError>| {
        result.map_err(|error| match error {
            LookupError::Storage(error) => ReadError::from(error),
            LookupError::TooMuch => panic!("{error}"),
        })
    };
    let effort = |reach| match reach {
        Reach::Cache => Effort::small(),
        Reach::Disk => Effort::any(),
    };
    let read = |reach| {
        log.reader()
            .read_within(30, 300, ReadEnd::HighWatermark, true, reach)
    };
    let by_time = |reach| {
        storage(
            log.reader()
                .find_timestamp(640, Offset::MAX, &effort(reach)),
        )
    };
    let newest = |reach| storage(log.reader().find_newest(&effort(reach)));

    let cold = ColdDisk::default();
    watch(Some(Arc::new(cold.clone())));
    let (plan, missing) = warmed(read);
    // First the whole index of the segment, then the batch that it points to.
    let lens: Vec<usize> = missing.iter().map(|range| range.len).collect();
    assert_eq!((lens[0] % 8, lens.len()), (0, 2));
    assert!(missing[1].position > 0 && missing[1].len < 1_000);
    let (found, missing) = warmed(by_time);
    assert!(!missing.is_empty());
    cold.0.lock().clear();
    let (last, missing) = warmed(newest);
    assert!(!missing.is_empty());
    // A caller that may wait for the disk gets no refusals, except for reads that are planned under the lock.
    cold.0.lock().clear();
    assert_eq!(read(Reach::Disk).unwrap().base_offset, plan.base_offset);
    cold.0.lock().clear();
    assert_eq!(by_time(Reach::Disk).unwrap(), found);
    assert_eq!(newest(Reach::Disk).unwrap(), last);
    let asked = std::mem::take(&mut *cold.0.lock());
    let indexes = ["index", "timeindex"].map(|kind| Some(OsStr::new(kind)));
    assert!(asked.iter().all(|path| indexes.contains(&path.extension())));
    watch(None);

    assert_eq!(plan.base_offset, 30);
    assert_eq!(found.map(|found| found.offset), Some(28));
    assert_eq!(last.map(|found| found.offset), Some(79));
    // A cold file is not a disk error.
    assert!(health.is_online());
}
