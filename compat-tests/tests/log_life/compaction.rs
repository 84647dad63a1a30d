//! The promise: of the same files Apache Kafka's cleaner and ours make the same: batch for batch, with positions, flags,
//! delete horizons, indexes, aborted transactions and checkpoint, also in several passes; and both open a segment whose
//! offsets lie too far apart in the same way. Time stands still for both, so nothing is left out of the comparison.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::apache::program;
use compat_tests::chance::{Chance, from_environment, seed};
use monedula::base::ids::{TopicPartition, Uuid};
use monedula::log::checkpoint;
use monedula::log::compaction::Budget;
use monedula::log::manager::{LogManager, ManagerSettings};
use monedula::log::settings::LogSettings;
use monedula::wire::batch::BatchError;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::batch::legacy::{self, SetBuilder};
use monedula::wire::batch::record::{decompressed, records};

use super::broker::CODECS;

const NOW: i64 = 1_700_000_000_000;
const RETENTION: i64 = 100_000;
const SEGMENT: u32 = 2_500;
const CASES: u64 = 30;
const LIMIT: usize = 1 << 24;

/// One pass of a cleaner.
#[derive(Clone, Copy)]
struct Pass {
    now: i64,
    high_watermark: i64,
    map_bytes: usize,
    /// Everything is dirty again.
    forget: bool,
}

fn settings() -> LogSettings {
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

/// The same for Apache Kafka.
fn words() -> String {
    format!(
        "internal.segment.bytes={SEGMENT} index.interval.bytes=200 cleanup.policy=compact \
         min.cleanable.dirty.ratio=0.0 delete.retention.ms={RETENTION} segment.index.bytes=10485760"
    )
}

/// Whether nothing is compressed in the log of a seed.
fn plain(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// What producers did to a log.
struct Author {
    chance: Chance,
    next: i64,
    sequences: BTreeMap<i64, i32>,
    epochs: BTreeMap<i64, i16>,
    /// Without them even the indexes can be compared.
    codecs: &'static [Compression],
    open: BTreeMap<i64, i64>,
}

impl Author {
    fn key(&mut self) -> Vec<u8> {
        format!("k{}", self.chance.below(12)).into_bytes()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let len = self.chance.below(60);
        let byte = b'a' + self.chance.below(26) as u8;
        (self.chance.below(5) > 0).then(|| vec![byte; len])
    }

    /// A batch, or a marker.
    fn batch(&mut self, may_be_transactional: bool) -> Bytes {
        let codec = self.chance.one_of(self.codecs);
        let kind = self.chance.below(if may_be_transactional { 6 } else { 4 });
        let mut builder = BatchBuilder::new(codec);
        // Of each kind some: plain, idempotent, transactional.
        let producer = (kind as i64 / 2) * 10 + self.chance.below(3) as i64;
        let epoch = *self.epochs.entry(producer).or_insert(0);
        if kind >= 4 && self.chance.below(3) == 0 && self.open.remove(&producer).is_some() {
            let commit = self.chance.below(2);
            return self.marker(producer, epoch, commit == 1);
        }
        if kind >= 4 && self.chance.below(8) == 0 && !self.open.contains_key(&producer) {
            // A fenced producer: its epoch goes up, and nothing of its transaction is here.
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
            let at = NOW - 1_000_000 + self.next * 10 - self.chance.below(300) as i64;
            // From before the topic was compacted.
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
        builder.build()
    }

    fn marker(&mut self, producer: i64, epoch: i16, commit: bool) -> Bytes {
        let mut builder = BatchBuilder::default()
            .at(self.next, 3)
            .producer(producer, epoch, -1)
            .transactional()
            .control();
        let at = NOW - 1_000_000 + self.next * 10;
        builder.push(at, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]));
        self.next += 1;
        builder.build()
    }

    /// A segment as brokers wrote them before there were batches.
    fn old_segment(&mut self) -> Vec<u8> {
        let magic = self.chance.below(2) as i8;
        let mut file = Vec::new();
        for _ in 0..4 + self.chance.below(12) {
            // Zstandard came later.
            let codec = self.chance.one_of(&self.codecs[..self.codecs.len().min(4)]);
            let mut set = SetBuilder::new(magic, codec, false);
            for _ in 0..1 + self.chance.below(4) {
                let (key, value) = (self.key(), self.value());
                let at = NOW - 1_000_000 + self.next * 10;
                let key = (self.chance.below(25) > 0).then_some(&key[..]);
                set.push(self.next, at, key, value.as_deref());
                self.next += 1;
            }
            file.extend(set.build());
        }
        file
    }
}

fn open(home: &Path, now: i64) -> Result<LogManager> {
    let manager = LogManager::open(
        vec![(home.to_owned(), Ok(Uuid([9; 16])))],
        ManagerSettings::default(),
    )?;
    manager.load(1, &|_| settings(), now)?;
    Ok(manager)
}

/// Makes a log directory that was stopped cleanly; gives where the log ends, and from where on the first round may end:
/// Apache Kafka's cleaner gives up (IllegalStateException) where nothing is left of the last message of a round, and that
/// has one of the old formats.
fn build(home: &Path, seed: u64) -> Result<(i64, i64)> {
    let mut author = Author {
        chance: Chance::new(seed),
        next: 0,
        sequences: BTreeMap::new(),
        epochs: BTreeMap::new(),
        codecs: &CODECS[..if plain(seed) { 1 } else { CODECS.len() }],
        open: BTreeMap::new(),
    };
    let dir = home.join("t-0");
    fs::create_dir_all(&dir)?;
    monedula::log::dir::write_partition_metadata(&dir, Uuid([1; 16]))?;
    let old = seed % 3;
    if old != 0 {
        for _ in 0..1 + author.chance.below(3) {
            let name = format!("{:020}.log", author.next);
            let segment = author.old_segment();
            fs::write(dir.join(name), segment)?;
        }
        // Otherwise the last one would be the active one, and batches would follow in it.
        if old == 1 {
            fs::write(dir.join(format!("{:020}.log", author.next)), "")?;
        }
    }
    let old_end = author.next;
    let manager = open(home, NOW)?;
    let log = manager
        .get_or_create(&partition(), Uuid([1; 16]), Uuid([9; 16]), &settings(), NOW)
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    for number in 0..60 + author.chance.below(60) {
        // A transaction that stays open ends a round, too.
        let batch = author.batch(old_end == 0 || number > 20);
        log.append_as_follower(&batch, NOW)?;
        log.set_high_watermark(log.log_end());
    }
    manager.close(1, -1);
    let mut names: Vec<_> = fs::read_dir(&dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.sort();
    for (at, path) in (0..).zip(&names) {
        // What decides about old tombstones.
        let modified = (NOW - 1_000_000) as u64 + at * 20_000;
        let file = fs::File::options().append(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(modified))?;
    }
    let bases = names.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        name.strip_suffix(".log")?.parse::<i64>().ok()
    });
    let first = bases.filter(|base| *base > old_end).min();
    let end = log.log_end();
    Ok((end, first.unwrap_or(end)))
}

