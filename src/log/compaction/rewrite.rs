//! Reading a log's sealed segments and writing what remains of them.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use bytes::Bytes;

use super::key_map::KeyMap;
use super::plan::{Plan, Sealed, group};
use crate::base::ids::{Offset, ProducerId};
use crate::base::time::Timestamp;
use crate::log::append::{DECOMPRESSED_MAX, transaction_marker};
use crate::log::error::{StorageError, malformed};
use crate::log::index::transaction::AbortedTransaction;
use crate::log::recovery::Scanner;
use crate::log::segment::{Segment, Span, file_name};
use crate::log::settings::LogSettings;
use crate::wire::batch::BatchError;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};
use crate::wire::batch::legacy::{self, SetBuilder};
use crate::wire::batch::record::{Record, decompressed, records};

/// What a rewrite needs to know of the log, copied out of it.
#[derive(Debug)]
pub struct Sources {
    pub dir: PathBuf,
    pub settings: LogSettings,
    pub aborted: Vec<AbortedTransaction>,
    /// The last offset of the last batch of each producer: those batches stay, emptied if need be, because they carry
    /// the sequence numbers that tell a repetition from a gap.
    pub last_of_producer: HashSet<(ProducerId, Offset)>,
}

/// Finished `.cleaned` segments with the base offsets that each replaces, and where the next pass begins.
#[derive(Debug)]
pub struct Rewritten {
    pub segments: Vec<(Vec<Offset>, Segment)>,
    pub first_dirty: Offset,
}

/// Builds the map of the dirty part and writes every segment of the plan anew. The map may be full before the end of
/// the plan: then the rest waits for the next pass.
pub fn rewrite(
    sources: &Sources,
    plan: &Plan,
    map_bytes: usize,
    now: Timestamp,
) -> Result<Rewritten, StorageError> {
    let (map, end) = build_map(sources, plan, map_bytes)?;
    let covered: Vec<Sealed> = plan
        .segments
        .iter()
        .filter(|segment| segment.base_offset < end)
        .copied()
        .collect();
    let mut filter = Filter {
        sources,
        map: &map,
        end,
        now,
        retained: BTreeSet::new(),
    };
    let mut rewritten = Rewritten {
        segments: Vec::new(),
        first_dirty: end,
    };
    for members in group(&covered, &sources.settings) {
        let bases: Vec<Offset> = members.iter().map(|member| member.base_offset).collect();
        let Some(base) = bases.first() else { continue };
        let mut target = Segment::create_as(&sources.dir, *base, ".cleaned", now)?;
        for member in &members {
            filter.copy(member, &mut target)?;
        }
        target.close()?;
        rewritten.segments.push((bases, target));
    }
    Ok(rewritten)
}

fn source_path(sources: &Sources, segment: &Sealed) -> PathBuf {
    sources.dir.join(file_name(segment.base_offset, ".log"))
}

fn build_map(
    sources: &Sources,
    plan: &Plan,
    map_bytes: usize,
) -> Result<(KeyMap, Offset), StorageError> {
    let mut map = KeyMap::new(map_bytes);
    for segment in plan
        .segments
        .iter()
        .filter(|segment| segment.end_offset > plan.first_dirty)
    {
        let path = source_path(sources, segment);
        let mut scanner = Scanner::open(&path, segment.size)?;
        while let Some((span, batch)) = scanner.next(true)? {
            if span.magic != MAGIC_V2 {
                let set = batch.unwrap_or_default();
                if span.last_offset >= plan.first_dirty && !map_messages(&mut map, &set, &path)? {
                    return Ok((map, span.base_offset));
                }
                continue;
            }
            let (header, body) = open(batch, &path)?;
            if span.last_offset < plan.first_dirty
                || header.is_control()
                || is_aborted(sources, &header)
            {
                continue;
            }
            // A batch is taken in whole or not at all, but the first is: a map of one batch still gets on.
            if map.is_full_for(header.record_count.max(0) as usize) && !map.is_empty() {
                return Ok((map, span.base_offset));
            }
            for record in records(&header, &body) {
                let record = record.map_err(|error| malformed(&path, error.to_string()))?;
                if let Some(key) = record.key {
                    map.put(key, record.offset);
                }
            }
        }
    }
    Ok((map, plan.end))
}

