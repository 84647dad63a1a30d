//! Recovery: opens a partition's directory and restores a valid log from what a stop or a crash left.
//!
//! ```text
//! 1. `.deleted` files are removed (the mark of `cutting` at the very end), and so are `.cleaned` files and the `.swap`
//!    files that an interrupted compaction left beside them;
//! 2. the remaining `.swap` files are finished: the segments that they replace are removed, then they are renamed;
//! 3. segments are opened. If the offsets of one are too far apart, it is split (see `splitting`), and everything begins
//!    again; if an index is missing or malformed, the segment is read and its indexes are rebuilt and synced;
//! 4. after an unclean stop every segment from the recovery point on is read batch by batch, and checksums are checked.
//!    The first bad batch ends the log: the file is cut there and later segments are removed, unless the next segment
//!    continues without a missing offset. In that case the bytes were no records, but the zeros of a preallocated
//!    segment. After a clean stop only a file that does not end with a complete batch is read in this way;
//! 5. leader epochs and producers are truncated to the remaining log, and restored from the newest valid snapshot.
//! ```
//!
//! [`verify`](super::verify) reports all this without doing it; both use the same functions for decisions.

pub mod cutting;
mod leftovers;
mod scanner;
mod splitting;

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::append::transaction_marker;
use super::checkpoint;
use super::durability::EpochsFile;
use super::error::{DiskContext, StorageError, malformed};
use super::index::offset::OffsetIndex;
use super::index::time::TimeIndex;
use super::leader_epoch::LeaderEpochs;
use super::producer_state::{self, ProducerStates, SNAPSHOT_HEADER_SIZE};
use super::segment::{Segment, Span, file_name};
use super::segments::Segments;
use super::settings::LogSettings;
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::host::disk::{Dir, Disk};
use crate::host::file::Reach;
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};

use cutting::Cutting;
pub use leftovers::{Kind, Leftovers};
pub use scanner::{Expected, Flaw, Scanner, checksum_holds};
pub use splitting::base_for;

/// State of a log after recovery.
#[derive(Debug)]
pub struct Recovered {
    pub segments: Segments,
    pub epochs: LeaderEpochs,
    pub epochs_file: EpochsFile,
    pub producers: ProducerStates,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Recovery point: all records below are synced to disk.
    pub recovery_point: Offset,
    /// Number of bytes that were cut off the end.
    pub truncated_bytes: u64,
}

/// Information about a log from before its directory is read.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub clean: bool,
    pub recovery_point: Offset,
    /// Log start offset, if the checkpoint of log start offsets has the partition.
    pub log_start: Option<Offset>,
}

/// Recovers a partition's directory; see the module's documentation for the steps.
pub fn recover(
    dir: Dir<'_>,
    settings: &LogSettings,
    known: Known,
    now: Timestamp,
) -> Result<Recovered, StorageError> {
    loop {
        match attempt(dir, settings, known, now)? {
            Attempt::Recovered(recovered) => return Ok(*recovered),
            Attempt::TooWide(segment, below) => {
                Cutting::of(dir).begin()?;
                splitting::split(dir, &segment, below, settings, now)?;
            }
        }
    }
}

/// Result of one attempt to recover a directory.
enum Attempt {
    Recovered(Box<Recovered>),
    /// A segment must be split first; the offset is the base offset of the next segment.
    TooWide(Box<Segment>, Option<Offset>),
}

