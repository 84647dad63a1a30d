//! Apache Kafka's log cleaner and monedula's turn the same files into the same files, batch for batch, with positions,
//! attributes, delete horizons, indexes, aborted transactions and checkpoint, also in several passes. Both open a segment whose
//! offsets are too far apart in the same way. Both get the time as an argument, so all timestamps are compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::chance::{Chance, from_environment, seed};
use compat_tests::compaction::{
    EXPIRATION, PARTITION, Pass, RETENTION, SEGMENT, compactor, copy, facts, first_difference,
    open, ours, partition, saved, settings, theirs,
};
use monedula::base::ids::Uuid;
use monedula::host::disk::Disk;
use monedula::log::dir::{write_clean_shutdown, write_partition_metadata};
use monedula::log::partition_log::following::Replicated;
use monedula::log::settings::LogSettings;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::batch::legacy::SetBuilder;
use monedula::wire::batch::record::records;

use super::broker::CODECS;

const NOW: i64 = 1_700_000_000_000;
/// Timestamp of the first records.
const BEGINNING: i64 = NOW - 1_000_000;
const CASES: u64 = 30;
/// Of this many logs, one does not change between passes.
const LIVELY: u64 = 3;

/// Whether the log of a seed has no compressed batches.
fn plain(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// Whether the log of a seed grows between passes, loses its beginning, changes its settings, and expires producers.
fn lively(seed: u64) -> bool {
    !seed.is_multiple_of(LIVELY)
}

/// Writer of a log with random contents.
struct Author {
    chance: Chance,
    next: i64,
    /// Number of records so far.
    count: i64,
    sequences: BTreeMap<i64, i32>,
    epochs: BTreeMap<i64, i16>,
    /// Codecs of the batches. Without compression even the indexes can be compared.
    codecs: &'static [Compression],
    open: BTreeMap<i64, i64>,
    /// Whether some batches have the broker's append time.
    stamps: bool,
    /// Whether some offsets are too far from the previous ones for an index.
    leaps: bool,
    /// Whether the log loses its beginning. Then no transaction is aborted: Apache Kafka forgets an aborted transaction that
    /// began before the log start offset, and monedula does not.
    shrinks: bool,
    /// Maximum timestamps of the batches, and their base offsets.
    times: Vec<i64>,
    offsets: Vec<i64>,
}

impl Author {
    fn new(seed: u64) -> Self {
        let mut traits = Chance::new(seed ^ 0x000a_57e1);
        Self {
            chance: Chance::new(seed),
            next: 0,
            count: 0,
            sequences: BTreeMap::new(),
            epochs: BTreeMap::new(),
            codecs: &CODECS[..if plain(seed) { 1 } else { CODECS.len() }],
            open: BTreeMap::new(),
            stamps: lively(seed) && traits.below(2) == 0,
            leaps: lively(seed) && traits.below(6) == 0,
            shrinks: lively(seed) && traits.below(2) == 0,
            times: Vec::new(),
            offsets: Vec::new(),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        format!("k{}", self.chance.below(12)).into_bytes()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let len = self.chance.below(60);
        let byte = b'a' + self.chance.below(26) as u8;
        (self.chance.below(5) > 0).then(|| vec![byte; len])
    }

    /// Timestamp of the next record.
    fn time(&mut self) -> i64 {
        BEGINNING + self.count * 10
    }

    fn leap(&mut self) {
        if self.leaps && self.chance.below(40) == 0 {
            self.next += (1 << 31) - self.chance.below(40) as i64;
        }
    }

    /// A random batch or transaction marker.
    fn batch(&mut self, may_be_transactional: bool) -> Bytes {
        self.leap();
        let codec = self.chance.one_of(self.codecs);
        let kind = self.chance.below(if may_be_transactional { 6 } else { 4 });
        let mut builder = BatchBuilder::new(codec);
        // Producers of all kinds: plain, idempotent, transactional.
        let producer = (kind as i64 / 2) * 10 + self.chance.below(3) as i64;
        let epoch = *self.epochs.entry(producer).or_insert(0);
        if kind >= 4 && self.chance.below(3) == 0 && self.open.remove(&producer).is_some() {
            let commit = self.chance.below(2) == 1 || self.shrinks;
            return self.marker(producer, epoch, commit);
        }
        if kind >= 4 && self.chance.below(8) == 0 && !self.open.contains_key(&producer) {
            // A fenced producer: its epoch increases, and this log has nothing of its transaction.
            self.epochs.insert(producer, epoch + 1);
            self.sequences.remove(&producer);
            return self.marker(producer, epoch + 1, false);
        }
        if kind >= 2 {
            let sequence = *self.sequences.entry(producer).or_insert(0);
            builder = builder.producer(producer, epoch, sequence);
        }
        if kind >= 4 {
            builder = builder.transactional();
            self.open.entry(producer).or_insert(self.next);
        }
        let count = 1 + self.chance.below(5) as i32;
        builder = builder.at(self.next, 3);
        for delta in 0..count {
            let (key, value) = (self.key(), self.value());
            let at = self.time() - self.chance.below(300) as i64;
            // Some records have no key, as from before the topic was compacted.
            let key = (self.chance.below(25) > 0).then_some(&key[..]);
            let headers = [(&b"h"[..], Some(&b"x"[..])), (b"", None)];
            let count = self.chance.below(3);
            builder.push_with_headers(
                delta,
                at,
                key,
                value.as_deref(),
                headers.into_iter().take(count),
            );
        }
        if kind >= 2
            && let Some(sequence) = self.sequences.get_mut(&producer)
        {
            *sequence += count;
        }
        self.next += i64::from(count);
        self.count += i64::from(count);
        let batch = builder.build();
        if self.stamps && self.chance.below(3) == 0 {
            let at = self.time();
            return self.noted(stamped(&batch, at).unwrap_or(batch));
        }
        self.noted(batch)
    }

    fn marker(&mut self, producer: i64, epoch: i16, commit: bool) -> Bytes {
        let mut builder = BatchBuilder::default()
            .at(self.next, 3)
            .producer(producer, epoch, -1)
            .transactional()
            .control();
        let at = self.time();
        builder.push(at, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]));
        self.next += 1;
        self.count += 1;
        self.noted(builder.build())
    }

    fn noted(&mut self, batch: Bytes) -> Bytes {
        if let Ok(header) = BatchHeader::parse(&batch) {
            self.times.push(header.max_timestamp);
            self.offsets.push(header.base_offset);
        }
        batch
    }

    /// A segment in one of the formats before record batches.
    fn old_segment(&mut self) -> Vec<u8> {
        let magic = self.chance.below(2) as i8;
        let mut file = Vec::new();
        for _ in 0..4 + self.chance.below(12) {
            // zstd is not allowed in these formats.
            let codec = self.chance.one_of(&self.codecs[..self.codecs.len().min(4)]);
            let stamped = self.stamps && self.chance.below(3) == 0;
            let mut set = SetBuilder::new(magic, codec, stamped);
            let received = self.time();
            for _ in 0..1 + self.chance.below(4) {
                let (key, value) = (self.key(), self.value());
                let at = if stamped { received } else { self.time() };
                let key = (self.chance.below(25) > 0).then_some(&key[..]);
                set.push(self.next, at, key, value.as_deref());
                self.times.push(at);
                self.offsets.push(self.next);
                self.next += 1;
                self.count += 1;
            }
            file.extend(set.build());
        }
        file
    }
}

