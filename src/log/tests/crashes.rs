//! Random stories of one log: it is appended to, flushed, truncated, compacted and killed at any step, and compared with a
//! model of its contents.
//!
//! `MONEDULA_DISK_SEED=17 cargo test --lib a_lying_disk` runs one story again, `MONEDULA_DISK_SEEDS=10000` runs that many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Dice, Fault, LEFT_OUT, LyingDisk, SITES, SKIPPED, Site};
use super::lessons;
use super::*;
use crate::base::ids::{LeaderEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::log::append::{DECOMPRESSED_MAX, transaction_marker};
use crate::log::error::{AppendError, StorageError};
use crate::log::producer_state::Admission;
use crate::wire::batch::header::stamp;
use crate::wire::batch::record;
use crate::wire::message::fuzz::{from_environment, seeds_from_environment};

type Value = (Option<Vec<u8>>, Option<Vec<u8>>, Timestamp);

#[derive(Default)]
struct Model {
    /// Next offset and bytes of each batch, by base offset.
    batches: BTreeMap<Offset, (Offset, Bytes)>,
    records: BTreeMap<Offset, Value>,
    start: Offset,
    end: Offset,
    /// Records below this offset are durable.
    flushed: Offset,
}

impl Model {
    fn cut(&mut self, end: Offset) {
        self.batches.retain(|_, (next, _)| *next <= end);
        self.records.retain(|offset, _| *offset < end);
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.start = self.start.min(end);
    }

    fn add(&mut self, base: Offset, stamped: Bytes) {
        assert_eq!(base, self.end);
        self.add_entry(stamped);
    }

    fn add_entry(&mut self, bytes: Bytes) {
        let entry = Entry::first_of(&bytes).unwrap();
        self.records.extend(entry.records);
        self.end = entry.next;
        self.batches.insert(entry.base, (entry.next, bytes));
    }

    /// Last sequence of each producer; open transactions; aborted transactions with the offsets of their markers.
    #[expect(clippy::type_complexity, reason = "three views of one walk")]
    fn producers(
        &self,
    ) -> (
        BTreeMap<ProducerId, i32>,
        BTreeMap<ProducerId, Offset>,
        Vec<(ProducerId, Offset, Offset)>,
    ) {
        let (mut last, mut open, mut aborted) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (base, (_, bytes)) in &self.batches {
            let Ok(header) = BatchHeader::parse(bytes) else {
                continue;
            };
            if let Some(marker) = transaction_marker(&header, bytes) {
                if let Some(first) = open.remove(&header.producer_id)
                    && !marker.committed
                {
                    aborted.push((header.producer_id, first, *base));
                }
            } else if header.has_producer_id() {
                last.insert(header.producer_id, header.last_sequence());
                if header.is_transactional() {
                    open.entry(header.producer_id).or_insert(*base);
                }
            }
        }
        (last, open, aborted)
    }
}

/// A batch, or a message of an old format, with its contents.
struct Entry {
    base: Offset,
    next: Offset,
    size: usize,
    header: Option<BatchHeader>,
    records: Vec<(Offset, Value)>,
}

impl Entry {
    /// `None` if `bytes` do not begin with a whole entry.
    fn first_of(bytes: &Bytes) -> Option<Self> {
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let mut records = Vec::new();
        if *bytes.get(16)? != 2 {
            let length = u32::from_be_bytes(*bytes.get(8..12)?.first_chunk()?);
            // The zeros of a preallocated segment.
            if length == 0 {
                return None;
            }
            let size = 12 + length as usize;
            let message = legacy::read_message(&mut bytes.get(..size)?).unwrap();
            let each = message.each_record(DECOMPRESSED_MAX, |record| {
                let value = (own(record.key), own(record.value), record.timestamp);
                records.push((record.offset, value));
                Ok::<(), BatchError>(())
            });
            each.unwrap();
            return Some(Self {
                base: message.offset,
                next: message.offset + 1,
                size,
                header: None,
                records,
            });
        }
        let header = BatchHeader::parse(bytes).ok()?;
        let batch = bytes.get(..header.size())?;
        header.verify(batch).unwrap();
        let body = record::decompressed(&header, &bytes.slice_ref(batch), DECOMPRESSED_MAX);
        for record in record::records(&header, &body.unwrap()) {
            let record = record.unwrap();
            let value = (own(record.key), own(record.value), record.timestamp);
            records.push((record.offset, value));
        }
        Some(Self {
            base: header.base_offset,
            next: header.next_offset(),
            size: header.size(),
            header: Some(header),
            records,
        })
    }
}

struct Story {
    dice: Dice,
    dir: PathBuf,
    settings: LogSettings,
    disk: LyingDisk,
    log: PartitionLog,
    model: Model,
    now: Timestamp,
    cleaned: Offset,
    sequences: BTreeMap<ProducerId, i32>,
    /// Checkpoints of the node.
    checkpoint: Offset,
    start_checkpoint: Option<Offset>,
    did: Vec<String>,
    epoch: LeaderEpoch,
    /// End offset of the messages in old formats.
    old_end: Offset,
    /// A batch whose write failed, and which may be on disk nevertheless.
    doubted: Option<Bytes>,
    cut_in_doubt: bool,
    powerless: bool,
}

impl Story {
    fn open(
        dir: &Path,
        settings: &LogSettings,
        clean: bool,
        recovery_point: Offset,
        log_start: Option<Offset>,
        now: Timestamp,
    ) -> Result<PartitionLog, StorageError> {
        let health = DirHealth::new(dir.to_owned(), Arc::new(FailureChannel::default()));
        let known = Known {
            clean,
            recovery_point,
            log_start,
        };
        let partition = TopicPartition::new("t", 0);
        let id = Uuid([1; 16]);
        let settings = settings.clone();
        PartitionLog::open(
            own_disk().dir(dir),
            partition,
            id,
            settings,
            known,
            Offset::MAX,
            now,
        )
        .map(|log| log.watched(Arc::new(health)))
    }

    fn step(&mut self) {
        self.now += 10;
        match self.dice.below(40) {
            0..=19 => self.append(),
            20..=23 => self.flush(),
            24..=25 => {
                let start = self.dice.below(self.model.end as u64 + 1) as Offset;
                let moved = self.log.advance_start(start, self.now);
                // A deletion is never undone: the client may have its answer already.
                self.model.start = self
                    .model
                    .start
                    .max(self.log.reader().watermarks().log_start);
                self.told("advance start", moved.map(drop));
            }
            26 => {
                let done = self.log.retain(self.now);
                self.model.start = self
                    .model
                    .start
                    .max(self.log.reader().watermarks().log_start);
                self.told("retain", done);
                self.remove_doomed();
            }
            27..=29 if self.settings.cleanup_compact => {
                if self.dice.one_in(4) {
                    self.disk.fail_after(self.dice.below(40), Fault::Cut);
                }
                let done = self
                    .log
                    .compact(self.cleaned, &Budget::of(1 << 16), self.now);
                if let Ok(Some(next)) = done {
                    self.cleaned = next;
                    self.model.flushed = self.model.flushed.max(next);
                }
                self.told("compact", done.map(drop));
                self.remove_doomed();
            }
            30 => self.truncate(),
            31 => {
                if self.dice.one_in(2) {
                    let (steps, kind) = (self.dice.below(30), self.dice.below(3));
                    let fault = [Fault::Io, Fault::Full, Fault::Cut][kind as usize];
                    self.did.push(format!("{fault:?} after {steps}"));
                    self.disk.fail_after(steps, fault);
                }
            }
            32..=33 => self.checkpoint = self.log.recovery_point(),
            34 => {
                if self.model.start > 0 {
                    self.start_checkpoint = Some(self.log.reader().watermarks().log_start);
                }
            }
            35 => {
                let closed = self.log.close();
                if closed.is_ok() {
                    self.model.flushed = self.model.end;
                    self.start_checkpoint = self.log.log_start_to_remember();
                    self.did.push("stop".into());
                    self.reopen(true);
                } else {
                    self.told("stop", closed);
                }
            }
            36 => {
                self.did.push("kill".into());
                self.reopen(false);
            }
            37..=38 => self.power_cut(),
            _ => self.verify(),
        }
    }

    /// After a disk error the log accepts nothing more, and the node restarts after a kill or a power loss.
    fn told(&mut self, what: &str, done: Result<(), impl std::fmt::Display>) {
        match done {
            Ok(()) => self.did.push(what.into()),
            Err(error) => {
                self.did.push(format!("{what}: {error}"));
                assert!(self.log.flush(self.now).is_err(), "a failed log went on");
                if self.dice.one_in(2) {
                    self.reopen(false);
                } else {
                    self.power_cut();
                }
            }
        }
    }

    fn remove_doomed(&mut self) {
        let sound = self.disk.0.lock().is_sound();
        self.log.remove_doomed(self.now);
        if sound {
            self.assert_tidy();
        }
    }

    /// Checks that no temporary file is left.
    fn assert_tidy(&self) {
        for entry in fs::read_dir(&self.dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let odd = [".deleted", ".cleaned", ".swap"];
            assert!(!odd.iter().any(|odd| name.ends_with(odd)), "{name} is left");
        }
    }

    fn flush(&mut self) {
        let flushed = self.log.flush(self.now);
        if flushed.is_ok() {
            self.model.flushed = self.model.end;
        }
        self.told("flush", flushed);
    }

    fn append(&mut self) {
        let codecs = [Compression::None, Compression::Lz4, Compression::Zstd];
        let mut builder = BatchBuilder::new(codecs[self.dice.below(3) as usize]);
        let mut origin = Origin::Client;
        let kind = self.dice.below(5);
        let producer = (7 + self.dice.below(2) as i64) + if kind >= 3 { 10 } else { 0 };
        let (_, open, _) = self.model.producers();
        let mut sequence = None;
        if kind == 4 && open.contains_key(&producer) {
            // A lost marker must be written again with the same result: compaction may have used it.
            let commit = match self.settings.cleanup_compact {
                true => producer == 17,
                false => self.dice.one_in(2),
            };
            builder = BatchBuilder::default()
                .producer(producer, 0, -1)
                .transactional()
                .control();
            builder.push(self.now, Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]));
            origin = Origin::Internal;
        } else {
            let count = 1 + self.dice.below(4) as i32;
            if kind >= 2 {
                let next = self.sequences.get(&producer).copied().unwrap_or(0);
                builder = builder.producer(producer, 0, next);
                sequence = Some(next + count);
            }
            if kind >= 3 {
                builder = builder.transactional();
                origin = Origin::Admitted(Admission {
                    last_marker: self.log.reader().last_marker(producer),
                    begins_at_zero: false,
                    verified: true,
                });
            }
            for _ in 0..count {
                let key = [b'a' + self.dice.below(6) as u8];
                let len = self.dice.below(60) as usize;
                let value = vec![self.dice.below(256) as u8; len];
                let value = (!self.dice.one_in(8)).then_some(value.as_slice());
                let at = self.now + self.dice.below(30) as i64;
                builder.push(at, Some(&key), value);
            }
        }
        let bytes = builder.build();
        let mut stamped = bytes.to_vec();
        let head = &mut stamped[..61];
        stamp(head, self.model.end, self.epoch);
        let stamped = Bytes::from(stamped);
        let appended = self
            .log
            .append_committed(&bytes, self.epoch, origin, self.now);
        if let Ok(appended) = &appended {
            assert!(
                !appended.duplicate,
                "new, but taken for a duplicate: {:?}",
                self.log.reader().producers()
            );
            self.model.add(appended.first_offset, stamped.clone());
            if let Some(next) = sequence {
                self.sequences.insert(producer, next);
            }
        }
        if let Err(error) = &appended {
            assert!(matches!(error, AppendError::Storage(_)), "{error}");
            self.doubted = Some(stamped);
        }
        self.told("append", appended.map(drop));
    }

    fn truncate(&mut self) {
        let cuts: Vec<Offset> = self.model.batches.keys().copied().collect();
        let Some(at) = cuts.get(self.dice.below(cuts.len() as u64) as usize) else {
            return;
        };
        if *at < self.model.start.max(self.old_end) || self.settings.cleanup_compact {
            return;
        }
        let cut = self.log.truncate_to(*at);
        if cut.is_ok() {
            self.model.cut(*at);
            self.take_sequences();
            self.checkpoint = self.checkpoint.min(*at);
        } else {
            // The truncation may have happened or not.
            self.model.flushed = self.model.flushed.min(*at);
            self.checkpoint = self.checkpoint.min(*at);
            self.cut_in_doubt = true;
        }
        let what = format!("truncate to {at}");
        self.told(&what, cut);
    }

    /// Ends the process and starts another.
    fn reopen(&mut self, clean: bool) {
        if self.disk.0.lock().is_dead() {
            return self.power_cut();
        }
        let before = self.model.end;
        let point = match clean {
            true => self.model.end,
            false => self.checkpoint,
        };
        self.checkpoint = point;
        self.powerless |= self.disk.0.lock().heal();
        self.start(clean);
        let lossless = !self.powerless && !self.cut_in_doubt;
        self.settle();
        if lossless {
            assert!(self.model.end >= before, "a killed process lost something");
        }
        self.verify();
    }

    fn power_cut(&mut self) {
        self.lose_power();
        self.start(false);
        self.settle();
        self.verify();
    }

    fn lose_power(&mut self) {
        watch(None);
        self.did.push("power cut".into());
        self.disk.cut(&self.dir);
        self.powerless = true;
        let seed = self.dice.below(u64::MAX);
        self.disk = LyingDisk::over(&self.dir, seed);
        watch(Some(Arc::new(self.disk.clone())));
    }

    /// Opens the log on a disk that may fail: then it is opened again.
    fn start(&mut self, mut clean: bool) {
        loop {
            if self.dice.one_in(6) {
                let (steps, kind) = (self.dice.below(40), self.dice.below(3));
                let fault = [Fault::Io, Fault::Full, Fault::Cut][kind as usize];
                self.did.push(format!("start, {fault:?} after {steps}"));
                self.disk.fail_after(steps, fault);
            }
            // Sometimes the leader epoch is new.
            self.epoch += self.dice.below(2) as LeaderEpoch;
            let (point, start) = (self.checkpoint, self.start_checkpoint);
            let opened = Self::open(&self.dir, &self.settings, clean, point, start, self.now);
            let dead = self.disk.0.lock().is_dead();
            match opened {
                Ok(log) if !dead => {
                    self.powerless |= self.disk.0.lock().heal();
                    self.log = log;
                    return;
                }
                Ok(_) => self.lose_power(),
                Err(error) => {
                    self.did.push(format!("start: {error}"));
                    self.powerless |= self.disk.0.lock().heal();
                    if dead || self.dice.one_in(2) {
                        self.lose_power();
                    }
                }
            }
            // The failed start has removed the mark of a clean stop.
            clean = false;
        }
    }

    /// Updates the model to the end of the recovered log.
    fn settle(&mut self) {
        self.assert_tidy();
        let end = self.log.reader().log_end();
        assert!(
            end >= self.model.flushed,
            "flushed to {}, found {end}",
            self.model.flushed
        );
        let doubted = self.doubted.take();
        let (first, found) = self.bases();
        if let Some(doubted) = doubted
            && found.contains(&self.model.end)
        {
            self.model.add(self.model.end, doubted);
        }
        if end < self.model.end {
            self.model.cut(end);
        }
        self.cut_in_doubt = false;
        if std::mem::take(&mut self.powerless) {
            // Unflushed records may also be lost between two segments: each is a file of its own, and compaction leaves such
            // gaps too. Records deleted from the start do not count as lost: a snapshot may know the end of their transaction.
            let flushed = self.model.flushed;
            self.model.batches.retain(|base, (next, _)| {
                *base < flushed || *next <= first || found.contains(base)
            });
            let kept = self.model.batches.values();
            let kept = kept.flat_map(|(_, bytes)| Entry::first_of(bytes).unwrap().records);
            self.model.records = kept.collect();
            self.model.end = end;
        }
        let start = self.log.reader().watermarks().log_start;
        self.model.start = self.model.start.max(start);
        self.checkpoint = self.checkpoint.min(end);
        self.start_checkpoint = self.start_checkpoint.map(|start| start.min(end));
        self.cleaned = self.cleaned.min(end);
        self.take_sequences();
    }

    /// Base offset of the first segment, and those of all batches.
    fn bases(&self) -> (Offset, BTreeSet<Offset>) {
        let (mut first, mut bases) = (Offset::MAX, BTreeSet::new());
        for entry in fs::read_dir(&self.dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|suffix| suffix != "log") {
                continue;
            }
            let base = path.file_stem().unwrap().to_str().unwrap();
            first = first.min(base.parse().unwrap());
            let mut rest = Bytes::from(fs::read(&path).unwrap());
            while let Some(entry) = Entry::first_of(&rest) {
                bases.insert(entry.base);
                drop(rest.split_to(entry.size));
            }
        }
        (first, bases)
    }

    fn take_sequences(&mut self) {
        let last = |producer: &crate::log::partition_log::ActiveProducer| {
            (producer.producer_id, producer.state.last_sequence() + 1)
        };
        self.sequences = self.log.reader().producers().iter().map(last).collect();
    }

    fn verify(&mut self) {
        if self.disk.0.lock().is_dead() {
            return self.power_cut();
        }
        // Faults are off while the log is checked.
        let calm = self.disk.0.lock().calm(true);
        self.look();
        self.disk.0.lock().calm(calm);
    }

    /// Prints the state after a failure.
    fn describe(&self) {
        let Model { start, end, .. } = self.model;
        eprintln!(
            "the model has {start} to {end}, flushed to {}",
            self.model.flushed
        );
        for (base, (next, bytes)) in &self.model.batches {
            let Ok(header) = BatchHeader::parse(bytes) else {
                eprintln!("  {base}: an old message");
                continue;
            };
            eprintln!(
                "  {base} to {next}: producer {} from {} {:?}, {} bytes, newest {}",
                header.producer_id,
                header.base_sequence,
                transaction_marker(&header, bytes).map(|marker| marker.committed),
                bytes.len(),
                header.max_timestamp,
            );
        }
        eprintln!("the log has {:?}", self.log.reader().watermarks());
        for producer in self.log.reader().producers() {
            let (id, state) = (producer.producer_id, producer.state);
            let (last, first) = (state.last_sequence(), state.transaction_start);
            eprintln!("  producer {id} is at {last}, in a transaction from {first:?}");
        }
        let files = fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = files
            .map(|file| (file.file_name(), file.metadata().unwrap().len()))
            .collect();
        files.sort();
        eprintln!("  {files:?}");
        for (name, _) in files {
            let name = name.into_string().unwrap();
            if !name.ends_with(".log") {
                continue;
            }
            let mut rest = Bytes::from(fs::read(self.dir.join(&name)).unwrap());
            while let Some(entry) = Entry::first_of(&rest) {
                drop(rest.split_to(entry.size));
                let producer = entry
                    .header
                    .map(|header| (header.producer_id, header.base_sequence));
                let (base, next, records) = (entry.base, entry.next, entry.records.len());
                eprintln!("  {name}: {base} to {next}, {producer:?}, {records} records");
            }
        }
    }

    fn look(&mut self) {
        let marks = self.log.reader().watermarks();
        assert_eq!(marks.log_end, self.model.end, "end");
        let mut found = BTreeMap::new();
        let mut seen_aborted = BTreeSet::new();
        let mut transactional = Vec::new();
        let mut next = marks.log_start;
        while next < marks.log_end {
            let plan = self
                .log
                .reader()
                .read(next, 700, ReadEnd::HighWatermark, true)
                .unwrap();
            let Some(range) = plan.records else { break };
            let stable = self
                .log
                .reader()
                .read(next, 700, ReadEnd::LastStable, true)
                .unwrap();
            for aborted in stable.aborted.unwrap_or_default() {
                seen_aborted.insert((
                    aborted.producer_id,
                    aborted.first_offset,
                    aborted.last_offset,
                ));
            }
            let mut rest = range.read().unwrap();
            let before = next;
            while let Some(entry) = Entry::first_of(&rest) {
                let bytes = rest.split_to(entry.size);
                assert!(entry.next > next, "offsets go back");
                if !self.settings.cleanup_compact {
                    let (_, expected) = self
                        .model
                        .batches
                        .get(&entry.base)
                        .unwrap_or_else(|| panic!("invented batch {}", entry.base));
                    assert_eq!(&bytes, expected, "batch {}", entry.base);
                }
                // The log start offset may go back, but earlier leader epochs are not restored.
                if let Some(header) = entry.header
                    && entry.base >= self.model.start
                {
                    let epoch = self.log.reader().epoch_of(entry.base);
                    assert_eq!(epoch, header.leader_epoch, "epoch of {}", entry.base);
                }
                if let Some(header) = entry.header
                    && header.is_transactional()
                    && !header.is_control()
                    && !entry.records.is_empty()
                {
                    transactional.push((header.producer_id, entry.base));
                }
                for (offset, value) in entry.records {
                    assert_eq!(self.model.records.get(&offset), Some(&value), "at {offset}");
                    found.insert(offset, value);
                }
                next = entry.next;
            }
            assert!(next > before, "no progress at {next}");
        }
        let (mut last, open, aborted) = self.model.producers();
        let mut newest = BTreeMap::new();
        for (base, (next, bytes)) in self.model.batches.range(..) {
            let header = BatchHeader::parse(bytes).ok();
            let id = header.map(|header| header.producer_id);
            let control = header.is_some_and(|header| header.is_control());
            let in_aborted = |&(producer, first, marker): &(ProducerId, Offset, Offset)| {
                Some(producer) == id && first <= *base && *base < marker
            };
            let transactional = header.is_some_and(|header| header.is_transactional());
            let gone = transactional && aborted.iter().any(in_aborted);
            let undecided = transactional && id.is_some_and(|id| open.contains_key(&id));
            // A wrapper of the old formats has the offset of its last message.
            let first = if header.is_some() { *base } else { base - 2 };
            let inside = self.model.records.range(first..*next);
            for (offset, (key, value, _)) in inside.filter(|_| !control) {
                if *offset < self.model.start {
                    continue;
                }
                if !self.settings.cleanup_compact {
                    assert!(found.contains_key(offset), "record {offset} is lost");
                } else if !gone && (!undecided || found.contains_key(offset)) {
                    // A lost marker is written again with the same result.
                    newest.insert(key.clone(), (*offset, value.is_some()));
                }
            }
        }
        for (key, (offset, live)) in newest {
            assert!(
                !live || found.contains_key(&offset),
                "live key {key:?} at {offset} is lost"
            );
        }
        // Lookups by index give the same results as a scan.
        for _ in 0..3 {
            let at = NOW + self.dice.below((self.now - NOW) as u64 + 40) as i64;
            let walked = found
                .iter()
                .find(|(offset, (_, _, time))| **offset >= marks.log_start && *time >= at)
                .map(|(offset, _)| *offset);
            let looked_up = self
                .log
                .reader()
                .find_timestamp(at, Offset::MAX, &Effort::any())
                .unwrap();
            assert_eq!(looked_up.map(|found| found.offset), walked, "time {at}");
        }
        // Producers without batches since the log start are forgotten, or known from a snapshot.
        let alive: BTreeSet<ProducerId> = self
            .model
            .batches
            .range(self.model.start..)
            .filter_map(|(_, (_, bytes))| BatchHeader::parse(bytes).ok())
            .filter(|header| !header.is_control())
            .map(|header| header.producer_id)
            .collect();
        last.retain(|id, _| alive.contains(id));
        for producer in self.log.reader().producers() {
            let known = last.get(&producer.producer_id);
            let sequence = producer.state.last_sequence();
            assert!(
                // Compaction keeps only the last batches of a producer, and may lose those that were not flushed.
                sequence < 0
                    || known.is_none_or(|known| *known == sequence)
                    || self.settings.cleanup_compact
                        && known.is_some_and(|known| *known > sequence),
                "producer {} is at {sequence}, not {known:?}",
                producer.producer_id
            );
        }
        let unstable = open
            .values()
            .copied()
            .filter(|first| *first >= self.model.start)
            .min();
        // For a transaction that began below the log start, the marker or the earlier records may be lost.
        if marks.last_stable >= self.model.start
            && open.values().all(|first| *first >= self.model.start)
        {
            let stable = unstable.unwrap_or(marks.log_end);
            // Compaction removed the beginning of a transaction whose marker was lost afterwards.
            if !self.settings.cleanup_compact || marks.last_stable < stable {
                assert_eq!(marks.last_stable, stable, "LSO");
            }
        }
        for (producer, first, marker) in aborted {
            let left = transactional
                .iter()
                .find(|(id, base)| *id == producer && (first..marker).contains(base));
            if let Some((_, base)) = left
                && first >= self.model.start
                && marker < marks.last_stable
            {
                let told = |entry: &(ProducerId, Offset, Offset)| {
                    entry.0 == producer && entry.1 <= *base && entry.2 == marker
                };
                assert!(
                    seen_aborted.iter().any(told),
                    "aborted transaction of {producer} at {first} to {marker} is not told"
                );
            }
        }
        for (producer, first, marker) in &seen_aborted {
            assert!(
                self.model.batches.contains_key(marker),
                "invented abort of {producer} at {first}"
            );
        }
    }
}

