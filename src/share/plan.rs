//! Plans a read for a share group: a part of a segment file and the batches in it. Only batch headers are read, not records.

use std::collections::HashMap;
use std::io;

use super::machine::{Acquired, LogBatch};
use crate::base::file_range::FileRange;
use crate::base::ids::{Offset, ProducerId};
use crate::host::file::Reach;
use crate::log::error::ReadError;
use crate::log::index::transaction::AbortedTransaction;
use crate::log::partition_log::{ReadEnd, Watermarks};
use crate::replica::partition::Partition;
use crate::wire::batch::BatchError;
use crate::wire::batch::header::{BatchHeader, HEADER_SIZE};
use crate::wire::error_code::ErrorCode;

/// A part of a segment file that can be sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Offset from which the group reads.
    pub from: Offset,
    pub records: FileRange,
    pub batches: Vec<LogBatch>,
    /// End position of each batch in the part.
    ends: Vec<usize>,
}

/// Result of planning a read.
#[derive(Clone, Debug)]
pub enum Planned {
    Read(Plan),
    /// There are no records to read yet.
    Nothing,
    /// The read cannot be planned before this part of a file is in the page cache.
    Cold(FileRange),
    /// The log starts at this offset, which is after the one asked for.
    Begins(Offset),
    Failed(ErrorCode),
}

/// Limits of a read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub max_bytes: usize,
    /// Batches after the one that reaches this number of offsets are left out.
    pub records_max: i64,
    pub end: ReadEnd,
    /// Whether the first batch is read whole even if it is larger than `max_bytes`.
    pub at_least_one: bool,
}

/// Plans a read from an offset.
pub fn plan(partition: &Partition, from: Offset, bounds: Bounds, reach: Reach) -> Planned {
    let Bounds {
        max_bytes,
        end,
        at_least_one,
        ..
    } = bounds;
    let read = match partition
        .log()
        .read_within(from, max_bytes, end, at_least_one, reach)
    {
        Ok(read) => read,
        Err(ReadError::OutOfRange { log_start, .. }) if from < log_start => {
            return Planned::Begins(log_start);
        }
        // The log has become shorter: the group waits until it has grown again.
        Err(ReadError::OutOfRange { .. }) => return Planned::Nothing,
        Err(error) => {
            if let ReadError::Storage(error) = &error
                && let Some(cold) = error.cold()
            {
                return Planned::Cold(cold.clone());
            }
            tracing::error!(partition = %partition.name(), %error, "a read failed");
            return Planned::Failed(error.code());
        }
    };
    let Some(records) = read.records else {
        return Planned::Nothing;
    };
    let aborted = read.aborted.unwrap_or_default();
    let mut plan = Plan {
        from,
        records,
        batches: Vec::new(),
        ends: Vec::new(),
    };
    match plan.look(aborted, &read.watermarks, bounds, reach) {
        Ok(()) if plan.batches.is_empty() => Planned::Nothing,
        Ok(()) => Planned::Read(plan),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let at = plan.ends.last().copied().unwrap_or(0);
            let mut cold = plan.records;
            cold.position += at as u64;
            cold.len -= at;
            Planned::Cold(cold.split().0)
        }
        // Batches of message formats before Kafka 0.11, which share consumers do not support.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            Planned::Failed(ErrorCode::UnsupportedForMessageFormat)
        }
        Err(error) => {
            tracing::error!(partition = %partition.name(), %error, "a read failed");
            Planned::Failed(ErrorCode::KafkaStorageError)
        }
    }
}