/// The batch with LogAppendTime `at` (`message.timestamp.type=LogAppendTime`).
fn stamped(batch: &Bytes, at: i64) -> Result<Bytes> {
    const LOG_APPEND_TIME: i16 = 8;
    let header = BatchHeader::parse(batch)?;
    let stamped = BatchHeader {
        attributes: header.attributes | LOG_APPEND_TIME,
        max_timestamp: at,
        ..header
    };
    let body = compat_tests::compaction::plain(&header, batch)?;
    let mut builder = BatchBuilder::like(&stamped, None);
    for record in records(&header, &body) {
        builder.copy(&header, &record?);
    }
    Ok(builder.build())
}

/// Writes a cleanly closed log directory. Returns its author, and the first offset at which the first round may end: Apache
/// Kafka's cleaner fails (IllegalStateException) if nothing remains of the last message of a round and that message has one of
/// the old formats.
fn build(home: &Path, seed: u64) -> Result<(Author, i64)> {
    let mut author = Author::new(seed);
    let dir = home.join(PARTITION);
    fs::create_dir_all(&dir)?;
    write_partition_metadata(Disk::default().dir(&dir), Uuid([1; 16]))?;
    let old = seed % 3;
    if old != 0 {
        for _ in 0..1 + author.chance.below(3) {
            let name = format!("{:020}.log", author.next);
            let segment = author.old_segment();
            fs::write(dir.join(name), segment)?;
        }
        // Without an empty segment the last old one would be active, and batches would be appended to it.
        if old == 1 {
            fs::write(dir.join(format!("{:020}.log", author.next)), "")?;
        }
    }
    let old_end = author.next;
    let manager = open(home, &settings(), NOW)?;
    let log = manager
        .get_or_create(&partition(), Uuid([1; 16]), Uuid([9; 16]), &settings(), NOW)
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    for number in 0..60 + author.chance.below(60) {
        // An open transaction also ends a round.
        let batch = author.batch(old_end == 0 || number > 20);
        let records = Replicated::check(batch)?;
        log.append_as_follower(&records, records.batches().len(), NOW)?;
        log.high_watermark().set(log.reader().log_end());
    }
    manager.close(1, -1);
    let mut names: Vec<_> = fs::read_dir(&dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.sort();
    for (at, path) in (0..).zip(&names) {
        // The modification times determine when old tombstones are removed.
        let modified = (NOW - 1_000_000) as u64 + at * 20_000;
        let file = fs::File::options().append(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(modified))?;
    }
    let bases = names.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        name.strip_suffix(".log")?.parse::<i64>().ok()
    });
    let first = bases.filter(|base| *base > old_end).min();
    let first = first.unwrap_or_else(|| log.reader().log_end());
    Ok((author, first))
}