fn tell(seed: u64) {
    let root = tempfile::tempdir_in(scratch()).unwrap();
    let dir = root.path().join("t-0");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9));
    let compact = dice.one_in(3);
    let settings = LogSettings {
        segment_bytes: 500 + dice.below(1_500) as u32,
        index_interval_bytes: 50 + dice.below(300) as u32,
        retention_bytes: 3_000 + dice.below(5_000) as i64,
        cleanup_compact: compact,
        cleanup_delete: !compact,
        min_cleanable_dirty_ratio: 0.0,
        delete_retention_ms: 1 << 40,
        file_delete_delay_ms: 0,
        preallocate: seed % 4 == 3,
        ..LogSettings::default()
    };
    drop(create(&dir, settings.clone()));
    let model = match dice.one_in(4) {
        true => old_messages(&dir, &mut dice),
        false => Model::default(),
    };
    let old_end = model.end;
    let disk = LyingDisk::over(&dir, dice.below(u64::MAX));
    watch(Some(Arc::new(disk.clone())));
    let log = Story::open(&dir, &settings, false, 0, None, NOW).unwrap();
    let mut story = Story {
        dice,
        dir,
        settings,
        disk,
        log,
        model,
        now: NOW,
        cleaned: 0,
        sequences: BTreeMap::new(),
        checkpoint: 0,
        start_checkpoint: None,
        did: Vec::new(),
        epoch: 3,
        old_end,
        doubted: None,
        cut_in_doubt: false,
        powerless: false,
    };
    let steps = 20 + story.dice.below(120);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            story.step();
        }
        story.power_cut();
    }));
    watch(None);
    if let Err(reason) = told {
        let from = story.did.len().saturating_sub(25);
        eprintln!("... {:?}", &story.did[from..]);
        story.describe();
        eprintln!("replay: MONEDULA_DISK_SEED={seed} cargo test --lib a_lying_disk");
        std::panic::resume_unwind(reason);
    }
}

