//! Verification of one partition's directory: consistency of its files, and what recovery would do.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::{Report, Then};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk, Named};
use crate::log::append::{SNAPSHOT_FOOTER, control_kind, transaction_marker};
use crate::log::checkpoint;
use crate::log::error::{DiskContext, StorageError};
use crate::log::index::transaction::AbortedTransaction;
use crate::log::leader_epoch::LeaderEpochs;
use crate::log::producer_state::ProducerStates;
use crate::log::recovery::{self, Expected, Flaw, Kind, Known, Leftovers, Plan, Scanner, cutting};
use crate::log::segment::{Segment, Span, file_name};
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};

const UNREAD: &str = "it does not read this segment, but consumers will";
const MISLEADING: &str =
    "it looks at the end of a closed index only, and lookups will be led astray";
const GAP: &str =
    "consumers pass over them; if this log was never compacted, these records are lost";

/// A partition's directory that is being verified.
pub(super) struct Checked<'a> {
    disk: &'a Disk,
    dir: &'a Path,
    known: Known,
    metadata: bool,
    /// Whether offsets may be missing because of compaction.
    compacted: bool,
    report: &'a mut Report,
    /// Leader epochs according to the batches.
    epochs: LeaderEpochs,
    /// Leader epochs according to the batches that recovery reads again.
    reread_epochs: LeaderEpochs,
    producers: ProducerStates,
}

/// The batches of a segment, as read.
#[derive(Debug, Default)]
struct Batches {
    /// Position, first and last offset, and newest timestamp so far of each batch.
    spans: Vec<(u64, Offset, Offset, Timestamp)>,
    aborted: Vec<AbortedTransaction>,
    end: Option<Offset>,
    /// Position at which recovery cuts the file.
    cut_at: Option<u64>,
    /// Whether the next segment begins where this one ends.
    complete: bool,
    /// Whether a part of the segment cannot be read.
    flawed: bool,
    /// Whether recovery splits the segment.
    split: bool,
}

/// Treatment of a segment by recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Keep,
    Rebuild,
    Reread,
}

impl<'a> Checked<'a> {
    pub(super) fn new(
        place: Dir<'a>,
        known: Known,
        metadata: bool,
        compacted: bool,
        report: &'a mut Report,
    ) -> Self {
        Self {
            disk: place.disk,
            dir: place.path,
            known,
            metadata,
            compacted,
            report,
            epochs: LeaderEpochs::default(),
            reread_epochs: LeaderEpochs::default(),
            producers: ProducerStates::default(),
        }
    }

    /// Checks the directory; returns the log end offset that the next start will find.
    pub(super) fn check(&mut self) -> Result<Offset, StorageError> {
        let files = recovery::leftovers(self.disk.dir(self.dir))?;
        self.check_leftovers(&files);
        let mut segments = Vec::new();
        for base in files.bases() {
            segments.push(self.look(&files, base)?);
        }
        // Only the end of the active segment is looked up; there may be more segments than files can be open.
        let sealed = segments.len().saturating_sub(1);
        segments[..sealed]
            .iter_mut()
            .for_each(Segment::release_file);
        let plan = recovery::plan(&mut segments, &files, self.known)?;
        let clean = self.known.clean && plan.reread_from == segments.len();
        let bases = files.bases();
        let mut log_end = None;
        for (index, segment) in segments.iter().enumerate() {
            let treatment = treatment(&plan, index);
            let later = bases.get(index + 1..).unwrap_or_default();
            let batches = self.read_batches(segment, treatment, later)?;
            // After a split each part gets indexes of its own.
            if !batches.split {
                self.check_indexes(segment, &files, treatment, &batches, later.first().copied())?;
            }
            self.report.segments += 1;
            log_end = Some(batches.end.unwrap_or(segment.base_offset));
            if treatment == Treatment::Reread && batches.cut_at.is_some() && !batches.complete {
                break;
            }
            self.check_gap(segment, &batches, later.first().copied());
        }
        let first_base = bases.first().copied().unwrap_or(0);
        let log_start = self.known.log_start.unwrap_or(first_base).max(first_base);
        let log_end = plan.end.or(log_end).unwrap_or(log_start);
        if log_start > log_end {
            self.report.fault(
                self.dir,
                format!("the log ends at {log_end}, but is said to begin at {log_start}"),
                Then::Stay("the next record gets that offset"),
            );
        }
        let log_end = log_end.max(log_start);
        self.check_epochs(log_start, log_end);
        let below = recovery::snapshots_below(&segments, plan.reread_from, clean);
        self.check_snapshots(&files, &bases, below, log_end)?;
        if self.metadata {
            self.check_metadata_snapshots()?;
        }
        Ok(log_end)
    }

