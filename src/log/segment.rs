//! A segment of a log: a data file and its indexes. Files are opened when they are first needed.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cold::read_within;
use super::error::{DiskContext, StorageError};
use super::index::offset::{OffsetEntry, OffsetIndex};
use super::index::sparse::Entry as _;
use super::index::time::{TimeEntry, TimeIndex};
use super::index::transaction::TransactionIndex;
use super::settings::LogSettings;
use crate::base::file_range::FileRange;
use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::time::Timestamp;
use crate::host::descriptors::Held;
use crate::host::disk::{Dir, Disk};
use crate::host::file::{File, Reach};
use crate::wire::batch::header::{self, BatchHeader, HEADER_SIZE, LOG_OVERHEAD, MAGIC_V2};

/// Number of recent batches whose positions are kept, so that a consumer at the end of the log needs no index.
const RECENT_BATCHES: usize = 64;
/// Number of bytes from a batch on that are loaded together, as the following ones will be needed next.
const AHEAD: u64 = 64 << 10;
/// Minimum length of a message of the old formats.
const SMALLEST_MESSAGE: i32 = 14;

/// Location of a batch or an old message, as known from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub position: u64,
    pub size: usize,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: Timestamp,
    pub magic: i8,
    pub leader_epoch: LeaderEpoch,
}

impl Span {
    /// Parses the first bytes at `position`; `None` if no batch can start there.
    pub fn parse(head: &[u8], position: u64) -> Option<Self> {
        let base_offset = i64::from_be_bytes(*head.first_chunk()?);
        let length = i32::from_be_bytes(*head.get(8..12)?.first_chunk()?);
        let magic = *head.get(16)? as i8;
        // The largest offset cannot be used, because the log end must be representable.
        if length < SMALLEST_MESSAGE || !(0..Offset::MAX).contains(&base_offset) {
            return None;
        }
        let size = length as usize + LOG_OVERHEAD;
        if magic == MAGIC_V2 {
            let header = BatchHeader::parse(head).ok()?;
            let last = base_offset.checked_add(i64::from(header.last_offset_delta))?;
            return (header.last_offset_delta >= 0 && last < Offset::MAX).then(|| Self {
                position,
                size,
                base_offset,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
                magic,
                leader_epoch: header.leader_epoch,
            });
        }
        let max_timestamp = match magic {
            0 => -1,
            1 => i64::from_be_bytes(*head.get(18..26)?.first_chunk()?),
            _ => return None,
        };
        Some(Self {
            position,
            size,
            base_offset,
            last_offset: base_offset,
            max_timestamp,
            magic,
            leader_epoch: -1,
        })
    }

    pub fn end(&self) -> u64 {
        self.position + self.size as u64
    }
}

/// A segment of a log.
#[derive(Debug)]
pub struct Segment {
    pub base_offset: Offset,
    /// Size of the complete batches in the data file, in bytes.
    pub size: u64,
    disk: Disk,
    /// Path of the data file; the indexes are beside it.
    path: Arc<Path>,
    /// The open data file, if there is room among the files that stay open; otherwise it is opened for each use.
    file: Option<(Arc<File>, Option<Held>)>,
    /// The data file is longer than its content, and is trimmed when the segment is sealed.
    preallocated: bool,
    pub offsets: OffsetIndex,
    pub times: TimeIndex,
    pub aborted: TransactionIndex,
    bytes_since_index: u64,
    /// Latest timestamp and the last offset of its batch, of the active segment since it was opened.
    newest: Option<(Timestamp, Offset)>,
    /// Timestamp of the last entry of the time index, if known.
    last_indexed: Option<Timestamp>,
    /// Timestamp of the first batch of the active segment.
    first_timestamp: Option<Timestamp>,
    pub created: Timestamp,
    recent: VecDeque<(Offset, u32)>,
}

/// Name of a file in a partition's directory: `<20 digits><suffix>`.
pub fn file_name(base_offset: Offset, suffix: &str) -> String {
    format!("{base_offset:020}{suffix}")
}

impl Segment {
    /// Opens a segment with a data file of `size` bytes. The sizes of indexes are those of their files.
    pub fn open(dir: Dir<'_>, base_offset: Offset, size: u64, now: Timestamp) -> Self {
        let disk = dir.disk;
        let path = dir.path.join(file_name(base_offset, ".log")).into();
        Self {
            base_offset,
            size,
            disk: disk.clone(),
            file: None,
            preallocated: false,
            offsets: OffsetIndex::beside(disk, &path),
            times: TimeIndex::beside(disk, &path),
            aborted: TransactionIndex::beside(disk, &path),
            path,
            bytes_since_index: 0,
            newest: None,
            last_indexed: None,
            first_timestamp: None,
            created: now,
            recent: VecDeque::new(),
        }
    }