/// Writes a log in the message formats before Kafka 0.11.
fn old_messages(dir: &Path, dice: &mut Dice) -> Model {
    let magic = dice.below(2) as i8;
    let codecs = [Compression::None, Compression::Gzip, Compression::Lz4];
    let codec = codecs[dice.below(3) as usize];
    let (mut model, mut file, mut offset) = (Model::default(), Vec::new(), 0);
    for _ in 0..dice.below(12) {
        let mut set = SetBuilder::new(magic, codec, false);
        for _ in 0..1 + dice.below(3) {
            let key = [b'a' + dice.below(6) as u8];
            let value = vec![dice.below(256) as u8; dice.below(60) as usize];
            set.push(
                offset,
                NOW + dice.below(30) as i64,
                Some(&key),
                Some(&value),
            );
            offset += 1;
        }
        let mut messages = Bytes::from(set.build());
        file.extend_from_slice(&messages);
        while let Some(entry) = Entry::first_of(&messages) {
            model.add_entry(messages.split_to(entry.size));
        }
    }
    fs::write(dir.join(file_name(0, ".log")), file).unwrap();
    model.flushed = model.end;
    model
}

/// A directory in memory if the system has one: no sync here needs a real disk.
pub(super) fn scratch() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() {
        shm
    } else {
        std::env::temp_dir()
    }
}

