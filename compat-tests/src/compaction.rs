//! Copies of one log, compacted by Apache Kafka's own classes and by monedula's cleaner, and the comparison of their files.
//! Both cleaners get the time as an argument, so the comparison includes all timestamps.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use monedula::base::ids::{TopicPartition, Uuid};
use monedula::host::Host;
use monedula::host::disk::Disk;
use monedula::log::checkpoint;
use monedula::log::compaction::Budget;
use monedula::log::manager::{LogManager, ManagerSettings};
use monedula::log::partition_log::following::Replicated;
use monedula::log::settings::LogSettings;
use monedula::wire::batch::BatchError;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::batch::legacy;
use monedula::wire::batch::record::{decompressed, records};

use crate::apache::{BEFORE, program_of};

/// Directory of the partition in its log directory.
pub const PARTITION: &str = "t-0";
pub const SEGMENT: u32 = 2_500;
pub const RETENTION: i64 = 100_000;
/// Default time after which producer state expires, in milliseconds.
pub const EXPIRATION: i64 = 86_400_000;
const LIMIT: usize = 1 << 24;
/// Maximum time for which a process that another thread is starting may hold the directory's lock.
const LOCKED: Duration = Duration::from_secs(30);

/// One pass of a cleaner, on a log that is opened before the pass and closed after it.
#[derive(Clone, Debug)]
pub struct Pass {
    pub now: i64,
    pub high_watermark: i64,
    pub map_bytes: usize,
    /// Whether the cleaner's checkpoint is removed first, which makes the whole log dirty.
    pub forget: bool,
    /// New log start offset before the pass.
    pub log_start: i64,
    /// Batches that are appended before the pass, as a follower appends them.
    pub appended: Bytes,
    /// Time after which producer state expires, in milliseconds.
    pub expiration: i64,
    pub settings: LogSettings,
    /// Whether the log was closed cleanly before the pass.
    pub clean: bool,
}

impl Pass {
    /// A pass over the dirty part of the log, with enough memory.
    pub fn at(now: i64, high_watermark: i64) -> Self {
        Self {
            now,
            high_watermark,
            map_bytes: 1 << 16,
            forget: false,
            log_start: 0,
            appended: Bytes::new(),
            expiration: EXPIRATION,
            settings: settings(),
            clean: true,
        }
    }
}

pub fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: SEGMENT,
        index_interval_bytes: 200,
        cleanup_compact: true,
        cleanup_delete: false,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: RETENTION,
        file_delete_delay_ms: 0,
        ..LogSettings::default()
    }
}

/// The same settings, in the format of the program that runs Apache Kafka's cleaner.
fn words(settings: &LogSettings) -> String {
    format!(
        "cleanup.policy=compact internal.segment.bytes={} index.interval.bytes={} segment.index.bytes={} \
         max.message.bytes={} min.cleanable.dirty.ratio={} delete.retention.ms={} min.compaction.lag.ms={} \
         max.compaction.lag.ms={}",
        settings.segment_bytes,
        settings.index_interval_bytes,
        settings.segment_index_bytes,
        settings.max_message_bytes,
        settings.min_cleanable_dirty_ratio,
        settings.delete_retention_ms,
        settings.min_compaction_lag_ms,
        settings.max_compaction_lag_ms,
    )
}

pub fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

pub fn open(home: &Path, settings: &LogSettings, now: i64) -> Result<LogManager> {
    let begun = Instant::now();
    let manager = loop {
        let dirs = vec![(home.to_owned(), Ok(Uuid([9; 16])))];
        match LogManager::open(&Host::default(), dirs, ManagerSettings::default()) {
            Ok(manager) => break manager,
            // A process that another thread is starting inherits the lock's file descriptor until it runs its program.
            Err(error)
                if error.source.kind() == ErrorKind::WouldBlock && begun.elapsed() < LOCKED =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.into()),
        }
    };
    manager.load(1, &|_| settings.clone(), now)?;
    Ok(manager)
}

/// Copies a directory with the modification times of its files.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        fs::copy(entry.path(), &target)?;
        let file = fs::File::options().append(true).open(target)?;
        file.set_modified(entry.metadata()?.modified()?)?;
    }
    Ok(())
}

/// Path of the copy of a log directory after a pass.
pub fn saved(home: &Path, pass: usize) -> PathBuf {
    home.with_extension(format!("after-{pass}"))
}