fn attempt(
    place: Dir<'_>,
    settings: &LogSettings,
    known: Known,
    now: Timestamp,
) -> Result<Attempt, StorageError> {
    let Dir { disk, path: dir } = place;
    let files = leftovers(place)?;
    let epochs_path = dir.join(checkpoint::LEADER_EPOCHS);
    let stored_epochs = match checkpoint::read_epochs(disk, &epochs_path) {
        // Any other fault of the file's content is repaired below.
        Err(error) if error.source.kind() != io::ErrorKind::InvalidData => return Err(error),
        read => read,
    };
    let mut cutting = Cutting::of(place);
    if files.are_any() {
        cutting.begin()?;
    }
    tidy_up(place, &files)?;
    let bases = files.bases();
    // Most partitions have one segment for a long time; a growing vector would allocate space for four.
    let mut segments = Vec::with_capacity(bases.len().max(1));
    for base in bases {
        let path = dir.join(file_name(base, ".log"));
        let size = disk.facts(&path).at("examine", &path)?.size;
        segments.push(Segment::open(place, base, size, now));
    }
    let plan = plan(&mut segments, &files, known)?;
    let too_wide = |mut segments: Vec<Segment>, index: usize| {
        let below = segments.get(index + 1).map(|next| next.base_offset);
        Attempt::TooWide(Box::new(segments.swap_remove(index)), below)
    };
    if let Some(index) = plan.split {
        return Ok(too_wide(segments, index));
    }
    let clean = known.clean && plan.reread_from == segments.len();
    for index in plan.rebuild {
        let next = segments.get(index + 1).map(|segment| segment.base_offset);
        let segment = &mut segments[index];
        tracing::info!(path = %segment.path().display(), "rebuilding the indexes of a segment");
        cutting.begin()?;
        let epochs = &mut LeaderEpochs::default();
        let Some(_) = scan(segment, settings, next, false, epochs, &mut cutting)? else {
            return Ok(too_wide(segments, index));
        };
        // No later flush syncs these indexes.
        segment.sync_indexes()?;
    }
    let mut scanned = LeaderEpochs::default();
    let mut truncated_bytes = 0;
    // Producer snapshots are not synced, so those after the beginning of the first segment that is read again are not trusted.
    let snapshots_below = snapshots_below(&segments, plan.reread_from, clean);
    let mut index = plan.reread_from;
    while index < segments.len() {
        let next = segments.get(index + 1).map(|segment| segment.base_offset);
        let segment = &mut segments[index];
        let scan = scan(segment, settings, next, true, &mut scanned, &mut cutting)?;
        let Some(cut) = scan else {
            return Ok(too_wide(segments, index));
        };
        truncated_bytes += cut.bytes;
        index += 1;
        if cut.of_records {
            // In descending order, so that a crash in between leaves no gap.
            for segment in segments.split_off(index).iter().rev() {
                truncated_bytes += segment.size;
                remove_files(segment)?;
            }
        }
    }
    let first_base = segments.first().map_or(0, |segment| segment.base_offset);
    let log_start = known.log_start.unwrap_or(first_base).max(first_base);
    let mut segments = match Segments::of(segments) {
        Some(segments) => segments,
        None => Segments::new(Segment::create(place, log_start, settings, now)?),
    };
    let log_end = match plan.end {
        Some(end) => end,
        None => end_of(segments.active_mut())?.0,
    };
    let log_end = log_end.max(log_start);
    segments.release_files(0);

    let mut changed = false;
    let mut epochs = match stored_epochs {
        Ok(entries) => LeaderEpochs::from_entries(entries),
        // The epochs file of a new log is not synced, and not even by a clean stop if the log is empty. Its content is also in
        // the batches.
        Err(error) => {
            tracing::warn!(%error, "rebuilding the leader epochs of a log");
            changed = true;
            epochs_of(&segments)?
        }
    };
    changed |= epochs.truncate_end(log_end);
    if epochs_lacking(&epochs, &scanned) {
        for (epoch, start) in epochs_of(&segments)?.entries() {
            if epochs.latest().is_none_or(|latest| *epoch > latest) {
                changed |= epochs.assign(*epoch, *start);
            }
        }
    }
    if let Some((_, first_read)) = scanned.entries().first() {
        // The checkpoint may also have epochs from before a truncation.
        let stored = epochs.clone();
        epochs.truncate_end(*first_read);
        for (epoch, start) in scanned.entries() {
            epochs.assign(*epoch, *start);
        }
        changed |= epochs != stored;
    }
    // The file is replaced later: until then each start finds the same epochs again.
    let epochs_file = match epochs.truncate_start(log_start) {
        _ if changed => EpochsFile::Outdated,
        true => EpochsFile::TooLong,
        false => EpochsFile::Current,
    };
    // Snapshots above this offset may describe batches that were lost, and would be trusted once the log has grown past them. A
    // snapshot within the flushed part is valid, even if it is not needed now: each log has one after a clean stop.
    let true_below = snapshots_below.max(known.recovery_point).min(log_end);
    let (mut snapshots, stray): (Vec<_>, Vec<_>) = files
        .snapshots()
        .into_iter()
        .partition(|offset| *offset <= true_below);
    for offset in &stray {
        let lost = dir.join(file_name(*offset, ".snapshot"));
        if *offset > log_end || !says_nothing(disk, &lost)? {
            cutting.begin()?;
        }
        disk.remove_file(&lost).at("remove", lost)?;
    }
    if cutting.has_begun() {
        // Bytes that were cut off, now or by an earlier start that did not finish, must not reappear after records that are
        // appended from now on.
        for segment in segments.iter_mut().skip(plan.reread_from) {
            segment.cut_again()?;
            segment.release_file();
        }
        // Removed files must not reappear either.
        disk.sync_dir(dir).at("sync", dir)?;
    }
    cutting.end()?;
    // A snapshot from before the first segment does not know how transactions ended that were open at its offset. It can be
    // here after a power loss that undid half of the removal of its segment.
    snapshots.retain(|offset| *offset >= first_base);
    // Of the snapshots that are not at the beginning of a segment, which clean stops leave, only the newest is useful.
    let newest = snapshots.last().copied();
    let begins = |offset: Offset| segments[segments.index_of(offset)].base_offset == offset;
    let (mut snapshots, old): (Vec<_>, Vec<_>) = snapshots
        .into_iter()
        .partition(|offset| Some(*offset) == newest || begins(*offset));
    for offset in old {
        let path = dir.join(file_name(offset, ".snapshot"));
        disk.remove_file(&path).at("remove", path)?;
    }
    snapshots.retain(|offset| *offset <= snapshots_below);
    let producers = load_producers(place, &mut segments, &snapshots, log_start, log_end)?;
    Ok(Attempt::Recovered(Box::new(Recovered {
        segments,
        epochs,
        epochs_file,
        producers,
        log_start,
        log_end,
        recovery_point: if clean {
            log_end
        } else {
            known.recovery_point.min(log_end)
        },
        truncated_bytes,
    })))
}