    fn check_leftovers(&mut self, files: &Leftovers) {
        if files.cutting {
            let what = "something of the log was being cut off, and may not be so on disk yet";
            self.report
                .fault(self.dir.join(cutting::NAME), what, Then::Remove);
        }
        for name in &files.removed {
            let what = if name.ends_with(".deleted") {
                "a deleted file whose time had not come"
            } else if name.ends_with(".cleaned") {
                "a compaction that was cut short"
            } else {
                "a finished file of a compaction that was cut short"
            };
            self.report.fault(self.dir.join(name), what, Then::Remove);
        }
        for (name, by) in &files.replaced {
            let what = format!("compacted into the segment that begins at {by}");
            self.report.fault(self.dir.join(name), what, Then::Remove);
        }
        for name in &files.renamed {
            let what = "a finished compaction that had not taken its place";
            self.report.fault(self.dir.join(name), what, Then::Finish);
        }
        for name in &files.orphans {
            let what = "an index without a data file";
            self.report.fault(self.dir.join(name), what, Then::Remove);
        }
    }

    /// A segment with the current names of its files.
    fn look(&self, files: &Leftovers, base: Offset) -> Result<Segment, StorageError> {
        let path = |kind, suffix| {
            let now = files.files.get(&(base, kind)).map(|(_, now)| now.clone());
            self.dir
                .join(now.unwrap_or_else(|| file_name(base, suffix)))
        };
        let paths: [PathBuf; 4] = [
            path(Kind::Log, ".log"),
            path(Kind::OffsetIndex, ".index"),
            path(Kind::TimeIndex, ".timeindex"),
            path(Kind::TransactionIndex, ".txnindex"),
        ];
        Segment::look(self.disk, base, paths)
    }

    /// Reads all batches: as recovery would, or, for segments that recovery does not read, as far as possible.
    fn read_batches(
        &mut self,
        segment: &Segment,
        treatment: Treatment,
        later: &[Offset],
    ) -> Result<Batches, StorageError> {
        let mut found = Batches::default();
        let path = segment.path().to_owned();
        let mut scanner = Scanner::open(self.disk, &path, segment.size)?;
        let mut expected = Expected {
            base: segment.base_offset,
            next: segment.base_offset,
            below: later.first().copied(),
        };
        let mut newest = -1;
        loop {
            let position = scanner.position();
            let (flaw, read) = match scanner.next_batch()? {
                Some((span, batch)) => (expected.judge(&span, Some(&batch)), Some((span, batch))),
                None => (scanner.flaw()?, None),
            };
            let flaw = match (flaw, &read) {
                (Some(Flaw::TooFar), Some((span, batch))) => {
                    let base = recovery::base_for(span, batch);
                    expected.base = base.max(expected.next);
                    let then = Then::Split {
                        base: expected.base,
                    };
                    let what = Flaw::TooFar.to_string();
                    self.report.fault_at(&path, Some(position), what, then);
                    found.split = true;
                    None
                }
                (flaw, _) => flaw,
            };
            found.flawed |= flaw.is_some();
            if let Some(flaw) = flaw {
                let cuts = treatment == Treatment::Reread
                    || treatment == Treatment::Rebuild && flaw != Flaw::Checksum;
                let then = if cuts && flaw == Flaw::Newer {
                    super::OFFLINE
                } else if cuts {
                    Then::Cut {
                        bytes: segment.size - position,
                        end: expected.next,
                        later: match treatment {
                            Treatment::Reread if !expected.is_complete() => later.to_vec(),
                            _ => Vec::new(),
                        },
                    }
                } else if self.metadata && flaw == Flaw::Checksum {
                    Then::Refuse("a start is refused")
                } else {
                    Then::Stay(UNREAD)
                };
                self.report
                    .fault_at(&path, Some(position), flaw.to_string(), then);
                if cuts {
                    found.cut_at = Some(position);
                    break;
                }
            }
            if flaw.is_some() {
                // The unreadable batches may have begun or ended transactions.
                self.producers = ProducerStates::default();
            }
            let Some((span, batch)) = read else { break };
            expected.next = expected.next.max(span.last_offset + 1);
            newest = newest.max(span.max_timestamp);
            found
                .spans
                .push((span.position, span.base_offset, span.last_offset, newest));
            self.report.batches += 1;
            self.report.bytes += span.size as u64;
            if flaw.is_none() {
                self.epochs.assign(span.leader_epoch, span.base_offset);
                if treatment == Treatment::Reread {
                    self.reread_epochs
                        .assign(span.leader_epoch, span.base_offset);
                }
                self.replay(&span, &batch, &mut found.aborted);
            }
        }
        found.end = (!found.spans.is_empty()).then_some(expected.next);
        found.complete = expected.is_complete();
        Ok(found)
    }