fn passes(seed: u64, mut author: Author, first: i64) -> Vec<Pass> {
    let mut chance = Chance::new(seed ^ 0x5ca1_ab1e);
    let mut map_bytes = chance.one_of(&[1 << 16, 1 << 16, 24 * 7, 24 * 30]);
    if author.leaps {
        // After a pass that did not reach the end, Apache Kafka takes the distance to the end of the log for that to the end of
        // the last segment, and does not merge segments that would fit together.
        map_bytes = 1 << 16;
    }
    let end = author.next;
    let part = (chance.below(end as usize) as i64).max(first);
    let retention = match lively(seed) {
        true => chance.one_of(&[0, 1, RETENTION]),
        false => RETENTION,
    };
    // Not smaller than the log's existing index, or Apache Kafka would not open the log.
    let segment_index_bytes = match lively(seed) {
        true => chance.one_of(&[240, 10 << 20]),
        false => 10 << 20,
    };
    let pass = |later, high_watermark, forget| Pass {
        map_bytes,
        forget,
        settings: LogSettings {
            delete_retention_ms: retention,
            segment_index_bytes,
            ..settings()
        },
        ..Pass::at(NOW + later, high_watermark)
    };
    let mut passes = vec![
        pass(0, part, false),
        pass(10, end, false),
        pass(20, end, false),
        pass(30, end, true),
        pass(retention - 1, end, true),
        pass(retention, end, true),
        pass(retention + 50, end, true),
        pass(3 * retention, end, true),
        pass(5 * retention, end, true),
    ];
    if lively(seed) {
        enliven(&mut passes, &mut author, &mut chance);
    }
    passes
}