/// Whether the epochs file is older than the batches that were read again, because its last replacement was not synced.
pub fn epochs_lacking(listed: &LeaderEpochs, scanned: &LeaderEpochs) -> bool {
    scanned.latest() > listed.latest()
}

/// The leader epochs according to the batches.
fn epochs_of(segments: &Segments) -> Result<LeaderEpochs, StorageError> {
    let mut epochs = LeaderEpochs::default();
    for segment in segments.iter().filter(|segment| segment.size > 0) {
        let mut scanner = Scanner::open(segment.disk(), segment.path(), segment.size)?;
        while let Some(span) = scanner.next_span()? {
            epochs.assign(span.leader_epoch, span.base_offset);
        }
    }
    Ok(epochs)
}

/// Decisions about the segments of a log: steps 3 and 4 of the module, made before anything is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Segments whose indexes are rebuilt; the checksums of their batches are not checked.
    pub rebuild: Vec<usize>,
    /// Segment that is split before anything else is done. More may be found while segments are read.
    pub split: Option<usize>,
    /// First segment of which every batch is read and checked.
    pub reread_from: usize,
    /// Log end offset, if it is known without reading a segment.
    pub end: Option<Offset>,
}

/// Makes the decisions. No file is changed.
pub fn plan(
    segments: &mut [Segment],
    files: &Leftovers,
    known: Known,
) -> Result<Plan, StorageError> {
    let mut plan = Plan {
        reread_from: segments.len(),
        ..Plan::default()
    };
    if !known.clean {
        plan.reread_from = segments
            // A segment that ends at the recovery point may have been rolled after the sync, and rolling adds its last index
            // entries.
            .partition_point(|segment| segment.base_offset < known.recovery_point)
            .saturating_sub(1);
    }
    let mut reread_from = None;
    for (index, segment) in segments.iter().enumerate().take(plan.reread_from) {
        let has_indexes = [Kind::OffsetIndex, Kind::TimeIndex]
            .iter()
            .all(|kind| files.files.contains_key(&(segment.base_offset, *kind)));
        if !aborted_plausible(segment, segments.get(index + 1))? {
            reread_from.get_or_insert(index);
        }
        let plausible =
            has_indexes && indexes_plausible(&segment.offsets, &segment.times, segment.size)?;
        if segment.size > 0 && !plausible {
            plan.rebuild.push(index);
        }
        // Kafka differs: it only finds such a segment if it reads the segment again. Lookups in its index go astray.
        let below = segments.get(index + 1).map(|next| next.base_offset);
        if below.is_some_and(|below| below - segment.base_offset > i64::from(i32::MAX))
            && splitting::is_too_wide(segment, below)?
        {
            plan.split = Some(index);
            return Ok(plan);
        }
    }
    let active = segments.len().checked_sub(1);
    if known.clean
        && let Some(index) = active.filter(|active| plan.rebuild.last() != Some(active))
    {
        let (end, position) = end_of(&mut segments[index])?;
        if end - 1 - segments[index].base_offset > i64::from(i32::MAX)
            && splitting::is_too_wide(&segments[index], None)?
        {
            plan.split = Some(index);
        }
        let (base, size) = (segments[index].base_offset, segments[index].size);
        // The offset of a batch is not covered by its checksum.
        let begins_before = size > 0 && end <= base;
        if position == size && !begins_before {
            plan.end = Some(end);
        } else {
            let (disk, path) = (segments[index].disk(), segments[index].path());
            if Scanner::open_at(disk, path, size, position)?
                .newer()?
                .is_some()
            {
                return Err(newer_batch(path, position));
            }
            tracing::warn!(path = %segments[index].path().display(), "the stop was not clean here");
            plan.reread_from = index;
        }
    }
    if let Some(index) = reread_from {
        // Aborted transactions can only be found by tracking the producers, which rereading the segment does.
        plan.reread_from = index;
        plan.rebuild.retain(|other| *other < index);
        plan.end = None;
    }
    Ok(plan)
}