/// Runs the story of `MONEDULA_DISK_SEED`, or as many as `MONEDULA_DISK_SEEDS` says (`usual` by default), and prints the seeds
/// that failed.
pub(super) fn tell_all(usual: u64, tell: fn(u64)) {
    if let Some(seed) = from_environment("MONEDULA_DISK_SEED") {
        return tell(seed);
    }
    let seeds = seeds_from_environment("MONEDULA_DISK_SEEDS", usual);
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        if std::panic::catch_unwind(|| tell(seed)).is_err() {
            failed.push(seed);
        }
        assert!(failed.len() < 20, "up to seed {seed} failed {failed:?}");
    }
    assert!(failed.is_empty(), "of seeds {seeds:?} failed {failed:?}");
}

#[test]
fn a_lying_disk_takes_nothing_that_was_flushed_and_adds_nothing() {
    tell_all(300, tell);
}

/// A step that no test misses, and the reason why it is taken nevertheless.
struct Excuse {
    file: &'static str,
    /// Text that occurs only in the line of the step.
    step: &'static str,
    why: &'static str,
}

const EXCUSED: &[Excuse] = &[
    Excuse {
        file: "src/log/partition_log/moving.rs",
        step: "let named = disk.sync_dir(above)",
        why: "a start gives the copy its name; an older Apache Kafka does not",
    },
    Excuse {
        file: "src/log/manager.rs",
        step: "disk.sync_dir(&dir.path).at(\"sync\", &dir.path)?",
        why: "no seed below 700: a story is still to be told",
    },
    Excuse {
        file: "src/log/recovery.rs",
        step: "disk.remove_file(&lost).at(\"remove\", lost)?",
        why: "no seed below 700: a story is still to be told",
    },
];