/// Takes the keys of an old message, or of those in its wrapper, into the map: all, or none when there is no room.
fn map_messages(
    map: &mut KeyMap,
    message: &Bytes,
    path: &std::path::Path,
) -> Result<bool, StorageError> {
    let keyed = messages(message, path)?;
    if map.is_full_for(keyed.len()) && !map.is_empty() {
        return Ok(false);
    }
    for message in &keyed {
        if let Some(key) = &message.key {
            map.put(key, message.offset);
        }
    }
    Ok(true)
}

/// A message of the formats before v2, out of its wrapper.
struct OldMessage {
    offset: Offset,
    timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

fn messages(set: &Bytes, path: &std::path::Path) -> Result<Vec<OldMessage>, StorageError> {
    let mut found = Vec::new();
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
    Ok(found)
}

/// The header and the plain records of a batch.
fn open(
    batch: Option<Bytes>,
    path: &std::path::Path,
) -> Result<(BatchHeader, Bytes), StorageError> {
    let wrong = |error: BatchError| malformed(path, error.to_string());
    let batch = batch.unwrap_or_default();
    let header = BatchHeader::parse(&batch).map_err(wrong)?;
    header.verify(&batch).map_err(wrong)?;
    let body = decompressed(&header, &batch, DECOMPRESSED_MAX).map_err(wrong)?;
    Ok((header, body))
}

fn is_aborted(sources: &Sources, header: &BatchHeader) -> bool {
    header.is_transactional()
        && sources.aborted.iter().any(|aborted| {
            aborted.producer_id == header.producer_id
                && (aborted.first_offset..aborted.last_offset).contains(&header.base_offset)
        })
}

struct Filter<'a> {
    sources: &'a Sources,
    map: &'a KeyMap,
    /// Records at or above are not in the map and stay.
    end: Offset,
    now: Timestamp,
    /// Producers of whose open transaction a record was kept: its marker must stay too.
    retained: BTreeSet<ProducerId>,
}

