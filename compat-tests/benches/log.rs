//! Benchmarks of a log: `cargo bench --package compat-tests`. The files are in memory if `/dev/shm` exists, so the figures are
//! those of the broker's code and of the kernel's copying, not of a disk. `src/BENCHMARKS.md` has the figures with their dates.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use monedula::base::ids::{Offset, TopicPartition, Uuid};
use monedula::host::disk::Disk;
use monedula::host::file::Reach;
use monedula::log::append::Origin;
use monedula::log::index::offset::{OffsetEntry, OffsetIndex};
use monedula::log::partition_log::{PartitionLog, ReadEnd};
use monedula::log::recovery::Known;
use monedula::log::settings::LogSettings;
use monedula::wire::batch::builder::BatchBuilder;

const NOW: i64 = 1_000_000;
/// Number of batches after which a log is emptied, so that it fits in memory: 64 MiB.
const EMPTIED_AFTER: u64 = 4_096;
const RECOVERED_BATCHES: usize = 32_768;
const INDEX_ENTRIES: u32 = 100_000;

/// A batch of sixteen records of a kilobyte each: 16 KiB.
fn batch() -> Bytes {
    let mut builder = BatchBuilder::default();
    let value: Vec<u8> = (0..1_010).map(|n| (n * 31 % 251) as u8).collect();
    for _ in 0..16 {
        builder.push(NOW, None, Some(&value));
    }
    builder.build()
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory for the log")
}

fn open(dir: &Path, clean: bool) -> PartitionLog {
    let known = Known {
        clean,
        recovery_point: 0,
        log_start: None,
    };
    let partition = TopicPartition::new("t", 0);
    let settings = LogSettings::default();
    PartitionLog::open(
        Disk::default().dir(dir),
        partition,
        Uuid([1; 16]),
        settings,
        known,
        Offset::MAX,
        NOW,
    )
    .expect("the log opens")
}

fn append(log: &PartitionLog, batch: &Bytes) {
    let appended = log
        .append_as_leader(batch, 0, Origin::Client, NOW)
        .expect("the batch is appended");
    log.high_watermark().set(appended.log_end);
}

/// Runs `step` for each iteration and returns the time that it took. `empty` runs now and then and is not measured.
fn timed(iterations: u64, mut step: impl FnMut(u64), mut empty: impl FnMut()) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let now = left.min(EMPTIED_AFTER);
        let begun = Instant::now();
        (0..now).for_each(&mut step);
        spent += begun.elapsed();
        empty();
        left -= now;
    }
    spent
}

fn appending(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("a batch of 16 KiB");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    let dir = scratch();
    let log = open(dir.path(), true);
    group.bench_function("append", |bencher| {
        bencher.iter_custom(|iterations| {
            let empty = || log.truncate_to(0).expect("the log is emptied");
            timed(iterations, |_| append(&log, &batch), empty)
        });
    });
    // The same work without a log, for comparison.
    let file = File::create(dir.path().join("plain")).expect("a file");
    group.bench_function("checksum and write", |bencher| {
        bencher.iter_custom(|iterations| {
            let step = |n| {
                black_box(crc32c::crc32c(&batch[21..]));
                file.write_all_at(&batch, n * batch.len() as u64)
                    .expect("the file is written");
            };
            timed(iterations, step, || {
                file.set_len(0).expect("the file is emptied")
            })
        });
    });
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let batch = batch();
    let dir = scratch();
    let log = open(dir.path(), true);
    for _ in 0..EMPTIED_AFTER {
        append(&log, &batch);
    }
    let end = log.reader().log_end() as u64;
    let mut n = 0_u64;
    criterion.bench_function("plan a read anywhere in 64 MiB", |bencher| {
        bencher.iter(|| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let from = ((n >> 33) % end) as Offset;
            log.reader()
                .read(from, 1 << 20, ReadEnd::HighWatermark, true)
                .expect("the read is planned")
        });
    });
    let path = dir.path().join("index");
    let mut index = OffsetIndex::new(&Disk::default(), path, 0);
    for n in 0..INDEX_ENTRIES {
        let entry = OffsetEntry {
            relative_offset: n * 16,
            position: n * 4_096,
        };
        index.push(entry).expect("an entry is added");
    }
    index.write_pending().expect("the index is written");
    criterion.bench_function("look an offset up among 100,000 entries", |bencher| {
        bencher.iter(|| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let wanted = ((n >> 33) % u64::from(INDEX_ENTRIES * 16)) as u32;
            index
                .last_where(|entry| entry.relative_offset <= wanted, Reach::Disk)
                .expect("the index is read")
        });
    });
}

fn recovery(criterion: &mut Criterion) {
    let batch = batch();
    let dir = scratch();
    let log = open(dir.path(), true);
    for _ in 0..RECOVERED_BATCHES {
        append(&log, &batch);
    }
    let mut group = criterion.benchmark_group("a log of 512 MiB");
    group.throughput(Throughput::Bytes(log.reader().size()));
    drop(log);
    group.bench_function("recover", |bencher| {
        bencher.iter(|| open(dir.path(), false));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = appending, reading, recovery
}
criterion_main!(benches);