impl Excuse {
    fn of(site: &Site) -> Option<&'static Self> {
        let mut named = EXCUSED.iter().filter(|excuse| excuse.file == site.file);
        named.find(|excuse| excuse.lines() == [site.line])
    }

    /// Line numbers of the step.
    fn lines(&self) -> Vec<u32> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.file);
        let source = fs::read_to_string(source).unwrap();
        let lines = source.lines().zip(1..);
        let taken = lines.filter(|(line, _)| line.contains(self.step));
        taken.map(|(_, number)| number).collect()
    }
}

/// Runs a story of one log, or of several.
type Tell = fn(u64);

const STORIES: [(&str, Tell); 2] = [("one log", tell), ("several", shared::tell)];

/// Seeds of [`STORIES`] that fail without a step of a file for which the first stories do not fail. They are tried first:
/// otherwise the search takes minutes; it prints seeds that should be added here.
const MISSING: &[(&str, [&[u64]; 2])] = &[
    ("log/dir.rs", [&[], &[23]]),
    ("partition_log/flushing.rs", [&[], &[114]]),
    ("partition_log/moving.rs", [&[], &[182]]),
    ("partition_log/truncation.rs", [&[361], &[]]),
    ("log/segment.rs", [&[17], &[494]]),
];

/// Number of stories that are run to find all steps.
const SHOWN: u64 = 40;
/// Number of stories that are run before slower tests.
const FIRST: u64 = 8;