/// Adds changes between the passes. Each boundary in time coincides with a record's timestamp.
fn enliven(passes: &mut [Pass], author: &mut Author, chance: &mut Chance) {
    let (mut log_start, end) = (0, author.next);
    for pass in passes {
        // Open transactions must end before all of the log can be compacted.
        if chance.below(2) == 0 {
            let batches: Vec<Bytes> = (0..chance.below(20)).map(|_| author.batch(true)).collect();
            pass.appended = batches.concat().into();
        }
        if pass.high_watermark == end {
            pass.high_watermark = author.next;
        }
        if chance.below(6) == 0 {
            // Stands for a former leader that had not heard from all replicas.
            let behind = (pass.high_watermark - log_start).max(0) as usize;
            pass.high_watermark = log_start + chance.below(behind + 1) as i64;
        }
        if author.shrinks && chance.below(3) == 0 {
            // If there is no record at the log start offset, Apache Kafka takes the next segment for the last stable offset.
            let inside = if author.leaps {
                0
            } else {
                chance.below(2) as i64
            };
            let start = chance.one_of(&author.offsets[..author.offsets.len() * 2 / 3]) + inside;
            if (log_start..=pass.high_watermark).contains(&start) {
                log_start = start;
            }
        }
        pass.log_start = log_start;
        let now = pass.now;
        let mut age = || now - chance.one_of(&author.times) + chance.below(3) as i64 - 1;
        let (patience, impatience, silence) = (age(), age(), age());
        let settings = &mut pass.settings;
        match chance.below(6) {
            0 => settings.min_compaction_lag_ms = patience,
            1 => {
                settings.max_compaction_lag_ms = impatience.max(1);
                settings.min_cleanable_dirty_ratio = 1.0;
            }
            2 => settings.min_cleanable_dirty_ratio = chance.one_of(&[0.3, 0.5, 0.8]),
            3 => settings.segment_bytes = chance.one_of(&[1_000, 2 * SEGMENT, 1 << 20]),
            4 => {
                settings.min_compaction_lag_ms = patience;
                settings.max_compaction_lag_ms = impatience.max(1);
            }
            _ => settings.max_message_bytes = 100,
        }
        if chance.below(3) == 0 {
            pass.expiration = silence.clamp(1, EXPIRATION);
        }
    }
}

/// Whether the line is a known failure of Apache Kafka's cleaner in a case in which ours continues; see DIFFERENCES.md.
fn may_give_up(line: &str) -> bool {
    line.contains("IllegalStateException") || line.contains("Attempt to append to a full")
}

