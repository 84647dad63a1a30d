//! Rewriting of a log's sealed segments.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::budget::Budget;
use super::key_map::{KeyHash, KeyMap};
use super::large::{self, Bits, Glimpse as Seen};
use super::plan::{Plan, Sealed, group};
use crate::base::ids::{Offset, ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::host::disk::Disk;
use crate::host::file_time::FileTime;
use crate::log::append::{DECOMPRESSED_MAX, transaction_marker};
use crate::log::error::{StorageError, malformed};
use crate::log::index::transaction::AbortedTransaction;
use crate::log::recovery::{self, Scanner};
use crate::log::segment::{Segment, Span, file_name};
use crate::log::settings::LogSettings;
use crate::wire::batch::BatchError;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};
use crate::wire::batch::legacy;
use crate::wire::batch::record::{Record, decompressed, records};

/// Positions in a segment are limited to 31 bits.
const SEGMENT_SIZE_MAX: u64 = i32::MAX as u64;
/// Bytes of records that are held in memory at once; larger batches pass through a window.
const HELD_MAX: usize = 2 << 20;

/// Properties of the log that a rewrite needs, copied from it.
#[derive(Debug)]
pub struct Sources {
    pub disk: Disk,
    pub dir: PathBuf,
    pub settings: Arc<LogSettings>,
    /// Aborted transactions of each producer, in order of offsets.
    pub aborted: HashMap<ProducerId, Vec<AbortedTransaction>>,
    /// Batches that must stay, if need be without their records.
    pub last_of_producer: HashSet<(ProducerId, LastWord)>,
}

/// Batch that the state of a producer is derived from when the log is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LastWord {
    /// The producer's last batch, by its last offset: its sequence numbers distinguish a duplicate from a gap.
    Batch(Offset),
    /// Markers of the producer's epoch, if there are no data batches: they fence producers of earlier epochs.
    Markers(ProducerEpoch),
}

/// New `.cleaned` segments, each with the base offsets of the segments that it replaces, and the start of the dirty part after
/// this pass.
#[derive(Debug)]
pub struct Rewritten {
    pub segments: Vec<(Vec<Offset>, Segment)>,
    pub first_dirty: Offset,
}

/// Builds the map of the dirty part, and rewrites every segment of the plan. If the map is full before the end of the plan, the
/// rest waits for the next pass. `None` if the budget stops the work; no files are left in that case.
///
/// Errors: a disk error, or a batch that cannot be read. Such a batch must not be skipped, because the records after it would
/// be lost.
pub fn rewrite(
    sources: &Sources,
    plan: &Plan,
    budget: &Budget,
    now: Timestamp,
) -> Result<Option<Rewritten>, StorageError> {
    let Some((map, end)) = build_map(sources, plan, budget)? else {
        return Ok(None);
    };
    let mut rewritten = Rewritten {
        segments: Vec::new(),
        first_dirty: end,
    };
    let done = write_anew(sources, plan, &map, budget, now, &mut rewritten);
    if !matches!(done, Ok(true)) {
        for (_, unfinished) in &rewritten.segments {
            // Files that cannot be removed do no harm; the next start removes them.
            drop(recovery::remove_files(unfinished));
        }
    }
    Ok(done?.then_some(rewritten))
}