    /// Opens a segment for reading only, with any file names. A missing index is empty.
    pub fn look(
        disk: &Disk,
        base_offset: Offset,
        [log, index, time_index, txn_index]: [PathBuf; 4],
    ) -> Result<Self, StorageError> {
        let len = |path: &Path| disk.size_of(path);
        let (index_len, time_len, txn_len) = (len(&index), len(&time_index), len(&txn_index));
        let dir = log.parent().unwrap_or_else(|| Path::new(""));
        let mut this = Self::open(
            disk.dir(dir),
            base_offset,
            disk.facts(&log).at("examine", &log)?.size,
            0,
        );
        this.file = Some((Arc::new(disk.open(&log).at("open", &log)?), None));
        this.path = log.into();
        this.offsets = OffsetIndex::new(disk, index, index_len);
        this.times = TimeIndex::new(disk, time_index, time_len);
        this.aborted = TransactionIndex::new(disk, txn_index, txn_len);
        Ok(this)
    }

    /// Creates an empty segment with the same files as Kafka's. With `preallocate` the data file gets its full length at once;
    /// after a restart it grows as it is written.
    pub fn create(
        dir: Dir<'_>,
        base_offset: Offset,
        settings: &LogSettings,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let mut this = Self::open(dir, base_offset, 0, now);
        this.offsets.reset(Vec::new())?;
        this.times.reset(Vec::new())?;
        let file = this.file()?;
        if settings.preallocate {
            dir.disk
                .allocate(&file, &this.path, u64::from(settings.segment_bytes))
                .at("allocate", &*this.path)?;
            this.preallocated = true;
        }
        Ok(this)
    }

    /// Creates an empty segment whose file names have a further suffix, beside the segments in use.
    pub fn create_as(
        dir: Dir<'_>,
        base_offset: Offset,
        suffix: &str,
        now: Timestamp,
    ) -> Result<Self, StorageError> {
        let disk = dir.disk;
        let name = file_name(base_offset, &format!(".log{suffix}"));
        let mut this = Self::open(dir, base_offset, 0, now);
        this.path = dir.path.join(name).into();
        this.offsets = OffsetIndex::empty_beside(disk, &this.path);
        this.times = TimeIndex::empty_beside(disk, &this.path);
        this.aborted = TransactionIndex::empty_beside(disk, &this.path);
        this.offsets.reset(Vec::new())?;
        this.times.reset(Vec::new())?;
        // Content that a crash left under the same name must not remain at the end.
        disk.set_len(&*this.file()?, &this.path, 0)
            .at("truncate", &*this.path)?;
        Ok(this)
    }

    /// Appends a batch with its own offsets, unchanged.
    pub fn append_raw(
        &mut self,
        batch: &Bytes,
        span: &Span,
        index_interval: u64,
    ) -> Result<(), StorageError> {
        let span = Span {
            position: self.size,
            ..*span
        };
        self.write_at_end(&mut [IoSlice::new(batch)])?;
        self.remember(&span, index_interval)
    }