/// Splits a sequence of batches.
fn batches(mut rest: Bytes) -> Result<Vec<Bytes>> {
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let size = BatchHeader::parse(&rest)?.size();
        batches.push(rest.split_to(size));
    }
    Ok(batches)
}

/// Runs the passes on a log directory with monedula's cleaner.
pub fn ours(home: &Path, passes: &[Pass]) -> Result<()> {
    for (number, pass) in passes.iter().enumerate() {
        let manager = open_for(home, pass)?;
        if pass.map_bytes > 0 {
            manager.compact(&Budget::new(&Host::default(), pass.map_bytes), pass.now);
        }
        manager.close(1, -1);
        copy(home, &saved(home, number))?;
    }
    Ok(())
}

fn open_for(home: &Path, pass: &Pass) -> Result<LogManager> {
    if pass.forget {
        drop(fs::remove_file(home.join(checkpoint::CLEANED)));
    }
    let name = partition();
    let high_watermark = [(&name, pass.high_watermark)];
    checkpoint::write_offsets(
        &Disk::default(),
        &home.join(checkpoint::HIGH_WATERMARKS),
        high_watermark.into_iter(),
    )?;
    let manager = open(home, &pass.settings, pass.now)?;
    let log = manager.get(&name).context("the log is not there")?;
    for batch in batches(pass.appended.clone())? {
        let records = Replicated::check(batch)?;
        log.append_as_follower(&records, records.batches().len(), pass.now)?;
    }
    // Flushed because monedula's cleaner keeps one more batch of a producer whose newest batch is not on disk.
    log.flush(pass.now)?;
    log.high_watermark().set(pass.high_watermark);
    log.advance_start(pass.log_start, pass.now)?;
    manager.expire_producers(pass.now, pass.expiration);
    Ok(manager)
}

/// Instructions for Apache Kafka's classes to run the same passes, on a log that ends at `recovery_point` and starts at 0.
pub fn theirs(home: &Path, passes: &[Pass], recovery_point: i64) -> Result<String> {
    let mut lines = String::new();
    let mut start = 0;
    for (number, pass) in passes.iter().enumerate() {
        let save = saved(home, number);
        let mut appended = "-".to_owned();
        if !pass.appended.is_empty() {
            let file = home.with_extension(format!("appended-{number}"));
            fs::write(&file, &pass.appended)?;
            appended = file.display().to_string();
        }
        let Pass {
            now,
            high_watermark,
            map_bytes,
            forget,
            log_start,
            expiration,
            clean,
            ..
        } = pass;
        let settings = words(&pass.settings);
        let (home, save) = (home.display(), save.display());
        let known = format!("{clean} {recovery_point} {high_watermark}");
        let further = format!("{start} {log_start} {appended} {expiration}");
        let _ = writeln!(
            lines,
            "{home} {now} {known} {map_bytes} {forget} {save} {further} {settings}"
        );
        start = start.max(*log_start);
    }
    Ok(lines)
}

/// Runs the instructions with Apache Kafka's classes; returns one line of output per instruction. In such a program the classes
/// of 4.4.0 leave empty entries at the end of the last segment's index; those of 4.3.1 do not.
pub fn compactor(lines: &str, home: &Path) -> Result<Vec<String>> {
    let steps = home.join("steps");
    fs::write(&steps, lines)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/directories/Compactor.java");
    let finished = program_of(BEFORE, &file, &[&steps.display().to_string()])?;
    ensure!(finished.success, "{}\n{}", finished.stdout, finished.stderr);
    Ok(finished.stdout.lines().map(str::to_owned).collect())
}

/// Decompressed records of a batch.
pub fn plain(header: &BatchHeader, batch: &Bytes) -> Result<Bytes> {
    Ok(decompressed(header, batch, LIMIT)?)
}