/// Writes the new segments. Returns false if the work was stopped.
fn write_anew(
    sources: &Sources,
    plan: &Plan,
    map: &KeyMap,
    budget: &Budget,
    now: Timestamp,
    rewritten: &mut Rewritten,
) -> Result<bool, StorageError> {
    let end = rewritten.first_dirty;
    let covered: Vec<Sealed> = plan
        .segments
        .iter()
        .filter(|segment| segment.base_offset < end)
        .copied()
        .collect();
    let clean = plan
        .segments
        .iter()
        .rfind(|segment| segment.base_offset < plan.first_dirty);
    let mut filter = Filter {
        sources,
        map,
        end,
        round_end: plan.end,
        now,
        last_clean: clean.and_then(|clean| sources.disk.modified(&source_path(sources, clean))),
        open: BTreeSet::new(),
        seen: Vec::new(),
        stays: Vec::new(),
    };
    for members in group(&covered, &sources.settings) {
        let bases: Vec<Offset> = members.iter().map(|member| member.base_offset).collect();
        let last = members.last().expect("a group has a member");
        let target = Segment::create_as(sources.disk.dir(&sources.dir), bases[0], ".cleaned", now)?;
        rewritten.segments.push((bases, target));
        let (_, target) = rewritten.segments.last_mut().expect("one was pushed");
        for member in &members {
            if !filter.copy(member, target, budget)? {
                return Ok(false);
            }
        }
        target.close()?;
        if let Some(modified) = sources.disk.modified(&source_path(sources, last)) {
            // The file's modification time is the age of old tombstones and of records without timestamps. If it cannot be
            // copied, these stay longer.
            drop(modified.give_to(&*target.file()?));
        }
    }
    Ok(true)
}

fn source_path(sources: &Sources, segment: &Sealed) -> PathBuf {
    sources.dir.join(file_name(segment.base_offset, ".log"))
}

/// The map of the keys of the dirty part, and the offset up to which it is complete; `None` if the work was stopped.
fn build_map(
    sources: &Sources,
    plan: &Plan,
    budget: &Budget,
) -> Result<Option<(KeyMap, Offset)>, StorageError> {
    let keys_max = usize::try_from(plan.end - plan.first_dirty).unwrap_or(usize::MAX);
    let mut map = KeyMap::within(budget, keys_max)
        .map_err(|error| malformed(&*sources.dir, error.to_string()))?;
    let mut keys: Vec<(KeyHash, Offset)> = Vec::new();
    let mut seen_to = plan.first_dirty;
    for segment in plan
        .segments
        .iter()
        .filter(|segment| segment.end_offset > plan.first_dirty)
    {
        let path = source_path(sources, segment);
        let mut scanner = Scanner::open(&sources.disk, &path, segment.size)?;
        let mut next = segment.base_offset;
        while let Some((span, batch)) = scanner.next_batch()? {
            let first = std::mem::replace(&mut next, span.last_offset + 1);
            if !budget.spend(span.size) {
                return Ok(None);
            }
            if span.last_offset < plan.first_dirty {
                continue;
            }
            let mut see = |key: Option<&[u8]>, offset: Offset| {
                let dirty = key.filter(|_| offset >= plan.first_dirty);
                keys.extend(dirty.map(|key| (map.hash(key), offset)));
            };
            if span.magic != MAGIC_V2 {
                for message in messages(&batch, first, &path)? {
                    see(message.key.as_deref(), message.offset);
                }
            } else {
                let (header, body) = open(&batch, &path)?;
                let counts = !header.is_control() && sources.aborts(&header).is_none();
                match body {
                    Some(body) if counts => each_record(&header, &body, &path, |record| {
                        see(record.key, record.offset);
                    })?,
                    None if counts => {
                        if let Some(full) =
                            put_large(&mut map, &header, &batch, plan.first_dirty, &path)?
                        {
                            return Ok(Some((map, full.unwrap_or(seen_to))));
                        }
                    }
                    _ => {}
                }
            }
            for (hash, offset) in keys.drain(..) {
                if !map.put(hash, offset) {
                    return Ok(Some((map, seen_to)));
                }
                seen_to = offset + 1;
            }
            seen_to = seen_to.max(span.last_offset + 1);
        }
        whole(&mut scanner, &path)?;
        seen_to = segment.end_offset;
    }
    Ok(Some((map, plan.end)))
}