/// With the times of the files.
fn copy(from: &Path, to: &Path) -> Result<()> {
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

fn saved(home: &Path, pass: usize) -> PathBuf {
    home.with_extension(format!("after-{pass}"))
}

fn ours(home: &Path, passes: &[Pass]) -> Result<()> {
    for (number, pass) in passes.iter().enumerate() {
        if pass.forget {
            drop(fs::remove_file(home.join(checkpoint::CLEANED)));
        }
        let name = partition();
        let high_watermark = [(&name, pass.high_watermark)];
        checkpoint::write_offsets(
            &home.join(checkpoint::HIGH_WATERMARKS),
            high_watermark.into_iter(),
        )?;
        let manager = open(home, pass.now)?;
        manager.compact(&Budget::of(pass.map_bytes), pass.now);
        manager.close(1, -1);
        copy(home, &saved(home, number))?;
    }
    Ok(())
}

/// The lines that tell Apache Kafka to do the same.
fn theirs(home: &Path, passes: &[Pass], end: i64) -> String {
    let mut lines = String::new();
    for (number, pass) in passes.iter().enumerate() {
        let Pass {
            now,
            high_watermark,
            map_bytes,
            forget,
        } = pass;
        let (settings, save) = (words(), saved(home, number));
        let (home, save) = (home.display(), save.display());
        let known = format!("true {end} {high_watermark}");
        let _ = writeln!(
            lines,
            "{home} {now} {known} {map_bytes} {forget} {save} {settings}"
        );
    }
    lines
}

/// A data file, batch by batch and record by record; compressed bytes are not compared, as codecs are not the same programs.
fn described(path: &Path) -> Result<Vec<String>> {
    let mut rest = Bytes::from(fs::read(path)?);
    let mut lines = Vec::new();
    while rest.len() > 17 {
        if rest[16] < 2 {
            let mut after = &rest[..];
            let message = legacy::read_message(&mut after)?;
            let size = rest.len() - after.len();
            let (offset, codec) = (message.offset, message.compression);
            lines.push(format!(
                "message {offset} v{} {codec:?} {} {}",
                message.magic, message.timestamp, message.log_append_time
            ));
            if codec == Compression::None {
                lines.push(format!("{:?}", &rest[..size]));
            }
            message.each_record(LIMIT, |record| {
                let (at, key, value) = (record.timestamp, record.key, record.value);
                lines.push(format!("  {} {at} {key:?} {value:?}", record.offset));
                Ok::<(), BatchError>(())
            })?;
            drop(rest.split_to(size));
            continue;
        }
        let header = BatchHeader::parse(&rest)?;
        let batch = rest.split_to(header.size());
        header.verify(&batch)?;
        let codec = header.compression()?;
        let plain = BatchHeader {
            crc: 0,
            length: 0,
            ..header
        };
        lines.push(format!("{plain:?}"));
        if codec == Compression::None {
            lines.push(format!("{:?}", &batch[..]));
        }
        let body = decompressed(&header, &batch, LIMIT)?;
        for record in records(&header, &body) {
            lines.push(format!("  {:?}", record?));
        }
    }
    Ok(lines)
}

/// Everything that is compared of a log directory; without positions where `other` has other sizes.
fn facts(home: &Path, other: &Path, seed: u64) -> Result<Vec<String>> {
    let dir = home.join("t-0");
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut facts = Vec::new();
    let checkpoint = fs::read_to_string(home.join(checkpoint::CLEANED)).unwrap_or_default();
    facts.push(format!("{checkpoint:?}"));
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(".log") {
            // How many become one depends on how well a codec compresses.
            facts.extend(plain(seed).then_some(name));
            facts.extend(described(&path)?);
        } else if name.ends_with("index") {
            let log = format!("t-0/{}.log", &name[..20]);
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
            facts.extend(plain(seed).then_some(name));
            facts.extend(bytes.chunks(size).map(|entry| format!("{entry:?}")));
        } else if !name.ends_with(".snapshot") {
            ensure!(
                ["partition.metadata", "leader-epoch-checkpoint"].contains(&&*name),
                "{name} is left"
            );
        }
    }
    Ok(facts)
}