impl Plan {
    /// Reads the batch headers one after the other.
    fn look(
        &mut self,
        aborted: Vec<AbortedTransaction>,
        watermarks: &Watermarks,
        bounds: Bounds,
        reach: Reach,
    ) -> io::Result<()> {
        let mut aborted = Aborted::new(aborted);
        let (mut at, mut offsets) = (0, 0);
        let readable = watermarks.at(bounds.end);
        let mut heads = Heads::default();
        while at < self.records.len && offsets < bounds.records_max {
            let Some(head) = heads.read(&self.records, at, reach)? else {
                // The last batch is cut off.
                break;
            };
            let header = BatchHeader::parse(head).map_err(|error| match error {
                BatchError::Magic(_) => io::Error::new(io::ErrorKind::Unsupported, error),
                _ => io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
            heads.are_dense = header.size() < BLOCK / 4;
            let end = at.saturating_add(header.size());
            if end > self.records.len || header.base_offset >= readable {
                break;
            }
            at = end;
            if header.last_offset() < self.from {
                // The batch ends before the wanted offset: the part begins after it.
                self.records.position += end as u64;
                self.records.len -= end;
                at = 0;
                continue;
            }
            offsets += header.last_offset() - header.base_offset.max(self.from) + 1;
            self.batches.push(LogBatch {
                first: header.base_offset,
                last: header.last_offset(),
                is_aborted: aborted.has(&header),
            });
            self.ends.push(end);
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The part of the file from the first to the last acquired batch.
    pub fn stretch(&self, acquired: &[Acquired]) -> Option<FileRange> {
        let (first, last) = (acquired.first()?.first, acquired.last()?.last);
        let begins = self.batches.partition_point(|batch| batch.last < first);
        let ends = self.batches.partition_point(|batch| batch.first <= last);
        let position = match begins.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        let end = *self.ends.get(ends.checked_sub(1)?)?;
        let mut range = self.records.clone();
        range.position += position as u64;
        range.len = end.checked_sub(position)?;
        Some(range)
    }
}

/// Bytes that are read at once where batches are small: a read for each header of a batch with one record would take most of the
/// time of a fetch.
const BLOCK: usize = 4 << 10;

/// Reads headers of batches. The bytes behind a header are read with it while batches are small.
struct Heads {
    block: [u8; BLOCK],
    /// Position of the block in the file, and the number of bytes that were read.
    position: u64,
    len: usize,
    are_dense: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            block: [0; BLOCK],
            position: 0,
            len: 0,
            are_dense: false,
        }
    }
}

impl Heads {
    /// Header of the batch at a position of a part. `None` if the part ends within the header.
    fn read(&mut self, part: &FileRange, at: usize, reach: Reach) -> io::Result<Option<&[u8]>> {
        let position = part.position + at as u64;
        let skip = position.checked_sub(self.position);
        let skip = skip.and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = skip
            && skip + HEADER_SIZE <= self.len
        {
            return Ok(self.block.get(skip..skip + HEADER_SIZE));
        }
        let room = part.len.saturating_sub(at);
        let mut read = |size: usize| {
            let block = self.block.get_mut(..size.min(room));
            block.map_or(Ok(0), |block| part.file.read_at(block, position, reach))
        };
        self.len = match read(if self.are_dense { BLOCK } else { HEADER_SIZE }) {
            // The header may be in the page cache, and what stands behind it not.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => read(HEADER_SIZE)?,
            read => read?,
        };
        self.position = position;
        Ok(self
            .block
            .get(..HEADER_SIZE)
            .filter(|_| self.len >= HEADER_SIZE))
    }
}

/// Finds batches of aborted transactions; must be asked in the order of offsets.
struct Aborted {
    /// Aborted transactions that begin later, by first offset.
    coming: std::vec::IntoIter<AbortedTransaction>,
    next: Option<AbortedTransaction>,
    /// End of the current aborted transaction of each producer.
    open: HashMap<ProducerId, Offset>,
}

impl Aborted {
    fn new(mut all: Vec<AbortedTransaction>) -> Self {
        all.sort_by_key(|one| one.first_offset);
        let mut coming = all.into_iter();
        Self {
            next: coming.next(),
            coming,
            open: HashMap::new(),
        }
    }

    fn has(&mut self, header: &BatchHeader) -> bool {
        while let Some(one) = self
            .next
            .take_if(|one| one.first_offset <= header.base_offset)
        {
            self.open.insert(one.producer_id, one.last_offset);
            self.next = self.coming.next();
        }
        header.is_transactional()
            && !header.is_control()
            && self
                .open
                .get(&header.producer_id)
                .is_some_and(|last| header.base_offset <= *last)
    }
}
