//! What a read of a partition would bring a share group: the stretch of a segment file and the batches in it, by their headers alone.
//! Records are not looked at.

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

/// A stretch that can be sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the group goes on.
    pub from: Offset,
    pub records: FileRange,
    pub batches: Vec<LogBatch>,
    /// Where each batch ends in the stretch.
    ends: Vec<usize>,
}

/// What came of planning.
#[derive(Clone, Debug)]
pub enum Planned {
    Read(Plan),
    /// There is nothing to read yet.
    Nothing,
    /// Nothing can be said before this is in the page cache.
    Cold(FileRange),
    /// The log does not begin before this offset, which is behind the one asked for.
    Begins(Offset),
    Failed(ErrorCode),
}

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub max_bytes: usize,
    /// Batches behind the one with so many offsets are left out.
    pub records_max: i64,
    pub end: ReadEnd,
    /// Whether a first batch comes whole that has more bytes.
    pub at_least_one: bool,
}

/// Plans a read from an offset on.
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
        // The log is shorter than it was: the group waits until it has grown.
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
        // Batches of message formats before Kafka 0.11: share consumers know none of them.
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
    /// Goes from header to header.
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
        while at < self.records.len && offsets < bounds.records_max {
            let mut head = [0; HEADER_SIZE];
            let room = head.len().min(self.records.len - at);
            let Some(head) = head.get_mut(..room) else {
                break;
            };
            let read =
                (self.records.file).read_at(head, self.records.position + at as u64, reach)?;
            if read < HEADER_SIZE {
                // The last batch is cut.
                break;
            }
            let header = BatchHeader::parse(head).map_err(|error| match error {
                BatchError::Magic(_) => io::Error::new(io::ErrorKind::Unsupported, error),
                _ => io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
            let end = at.saturating_add(header.size());
            if end > self.records.len || header.base_offset >= readable {
                break;
            }
            at = end;
            if header.last_offset() < self.from {
                // Nothing of it is wanted, so that the stretch begins behind it.
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

    /// The stretch with the batches of what was acquired, from the first to the last.
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

/// Which batches are of transactions that were aborted, asked for in the order of offsets.
struct Aborted {
    /// In the order of first offsets.
    coming: std::vec::IntoIter<AbortedTransaction>,
    next: Option<AbortedTransaction>,
    /// By producer, up to where.
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