fn passes(seed: u64, end: i64, first: i64) -> Vec<Pass> {
    let mut chance = Chance::new(seed ^ 0x5ca1_ab1e);
    let map_bytes = chance.one_of(&[1 << 16, 1 << 16, 24 * 7, 24 * 30]);
    let pass = |now, high_watermark, forget| Pass {
        now,
        high_watermark,
        map_bytes,
        forget,
    };
    let part = (chance.below(end as usize) as i64).max(first);
    vec![
        pass(NOW, part, false),
        pass(NOW + 10, end, false),
        pass(NOW + 20, end, false),
        pass(NOW + 30, end, true),
        pass(NOW + RETENTION - 1, end, true),
        pass(NOW + RETENTION, end, true),
        pass(NOW + RETENTION + 50, end, true),
        pass(NOW + 3 * RETENTION, end, true),
        pass(NOW + 5 * RETENTION, end, true),
    ]
}

fn compactor(lines: &str, home: &Path) -> Result<String> {
    let steps = home.join("steps");
    fs::write(&steps, lines)?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/directories/Compactor.java");
    let finished = program(&file, &[&steps.display().to_string()])?;
    ensure!(finished.success, "{}\n{}", finished.stdout, finished.stderr);
    Ok(finished.stdout)
}

fn first_difference(ours: &[String], theirs: &[String]) -> String {
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

#[test]
#[ignore = "needs java and maven"]
fn the_same_files_are_compacted_to_the_same_files() -> Result<()> {
    // In memory, where there is a file system in it: no sync here needs a real disk.
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
        let (end, first) = build(&own, seed).with_context(|| format!("COMPACTION_SEED={seed}"))?;
        copy(&own, &other)?;
        let passes = passes(seed, end, first);
        lines.push_str(&theirs(&other, &passes, end));
        planned.push((seed, passes));
    }
    compactor(&lines, root.path()).with_context(|| format!("COMPACTION_SEED={seeds_from}"))?;
    let mut wrong = Vec::new();
    for (seed, passes) in planned {
        let (own, other) = homes(seed);
        ours(&own, &passes)?;
        for number in 0..passes.len() {
            let (own, other) = (saved(&own, number), saved(&other, number));
            let (own, other) = (facts(&own, &other, seed)?, facts(&other, &own, seed)?);
            if own != other {
                let difference = first_difference(&own, &other);
                wrong.push(format!(
                    "COMPACTION_SEED={seed}, pass {number}:\n{difference}"
                ));
                break;
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {count} differ\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n\n")
    );
    Ok(())
}

/// Two records in a batch, or in a wrapper, which bears the offset of the second.
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

/// Every data file by its name.
fn segments(home: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(home.join("t-0"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "log") {
            found.insert(path.display().to_string(), fs::read(&path)?);
        }
    }
    let prefix = format!("{}/", home.join("t-0").display());
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
            monedula::log::dir::write_partition_metadata(&own.join("t-0"), Uuid([1; 16]))?;
            fs::write(
                own.join("t-0").join(format!("{:020}.log", 0)),
                parts.concat(),
            )?;
            copy(&own, &other)?;
            if clean {
                monedula::log::dir::write_clean_shutdown(&own, -1)?;
            }
            let (save, settings) = (saved(&other, 0), words());
            let (home, save) = (other.display(), save.display());
            let _ = writeln!(lines, "{home} {NOW} {clean} 0 0 0 false {save} {settings}");
            homes.push((own, other));
        }
    }
    compactor(&lines, root.path())?;
    for (own, other) in homes {
        open(&own, NOW)?.close(1, -1);
        let (own, other) = (segments(&own)?, segments(&saved(&other, 0))?);
        ensure!(own == other, "ours {own:?}\ntheirs {other:?}");
        ensure!(own.len() > 1, "nothing was split: {own:?}");
    }
    Ok(())
}