/// Adds the dirty keys of a batch that is too large for memory to the map. If the map becomes full, returns the offset up to
/// which the batch's keys are in the map, if any are.
fn put_large(
    map: &mut KeyMap,
    header: &BatchHeader,
    batch: &[u8],
    first_dirty: Offset,
    path: &Path,
) -> Result<Option<Option<Offset>>, StorageError> {
    // Keys are hashed in groups, for the reason given at `KeyMap::hash`.
    const AT_A_TIME: usize = 4_096;
    let hasher = map.hashes_only();
    let mut keys: Vec<(KeyHash, Offset)> = Vec::with_capacity(AT_A_TIME);
    let (mut full, mut known) = (false, None);
    let mut put = |keys: &mut Vec<(KeyHash, Offset)>| {
        for (hash, offset) in keys.drain(..) {
            if full || !map.put(hash, offset) {
                full = true;
                return;
            }
            known = Some(offset + 1);
        }
    };
    each_large(header, batch, &hasher, path, |record| {
        let dirty = record.key.filter(|_| record.offset >= first_dirty);
        keys.extend(dirty.map(|hash| (hash, record.offset)));
        if keys.len() == AT_A_TIME {
            put(&mut keys);
        }
    })?;
    put(&mut keys);
    Ok(full.then_some(known))
}

/// Calls `each` for the records of a batch that is too large for memory.
fn each_large(
    header: &BatchHeader,
    batch: &[u8],
    map: &KeyMap,
    path: &Path,
    mut each: impl FnMut(&Seen),
) -> Result<(), StorageError> {
    let mut next = header.base_offset;
    let mut odd = None;
    large::each_record(header, batch, map, |record| {
        if in_order(&mut next, record.offset, header.last_offset()) {
            each(&record);
        } else {
            odd.get_or_insert(record.offset);
        }
    })
    .map_err(|error| malformed(path, error.to_string()))?;
    match odd {
        Some(offset) => Err(out_of_order(path, offset)),
        None => Ok(()),
    }
}

/// Fails if a segment was not read to its end.
fn whole(scanner: &mut Scanner<'_>, path: &Path) -> Result<(), StorageError> {
    match scanner.flaw()? {
        None => Ok(()),
        Some(flaw) => Err(malformed(
            path,
            format!("at position {}: {flaw}", scanner.position()),
        )),
    }
}

/// Whether an offset is above the ones before it and within its batch. Otherwise compaction is refused: it could lose records,
/// and its result would be no valid log. No producer writes such offsets.
fn in_order(next: &mut Offset, offset: Offset, last: Offset) -> bool {
    let fits = (*next..=last).contains(&offset);
    *next = offset.saturating_add(1);
    fits
}

fn out_of_order(path: &Path, offset: Offset) -> StorageError {
    malformed(path, format!("a record has the offset {offset} there"))
}

/// Calls `each` for the records of a batch.
fn each_record<'a>(
    header: &BatchHeader,
    body: &'a Bytes,
    path: &Path,
    mut each: impl FnMut(&Record<'a>),
) -> Result<(), StorageError> {
    let mut next = header.base_offset;
    for record in records(header, body) {
        let record = record.map_err(|error| malformed(path, error.to_string()))?;
        if !in_order(&mut next, record.offset, header.last_offset()) {
            return Err(out_of_order(path, record.offset));
        }
        each(&record);
    }
    Ok(())
}

