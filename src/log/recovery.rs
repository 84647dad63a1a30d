//! Opening a partition's directory: what a stop or a crash left behind becomes a log again.
//!
//! ```text
//! 1. `.deleted` files go (the mark of [`cutting`] at the very end); `.cleaned` files go, and `.swap` files that a cut
//!    compaction left beside them;
//! 2. remaining `.swap` files are finished: what they replace goes, then they get their names;
//! 3. segments are opened; one whose offsets lie too far apart is [split](splitting), and everything begins again; one
//!    whose index is missing or malformed is read anew, and its indexes are synced;
//! 4. after an unclean stop every segment from the recovery point on is read batch by batch, checksums included;
//!    the first bad batch ends the log: the file is cut there, later segments go, unless no offset is missing before the
//!    next one: then it was nothing of the log's, but the zeros of a segment that was allocated in advance. After a
//!    clean one only a file that does not end with a whole batch is looked at in this way;
//! 5. epochs and producers are cut to what remains, and rebuilt from the newest good snapshot.
//! ```
//! [`verify`](super::verify) tells what all this would do, without doing it: what is decided here is decided in functions
//! that both use.

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
pub use scanner::{Expected, Flaw, Scanner};
pub use splitting::base_for;

/// What was found in a directory.
#[derive(Debug)]
pub struct Recovered {
    pub segments: Segments,
    pub epochs: LeaderEpochs,
    pub epochs_file: EpochsFile,
    pub producers: ProducerStates,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Everything below is on disk for good.
    pub recovery_point: Offset,
    /// Bytes that were cut from the end.
    pub truncated_bytes: u64,
}

/// What is known about a log before its directory is read.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub clean: bool,
    pub recovery_point: Offset,
    /// From the checkpoint of log starts, where it has the partition.
    pub log_start: Option<Offset>,
}

/// See the module.
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

/// What came of reading a directory.
enum Attempt {
    Recovered(Box<Recovered>),
    /// A segment must be split first; where the next one begins.
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
        // Any other fault of its content is mended below.
        Err(error) if error.source.kind() != io::ErrorKind::InvalidData => return Err(error),
        read => read,
    };
    let mut cutting = Cutting::of(place);
    if files.are_any() {
        cutting.begin()?;
    }
    tidy_up(place, &files)?;
    let bases = files.bases();
    // Most partitions have one segment for long; a growing list would make room for four.
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
        // No later flush looks at it again.
        segment.sync_indexes()?;
    }
    let mut scanned = LeaderEpochs::default();
    let mut truncated_bytes = 0;
    // Producer snapshots are not synced, and none is needed before the first segment that is read again.
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
            // From the end on: a crash in between leaves no hole.
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
        // That of a new log is not synced, not even by a clean stop if the log is empty; what it said stands in the
        // batches too.
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
        // The checkpoint may also hold epochs from before a truncation.
        let stored = epochs.clone();
        epochs.truncate_end(*first_read);
        for (epoch, start) in scanned.entries() {
            epochs.assign(*epoch, *start);
        }
        changed |= epochs != stored;
    }
    // Nobody need wait for the file: until it is replaced, the next start finds the same again.
    let epochs_file = match epochs.truncate_start(log_start) {
        _ if changed => EpochsFile::Outdated,
        true => EpochsFile::TooLong,
        false => EpochsFile::Current,
    };
    // They may tell of batches that were lost; once the log has grown past them they would be believed. One of what was
    // flushed is true, though it is of no use now: every log has such a one after a clean stop.
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
        // What was cut off, now or by who did not get to the end of it, must not come back behind what is appended from
        // now on.
        for segment in segments.iter_mut().skip(plan.reread_from) {
            segment.cut_again()?;
            segment.release_file();
        }
        // Nor must what was removed.
        disk.sync_dir(dir).at("sync", dir)?;
    }
    cutting.end()?;
    // One from before the first segment does not know how the transactions ended that were open then. It may be here when a
    // power cut undid the removal of its segment by half.
    snapshots.retain(|offset| *offset >= first_base);
    // Of those that no segment begins with, left behind by clean stops, only the newest is of any use.
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

/// Whether the file of epochs is older than the batches that were read again: its last replacement was not synced.
pub fn epochs_lacking(listed: &LeaderEpochs, scanned: &LeaderEpochs) -> bool {
    scanned.latest() > listed.latest()
}

/// The leader epochs as the batches know them.
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

/// What becomes of the segments of a log: steps 3 and 4 of the module, decided before anything is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Their indexes are built again, from batches whose checksums nobody looks at.
    pub rebuild: Vec<usize>,
    /// It becomes several before anything else is done; more may be found while segments are read.
    pub split: Option<usize>,
    /// From this one on every batch is read.
    pub reread_from: usize,
    /// The offset after the last record, where no segment has to be read for that.
    pub end: Option<Offset>,
}

/// Decides. Nothing is changed.
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
            // One that ends there may have been rolled after the sync, and has its last index entries from then.
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
        // Kafka differs: it finds this only where it reads a segment anew. Lookups in such an index go astray.
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
        // The offset of a batch lies outside of its checksum.
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
        // Only who follows the producers finds aborted transactions.
        plan.reread_from = index;
        plan.rebuild.retain(|other| *other < index);
        plan.end = None;
    }
    Ok(plan)
}

