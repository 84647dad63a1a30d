//! Lookups by time: the first record at or after a time, and the record with the latest timestamp.
//!
//! With the state locked, a lookup is only planned: as a range of a segment, which is plain data. The range is searched without
//! the lock: first the batch headers, then the records of a batch that may match, decompressed through a window and only up to
//! the first match. If the range is gone meanwhile, the lookup is planned again.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use super::reader::{LogReader, ReadPlanner, warmly};
use super::*;
use crate::base::work_pool;
use crate::log::cold::read_within;
use crate::wire::batch::header::HEADER_SIZE;
use crate::wire::batch::legacy;
use crate::wire::batch::record_stream::{Counted, RecordStream, StreamFault, Window};

/// Number of segments whose latest timestamps are read with the state locked once; appends wait meanwhile.
const SEGMENTS_AT_ONCE: usize = 64;
/// Number of attempts of a plan with indexes from the page cache, before the indexes are read with the state locked. Each segment
/// has two indexes, which are loaded one by one.
const LOOKUP_LOOKS_MAX: usize = 4 * SEGMENTS_AT_ONCE;
/// Bytes of a batch that are read at a time: most often the first record matches.
const CHUNK: usize = 16 << 10;
/// Bytes that one request may decompress and read on a thread that serves clients. This takes a quarter of a millisecond.
const SMALL: usize = 256 << 10;
/// Bytes that count for a plan, and for reading a header: decompressing that number of bytes takes as long as these system calls.
const PLAN_COST: usize = 4 << 10;
const HEADER_COST: usize = 1 << 10;

/// Work that lookups may do where they run. All lookups of one request share it.
#[derive(Debug)]
pub struct Effort {
    reach: Reach,
    left: Cell<usize>,
    spent: Cell<usize>,
}

impl Effort {
    /// Limit on a thread that serves clients: a small amount of work.
    pub fn small() -> Self {
        Self::new(Reach::Cache, SMALL)
    }

    /// No limit of work, but nothing is read from a disk: for the work pool, where long work takes turns.
    pub fn long() -> Self {
        Self::new(Reach::Cache, usize::MAX)
    }

    /// No limit: for a thread that nobody waits for.
    pub fn any() -> Self {
        Self::new(Reach::Disk, usize::MAX)
    }

    fn new(reach: Reach, left: usize) -> Self {
        Self {
            reach,
            left: Cell::new(left),
            spent: Cell::new(0),
        }
    }

    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Bytes that were read and decompressed, including what counts as such.
    pub fn spent(&self) -> usize {
        self.spent.get()
    }

    fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// Counts work. Called at least once per window, and never with a lock held: on the work pool, other requests get their turn
    /// here.
    fn spend(&self, bytes: usize) -> Result<(), LookupError> {
        self.spent.set(self.spent.get().saturating_add(bytes));
        work_pool::checkpoint();
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(LookupError::TooMuch)
    }
}

/// Reason why a lookup has no result.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("it takes more than may be done here")]
    TooMuch,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Next step of a lookup.
enum Plan {
    Look(Stretch),
    /// No segment before this offset can contain the record.
    Further(Offset),
    Nothing,
}

/// Range of a segment that may contain the record.
struct Stretch {
    disk: Disk,
    range: FileRange,
    path: PathBuf,
    place: Place,
    /// Base offset of the next segment.
    until: Offset,
    log_start: Offset,
}

/// Condition of a lookup.
#[derive(Clone, Copy)]
struct Sought {
    /// Lower limit of the timestamp of the record.
    timestamp: Timestamp,
    /// Lower limit of the offset of the record.
    from: Offset,
    /// Batches from this offset on are not searched.
    end: Offset,
}

enum Looked {
    Found(FoundOffset),
    /// The record is not in this range.
    NotHere,
    /// The record is neither in this range nor after it.
    Nowhere,
}