/// Text of a data file, batch by batch and record by record. Compressed bytes are not included, because the codecs of the two
/// programs differ. Batches that end before `from` are left out. Records come with their offsets.
fn described(path: &Path, from: i64) -> Result<Vec<(Option<i64>, String)>> {
    let mut rest = Bytes::from(fs::read(path)?);
    let mut lines = Vec::new();
    while rest.len() > 17 {
        if rest[16] < 2 {
            let mut after = &rest[..];
            let message = legacy::read_message(&mut after)?;
            let size = rest.len() - after.len();
            let (offset, codec) = (message.offset, message.compression);
            if offset < from {
                drop(rest.split_to(size));
                continue;
            }
            let (magic, at) = (message.magic, message.timestamp);
            let stamped = message.log_append_time;
            lines.push((
                None,
                format!("message {offset} v{magic} {codec:?} {at} {stamped}"),
            ));
            if codec == Compression::None {
                lines.push((None, format!("{:?}", &rest[..size])));
            }
            message.each_record(LIMIT, |record| {
                let (at, key, value) = (record.timestamp, record.key, record.value);
                lines.push((Some(record.offset), format!("  {at} {key:?} {value:?}")));
                Ok::<(), BatchError>(())
            })?;
            drop(rest.split_to(size));
            continue;
        }
        let header = BatchHeader::parse(&rest)?;
        let batch = rest.split_to(header.size());
        header.verify(&batch)?;
        if header.last_offset() < from {
            continue;
        }
        let codec = header.compression()?;
        let uncompressed = BatchHeader {
            crc: 0,
            length: 0,
            ..header
        };
        lines.push((None, format!("{uncompressed:?}")));
        if codec == Compression::None {
            lines.push((None, format!("{:?}", &batch[..])));
        }
        let body = plain(&header, &batch)?;
        for record in records(&header, &body) {
            let record = record?;
            lines.push((Some(record.offset), format!("  {record:?}")));
        }
    }
    Ok(lines)
}

/// Offsets of all records, including markers and aborted records.
pub fn offsets(home: &Path) -> Result<BTreeSet<i64>> {
    let mut offsets = BTreeSet::new();
    for entry in fs::read_dir(home.join(PARTITION))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            let lines = described(&path, 0)?;
            offsets.extend(lines.into_iter().filter_map(|(offset, _)| offset));
        }
    }
    Ok(offsets)
}

/// All compared facts of a log directory. File positions are left out where the files of `other` have different sizes, and file
/// names unless `plain` (nothing is compressed): the grouping of segments depends on how well a codec compresses.
pub fn facts(home: &Path, other: &Path, log_start: i64, plain: bool) -> Result<Vec<String>> {
    let dir = home.join(PARTITION);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut facts = Vec::new();
    let cleaned = checkpoint::read_offsets(&Disk::default(), &home.join(checkpoint::CLEANED))?;
    for (partition, cleaned) in cleaned {
        // A checkpoint before the log start has no effect; Apache Kafka corrects it even if there is nothing to compact.
        facts.push(format!("{partition} {}", cleaned.max(log_start)));
    }
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(".log") {
            facts.extend(plain.then_some(name));
            let lines = described(&path, log_start)?;
            facts.extend(
                lines
                    .into_iter()
                    .map(|(offset, line)| format!("{offset:?} {line}")),
            );
        } else if name.ends_with("index") {
            let log = format!("{PARTITION}/{}.log", &name[..20]);
            let same = fs::read(home.join(&log))? == fs::read(other.join(&log)).unwrap_or_default();
            if !same && !name.ends_with(".txnindex") {
                continue;
            }
            let bytes = fs::read(&path)?;
            let size = match &name[20..] {
                ".index" => 8,
                ".timeindex" => 12,
                _ => 34,
            };
            facts.extend(plain.then_some(name));
            let is_before = |entry: &[u8]| {
                let last_offset = entry.get(18..26).and_then(<[u8]>::first_chunk);
                last_offset.is_some_and(|last| i64::from_be_bytes(*last) < log_start)
            };
            let entries = bytes.chunks(size).filter(|entry| !is_before(entry));
            facts.extend(entries.map(|entry| format!("{entry:?}")));
        } else if !name.ends_with(".snapshot") {
            ensure!(
                ["partition.metadata", "leader-epoch-checkpoint"].contains(&&*name),
                "{name} is left"
            );
        }
    }
    Ok(facts)
}

pub fn first_difference(ours: &[String], theirs: &[String]) -> String {
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let around = |facts: &[String]| {
        let from = at.saturating_sub(3);
        let brief: Vec<&str> = facts[from..(at + 4).min(facts.len())]
            .iter()
            .map(|line| &line[..line.len().min(400)])
            .collect();
        brief.join("\n    ")
    };
    format!(
        "ours:\n    {}\ntheirs:\n    {}",
        around(ours),
        around(theirs)
    )
}