/// A message of the formats before v2, unwrapped.
struct OldMessage {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// The message at the front of `set`, or the messages in it if it is a wrapper. Fails if a wrapped message has an offset before
/// `first`, or offsets are not in order.
fn messages(set: &Bytes, first: Offset, path: &Path) -> Result<Vec<OldMessage>, StorageError> {
    let mut found: Vec<OldMessage> = Vec::new();
    let wrong = |error: BatchError| malformed(path, error.to_string());
    let message = legacy::read_message(&mut &set[..]).map_err(wrong)?;
    let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    message
        .each_record(DECOMPRESSED_MAX, |record| {
            found.push(OldMessage {
                offset: record.offset,
                timestamp: record.timestamp,
                key: own(record.key),
                value: own(record.value),
            });
            Ok(())
        })
        .map_err(wrong)?;
    let mut next = first;
    let wrapped = message.compression != Compression::None;
    let odd = |found: &&OldMessage| !in_order(&mut next, found.offset, message.offset);
    match found.iter().find(odd).filter(|_| wrapped) {
        Some(odd) => Err(out_of_order(path, odd.offset)),
        None => Ok(found),
    }
}

/// The header and the decompressed records of a batch; `None` if the records exceed the memory limit.
fn open(batch: &Bytes, path: &Path) -> Result<(BatchHeader, Option<Bytes>), StorageError> {
    let wrong = |error: BatchError| malformed(path, error.to_string());
    let header = BatchHeader::parse(batch).map_err(wrong)?;
    header.verify(batch).map_err(wrong)?;
    if batch.len() > HELD_MAX {
        return Ok((header, None));
    }
    match decompressed(&header, batch, HELD_MAX) {
        Ok(body) => Ok((header, Some(body))),
        Err(BatchError::DecompressedTooLarge(_)) => Ok((header, None)),
        Err(error) => Err(wrong(error)),
    }
}

impl Sources {
    /// The aborted transaction that a batch belongs to, or that a marker ends.
    fn aborts(&self, header: &BatchHeader) -> Option<&AbortedTransaction> {
        let of_producer = self
            .aborted
            .get(&header.producer_id)
            .filter(|_| header.is_transactional() || header.is_control())?;
        let next = of_producer.partition_point(|aborted| aborted.last_offset < header.base_offset);
        of_producer
            .get(next)
            .filter(|aborted| aborted.first_offset <= header.base_offset)
    }
}

/// Appends a batch to a segment. Fails if the segment would become too large for Kafka to open: records converted from another
/// format may need more space than before.
fn append(
    target: &mut Segment,
    batch: &Bytes,
    index_interval: u64,
    source: &Path,
) -> Result<(), StorageError> {
    let Some(span) = Span::parse(batch, target.size) else {
        return Err(malformed(source, "a rewritten batch cannot be read"));
    };
    if span.end() > SEGMENT_SIZE_MAX {
        let what = "what would remain of it is too large for one segment";
        return Err(malformed(source, what));
    }
    target.append_raw(batch, &span, index_interval)
}

struct Filter<'a> {
    sources: &'a Sources,
    map: &'a KeyMap,
    /// End of the map (exclusive); records from here on stay.
    end: Offset,
    /// The last batch before this offset stays, if need be without records; otherwise the log would seem to have lost its end.
    round_end: Offset,
    now: Timestamp,
    /// Modification time of the last segment that had been compacted before.
    last_clean: Option<FileTime>,
    /// Producers with a transactional batch since their last marker, so that their next marker must stay in this pass.
    open: BTreeSet<ProducerId>,
    /// The records of the current batch.
    seen: Vec<Seen>,
    /// Whether each record of the current batch stays.
    stays: Vec<bool>,
}

/// The part of a batch that stays.
struct Kept {
    batch: Bytes,
    /// The aborted transaction that a marker ends.
    aborted: Option<AbortedTransaction>,
}

impl From<Bytes> for Kept {
    fn from(batch: Bytes) -> Self {
        Self {
            batch,
            aborted: None,
        }
    }
}