/// Seeds to try first for a step of this file.
fn seeds_for(file: &str, story: usize) -> impl Iterator<Item = u64> {
    let of_file = MISSING.iter().filter(move |(name, _)| file.ends_with(name));
    let known = of_file.flat_map(move |(_, seeds)| seeds[story].iter().copied());
    known.chain(0..FIRST)
}

/// Whether a test fails without the step.
fn fails_without(site: Site, told: impl FnOnce()) -> bool {
    LEFT_OUT.set(Some(site));
    SKIPPED.set(0);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(told));
    watch(None);
    LEFT_OUT.set(None);
    told.is_err()
}

/// Name of a test that fails without a step: a lesson, or a story with a seed below `seeds`.
fn missed_by(site: Site, seeds: u64) -> Option<String> {
    let (slow, quick) = lessons::STEPS.split_at(lessons::SLOW);
    let by_lesson = |(name, lesson): &(&str, fn())| {
        fails_without(site, lesson).then(|| format!("the lesson of {name}"))
    };
    let by_story = |story: usize, seed: u64| {
        let (name, tell) = STORIES[story];
        fails_without(site, || tell(seed)).then(|| format!("seed {seed} of {name}"))
    };
    let first = |story| seeds_for(site.file, story).find_map(|seed| by_story(story, seed));
    let each = || (FIRST..seeds).flat_map(|seed| [(0, seed), (1, seed)]);
    quick
        .iter()
        .find_map(by_lesson)
        .or_else(|| (0..STORIES.len()).find_map(first))
        .or_else(|| slow.iter().find_map(by_lesson))
        .or_else(|| each().find_map(|(story, seed)| by_story(story, seed)))
}

