//! Opening a partition's directory: what a stop or a crash left behind becomes a log again.
//!
//! ```text
//! 1. `.deleted` files go; `.cleaned` files go, and `.swap` files that a cut compaction left beside them;
//! 2. remaining `.swap` files are finished: what they replace goes, then they get their names;
//! 3. segments are opened; one whose index is missing or malformed is read anew;
//! 4. after an unclean stop every segment from the recovery point on is read batch by batch, checksums included;
//!    the first bad batch ends the log: the file is cut there, later segments go;
//! 5. epochs and producers are cut to what remains, and rebuilt from the newest good snapshot.
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::append::transaction_marker;
use super::checkpoint;
use super::disk;
use super::error::{DiskContext, StorageError};
use super::leader_epoch::LeaderEpochs;
use super::producer_state::ProducerStates;
use super::segment::{Segment, Span, file_name};
use super::settings::LogSettings;
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::wire::batch::header::{BatchHeader, MAGIC_V2};

/// Bytes read at a time when a segment is scanned.
const SCAN_BUFFER: usize = 1 << 20;
/// A batch larger than this ends a scan: nothing that size was ever accepted.
const BATCH_SIZE_MAX: usize = 1 << 30;

/// What was found in a directory.
#[derive(Debug)]
pub struct Recovered {
    pub segments: Vec<Segment>,
    pub epochs: LeaderEpochs,
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
    dir: &Path,
    settings: &LogSettings,
    known: Known,
    now: Timestamp,
) -> Result<Recovered, StorageError> {
    let files = tidy_up(dir)?;
    let mut segments: Vec<Segment> = files
        .logs
        .iter()
        .map(|(base, size)| Segment::open(dir, *base, *size, now))
        .collect();
    let mut truncated_bytes = 0;
    // Producer snapshots are not synced, and none is needed before the first segment that is read again.
    let mut snapshots_below = Offset::MAX;
    if known.clean {
        for index in 0..segments.len() {
            let next = segments.get(index + 1).map(|segment| segment.base_offset);
            let segment = &mut segments[index];
            if !indexes_plausible(segment, &files)? && segment.size > 0 {
                tracing::info!(path = %segment.path().display(), "rebuilding the indexes of a segment");
                scan(segment, settings, next, false)?;
            }
        }
    } else {
        let first_dirty = segments
            // One that ends there may have been rolled after the sync, and has its last index entries from then.
            .partition_point(|segment| segment.base_offset < known.recovery_point)
            .saturating_sub(1);
        let mut index = first_dirty;
        snapshots_below = segments
            .get(first_dirty)
            .map_or(0, |segment| segment.base_offset);
        while index < segments.len() {
            let next = segments.get(index + 1).map(|segment| segment.base_offset);
            let cut = scan(&mut segments[index], settings, next, true)?;
            truncated_bytes += cut;
            index += 1;
            if cut > 0 {
                // From the end on: a crash in between leaves no hole.
                for segment in segments.split_off(index).iter().rev() {
                    truncated_bytes += segment.size;
                    remove_files(segment)?;
                }
            }
        }
    }
    let first_base = segments.first().map_or(0, |segment| segment.base_offset);
    let log_start = known.log_start.unwrap_or(first_base).max(first_base);
    if segments.is_empty() {
        segments.push(Segment::create(dir, log_start, now)?);
    }
    let log_end = end_of(&mut segments)?.max(log_start);

    let epochs_path = dir.join(checkpoint::LEADER_EPOCHS);
    let mut epochs = match checkpoint::read_epochs(&epochs_path) {
        // It is not synced each time it is replaced; what it said stands in the batches too.
        Err(error) if !known.clean && error.source.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "rebuilding the leader epochs of a log");
            let rebuilt = epochs_of(&segments)?;
            checkpoint::write_epochs(&epochs_path, rebuilt.entries(), false)?;
            rebuilt
        }
        read => LeaderEpochs::from_entries(read?),
    };
    let cut_end = epochs.truncate_end(log_end);
    if epochs.truncate_start(log_start) || cut_end {
        checkpoint::write_epochs(&epochs_path, epochs.entries(), false)?;
    }
    let mut snapshots = files.snapshots;
    if !known.clean {
        // They may tell of batches that were lost; once the log has grown past them they would be believed.
        for offset in snapshots
            .iter()
            .filter(|offset| **offset > snapshots_below.min(log_end))
        {
            let path = dir.join(file_name(*offset, ".snapshot"));
            disk::remove_file(&path).at("remove", path)?;
        }
        // What was removed must not come back behind what is appended from now on.
        disk::sync_dir(dir).at("sync", dir)?;
    }
    snapshots.retain(|offset| *offset <= snapshots_below);
    let producers = load_producers(dir, &mut segments, &snapshots, log_start, log_end)?;
    Ok(Recovered {
        segments,
        epochs,
        producers,
        log_start,
        log_end,
        recovery_point: if known.clean {
            log_end
        } else {
            known.recovery_point.min(log_end)
        },
        truncated_bytes,
    })
}