/// Offset limit of valid producer snapshots: a snapshot above it describes batches that are read again.
pub fn snapshots_below(segments: &[Segment], reread_from: usize, clean: bool) -> Offset {
    match segments.get(reread_from) {
        Some(first) => first.base_offset,
        None if clean => Offset::MAX,
        None => 0,
    }
}

/// Performs steps 1 and 2 of the module.
fn tidy_up(place: Dir<'_>, found: &Leftovers) -> Result<(), StorageError> {
    let Dir { disk, path: dir } = place;
    let remove = |name: &str| {
        let path = dir.join(name);
        match disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
            _ => Ok(()),
        }
    };
    for name in &found.removed {
        remove(name)?;
    }
    for (name, _) in &found.replaced {
        remove(name)?;
    }
    for name in &found.renamed {
        let plain = name.strip_suffix(".swap").unwrap_or(name);
        disk.rename(&dir.join(name), &dir.join(plain))
            .at("rename", dir.join(name))?;
    }
    for name in &found.orphans {
        remove(name)?;
    }
    Ok(())
}

/// Decides what steps 1 and 2 will do in a directory.
pub fn leftovers(dir: Dir<'_>) -> Result<Leftovers, StorageError> {
    Leftovers::find(&list(dir)?, |base| {
        let path = dir.join(file_name(base, ".log.swap"));
        let size = dir.disk.facts(&path).at("examine", &path)?.size;
        Ok(end_of_file(dir.disk, &path, size)?.unwrap_or(base))
    })
}