/// All steps that stories and lessons take.
fn steps_taken() -> BTreeSet<Site> {
    SITES.take();
    for (story, (_, tell)) in STORIES.iter().enumerate() {
        let known = MISSING.iter().flat_map(|(_, seeds)| seeds[story]);
        known.copied().chain(0..SHOWN).for_each(tell);
    }
    for (_, lesson) in &lessons::STEPS[lessons::SLOW..] {
        lesson();
    }
    watch(None);
    SITES.take()
}

/// Leaves out one line of the log code at a time: a sync, a truncation, a rename or a removal. If no story and no lesson fails
/// without it, the line is either unnecessary, and may be excused, or a story is missing.
///
/// `MONEDULA_LEFT_OUT=moving.rs` checks only the lines of that file; `MONEDULA_DISK_SEEDS=10000` runs that many stories.
/// `.ci/run` runs this test by name.
#[test]
#[ignore = "needs minutes"]
fn whatever_step_is_left_out_a_story_misses_it() {
    let seeds = from_environment("MONEDULA_DISK_SEEDS").unwrap_or(1_000);
    let wanted = std::env::var("MONEDULA_LEFT_OUT").unwrap_or_default();
    let sites = steps_taken();
    let looked_at = sites
        .iter()
        .filter(|site| format!("{}:{}", site.file, site.line).contains(&wanted));
    let left = parking_lot::Mutex::new(looked_at);
    let missed_by_none = parking_lot::Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(site) = left.lock().next().copied() else {
                return;
            };
            let excuse = Excuse::of(&site).map(|excuse| excuse.why.to_owned());
            let missed = excuse.or_else(|| missed_by(site, seeds));
            let Site { file, line, what } = site;
            println!("{file}:{line} {what} is missed by {missed:?}");
            if missed.is_none() {
                missed_by_none.lock().push(site);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(work);
        }
    });
    let missed_by_none = missed_by_none.into_inner();
    assert!(missed_by_none.is_empty(), "{missed_by_none:#?}");
    for excuse in EXCUSED {
        let is_taken = |site: &Site| site.file == excuse.file && [site.line] == excuse.lines()[..];
        let step = excuse.step;
        assert!(
            sites.iter().any(is_taken),
            "nobody takes this step any more: {step}"
        );
    }
}