/// The leader epochs as the batches know them.
fn epochs_of(segments: &[Segment]) -> Result<LeaderEpochs, StorageError> {
    let mut epochs = LeaderEpochs::default();
    for segment in segments.iter().filter(|segment| segment.size > 0) {
        let mut scanner = Scanner::open(segment.path(), segment.size)?;
        while let Some((span, _)) = scanner.next(false)? {
            epochs.assign(span.leader_epoch, span.base_offset);
        }
    }
    Ok(epochs)
}

#[derive(Debug, Default)]
struct Files {
    /// Base offset -> size of the data file.
    logs: BTreeMap<Offset, u64>,
    offset_indexes: BTreeMap<Offset, u64>,
    time_indexes: BTreeMap<Offset, u64>,
    snapshots: Vec<Offset>,
}

/// Steps 1 and 2 of the module.
fn tidy_up(dir: &Path) -> Result<Files, StorageError> {
    let mut names = list(dir)?;
    let base_of = |name: &str| {
        name.get(..20)
            .and_then(|digits| digits.parse::<Offset>().ok())
    };
    let remove = |name: &str| {
        let path = dir.join(name);
        match disk::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
            _ => Ok(()),
        }
    };

    let smallest_cleaned = names
        .iter()
        .filter(|name| name.ends_with(".cleaned"))
        .filter_map(|name| base_of(name))
        .min();
    let mut swaps = Vec::new();
    let mut swap_files = false;
    for name in &names {
        let swap = name.ends_with(".swap");
        swap_files |= swap;
        let doomed = name.ends_with(".deleted") && !name.contains(".checkpoint")
            || name.ends_with(".cleaned")
            || swap && smallest_cleaned.is_some_and(|cleaned| base_of(name) >= Some(cleaned));
        if doomed {
            remove(name)?;
        } else if name.ends_with(".log.swap")
            && let Some(base) = base_of(name)
        {
            swaps.push(base);
        }
    }
    for base in &swaps {
        // What the finished segment holds replaces every other segment that begins inside of it.
        let path = dir.join(file_name(*base, ".log.swap"));
        let size = fs::metadata(&path).at("examine", &path)?.len();
        let mut swap = Segment::open(dir, *base, size, 0);
        let swap_end = end_of_file(&path, size)?.unwrap_or(*base);
        swap.release_file();
        for name in &names {
            let plain = [".log", ".index", ".timeindex", ".txnindex"]
                .iter()
                .any(|suffix| name.ends_with(suffix));
            if plain && base_of(name).is_some_and(|other| other >= *base && other < swap_end) {
                remove(name)?;
            }
        }
    }
    if swap_files {
        for name in list(dir)? {
            if let Some(plain) = name.strip_suffix(".swap") {
                disk::rename(&dir.join(&name), &dir.join(plain)).at("rename", dir.join(&name))?;
            }
        }
    }
    names = list(dir)?;

    let mut files = Files::default();
    for name in &names {
        let Some((base, suffix)) = base_of(name).zip(name.get(20..)) else {
            continue;
        };
        let size = || {
            fs::metadata(dir.join(name))
                .map(|meta| meta.len())
                .at("examine", dir.join(name))
        };
        match suffix {
            ".log" => drop(files.logs.insert(base, size()?)),
            ".index" => drop(files.offset_indexes.insert(base, size()?)),
            ".timeindex" => drop(files.time_indexes.insert(base, size()?)),
            ".snapshot" => files.snapshots.push(base),
            _ => {}
        }
    }
    for (suffix, indexes) in [
        (".index", &files.offset_indexes),
        (".timeindex", &files.time_indexes),
    ] {
        for base in indexes.keys().filter(|base| !files.logs.contains_key(base)) {
            remove(&file_name(*base, suffix))?;
        }
    }
    files.snapshots.sort_unstable();
    Ok(files)
}