/// The names in a directory, in order.
pub fn list(dir: Dir<'_>) -> Result<Vec<String>, StorageError> {
    let mut names = Vec::new();
    for entry in dir.disk.list(dir.path).at("list", dir.path)? {
        let Some(name) = entry.text() else {
            continue;
        };
        // Opening a named pipe would block until another process opens its other end.
        if is_of_segment(name) && !entry.is_a_file().at("look at", entry.path())? {
            let what = "it should be a file of this partition and is none; move it away";
            return Err(malformed(entry.path(), what));
        }
        names.extend(entry.into_text());
    }
    Ok(names)
}

/// Whether a name is that of a segment's file, with or without a further suffix.
fn is_of_segment(name: &str) -> bool {
    let digits = name.bytes().take(20);
    digits.filter(u8::is_ascii_digit).count() == 20
}

/// The offset after the last batch of a data file; `None` if the file has no batch.
fn end_of_file(disk: &Disk, path: &Path, size: u64) -> Result<Option<Offset>, StorageError> {
    let mut scanner = Scanner::open(disk, path, size)?;
    let mut end = None;
    while let Some(span) = scanner.next_span()? {
        end = Some(span.last_offset + 1);
    }
    Ok(end)
}

/// Whether the ends of a segment's indexes look like those of closed indexes; `size` is the size of the data file.
fn indexes_plausible(
    offsets: &OffsetIndex,
    times: &TimeIndex,
    size: u64,
) -> Result<bool, StorageError> {
    if !offsets.is_whole() || !times.is_whole() {
        return Ok(false);
    }
    // A preallocated index that was never trimmed ends with zeros. A relative offset above the limit has overflowed.
    let entry_ok =
        |relative: u32, len: usize| relative <= RELATIVE_MAX && (relative > 0 || len == 1);
    let last_offset = offsets.last()?;
    let last_time = times.last()?;
    Ok(last_offset.is_none_or(|last| {
        entry_ok(last.relative_offset, offsets.len()) && u64::from(last.position) < size
    }) && last_time
        .is_none_or(|last| last.relative_offset <= RELATIVE_MAX && last.timestamp > 0))
}

/// Largest offset, relative to the segment's base offset, that an index can hold.
pub const RELATIVE_MAX: u32 = i32::MAX as u32;

/// Whether the last entry of the transaction index looks like that of a closed index. Kafka checks every entry.
fn aborted_plausible(segment: &Segment, next: Option<&Segment>) -> Result<bool, StorageError> {
    let below = next.map_or(Offset::MAX, |next| next.base_offset);
    let last = segment.aborted.last()?;
    Ok(segment.aborted.is_whole()
        && last.is_none_or(|last| {
            last.first_offset < last.last_offset
                && (segment.base_offset..below).contains(&last.last_offset)
        }))
}

/// Kafka differs: it treats such a batch as one of v2 and sends it to consumers unchanged.
fn newer_batch(path: &Path, position: u64) -> StorageError {
    let what = format!(
        "the batch at {position} has a format that is unknown: a newer program wrote it; use that one, or another directory. If there never was one, byte {} is damaged, and was {MAGIC_V2}",
        position + 16
    );
    StorageError {
        doing: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::Unsupported, what),
    }
}

/// The part that a scan cut off.
#[derive(Debug)]
struct Cut {
    bytes: u64,
    /// Whether records were cut off. If not, the bytes were no part of the log, and the next segment continues it.
    of_records: bool,
}