/// A snapshot of producers above this offset tells of batches that are read again.
pub fn snapshots_below(segments: &[Segment], reread_from: usize, clean: bool) -> Offset {
    match segments.get(reread_from) {
        Some(first) => first.base_offset,
        None if clean => Offset::MAX,
        None => 0,
    }
}

/// Steps 1 and 2 of the module.
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

/// What steps 1 and 2 will do in a directory.
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
        // Who opens a pipe waits for somebody at its other end.
        if is_of_segment(name) && !entry.is_a_file().at("look at", entry.path())? {
            let what = "it should be a file of this partition and is none; move it away";
            return Err(malformed(entry.path(), what));
        }
        names.extend(entry.into_text());
    }
    Ok(names)
}

/// By its name, with or without a further suffix.
fn is_of_segment(name: &str) -> bool {
    let digits = name.bytes().take(20);
    digits.filter(u8::is_ascii_digit).count() == 20
}

/// The offset after the last batch of a data file; `None` when it has none.
fn end_of_file(disk: &Disk, path: &Path, size: u64) -> Result<Option<Offset>, StorageError> {
    let mut scanner = Scanner::open(disk, path, size)?;
    let mut end = None;
    while let Some(span) = scanner.next_span()? {
        end = Some(span.last_offset + 1);
    }
    Ok(end)
}

/// Whether the indexes of a segment of `size` bytes look as if they had been closed. Only their ends are looked at.
fn indexes_plausible(
    offsets: &OffsetIndex,
    times: &TimeIndex,
    size: u64,
) -> Result<bool, StorageError> {
    if !offsets.is_whole() || !times.is_whole() {
        return Ok(false);
    }
    // A preallocated index that was never trimmed ends with zeros. A relative offset that does not fit has wrapped around.
    let entry_ok =
        |relative: u32, len: usize| relative <= RELATIVE_MAX && (relative > 0 || len == 1);
    let last_offset = offsets.last()?;
    let last_time = times.last()?;
    Ok(last_offset.is_none_or(|last| {
        entry_ok(last.relative_offset, offsets.len()) && u64::from(last.position) < size
    }) && last_time
        .is_none_or(|last| last.relative_offset <= RELATIVE_MAX && last.timestamp > 0))
}

/// As far as an index reaches from the first offset of its segment.
pub const RELATIVE_MAX: u32 = i32::MAX as u32;

/// Whether the index of aborted transactions looks as if it had been closed, too. Kafka looks at each of its entries.
fn aborted_plausible(segment: &Segment, next: Option<&Segment>) -> Result<bool, StorageError> {
    let below = next.map_or(Offset::MAX, |next| next.base_offset);
    let last = segment.aborted.last()?;
    Ok(segment.aborted.is_whole()
        && last.is_none_or(|last| {
            last.first_offset < last.last_offset
                && (segment.base_offset..below).contains(&last.last_offset)
        }))
}

/// Kafka differs: such a batch is one of v2 to it, and goes to consumers as it is.
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

/// What a scan cut off.
#[derive(Debug)]
struct Cut {
    bytes: u64,
    /// Or they were no part of the log: it goes on with the next segment where this one ends now.
    of_records: bool,
}

/// Reads a segment from its beginning and builds its indexes anew; `epochs` hears of those that wrote it. With `check`,
/// the first batch that is cut, fails its checksum or goes back in offsets ends it. `None`: it must be split.
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
    // After a crash the producers are replayed from the beginning of the segment, and find its aborted transactions again.
    // Otherwise they are on disk, and stay as they are: nobody would find them again if this start is cut short.
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

/// The offset after the last record of the active segment, and the position where its batches end. An empty one ends
/// where it begins.
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

/// Whether a snapshot of producers has none: it can tell of no batch that was lost.
fn says_nothing(disk: &Disk, path: &Path) -> Result<bool, StorageError> {
    Ok(read_snapshot(disk, path)?.is_ok_and(|states| states.is_empty()))
}

/// Producers from the newest good snapshot at or below the end, and what was appended after it.
fn load_producers(
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

/// Reads a `.snapshot` file; the inner error says what is wrong with it. Nothing is allocated on the word of a file that is not
/// as long as it says.
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

/// Applies every batch from `from` on. In `dir` it leaves a snapshot for each segment that begins on the way, as rolling did.
///
/// Where something lacks below the log start, as a power cut undid the removal of some segments but not of others, nobody
/// knows which transactions ended there. None counts as open: what is left of them to be read opens them again.
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
            // The segment may be one that no later flush looks at.
            segment.aborted.close()?;
        }
        segment.release_file();
    }
    Ok(())
}

/// Applies a batch; true where it ends an aborted transaction that the segment's index did not know.
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

/// Removes the files of a segment that is no part of the log any more.
pub fn remove_files(segment: &Segment) -> Result<(), StorageError> {
    for path in segment.files() {
        match segment.disk().remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).at("remove", path);
            }
            _ => {}
        }
    }
    Ok(())
}