fn list(dir: &Path) -> Result<Vec<String>, StorageError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("list", dir)? {
        if let Ok(name) = entry.at("list", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The offset after the last batch of a data file; `None` when it has none.
fn end_of_file(path: &Path, size: u64) -> Result<Option<Offset>, StorageError> {
    let mut scanner = Scanner::open(path, size)?;
    let mut end = None;
    while let Some((span, _)) = scanner.next(false)? {
        end = Some(span.last_offset + 1);
    }
    Ok(end)
}

fn indexes_plausible(segment: &Segment, files: &Files) -> Result<bool, StorageError> {
    let base = segment.base_offset;
    let (Some(offsets), Some(times)) = (
        files.offset_indexes.get(&base),
        files.time_indexes.get(&base),
    ) else {
        return Ok(false);
    };
    if offsets % 8 != 0 || times % 12 != 0 {
        return Ok(false);
    }
    // A zero tail is what a preallocated index looks like that nobody trimmed.
    let entry_ok = |relative: u32, len: usize| relative > 0 || len == 1;
    let last_offset = segment.offsets.last()?;
    let last_time = segment.times.last()?;
    Ok(last_offset.is_none_or(|last| {
        entry_ok(last.relative_offset, segment.offsets.len())
            && u64::from(last.position) < segment.size
    }) && last_time.is_none_or(|last| last.timestamp > 0 || segment.times.len() == 1))
}

/// Reads a segment from its beginning and builds its indexes anew. With `check`, the first batch that is cut, fails its
/// checksum or goes back in offsets ends it; the bytes that were cut off are returned.
fn scan(
    segment: &mut Segment,
    settings: &LogSettings,
    next_base: Option<Offset>,
    check: bool,
) -> Result<u64, StorageError> {
    let size = segment.size;
    // After a crash the producers are replayed from the beginning of the segment, and find its aborted transactions again.
    let aborted = if check {
        Vec::new()
    } else {
        segment.aborted.all()?
    };
    segment.reset_indexes()?;
    if !aborted.is_empty() {
        segment.aborted.reset(aborted)?;
    }
    let path = segment.path().to_owned();
    let mut scanner = Scanner::open(&path, size)?;
    let mut expected = segment.base_offset;
    while let Some((span, batch)) = scanner.next(check)? {
        let valid = span.base_offset >= expected.min(span.last_offset)
            && span.last_offset >= expected
            && next_base.is_none_or(|next| span.last_offset < next)
            && span.last_offset - segment.base_offset <= i64::from(i32::MAX)
            && batch.is_none_or(|batch| checksum_holds(&span, &batch));
        if !valid {
            break;
        }
        expected = span.last_offset + 1;
        segment.remember(&span, u64::from(settings.index_interval_bytes))?;
    }
    let cut = size - segment.size;
    if cut > 0 {
        tracing::warn!(
            path = %segment.path().display(), position = segment.size, bytes = cut,
            "the end of a segment is not a whole valid batch; cutting it off"
        );
        let (position, offset) = (segment.size, expected);
        segment.truncate(position, offset)?;
        segment.sync()?;
    }
    segment.seal()?;
    Ok(cut)
}

fn checksum_holds(span: &Span, batch: &Bytes) -> bool {
    if span.magic == MAGIC_V2 {
        return BatchHeader::parse(batch)
            .and_then(|header| header.verify(batch))
            .is_ok();
    }
    // The old formats: a CRC-32 over everything after itself.
    let stored = batch
        .get(12..16)
        .map(|crc| u32::from_be_bytes([crc[0], crc[1], crc[2], crc[3]]));
    stored == batch.get(16..).map(crc32fast::hash)
}

/// Reads the batches of a data file in order through a large buffer.
pub(super) struct Scanner<'a> {
    file: fs::File,
    path: &'a Path,
    size: u64,
    position: u64,
    buffer: Bytes,
    buffer_at: u64,
}

impl<'a> Scanner<'a> {
    pub(super) fn open(path: &'a Path, size: u64) -> Result<Self, StorageError> {
        let file = disk::open(path).at("open", path)?;
        Ok(Self {
            file,
            path,
            size,
            position: 0,
            buffer: Bytes::new(),
            buffer_at: 0,
        })
    }

    /// The next batch, with its bytes if `whole`; `None` at the end or where no batch can be.
    pub(super) fn next(
        &mut self,
        whole: bool,
    ) -> Result<Option<(Span, Option<Bytes>)>, StorageError> {
        let head = self.window(super::segment::read_size_for_header(
            self.size - self.position,
        ))?;
        let Some(span) = Span::parse(&head, self.position) else {
            return Ok(None);
        };
        if span.end() > self.size || span.size > BATCH_SIZE_MAX {
            return Ok(None);
        }
        let batch = if whole {
            Some(self.window(span.size)?)
        } else {
            None
        };
        self.position = span.end();
        Ok(Some((span, batch)))
    }

    /// `len` bytes at the position, or as many as there are.
    fn window(&mut self, len: usize) -> Result<Bytes, StorageError> {
        let start = (self.position.saturating_sub(self.buffer_at)) as usize;
        if self.position >= self.buffer_at
            && let Some(end) = start
                .checked_add(len)
                .filter(|end| *end <= self.buffer.len())
        {
            return Ok(self.buffer.slice(start..end));
        }
        let wanted = len
            .max(SCAN_BUFFER)
            .min((self.size - self.position) as usize);
        let mut bytes = vec![0; wanted];
        let read = super::segment::read_at_most(&self.file, &mut bytes, self.position)
            .at("read", self.path)?;
        bytes.truncate(read);
        self.buffer = Bytes::from(bytes);
        self.buffer_at = self.position;
        Ok(self.buffer.slice(..len.min(read)))
    }
}

/// The offset after the last record of a log. An empty active segment ends where it begins.
fn end_of(segments: &mut [Segment]) -> Result<Offset, StorageError> {
    let Some(active) = segments.last_mut() else {
        return Ok(0);
    };
    let mut end = active.base_offset;
    let mut position = active
        .offsets
        .last()?
        .map_or(0, |entry| u64::from(entry.position).min(active.size));
    while let Some(span) = active.span_at(position)? {
        end = span.last_offset + 1;
        position = span.end();
    }
    active.release_file();
    Ok(end)
}

/// Producers from the newest good snapshot at or below the end, and what was appended after it.
fn load_producers(
    dir: &Path,
    segments: &mut [Segment],
    snapshots: &[Offset],
    log_start: Offset,
    log_end: Offset,
) -> Result<ProducerStates, StorageError> {
    let mut from = log_start;
    let mut states = ProducerStates::default();
    for offset in snapshots.iter().rev().filter(|offset| **offset <= log_end) {
        let path = dir.join(file_name(*offset, ".snapshot"));
        let bytes = disk::read(&path).at("read", &path)?;
        match ProducerStates::from_snapshot(&bytes) {
            Ok(loaded) => {
                states = loaded;
                from = *offset;
                break;
            }
            Err(what) => {
                tracing::warn!(path = %path.display(), what, "removing an unusable producer snapshot");
                disk::remove_file(&path).at("remove", &path)?;
            }
        }
    }
    replay_producers(&mut states, segments, from)?;
    Ok(states)
}

/// Applies every batch from `from` on.
pub fn replay_producers(
    states: &mut ProducerStates,
    segments: &mut [Segment],
    from: Offset,
) -> Result<(), StorageError> {
    let first = segments
        .partition_point(|segment| segment.base_offset <= from)
        .saturating_sub(1);
    for segment in &mut segments[first..] {
        let mut next = if segment.size > 0 {
            segment.locate(from)?
        } else {
            None
        };
        while let Some(span) = next {
            if span.magic == MAGIC_V2 {
                replay_batch(states, segment, &span)?;
            }
            next = segment.span_at(span.end())?;
        }
        segment.release_file();
    }
    Ok(())
}

fn replay_batch(
    states: &mut ProducerStates,
    segment: &mut Segment,
    span: &Span,
) -> Result<(), StorageError> {
    let head = Span {
        size: super::segment::read_size_for_header(span.size as u64),
        ..*span
    };
    let Ok(header) = BatchHeader::parse(&segment.read(&head)?) else {
        return Ok(());
    };
    if !header.has_producer_id() {
        return Ok(());
    }
    if !header.is_control() {
        if header.base_sequence >= 0 {
            states.apply(&header);
        }
        return Ok(());
    }
    let batch = segment.read(span)?;
    if let Some(marker) = transaction_marker(&header, &batch)
        && let Some(aborted) = states.apply_marker(&header, marker)
        && segment
            .aborted
            .last()?
            .is_none_or(|last| last.last_offset < aborted.last_offset)
    {
        segment.aborted.push(aborted)?;
        segment.aborted.write_pending()?;
    }
    Ok(())
}

/// Removes the files of a segment that is no part of the log any more.
pub fn remove_files(segment: &Segment) -> Result<(), StorageError> {
    for path in segment.files() {
        match disk::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).at("remove", path);
            }
            _ => {}
        }
    }
    Ok(())
}