impl Filter<'_> {
    fn copy(&mut self, member: &Sealed, target: &mut Segment) -> Result<(), StorageError> {
        let path = source_path(self.sources, member);
        let mut scanner = Scanner::open(&path, member.size)?;
        while let Some((span, batch)) = scanner.next(true)? {
            let original = batch.clone().unwrap_or_default();
            if span.magic != MAGIC_V2 {
                let kept = self.filter_messages(&original, &path)?;
                if let Some(span) = Span::parse(&kept, target.size) {
                    target.append_raw(&kept, &span)?;
                }
                continue;
            }
            let (header, body) = open(batch, &path)?;
            let kept = if header.is_control() {
                self.filter_marker(&header, &body, &original)
            } else {
                self.filter_batch(&header, &body, &original)
            };
            let Some(kept) = kept else { continue };
            let Some(span) = Span::parse(&kept, target.size) else {
                return Err(malformed(&path, "a rewritten batch cannot be read"));
            };
            target.append_raw(&kept, &span)?;
            self.keep_abort(&header, target)?;
        }
        Ok(())
    }

    /// The index entry of an abort goes where its marker goes.
    fn keep_abort(&self, header: &BatchHeader, target: &mut Segment) -> Result<(), StorageError> {
        let entry = self.sources.aborted.iter().find(|aborted| {
            header.is_control()
                && aborted.producer_id == header.producer_id
                && aborted.last_offset == header.base_offset
        });
        match entry {
            Some(aborted) => target.aborted.push(*aborted),
            None => Ok(()),
        }
    }

    /// A marker goes once nothing of its transaction is left and its own time has come.
    fn filter_marker(
        &mut self,
        header: &BatchHeader,
        body: &Bytes,
        original: &Bytes,
    ) -> Option<Bytes> {
        let had_data = self.retained.remove(&header.producer_id);
        if had_data || transaction_marker(header, original).is_none() {
            return Some(original.clone());
        }
        match header.delete_horizon() {
            Some(horizon) if self.now >= horizon => self.emptied(header),
            Some(_) => Some(original.clone()),
            None => Some(rebuild(header, body, |_| true, Some(self.horizon()))),
        }
    }

    fn filter_batch(
        &mut self,
        header: &BatchHeader,
        body: &Bytes,
        original: &Bytes,
    ) -> Option<Bytes> {
        if is_aborted(self.sources, header) {
            return self.emptied(header);
        }
        let expired = header
            .delete_horizon()
            .is_some_and(|horizon| self.now >= horizon);
        let keep = |record: &Record<'_>| {
            if record.offset >= self.end {
                return true;
            }
            let Some(key) = record.key else { return false };
            self.map
                .get(key)
                .is_none_or(|newest| record.offset >= newest)
                && !(record.value.is_none() && expired)
        };
        let (mut kept, mut tombstones) = (0, false);
        for record in records(header, body).flatten().filter(keep) {
            kept += 1;
            tombstones |= record.value.is_none();
        }
        if kept == 0 {
            return self.emptied(header);
        }
        if header.is_transactional() {
            self.retained.insert(header.producer_id);
        }
        let horizon = match header.delete_horizon() {
            None if tombstones => Some(self.horizon()),
            known => known,
        };
        if kept == header.record_count && horizon == header.delete_horizon() {
            return Some(original.clone());
        }
        Some(rebuild(header, body, keep, horizon))
    }

    /// What stays of an old message, or of those in its wrapper, in the same format. That has no place for a delete
    /// horizon, so the newest tombstone of a key stays for good.
    fn filter_messages(
        &self,
        original: &Bytes,
        path: &std::path::Path,
    ) -> Result<Bytes, StorageError> {
        let all = messages(original, path)?;
        let keep = |message: &&OldMessage| {
            message.offset >= self.end
                || message.key.as_ref().is_some_and(|key| {
                    let newest = self.map.get(key);
                    newest.is_none_or(|newest| message.offset >= newest)
                })
        };
        let kept: Vec<&OldMessage> = all.iter().filter(keep).collect();
        if kept.len() == all.len() {
            return Ok(original.clone());
        }
        let wrapper = legacy::read_message(&mut &original[..])
            .map_err(|error| malformed(path, error.to_string()))?;
        let mut set = SetBuilder::new(wrapper.magic, wrapper.compression, wrapper.log_append_time);
        for message in kept {
            let (key, value) = (message.key.as_deref(), message.value.as_deref());
            set.push(message.offset, message.timestamp, key, value);
        }
        Ok(set.build().into())
    }

    fn horizon(&self) -> Timestamp {
        self.now
            .saturating_add(self.sources.settings.delete_retention_ms)
    }

    /// The batch without its records, if its header still says something that is needed.
    fn emptied(&self, header: &BatchHeader) -> Option<Bytes> {
        let batch = (header.producer_id, header.last_offset());
        (header.has_producer_id()
            && !header.is_control()
            && self.sources.last_of_producer.contains(&batch))
        .then(|| BatchBuilder::like(header, None).build())
    }
}

fn rebuild(
    header: &BatchHeader,
    body: &Bytes,
    keep: impl Fn(&Record<'_>) -> bool,
    horizon: Option<Timestamp>,
) -> Bytes {
    let mut builder = BatchBuilder::like(header, horizon);
    for record in records(header, body)
        .flatten()
        .filter(|record| keep(record))
    {
        let delta = (record.offset - header.base_offset) as i32;
        builder.push_with_headers(
            delta,
            record.timestamp,
            record.key,
            record.value,
            record.headers(),
        );
    }
    builder.build()
}