impl LogReader<'_> {
    /// Finds the first record at or after `timestamp`, below `end`.
    ///
    /// Errors: `TooMuch` if the lookup takes more than `effort` allows; data that is not in the page cache, if reading from a
    /// disk is not allowed.
    pub fn find_timestamp(
        self,
        timestamp: Timestamp,
        end: Offset,
        effort: &Effort,
    ) -> Result<Option<FoundOffset>, LookupError> {
        let mut covered = Offset::MIN;
        loop {
            let found = self.find_from(&mut covered, timestamp, end, false, effort)?;
            match found {
                // The log start has moved past the record meanwhile.
                Some(found) if found.offset < self.log_start() => {}
                found => return Ok(found.filter(|found| found.offset < end)),
            }
        }
    }

    /// Finds the record with the latest timestamp, and the first one of several. Errors: as of [`Self::find_timestamp`].
    pub fn find_newest(self, effort: &Effort) -> Result<Option<FoundOffset>, LookupError> {
        let mut newest: Option<(Timestamp, Offset)> = None;
        let mut next = Some(Offset::MIN);
        while let Some(from) = next {
            next = self.planned(effort, |state, reach| {
                state.planner(reach).newest_of_some(from, &mut newest)
            })?;
        }
        let Some((timestamp, mut covered)) = newest else {
            return Ok(None);
        };
        // Kafka also counts the records before the log start, as long as their segment exists.
        self.find_from(&mut covered, timestamp, Offset::MAX, true, effort)
    }

    /// Continues a lookup at the offset `covered`, below which there is no match.
    fn find_from(
        self,
        covered: &mut Offset,
        timestamp: Timestamp,
        end: Offset,
        also_before_start: bool,
        effort: &Effort,
    ) -> Result<Option<FoundOffset>, LookupError> {
        loop {
            let from = *covered;
            let plan = |state: &mut State, reach| state.plan_lookup(timestamp, from, reach);
            let stretch = match self.planned(effort, plan)? {
                Plan::Nothing => return Ok(None),
                Plan::Further(offset) => {
                    *covered = offset;
                    continue;
                }
                Plan::Look(stretch) => stretch,
            };
            let sought = Sought {
                timestamp,
                from: match also_before_start {
                    true => Offset::MIN,
                    false => stretch.log_start,
                },
                end,
            };
            match stretch.look(sought, effort) {
                Ok(Looked::Found(found)) => return Ok(Some(found)),
                Ok(Looked::Nowhere) => return Ok(None),
                Ok(Looked::NotHere) => *covered = stretch.until,
                Err(LookupError::Storage(error)) if error.cold().is_none() => {
                    // Data that was cut off or moved to another disk meanwhile is not missing.
                    if self.log_end() >= stretch.until {
                        self.0.blame(&stretch.place, error)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Plans a step with the state locked. Data that the plan needs from a disk is read without the lock.
    fn planned<T>(
        self,
        effort: &Effort,
        mut plan: impl FnMut(&mut State, Reach) -> Result<T, StorageError>,
    ) -> Result<T, LookupError> {
        effort.spend(PLAN_COST)?;
        let mut plan = |reach| self.0.locked(|state| plan(state, reach));
        Ok(match effort.reach {
            Reach::Cache => plan(Reach::Cache)?,
            Reach::Disk => warmly(LOOKUP_LOOKS_MAX, plan)?,
        })
    }
}

impl State {
    /// Plans the next range that may contain a record at or after `timestamp`; there is none below `covered`.
    fn plan_lookup(
        &mut self,
        timestamp: Timestamp,
        covered: Offset,
        reach: Reach,
    ) -> Result<Plan, StorageError> {
        let index = match self.planner(reach).next_with(timestamp, covered)? {
            Next::Segment(index) => index,
            Next::Further(offset) => return Ok(Plan::Further(offset)),
            Next::Nothing => return Ok(Plan::Nothing),
        };
        let until = self.planner(reach).end_of(index);
        let segment = &mut self.segments[index];
        Ok(Plan::Look(Stretch {
            disk: self.disk.clone(),
            range: segment.since(timestamp, reach)?,
            path: segment.path().to_owned(),
            place: Place::of(self),
            until,
            log_start: self.log_start,
        }))
    }
}

/// Next segment of a lookup.
enum Next {
    Segment(usize),
    /// No segment before this offset can hold the record.
    Further(Offset),
    Nothing,
}

impl ReadPlanner<'_> {
    /// The next segment, among a limited number, that may contain a record at or after `timestamp`; there is none below
    /// `covered`.
    fn next_with(&mut self, timestamp: Timestamp, covered: Offset) -> Result<Next, StorageError> {
        let first = self.segments.index_of(covered);
        for index in first..self.segments.count() {
            let until = self.end_of(index);
            let segment = &mut self.segments[index];
            if index >= first + SEGMENTS_AT_ONCE {
                return Ok(Next::Further(segment.base_offset));
            }
            let newest = segment.newest_timestamp_within(self.reach)?;
            let is_older = newest.is_some_and(|(newest, _)| newest < timestamp);
            if until > covered && !is_older {
                return Ok(Next::Segment(index));
            }
        }
        Ok(Next::Nothing)
    }

    /// Checks whether one of a limited number of segments has a later timestamp than `newest`, which is that timestamp and the
    /// base offset of its segment. Returns the base offset of the next segment to check.
    fn newest_of_some(
        &mut self,
        from: Offset,
        newest: &mut Option<(Timestamp, Offset)>,
    ) -> Result<Option<Offset>, StorageError> {
        let (first, reach) = (self.segments.index_of(from), self.reach);
        for (index, segment) in self.segments.iter_mut().enumerate().skip(first) {
            if index >= first + SEGMENTS_AT_ONCE {
                return Ok(Some(segment.base_offset));
            }
            if let Some((timestamp, _)) = segment.newest_timestamp_within(reach)?
                && newest.is_none_or(|(best, _)| timestamp > best)
            {
                *newest = Some((timestamp, segment.base_offset));
            }
        }
        Ok(None)
    }
}

impl Stretch {
    fn look(&self, sought: Sought, effort: &Effort) -> Result<Looked, LookupError> {
        let (mut position, end) = (
            self.range.position,
            self.range.position + self.range.len as u64,
        );
        while position < end {
            effort.spend(HEADER_COST)?;
            let mut head = [0; HEADER_SIZE];
            let wanted = (end - position).min(HEADER_SIZE as u64) as usize;
            let read = self.read(&mut head[..wanted], position, effort)?;
            let head = &head[..read];
            let Some(span) = Span::parse(head, position).filter(|span| span.end() <= end) else {
                break;
            };
            // Messages of format v0 have no timestamps.
            if span.base_offset >= sought.end || sought.timestamp < 0 && span.magic == 0 {
                return Ok(Looked::Nowhere);
            }
            if span.max_timestamp >= sought.timestamp {
                let found = match BatchHeader::parse(head) {
                    Ok(header) => self.look_into(&span, &header, sought, effort)?,
                    Err(_) => self.look_into_old(&span, sought, effort)?,
                };
                if let Some(found) = found {
                    return Ok(Looked::Found(found));
                }
            }
            position = span.end();
        }
        Ok(Looked::NotHere)
    }

    /// The first record of a batch that matches. A batch that cannot be read has no records.
    fn look_into(
        &self,
        span: &Span,
        header: &BatchHeader,
        sought: Sought,
        effort: &Effort,
    ) -> Result<Option<FoundOffset>, LookupError> {
        let Ok(codec) = header.compression() else {
            return Ok(None);
        };
        let mut packed = Packed {
            stretch: self,
            effort,
            position: span.position + HEADER_SIZE as u64,
            end: span.end(),
            chunk: Vec::new(),
            seen: 0,
            failed: None,
        };
        let searched = (|| {
            let source = codec.reader(&mut packed).ok()?;
            let source = Counted {
                source: source.take(DECOMPRESSED_MAX as u64),
                count: |unpacked| effort.spend(unpacked).map_err(io::Error::other),
            };
            let mut window = Window::default();
            let mut records = RecordStream::new(source, &mut window);
            for _ in 0..header.record_count {
                let record = match records.outline() {
                    Ok(record) => record,
                    Err(StreamFault::Record(_) | StreamFault::Codec(_)) => return None,
                };
                let offset = header
                    .base_offset
                    .saturating_add(i64::from(record.offset_delta));
                let timestamp = header.time_of(record.timestamp_delta);
                if timestamp >= sought.timestamp && offset >= sought.from {
                    return Some(FoundOffset {
                        offset,
                        timestamp,
                        leader_epoch: header.leader_epoch,
                    });
                }
            }
            None
        })();
        match (searched, packed.failed) {
            (Some(found), _) => Ok(Some(found)),
            (None, Some(error)) => Err(error.into()),
            (None, None) if effort.is_spent() => Err(LookupError::TooMuch),
            (None, None) => Ok(None),
        }
    }

    /// The first matching record in a message of an older format, or in a wrapper message, whose checksum requires all of its
    /// bytes.
    fn look_into_old(
        &self,
        span: &Span,
        sought: Sought,
        effort: &Effort,
    ) -> Result<Option<FoundOffset>, LookupError> {
        effort.spend(span.size)?;
        let mut bytes = vec![0; span.size];
        if self.read(&mut bytes, span.position, effort)? < bytes.len() {
            return Err(self.cut().into());
        }
        let found = legacy::read_message(&mut &bytes[..]).and_then(|message| {
            message.find_record(
                DECOMPRESSED_MAX,
                |offset, at| at >= sought.timestamp && offset >= sought.from,
                |unpacked| effort.spend(unpacked).map_err(io::Error::other),
            )
        });
        if found.is_err() && effort.is_spent() {
            return Err(LookupError::TooMuch);
        }
        // What cannot be read has no records.
        Ok(found.ok().flatten().map(|(offset, timestamp)| FoundOffset {
            offset,
            timestamp,
            leader_epoch: -1,
        }))
    }

    fn read(&self, out: &mut [u8], position: u64, effort: &Effort) -> Result<usize, StorageError> {
        let range = FileRange {
            position,
            len: out.len(),
            ..self.range.clone()
        };
        read_within(&self.disk, &range, &*self.path, out, position, effort.reach)
            .at("read", &self.path)
    }

    fn cut(&self) -> StorageError {
        StorageError {
            doing: "read",
            path: self.path.clone(),
            source: ErrorKind::UnexpectedEof.into(),
        }
    }
}

/// The bytes of a batch behind its header, read as they are asked for.
struct Packed<'a> {
    stretch: &'a Stretch,
    effort: &'a Effort,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    /// Of the chunk.
    seen: usize,
    /// Why there are no more: a codec may say it in its own words.
    failed: Option<StorageError>,
}

impl BufRead for Packed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.seen == self.chunk.len() && self.position < self.end {
            let len = (self.end - self.position).min(CHUNK as u64) as usize;
            self.effort.spend(len).map_err(io::Error::other)?;
            self.chunk.resize(len, 0);
            self.seen = len;
            let read = self
                .stretch
                .read(&mut self.chunk, self.position, self.effort);
            let whole = read.and_then(|read| match read == len {
                true => Ok(()),
                false => Err(self.stretch.cut()),
            });
            if let Err(error) = whole {
                let kind = error.source.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
            self.position += len as u64;
            self.seen = 0;
        }
        Ok(&self.chunk[self.seen..])
    }

    fn consume(&mut self, seen: usize) {
        self.seen = (self.seen + seen).min(self.chunk.len());
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let len = ready.len().min(out.len());
        out[..len].copy_from_slice(&ready[..len]);
        self.consume(len);
        Ok(len)
    }
}