/// Reads a segment from its beginning and rebuilds its indexes; the epochs of its batches are added to `epochs`. With `check`,
/// the first batch that is incomplete, has a wrong checksum or goes back in offsets ends the segment. `None`: the segment must
/// be split.
fn scan(
    segment: &mut Segment,
    settings: &LogSettings,
    next_base: Option<Offset>,
    check: bool,
    epochs: &mut LeaderEpochs,
    cutting: &mut Cutting,
) -> Result<Option<Cut>, StorageError> {
    let size = segment.size;
    segment.reset_indexes()?;
    let (disk, path) = (segment.disk().clone(), segment.path().to_owned());
    let mut scanner = Scanner::open(&disk, &path, size)?;
    let mut expected = Expected {
        base: segment.base_offset,
        next: segment.base_offset,
        below: next_base,
    };
    let mut flaw = None;
    let mut next = || -> Result<Option<(Span, Option<Bytes>)>, StorageError> {
        match check {
            true => Ok(scanner
                .next_batch()?
                .map(|(span, batch)| (span, Some(batch)))),
            false => Ok(scanner.next_span()?.map(|span| (span, None))),
        }
    };
    while let Some((span, batch)) = next()? {
        flaw = expected.judge(&span, batch.as_ref());
        if flaw == Some(Flaw::TooFar) {
            segment.size = size;
            return Ok(None);
        }
        if flaw.is_some() {
            break;
        }
        expected.next = span.last_offset + 1;
        epochs.assign(span.leader_epoch, span.base_offset);
        segment.remember(&span, u64::from(settings.index_interval_bytes))?;
    }
    // After a crash the producers are replayed from the beginning of the segment, which finds its aborted transactions again.
    // Otherwise the entries on disk are kept: they would be lost if this start were interrupted.
    if check && !(segment.aborted.is_empty() && segment.aborted.is_whole()) {
        segment.aborted.reset(Vec::new())?;
    }
    let cut = size - segment.size;
    if cut > 0 {
        let why = match flaw {
            None => scanner.flaw()?,
            found => found,
        };
        if why == Some(Flaw::Newer) {
            return Err(newer_batch(&path, segment.size));
        }
        tracing::warn!(
            path = %segment.path().display(), position = segment.size, bytes = cut,
            why = %why.unwrap_or(Flaw::Torn), "cutting off the end of a segment"
        );
        let (position, offset) = (segment.size, expected.next);
        cutting.begin()?;
        segment.truncate(position, offset)?;
        segment.sync()?;
    }
    segment.seal()?;
    Ok(Some(Cut {
        bytes: cut,
        of_records: cut > 0 && !expected.is_complete(),
    }))
}

/// The offset after the last record of the active segment, and the position where its batches end. For an empty segment both
/// are those of its beginning.
fn end_of(active: &mut Segment) -> Result<(Offset, u64), StorageError> {
    let mut end = active.base_offset;
    let mut position = active
        .offsets
        .last()?
        .map_or(0, |entry| u64::from(entry.position).min(active.size));
    while let Some(span) = active.span_at(position, Reach::Disk)? {
        end = span.last_offset + 1;
        position = span.end();
    }
    Ok((end, position))
}

/// Whether a producer snapshot is empty, so that it cannot describe batches that were lost.
fn says_nothing(disk: &Disk, path: &Path) -> Result<bool, StorageError> {
    Ok(read_snapshot(disk, path)?.is_ok_and(|states| states.is_empty()))
}

/// State of producers from the newest valid snapshot at or below the log end offset, and the batches after it.
pub fn load_producers(
    dir: Dir<'_>,
    segments: &mut Segments,
    snapshots: &[Offset],
    log_start: Offset,
    log_end: Offset,
) -> Result<ProducerStates, StorageError> {
    let mut from = log_start;
    let mut states = ProducerStates::default();
    for offset in snapshots.iter().rev().filter(|offset| **offset <= log_end) {
        let path = dir.join(file_name(*offset, ".snapshot"));
        match read_snapshot(dir.disk, &path)? {
            Ok(loaded) => {
                states = loaded;
                from = *offset;
                break;
            }
            Err(what) => {
                tracing::warn!(path = %path.display(), what, "removing an unusable producer snapshot");
                dir.disk.remove_file(&path).at("remove", &path)?;
            }
        }
    }
    replay_producers(&mut states, segments, from, log_start, Some(dir))?;
    Ok(states)
}