    /// Appends batches that have their offsets already, as they are, with one write. `spans` are those of all of them.
    pub fn append_run<'a>(
        &mut self,
        batches: &Bytes,
        spans: impl Iterator<Item = &'a Span>,
        index_interval: u64,
    ) -> Result<(), StorageError> {
        self.write_at_end(&mut [IoSlice::new(batches)])?;
        for span in spans {
            let position = self.size;
            self.remember(&Span { position, ..*span }, index_interval)?;
            self.note_first(span.max_timestamp);
        }
        Ok(())
    }

    /// Writes to the end of the data file. The size of the segment grows when the batches are remembered.
    #[cfg_attr(test, track_caller)]
    fn write_at_end(&mut self, parts: &mut [IoSlice<'_>]) -> Result<(), StorageError> {
        let file = self.file()?;
        self.disk
            .write_all_at(&file, &self.path, parts, self.size)
            .at("append to", &*self.path)
    }

    fn note_first(&mut self, timestamp: Timestamp) {
        if self.first_timestamp.is_none() && timestamp >= 0 {
            self.first_timestamp = Some(timestamp);
        }
    }

    /// Number of entries that still fit into each index.
    pub fn index_room(&self, index_bytes: u32) -> usize {
        let offsets = index_bytes as usize / OffsetEntry::SIZE;
        // One place in the time index is for the newest timestamp, when the segment is sealed.
        let times = (index_bytes as usize / TimeEntry::SIZE).saturating_sub(self.times.len() + 1);
        offsets.saturating_sub(self.offsets.len()).min(times)
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data file, opened for reading and writing.
    pub fn file(&mut self) -> Result<Arc<File>, StorageError> {
        if let Some((file, _)) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(
            self.disk
                .open_or_create(&self.path)
                .at("open", &*self.path)?,
        );
        if let Some(held) = self.disk.keep_file() {
            self.file = Some((Arc::clone(&file), Some(held)));
        }
        Ok(file)
    }

    /// Closes the descriptor; readers that use it keep it open.
    pub fn release_file(&mut self) {
        self.file = None;
    }

    /// Appends a batch with final offsets, and sets its base offset and leader epoch on the way: one write without a copy.
    pub fn append(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        index_interval: u64,
    ) -> Result<(), StorageError> {
        let mut head = [0; HEADER_SIZE];
        head.copy_from_slice(&batch[..HEADER_SIZE]);
        header::stamp(&mut head, header.base_offset, header.leader_epoch);
        self.write_at_end(&mut [IoSlice::new(&head), IoSlice::new(&batch[HEADER_SIZE..])])?;
        self.remember(
            &Span {
                position: self.size,
                size: batch.len(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
                magic: header.magic,
                leader_epoch: header.leader_epoch,
            },
            index_interval,
        )?;
        self.note_first(header.max_timestamp);
        Ok(())
    }

    /// Adds a batch at the end of the file to the indexes. Like Kafka, writes an entry before a batch if more than
    /// `index_interval` bytes came since the last entry.
    pub fn remember(&mut self, span: &Span, index_interval: u64) -> Result<(), StorageError> {
        let newest = self.newest_timestamp()?;
        if newest.is_none_or(|(timestamp, _)| span.max_timestamp > timestamp) {
            self.newest = Some((span.max_timestamp, span.last_offset));
        }
        if self.bytes_since_index > index_interval {
            self.offsets.push(OffsetEntry {
                relative_offset: (span.last_offset - self.base_offset) as u32,
                position: span.position as u32,
            })?;
            self.push_newest()?;
            self.bytes_since_index = 0;
        }
        self.bytes_since_index += span.size as u64;
        self.size = span.end();
        if self.recent.len() == RECENT_BATCHES {
            self.recent.pop_front();
        }
        self.recent
            .push_back((span.last_offset, span.position as u32));
        Ok(())
    }

    fn push_newest(&mut self) -> Result<(), StorageError> {
        let Some((timestamp, offset)) = self.newest.filter(|(timestamp, _)| *timestamp >= 0) else {
            return Ok(());
        };
        let last = match self.last_indexed {
            Some(last) => Some(last),
            None => self.times.last()?.map(|last| last.timestamp),
        };
        if last.is_none_or(|last| timestamp > last) {
            self.times.push(TimeEntry {
                timestamp,
                relative_offset: (offset - self.base_offset) as u32,
            })?;
            self.last_indexed = Some(timestamp);
        }
        Ok(())
    }

    /// Latest timestamp of the segment and the last offset of its batch, as known from memory and the time index.
    pub fn newest_timestamp(&mut self) -> Result<Option<(Timestamp, Offset)>, StorageError> {
        self.newest_timestamp_within(Reach::Disk)
    }

    /// Latest timestamp of the segment and the last offset of its batch, if `reach` allows to read it.
    pub fn newest_timestamp_within(
        &mut self,
        reach: Reach,
    ) -> Result<Option<(Timestamp, Offset)>, StorageError> {
        if self.newest.is_none() && !self.times.is_empty() {
            let last = self.times.last_within(reach)?;
            self.last_indexed = last.map(|last| last.timestamp);
            self.newest = last.map(|last| {
                (
                    last.timestamp,
                    self.base_offset + i64::from(last.relative_offset),
                )
            });
        }
        Ok(self.newest)
    }

    /// Timestamp for the age of the segment: the latest of its records, or the time of the last write if records have no
    /// timestamps.
    pub fn largest_timestamp(&mut self, reach: Reach) -> Result<Timestamp, StorageError> {
        Ok(match self.newest_timestamp_within(reach)? {
            Some((timestamp, _)) if timestamp >= 0 => timestamp,
            _ => self.last_modified(),
        })
    }

    /// Time of the last write to the data file.
    pub fn last_modified(&self) -> Timestamp {
        last_modified(&self.disk, &self.path).unwrap_or(self.created)
    }

    /// Timestamp of the first batch.
    pub fn first_timestamp(&mut self, reach: Reach) -> Result<Option<Timestamp>, StorageError> {
        if self.first_timestamp.is_none() {
            // The batch was written before the log was opened.
            let first = self.span_at(0, reach)?.map(|first| first.max_timestamp);
            self.first_timestamp = first.filter(|at| *at >= 0);
        }
        Ok(self.first_timestamp)
    }

    /// Reads data of batches from before the log was opened that an append needs.
    pub fn recall(&mut self, reach: Reach) -> Result<(), StorageError> {
        self.newest_timestamp_within(reach)?;
        self.first_timestamp(reach).map(drop)
    }

    /// Called after the directory with all files was renamed.
    pub fn has_moved_to(&mut self, dir: &Path) {
        let name = file_name(self.base_offset, ".log");
        self.have_moved_to(dir.join(name).into());
    }

    fn have_moved_to(&mut self, data: Arc<Path>) {
        self.offsets.has_moved(&data);
        self.times.has_moved(&data);
        self.aborted.has_moved(&data);
        self.path = data;
    }

    /// Renames all files to another ending.
    pub fn change_ending(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        let name = self.path.to_string_lossy();
        let plain = name.strip_suffix(from).unwrap_or(&name);
        let target = PathBuf::from(format!("{plain}{to}"));
        let before = self.files();
        self.have_moved_to(target.into());
        for (path, target) in before.iter().zip(&self.files()) {
            match self.disk.rename(path, target) {
                // A segment without aborted transactions has no file for them.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("rename", path);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Seals the segment: writes the last time index entry and all index entries in memory, and trims a preallocated file.
    pub fn seal(&mut self) -> Result<(), StorageError> {
        self.newest_timestamp()?;
        self.push_newest()?;
        self.offsets.write_pending()?;
        self.times.write_pending()?;
        self.recent = VecDeque::new();
        if self.preallocated {
            let file = self.file()?;
            self.disk
                .set_len(&file, &self.path, self.size)
                .at("trim", &*self.path)?;
            self.preallocated = false;
        }
        Ok(())
    }

    pub fn is_preallocated(&self) -> bool {
        self.preallocated
    }

    /// Writes index entries that are in memory, for the active segment.
    pub fn write_pending(&mut self) -> Result<(), StorageError> {
        self.offsets.write_pending()?;
        self.times.write_pending()?;
        self.aborted.write_pending()
    }

    /// Makes the segment durable.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.write_pending()?;
        let file = self.file()?;
        self.disk.sync(&file, &self.path).at("sync", &*self.path)
    }

    /// Seals the segment and makes it and its indexes durable, for a clean stop.
    pub fn close(&mut self) -> Result<(), StorageError> {
        self.seal()?;
        self.sync_indexes()?;
        self.sync()
    }

    /// Makes the indexes durable, which is necessary before recovery skips the segment.
    pub fn sync_indexes(&mut self) -> Result<(), StorageError> {
        self.offsets.close()?;
        self.times.close()?;
        self.aborted.close()
    }

    /// Writes index entries that are in memory, so that the indexes can be synced.
    pub fn write_indexes(&mut self) -> Result<(), StorageError> {
        self.offsets.complete()?;
        self.times.complete()?;
        self.aborted.complete()
    }

    /// Paths of the indexes. The index of aborted transactions may not exist.
    pub fn indexes(&self) -> [PathBuf; 3] {
        [
            (&self.offsets).into(),
            (&self.times).into(),
            (&self.aborted).into(),
        ]
    }

    /// The first batch at or after `position`; `None` at the end of the segment, or if no batch can start there.
    pub fn span_at(&mut self, position: u64, reach: Reach) -> Result<Option<Span>, StorageError> {
        if position >= self.size {
            return Ok(None);
        }
        let mut head = [0; HEADER_SIZE];
        let ahead = FileRange {
            file: self.file()?,
            position,
            len: (self.size - position).min(AHEAD) as usize,
        };
        let read = read_within(&self.disk, &ahead, &*self.path, &mut head, position, reach)
            .at("read", &*self.path)?;
        let span = Span::parse(&head[..read], position);
        Ok(span.filter(|span| span.end() <= self.size))
    }

    /// The first batch whose last offset is at or above `offset`.
    pub fn locate(&mut self, offset: Offset, reach: Reach) -> Result<Option<Span>, StorageError> {
        let mut position = self.position_before(offset, reach)?;
        while let Some(span) = self.span_at(position, reach)? {
            if span.last_offset >= offset {
                return Ok(Some(span));
            }
            position = span.end();
        }
        Ok(None)
    }

    /// A position at or before the batch that contains `offset`, as precise as memory and the index allow.
    fn position_before(&self, offset: Offset, reach: Reach) -> Result<u64, StorageError> {
        let near = self.recent.partition_point(|&(last, _)| last < offset);
        if let Some(&(_, position)) = self.recent.get(near)
            && near > 0
        {
            return Ok(u64::from(position));
        }
        let relative = offset - self.base_offset;
        let entry = self
            .offsets
            .last_where(|entry| i64::from(entry.relative_offset) <= relative, reach)?;
        Ok(entry.map_or(0, |entry| u64::from(entry.position)))
    }

    /// Range of the data file that may contain records at or after `timestamp`, as precise as the indexes allow: there are none
    /// before it.
    pub fn since(&mut self, timestamp: Timestamp, reach: Reach) -> Result<FileRange, StorageError> {
        let entry = self
            .times
            .last_where(|entry| entry.timestamp < timestamp, reach)?;
        let from = entry.map_or(self.base_offset, |entry| {
            self.base_offset + i64::from(entry.relative_offset)
        });
        let position = self.position_before(from, reach)?;
        Ok(FileRange {
            file: self.file()?,
            position,
            len: self.size.saturating_sub(position) as usize,
        })
    }

    /// Bytes of a batch.
    pub fn read(&mut self, span: &Span, reach: Reach) -> Result<Bytes, StorageError> {
        let mut bytes = vec![0; span.size];
        let whole = FileRange {
            file: self.file()?,
            position: span.position,
            len: span.size,
        };
        let read = read_within(
            &self.disk,
            &whole,
            &*self.path,
            &mut bytes,
            span.position,
            reach,
        )
        .at("read", &*self.path)?;
        if read < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).at("read", &*self.path);
        }
        Ok(Bytes::from(bytes))
    }

    /// Truncates the segment at `position`, where the batch of `offset` starts.
    pub fn truncate(&mut self, position: u64, offset: Offset) -> Result<(), StorageError> {
        let file = self.file()?;
        self.disk
            .set_len(&file, &self.path, position)
            .at("truncate", &*self.path)?;
        self.preallocated = false;
        self.size = position;
        let relative = offset - self.base_offset;
        self.offsets
            .truncate_where(|entry| i64::from(entry.relative_offset) < relative)?;
        self.times
            .truncate_where(|entry| i64::from(entry.relative_offset) < relative)?;
        if !self.aborted.is_empty() {
            self.aborted
                .truncate_where(|entry| entry.last_offset < offset)?;
        }
        self.recent.clear();
        self.last_indexed = None;
        if position == 0 {
            self.first_timestamp = None;
        }
        self.bytes_since_index = 0;
        if self
            .newest
            .is_none_or(|(_, last_offset)| last_offset >= offset)
        {
            self.find_newest()?;
        }
        Ok(())
    }

    /// Finds the latest timestamp, also after the last entry of the time index.
    fn find_newest(&mut self) -> Result<(), StorageError> {
        self.newest = None;
        let known = self.newest_timestamp()?;
        let from = known.map_or(self.base_offset, |(_, last_offset)| last_offset);
        let mut position = self.position_before(from, Reach::Disk)?;
        while let Some(span) = self.span_at(position, Reach::Disk)? {
            if self
                .newest
                .is_none_or(|(newest, _)| span.max_timestamp > newest)
            {
                self.newest = Some((span.max_timestamp, span.last_offset));
            }
            position = span.end();
        }
        Ok(())
    }

    /// Truncates the data file after its batches again, even if it already has that length, and makes it durable.
    pub fn cut_again(&mut self) -> Result<(), StorageError> {
        let file = self.file()?;
        let again = self.disk.set_len(&file, &self.path, self.size);
        again.at("truncate", &*self.path)?;
        self.sync()
    }

    /// Clears the offset and time indexes; the caller adds all batches again with [`Self::remember`].
    pub fn reset_indexes(&mut self) -> Result<(), StorageError> {
        self.offsets.reset(Vec::new())?;
        self.times.reset(Vec::new())?;
        self.recent.clear();
        self.newest = None;
        self.last_indexed = None;
        self.bytes_since_index = 0;
        self.size = 0;
        Ok(())
    }

    /// Paths of all files that the segment may have.
    pub fn files(&self) -> [PathBuf; 4] {
        let [offsets, times, aborted] = self.indexes();
        [self.path.to_path_buf(), offsets, times, aborted]
    }
}

/// Time of the last write to a file, if known.
pub fn last_modified(disk: &Disk, path: &Path) -> Option<Timestamp> {
    disk.modified(path)?.millis()
}

/// Number of bytes to read for a batch header, with `remaining` bytes left.
pub fn read_size_for_header(remaining: u64) -> usize {
    remaining.min(HEADER_SIZE as u64) as usize
}