#[test]
#[ignore = "needs java and maven"]
fn the_same_files_are_compacted_to_the_same_files() -> Result<()> {
    // On a file system in memory if there is one, because no sync here needs a real disk.
    let memory = Path::new("/dev/shm");
    let root = match memory.is_dir() {
        true => tempfile::tempdir_in(memory)?,
        false => tempfile::tempdir()?,
    };
    let seeds_from = seed("COMPACTION_SEED");
    let count = from_environment("COMPACTION_CASES").unwrap_or(CASES);
    let homes = |seed: u64| {
        let home = root.path().join(format!("case-{seed}"));
        (home.join("ours"), home.join("theirs"))
    };
    let (mut lines, mut planned) = (String::new(), Vec::new());
    for seed in seeds_from..seeds_from + count {
        let (own, other) = homes(seed);
        let (author, first) =
            build(&own, seed).with_context(|| format!("COMPACTION_SEED={seed}"))?;
        copy(&own, &other)?;
        let end = author.next;
        let passes = passes(seed, author, first);
        lines.push_str(&theirs(&other, &passes, end)?);
        planned.push((seed, passes));
    }
    let told =
        compactor(&lines, root.path()).with_context(|| format!("COMPACTION_SEED={seeds_from}"))?;
    let (mut wrong, mut compared, mut told) = (Vec::new(), 0, told.into_iter());
    for (seed, passes) in planned {
        let (own, other) = homes(seed);
        ours(&own, &passes).with_context(|| format!("COMPACTION_SEED={seed}"))?;
        let told: Vec<String> = told.by_ref().take(passes.len()).collect();
        for (number, line) in told.iter().enumerate() {
            if line.starts_with("uncleanable") {
                if !may_give_up(line) {
                    wrong.push(format!("COMPACTION_SEED={seed}, pass {number}: {line}"));
                }
                break;
            }
            compared += 1;
            let (own, other) = (saved(&own, number), saved(&other, number));
            let start = passes[number].log_start;
            let plain = plain(seed);
            let (own, other) = (
                facts(&own, &other, start, plain)?,
                facts(&other, &own, start, plain)?,
            );
            if own != other {
                let difference = first_difference(&own, &other);
                wrong.push(format!(
                    "COMPACTION_SEED={seed}, pass {number}: {:?}\n{difference}",
                    passes[number].settings
                ));
                break;
            }
        }
    }
    println!("{compared} passes over {count} logs were compared");
    ensure!(
        wrong.is_empty(),
        "{} of {count} differ\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    ensure!(compared > count * 6, "only {compared} passes were compared");
    Ok(())
}

/// Two records in a batch, or in a wrapper, whose offset is that of the second record.
fn pair(magic: i8, base: i64) -> Vec<u8> {
    if magic == 2 {
        let mut builder = BatchBuilder::default().at(base, -1);
        builder.push(NOW, Some(b"a"), Some(b"1"));
        builder.push(NOW, Some(b"b"), Some(b"2"));
        return builder.build().to_vec();
    }
    let mut set = SetBuilder::new(magic, Compression::Gzip, false);
    set.push(base, NOW, Some(b"a"), Some(b"1"));
    set.push(base + 1, NOW, Some(b"b"), Some(b"2"));
    set.build()
}

/// All data files by their paths.
fn segments(home: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(home.join(PARTITION))? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "log") {
            found.insert(path.display().to_string(), fs::read(&path)?);
        }
    }
    let prefix = format!("{}/", home.join(PARTITION).display());
    Ok(found
        .into_iter()
        .map(|(path, bytes)| (path.replace(&prefix, ""), bytes))
        .collect())
}

#[test]
#[ignore = "needs java and maven"]
fn a_segment_with_offsets_too_far_apart_is_split_alike() -> Result<()> {
    let root = tempfile::tempdir()?;
    let far = 1_i64 << 31;
    let scenes = [
        vec![pair(2, 0), pair(2, far + 10), pair(2, far + 12)],
        vec![pair(2, 0), pair(2, far - 2), pair(2, far), pair(2, 5 * far)],
        vec![pair(1, 0), pair(1, far + 10), pair(2, 3 * far)],
        vec![pair(0, 0), pair(0, far - 1), pair(0, far + 1)],
    ];
    let (mut lines, mut homes) = (String::new(), Vec::new());
    for (number, parts) in scenes.iter().enumerate() {
        for clean in [true, false] {
            let own = root.path().join(format!("{number}-{clean}/ours"));
            let other = own.with_file_name("theirs");
            fs::create_dir_all(own.join("t-0"))?;
            write_partition_metadata(Disk::default().dir(&own.join("t-0")), Uuid([1; 16]))?;
            fs::write(
                own.join("t-0").join(format!("{:020}.log", 0)),
                parts.concat(),
            )?;
            copy(&own, &other)?;
            if clean {
                write_clean_shutdown(Disk::default().dir(&own), -1)?;
            }
            let looked_at = Pass {
                map_bytes: 0,
                clean,
                ..Pass::at(NOW, 0)
            };
            lines.push_str(&theirs(&other, &[looked_at], 0)?);
            homes.push((own, other));
        }
    }
    compactor(&lines, root.path())?;
    for (own, other) in homes {
        open(&own, &settings(), NOW)?.close(1, -1);
        let (own, other) = (segments(&own)?, segments(&saved(&other, 0))?);
        ensure!(own == other, "ours {own:?}\ntheirs {other:?}");
        ensure!(own.len() > 1, "nothing was split: {own:?}");
    }
    Ok(())
}