/// Reads a `.snapshot` file; the inner error says what is wrong with its content. Before memory is allocated, the file's size
/// is compared with the size that its header states.
pub fn read_snapshot(
    disk: &Disk,
    path: &Path,
) -> Result<Result<ProducerStates, &'static str>, StorageError> {
    let mut head = [0; SNAPSHOT_HEADER_SIZE];
    let mut read = || -> io::Result<Result<ProducerStates, &'static str>> {
        let file = disk.open_small(path)?;
        let len = file.size()?;
        let read = disk.read_through(&file, path, &mut head, 0)?;
        let expected = producer_state::snapshot_len(&head[..read]);
        if expected.is_none() {
            return Ok(Err("it is too short"));
        }
        if expected != Some(len) {
            return Ok(Err("its length does not match its number of entries"));
        }
        Ok(ProducerStates::from_snapshot(&disk.read(path, len)?))
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err("it is no file")),
        read => read.at("read", path),
    }
}

/// Applies every batch from `from` on to the state of producers. With `dir`, writes a snapshot for each segment that begins on
/// the way, as rolling did.
///
/// If segments below the log start offset are missing in part, because a power loss undid only some removals, it is unknown
/// which transactions ended in them. No transaction is considered open in that case; the batches that are read later open their
/// transactions again.
pub fn replay_producers(
    states: &mut ProducerStates,
    segments: &mut Segments,
    from: Offset,
    log_start: Offset,
    dir: Option<Dir<'_>>,
) -> Result<(), StorageError> {
    let mut reached = from;
    let first = segments.index_of(from);
    for segment in segments.iter_mut().skip(first) {
        if (reached + 1..=log_start).contains(&segment.base_offset) {
            states.forget_open_transactions();
        }
        if let Some(dir) = dir.filter(|_| segment.base_offset > from) {
            let path = dir.join(file_name(segment.base_offset, ".snapshot"));
            let written = dir.disk.write(&path, &states.to_snapshot());
            written.at("write", &path)?;
        }
        let mut next = if segment.size > 0 {
            segment.locate(from, Reach::Disk)?
        } else {
            None
        };
        let mut found = false;
        while let Some(span) = next {
            if span.magic == MAGIC_V2 {
                found |= replay_batch(states, segment, &span)?;
            }
            reached = span.last_offset + 1;
            next = segment.span_at(span.end(), Reach::Disk)?;
        }
        if found {
            // No later flush may sync this segment.
            segment.aborted.close()?;
        }
        segment.release_file();
    }
    Ok(())
}

/// Applies a batch. Returns true if it ends an aborted transaction that is not in the segment's index.
fn replay_batch(
    states: &mut ProducerStates,
    segment: &mut Segment,
    span: &Span,
) -> Result<bool, StorageError> {
    let head = Span {
        size: super::segment::read_size_for_header(span.size as u64),
        ..*span
    };
    let Ok(header) = BatchHeader::parse(&segment.read(&head, Reach::Disk)?) else {
        return Ok(false);
    };
    let marker = match header.is_control() {
        true => transaction_marker(&header, &segment.read(span, Reach::Disk)?),
        false => None,
    };
    if let Some(aborted) = states.take_in(&header, marker)
        && segment
            .aborted
            .last()?
            .is_none_or(|last| last.last_offset < aborted.last_offset)
    {
        segment.aborted.push(aborted)?;
        return Ok(true);
    }
    Ok(false)
}

/// Removes the files of a segment that does not belong to the log any more.
pub fn remove_files(segment: &Segment) -> Result<(), StorageError> {
    for path in segment.files() {
        match segment.disk().remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).at("remove", path);
            }
            _ => {}
        }
    }
    Ok(())
}