    /// Reports offsets between two segments that are in neither. A loss cannot be told from a removal by compaction, and
    /// recovery continues after the gap, as Kafka's does.
    fn check_gap(&mut self, segment: &Segment, batches: &Batches, next_base: Option<Offset>) {
        let from = batches.end.unwrap_or(segment.base_offset);
        if self.compacted || batches.flawed {
            return;
        }
        if let Some(next) = next_base.filter(|next| from < *next) {
            let what = format!("offsets {from} to {} are in no segment", next - 1);
            self.report.fault(segment.path(), what, Then::Stay(GAP));
        }
    }

    /// Applies a batch to the state of its producer.
    fn replay(&mut self, span: &Span, batch: &[u8], aborted: &mut Vec<AbortedTransaction>) {
        if span.magic != MAGIC_V2 {
            return;
        }
        let Ok(header) = BatchHeader::parse(batch) else {
            return;
        };
        let marker = transaction_marker(&header, batch);
        aborted.extend(self.producers.take_in(&header, marker));
    }

    fn check_indexes(
        &mut self,
        segment: &Segment,
        files: &Leftovers,
        treatment: Treatment,
        batches: &Batches,
        next_base: Option<Offset>,
    ) -> Result<(), StorageError> {
        let then = || match treatment {
            Treatment::Keep => Then::Stay(MISLEADING),
            Treatment::Rebuild | Treatment::Reread => Then::Rebuild,
        };
        let missing = |kind| !files.files.contains_key(&(segment.base_offset, kind));
        let mut faults: Vec<(Cow<'_, Path>, Option<u64>, String)> = Vec::new();
        if segment.size > 0 {
            let offsets = (Kind::OffsetIndex, segment.offsets.is_whole());
            let times = (Kind::TimeIndex, segment.times.is_whole());
            let indexes = [
                (
                    segment.offsets.path(),
                    offsets,
                    offset_index_fault(segment, batches)?,
                ),
                (
                    segment.times.path(),
                    times,
                    time_index_fault(segment, batches)?,
                ),
            ];
            for (path, (kind, whole), fault) in indexes {
                if missing(kind) {
                    faults.push((path.clone(), None, "there is none".to_owned()));
                } else if !whole {
                    faults.push((path.clone(), None, "its last entry is cut".to_owned()));
                }
                faults.extend(fault.map(|(at, what)| (path, Some(at), what)));
            }
        }
        for (path, position, what) in faults {
            self.report.fault_at(path, position, what, then());
        }
        let path = segment.aborted.path();
        let then = match treatment {
            Treatment::Reread => Then::Rebuild,
            _ => Then::Stay("consumers of committed records may be told wrongly which to skip"),
        };
        let what = transaction_index_fault(segment, batches, next_base)?;
        if let Some(what) = what {
            self.report.fault(path, what, then);
        }
        Ok(())
    }

    fn check_epochs(&mut self, log_start: Offset, log_end: Offset) {
        let path = self.dir.join(checkpoint::LEADER_EPOCHS);
        let entries = match checkpoint::read_epochs(self.disk, &path) {
            Ok(entries) => entries,
            Err(error) => {
                let malformed = error.source.kind() == std::io::ErrorKind::InvalidData;
                let then = match malformed {
                    true => Then::Rebuild,
                    false => super::OFFLINE,
                };
                self.report.unreadable(&error, then);
                return;
            }
        };
        let mut listed = LeaderEpochs::from_entries(entries);
        if let Some((epoch, start)) = listed.entries().iter().find(|(_, start)| *start > log_end) {
            let what = format!("epoch {epoch} begins at {start}, but the log ends at {log_end}");
            self.report.fault(&path, what, Then::Rebuild);
        }
        listed.truncate_end(log_end);
        let first_read = self.reread_epochs.entries().first().map(|first| first.1);
        let lacking = recovery::epochs_lacking(&listed, &self.reread_epochs);
        for (epoch, start) in self.epochs.entries() {
            let read_again = first_read.is_some_and(|first| *start >= first);
            let start = log_start.max(*start);
            if start >= log_end || listed.epoch_of(start) == Some(*epoch) {
                continue;
            }
            let newer = listed.latest().is_none_or(|latest| *epoch > latest);
            let then = if read_again || lacking && newer {
                Then::Rebuild
            } else {
                Then::Stay("followers and clients may be told a wrong end of an epoch")
            };
            let what =
                format!("offset {start} was written in epoch {epoch}, which it does not say");
            self.report.fault(&path, what, then);
        }
    }

    fn check_snapshots(
        &mut self,
        files: &Leftovers,
        bases: &[Offset],
        below: Offset,
        log_end: Offset,
    ) -> Result<(), StorageError> {
        let snapshots = files.snapshots();
        let (mut wanted, mut read_from) = (true, Offset::MIN);
        for offset in snapshots.iter().copied().rev() {
            let path = self.dir.join(file_name(offset, ".snapshot"));
            let unusable = match recovery::read_snapshot(self.disk, &path)? {
                Ok(states) => states
                    .iter()
                    .any(|(_, producer)| {
                        producer
                            .batches
                            .iter()
                            .any(|seen| seen.last_offset >= offset)
                    })
                    .then_some("it tells of batches above its offset"),
                Err(what) => Some(what),
            };
            if offset > log_end {
                let what =
                    format!("it tells of records up to {offset}, but the log ends at {log_end}");
                self.report.fault(path, what, Then::Remove);
                continue;
            }
            // The content of the snapshot is restored by reading the log from the next older snapshot on.
            let again = bases.contains(&offset) && Some(&offset) != bases.first();
            let readable =
                unusable.is_none_or(|what| what == "it tells of batches above its offset");
            // This snapshot is not read after such a stop.
            if offset > below {
                if let Some(what) = unusable.filter(|_| again && !readable) {
                    self.report.fault(path, what, Then::Rebuild);
                }
                continue;
            }
            match unusable {
                Some(what) if wanted && !readable => {
                    let then = if again { Then::Rebuild } else { Then::Remove };
                    self.report.fault(path, what, then);
                }
                Some(what) => self
                    .report
                    .fault(path, what, Then::Stay("a newer one is read")),
                None if wanted => (wanted, read_from) = (false, offset),
                None => {}
            }
        }
        // If there are no snapshots at all, the log is from a time before them.
        let lacks = |base: &Offset| !snapshots.is_empty() && !snapshots.contains(base);
        let again = bases.iter().skip(1).filter(|base| **base > read_from);
        for base in again.filter(|base| **base <= log_end && lacks(base)) {
            let path = self.dir.join(file_name(*base, ".snapshot"));
            self.report.fault(path, "there is none", Then::Rebuild);
        }
        Ok(())
    }

    /// Checks the snapshots of the metadata, `<end offset>-<epoch>.checkpoint`. Each start reads the newest one.
    fn check_metadata_snapshots(&mut self) -> Result<(), StorageError> {
        let mut then = Then::Refuse("a start is refused");
        for name in recovery::list(self.disk.dir(self.dir))?.into_iter().rev() {
            if !name.ends_with(".checkpoint") || name == "bootstrap.checkpoint" {
                continue;
            }
            let path = self.dir.join(name);
            let size = self.disk.facts(&path).at("examine", &path)?.size;
            let mut scanner = Scanner::open(self.disk, &path, size)?;
            let mut expected = Expected {
                base: 0,
                next: 0,
                below: None,
            };
            let (mut flaw, mut last) = (None, None);
            while let Some((span, batch)) = scanner.next_batch()? {
                flaw = flaw.or_else(|| expected.judge(&span, Some(&batch)));
                expected.next = span.last_offset + 1;
                last = Some(batch);
            }
            if let Some(flaw) = flaw.or(scanner.flaw()?) {
                self.report.fault(&path, flaw.to_string(), then.clone());
            } else if last.is_none_or(|last| control_kind(&last) != Some(SNAPSHOT_FOOTER)) {
                self.report.fault(
                    &path,
                    "it ends without its footer: it was cut",
                    then.clone(),
                );
            }
            then = Then::Stay("a newer one is read");
        }
        Ok(())
    }
}

fn treatment(plan: &Plan, index: usize) -> Treatment {
    if index >= plan.reread_from {
        Treatment::Reread
    } else if plan.rebuild.contains(&index) {
        Treatment::Rebuild
    } else {
        Treatment::Keep
    }
}

/// The first entry of `.index` that does not match the batches, by its position in the file.
fn offset_index_fault(
    segment: &Segment,
    batches: &Batches,
) -> Result<Option<(u64, String)>, StorageError> {
    let mut last: Option<(u32, u32)> = None;
    for (number, entry) in segment.offsets.all()?.into_iter().enumerate() {
        let at = number as u64 * 8;
        let position = u64::from(entry.position);
        if batches.cut_at.is_some_and(|cut| position >= cut) {
            break;
        }
        let offset = segment.base_offset + i64::from(entry.relative_offset);
        if number > 0 && entry.relative_offset == 0 && entry.position == 0 {
            return Ok(Some((
                at,
                "it goes on with zeros: it was not closed".to_owned(),
            )));
        }
        if last.is_some_and(|(offset, position)| {
            entry.relative_offset <= offset || entry.position <= position
        }) {
            return Ok(Some((at, "its entries go back".to_owned())));
        }
        last = Some((entry.relative_offset, entry.position));
        let found = batches
            .spans
            .binary_search_by_key(&position, |(at, ..)| *at);
        let true_of = found.is_ok_and(|index| {
            let (_, _, end, _) = batches.spans[index];
            let before = index.checked_sub(1).map(|before| batches.spans[before].2);
            // A message of the old formats may contain several messages, and only the last offset is known here.
            offset <= end && before.is_none_or(|before| offset > before)
        });
        if !true_of {
            let what = format!("offset {offset} is not in a batch at position {position}");
            return Ok(Some((at, what)));
        }
    }
    Ok(None)
}

/// The first entry of `.timeindex` that does not match the batches: a record up to its offset is newer.
fn time_index_fault(
    segment: &Segment,
    batches: &Batches,
) -> Result<Option<(u64, String)>, StorageError> {
    let mut last: Option<(Timestamp, u32)> = None;
    for (number, entry) in segment.times.all()?.into_iter().enumerate() {
        let at = number as u64 * 12;
        let offset = segment.base_offset + i64::from(entry.relative_offset);
        if number > 0 && entry.relative_offset == 0 && entry.timestamp == 0 {
            return Ok(Some((
                at,
                "it goes on with zeros: it was not closed".to_owned(),
            )));
        }
        if last.is_some_and(|(timestamp, offset)| {
            entry.timestamp <= timestamp || entry.relative_offset < offset
        }) {
            return Ok(Some((at, "its entries go back".to_owned())));
        }
        last = Some((entry.timestamp, entry.relative_offset));
        if entry.relative_offset > recovery::RELATIVE_MAX {
            let what = format!("offset {offset} is too far from where its segment begins");
            return Ok(Some((at, what)));
        }
        let upto = batches
            .spans
            .partition_point(|(_, _, end, _)| *end <= offset);
        let newest = upto.checked_sub(1).map(|index| batches.spans[index].3);
        if let Some(newest) = newest.filter(|newest| *newest > entry.timestamp) {
            let what = format!(
                "up to offset {offset} there is a record of {newest}, later than {}",
                entry.timestamp
            );
            return Ok(Some((at, what)));
        }
    }
    Ok(None)
}

/// The first fault of `.txnindex`: its entries must be in order and within the segment, and every transaction that was aborted
/// in the segment must have an entry.
fn transaction_index_fault(
    segment: &Segment,
    batches: &Batches,
    next_base: Option<Offset>,
) -> Result<Option<String>, StorageError> {
    if !segment.aborted.is_whole() {
        return Ok(Some("its last entry is cut".to_owned()));
    }
    let entries = segment.aborted.all()?;
    let end = next_base.or(batches.end).unwrap_or(segment.base_offset);
    let mut last = None;
    for entry in &entries {
        if batches.cut_at.is_some() && batches.end.is_none_or(|end| entry.last_offset >= end) {
            break;
        }
        let inside = (segment.base_offset..end).contains(&entry.last_offset);
        if !inside
            || entry.first_offset > entry.last_offset
            || entry.last_stable_offset > entry.last_offset + 1
            || last.is_some_and(|last| entry.last_offset <= last)
        {
            return Ok(Some(format!(
                "its entry of producer {} from {} to {} cannot be",
                entry.producer_id, entry.first_offset, entry.last_offset
            )));
        }
        last = Some(entry.last_offset);
    }
    let lacking = batches.aborted.iter().find(|aborted| {
        !entries.iter().any(|entry| {
            entry.producer_id == aborted.producer_id
                && entry.last_offset == aborted.last_offset
                && entry.first_offset <= aborted.first_offset
        })
    });
    Ok(lacking.map(|aborted| {
        format!(
            "the aborted transaction of producer {} from {} to {} is not in it",
            aborted.producer_id, aborted.first_offset, aborted.last_offset
        )
    }))
}