impl Filter<'_> {
    /// Copies a segment. Returns false if the work was stopped.
    fn copy(
        &mut self,
        member: &Sealed,
        target: &mut Segment,
        budget: &Budget,
    ) -> Result<bool, StorageError> {
        let path = source_path(self.sources, member);
        let keeps_old_tombstones = self.keeps_old_tombstones(&path);
        let interval = u64::from(self.sources.settings.index_interval_bytes);
        let mut scanner = Scanner::open(&self.sources.disk, &path, member.size)?;
        let mut next = member.base_offset;
        while let Some((span, original)) = scanner.next_batch()? {
            let first = std::mem::replace(&mut next, span.last_offset + 1);
            let before = target.size;
            if !budget.spend(span.size) {
                return Ok(false);
            }
            if span.magic != MAGIC_V2 {
                let kept = self.filter_messages(&original, first, &path, keeps_old_tombstones)?;
                if !kept.is_empty() {
                    append(target, &kept, interval, &path)?;
                }
                budget.spend((target.size - before) as usize);
                continue;
            }
            let (header, body) = open(&original, &path)?;
            let kept = match body {
                None if header.is_control() => {
                    return Err(malformed(&path, "a marker is too large"));
                }
                None => self.filter_large(&header, &original, &path)?,
                Some(body) if header.is_control() => {
                    self.filter_marker(&header, &body, &original, &path)?
                }
                Some(body) => self.filter_batch(&header, &body, &original, &path)?,
            };
            let Some(kept) = kept else { continue };
            append(target, &kept.batch, interval, &path)?;
            if let Some(aborted) = kept.aborted {
                target.aborted.push(aborted)?;
            }
            budget.spend((target.size - before) as usize);
        }
        whole(&mut scanner, &path)?;
        Ok(true)
    }

    /// Formats before v2 have no delete horizon. In these a tombstone is removed once its file is older, by
    /// `delete.retention.ms`, than the segments compacted before.
    fn keeps_old_tombstones(&self, path: &Path) -> bool {
        let (Some(clean), Some(own)) = (self.last_clean, self.sources.disk.modified(path)) else {
            return true;
        };
        let retention = u64::try_from(self.sources.settings.delete_retention_ms).unwrap_or(0);
        clean
            .earlier(Duration::from_millis(retention))
            .is_none_or(|horizon| own > horizon)
    }

    /// Decides about a marker: it is removed once no batch of its transaction is left and its delete horizon has passed. The
    /// index entry of an aborted transaction stays as long as there is a batch to skip.
    fn filter_marker(
        &mut self,
        header: &BatchHeader,
        body: &Bytes,
        original: &Bytes,
        path: &Path,
    ) -> Result<Option<Kept>, StorageError> {
        let aborted = self
            .sources
            .aborts(header)
            .filter(|aborted| aborted.last_offset == header.base_offset);
        let unknown = header.record_count > 0 && transaction_marker(header, original).is_none();
        if self.open.remove(&header.producer_id) || unknown {
            return Ok(Some(Kept {
                batch: original.clone(),
                aborted: aborted.copied(),
            }));
        }
        let batch = match header.delete_horizon() {
            _ if header.record_count == 0 => self.emptied(header),
            Some(horizon) if self.now >= horizon => self.emptied(header),
            Some(_) => Some(original.clone()),
            None => {
                self.stays.clear();
                each_record(header, body, path, |_| self.stays.push(true))?;
                Some(self.rebuild(header, body, Some(self.horizon())))
            }
        };
        Ok(batch.map(Kept::from))
    }

    /// Decides about a batch; `None` if nothing of it is needed any more.
    fn filter_batch(
        &mut self,
        header: &BatchHeader,
        body: &Bytes,
        original: &Bytes,
        path: &Path,
    ) -> Result<Option<Kept>, StorageError> {
        if header.is_transactional() {
            self.open.insert(header.producer_id);
        }
        if self.sources.aborts(header).is_some() {
            return Ok(self.emptied(header).map(Kept::from));
        }
        let expired = header
            .delete_horizon()
            .is_some_and(|horizon| self.now >= horizon);
        self.seen.clear();
        each_record(header, body, path, |record| {
            self.seen.push(Seen {
                key: record.key.map(|key| self.map.hash(key)),
                offset: record.offset,
                is_tombstone: record.value.is_none(),
            });
        })?;
        let (mut kept, mut tombstones) = (0, false);
        self.stays.clear();
        for seen in &self.seen {
            let stays = self.stays(seen, expired);
            self.stays.push(stays);
            kept += i32::from(stays);
            tombstones |= stays && seen.is_tombstone;
        }
        if kept == 0 {
            return Ok(self.emptied(header).map(Kept::from));
        }
        let horizon = match header.delete_horizon() {
            None if tombstones => Some(self.horizon()),
            known => known,
        };
        if kept == header.record_count && horizon == header.delete_horizon() {
            return Ok(Some(original.clone().into()));
        }
        Ok(Some(self.rebuild(header, body, horizon).into()))
    }

    /// Like [`Self::filter_batch`], for a batch that is too large for memory.
    fn filter_large(
        &mut self,
        header: &BatchHeader,
        original: &Bytes,
        path: &Path,
    ) -> Result<Option<Kept>, StorageError> {
        if header.is_transactional() {
            self.open.insert(header.producer_id);
        }
        if self.sources.aborts(header).is_some() {
            return Ok(self.emptied(header).map(Kept::from));
        }
        let expired = header
            .delete_horizon()
            .is_some_and(|horizon| self.now >= horizon);
        let (mut kept, mut tombstones) = (0, false);
        let mut all = Bits::default();
        each_large(header, original, self.map, path, |record| {
            let stays = self.stays(record, expired);
            all.push(stays);
            kept += i32::from(stays);
            tombstones |= stays && record.is_tombstone;
        })?;
        if kept == 0 {
            return Ok(self.emptied(header).map(Kept::from));
        }
        let horizon = match header.delete_horizon() {
            None if tombstones => Some(self.horizon()),
            known => known,
        };
        if kept == header.record_count && horizon == header.delete_horizon() {
            return Ok(Some(original.clone().into()));
        }
        let rebuilt = large::rebuild(header, original, horizon, &all)
            .map_err(|error| malformed(path, error.to_string()))?;
        Ok(Some(rebuilt.into()))
    }

    fn stays(&self, seen: &Seen, expired: bool) -> bool {
        if seen.offset >= self.end {
            return true;
        }
        let Some(key) = seen.key else { return false };
        let newest = self.map.get(key);
        newest.is_none_or(|newest| seen.offset >= newest) && !(seen.is_tombstone && expired)
    }

    /// The batch with the records that stay.
    fn rebuild(&self, header: &BatchHeader, body: &Bytes, horizon: Option<Timestamp>) -> Bytes {
        let mut builder = BatchBuilder::like(header, horizon);
        let kept = records(header, body).flatten().zip(&self.stays);
        for (record, _) in kept.filter(|(_, stays)| **stays) {
            builder.copy(header, &record);
        }
        builder.build()
    }

    /// The records of an old message or wrapper that stay, as a batch of the current format, because old formats are not
    /// written any more. Empty if no record stays.
    fn filter_messages(
        &self,
        original: &Bytes,
        first: Offset,
        path: &Path,
        keeps_tombstones: bool,
    ) -> Result<Bytes, StorageError> {
        let all = messages(original, first, path)?;
        let keep = |message: &&OldMessage| {
            message.offset >= self.end
                || message.key.as_ref().is_some_and(|key| {
                    let newest = self.map.get(self.map.hash(key));
                    newest.is_none_or(|newest| message.offset >= newest)
                        && (keeps_tombstones || message.value.is_some())
                })
        };
        let kept: Vec<&OldMessage> = all.iter().filter(keep).collect();
        let wrapper = legacy::read_message(&mut &original[..])
            .map_err(|error| malformed(path, error.to_string()))?;
        let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
            let is_end = wrapper.offset + 1 == self.round_end;
            return Ok(match is_end {
                true => BatchBuilder::emptied_in_place_of(&wrapper).build(),
                false => Bytes::new(),
            });
        };
        let distance = |offset: Offset| i32::try_from(offset - first.offset);
        let span = distance(last.offset).map_err(|_| out_of_order(path, first.offset))?;
        let tombstones = kept.iter().any(|message| message.value.is_none());
        let horizon = tombstones.then(|| self.horizon());
        let mut batch = BatchBuilder::in_place_of(&wrapper, first.offset, span, horizon);
        for message in &kept {
            let (key, value) = (message.key.as_deref(), message.value.as_deref());
            // Offsets increase up to that of the last message.
            let delta = distance(message.offset).unwrap_or(span);
            batch.push_with_headers(delta, message.timestamp, key, value, std::iter::empty());
        }
        Ok(batch.build())
    }

    fn horizon(&self) -> Timestamp {
        self.now
            .saturating_add(self.sources.settings.delete_retention_ms)
    }

    /// The batch without its records, if its header is still needed.
    fn emptied(&self, header: &BatchHeader) -> Option<Bytes> {
        let is_last = |word| {
            self.sources
                .last_of_producer
                .contains(&(header.producer_id, word))
        };
        let of_producer = header.has_producer_id()
            && (is_last(LastWord::Batch(header.last_offset()))
                || header.is_control() && is_last(LastWord::Markers(header.producer_epoch)));
        (of_producer || header.next_offset() == self.round_end)
            .then(|| BatchBuilder::emptied(header).build())
    }
}
