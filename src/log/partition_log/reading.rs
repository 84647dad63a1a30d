//! Reading a log: a stretch of a file for an offset, an offset for a time, and what readers of committed records skip.

use super::*;
use crate::wire::batch::record;
use crate::wire::batch::{BatchError, legacy};

impl PartitionLog {
    /// Plans a read of at most `max_bytes` from the batch that holds `from`.
    ///
    /// With `at_least_one` a first batch beyond `max_bytes` is sent whole; without, nothing is. Errors: `OutOfRange`.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        self.read_within(from, max_bytes, end, at_least_one, Reach::Disk)
    }

    /// The same as far as `reach` allows: the log's lock, which appends need, is held meanwhile. Errors: also what is cold.
    pub fn read_within(
        &self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
        reach: Reach,
    ) -> Result<ReadPlan, ReadError> {
        let mut state = self.state.lock();
        let watermarks = state.watermarks();
        if from < watermarks.log_start || from > watermarks.log_end {
            return Err(ReadError::OutOfRange {
                offset: from,
                log_start: watermarks.log_start,
                log_end: watermarks.log_end,
            });
        }
        let limit = match end {
            ReadEnd::LogEnd => watermarks.log_end,
            ReadEnd::HighWatermark => watermarks.high_watermark,
            ReadEnd::LastStable => watermarks.last_stable,
        };
        let mut plan = ReadPlan {
            watermarks,
            records: None,
            magic: MAGIC_V2,
            base_offset: from,
            aborted: (end == ReadEnd::LastStable).then(Vec::new),
        };
        if from < limit {
            state.check_health()?;
            let planned = state.plan(from, max_bytes, limit, at_least_one, reach, &mut plan);
            state.watch(planned)?;
        }
        Ok(plan)
    }

    /// The first record at or after `timestamp`, below `end`, as far as `reach` allows.
    pub fn find_timestamp(
        &self,
        timestamp: Timestamp,
        end: Offset,
        reach: Reach,
    ) -> Result<Option<FoundOffset>, StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let found = state.find_timestamp(timestamp, end, reach);
        state.watch(found)
    }

    /// The record with the newest timestamp; of several, the first. As far as `reach` allows.
    pub fn find_newest(&self, reach: Reach) -> Result<Option<FoundOffset>, StorageError> {
        let mut state = self.state.lock();
        state.check_health()?;
        let found = state.find_newest(reach);
        state.watch(found)
    }
}

impl State {
    fn find_timestamp(
        &mut self,
        timestamp: Timestamp,
        end: Offset,
        reach: Reach,
    ) -> Result<Option<FoundOffset>, StorageError> {
        let log_start = self.log_start;
        for segment in &mut self.segments {
            let newest = segment.newest_timestamp_within(reach)?;
            if newest.is_some_and(|(newest, _)| newest < timestamp) {
                continue;
            }
            let mut next = segment.locate_timestamp(timestamp, reach)?;
            while let Some(span) = next {
                if span.base_offset >= end {
                    return Ok(None);
                }
                let wanted = |offset, at| at >= timestamp && offset >= log_start;
                let found = first_record(segment, &span, reach, wanted)?;
                if let Some(found) = found {
                    return Ok((found.offset < end).then_some(found));
                }
                next = segment.span_at(span.end(), reach)?;
            }
        }
        Ok(None)
    }

    fn find_newest(&mut self, reach: Reach) -> Result<Option<FoundOffset>, StorageError> {
        let mut newest: Option<(Timestamp, usize)> = None;
        for (index, segment) in self.segments.iter_mut().enumerate() {
            if let Some((timestamp, _)) = segment.newest_timestamp_within(reach)?
                && newest.is_none_or(|(best, _)| timestamp > best)
            {
                newest = Some((timestamp, index));
            }
        }
        let Some((timestamp, index)) = newest else {
            return Ok(None);
        };
        let segment = &mut self.segments[index];
        let mut next = segment.locate_timestamp(timestamp, reach)?;
        while let Some(span) = next {
            // Messages of format v0 have no times at all.
            if timestamp < 0 && span.magic == 0 {
                return Ok(None);
            }
            if let Some(found) = first_record(segment, &span, reach, |_, at| at >= timestamp)? {
                return Ok(Some(found));
            }
            next = segment.span_at(span.end(), reach)?;
        }
        Ok(None)
    }

    pub(super) fn plan(
        &mut self,
        from: Offset,
        max_bytes: usize,
        limit: Offset,
        at_least_one: bool,
        reach: Reach,
        plan: &mut ReadPlan,
    ) -> Result<(), ReadError> {
        let mut index = self
            .segments
            .partition_point(|segment| segment.base_offset <= from)
            .saturating_sub(1);
        let span = loop {
            let Some(segment) = self.segments.get_mut(index) else {
                return Ok(());
            };
            match segment.locate(from, reach)? {
                Some(span) => break span,
                // Compaction may have emptied the rest of this segment.
                None => index += 1,
            }
        };
        let next_base = self
            .segments
            .get(index + 1)
            .map_or(self.log_end, |next| next.base_offset);
        let segment = &mut self.segments[index];
        let end = if limit >= next_base {
            segment.size
        } else {
            segment
                .locate(limit, reach)?
                .map_or(segment.size, |span| span.position)
        };
        let available = end.saturating_sub(span.position) as usize;
        let len = if span.size > max_bytes {
            if !at_least_one {
                return Ok(());
            }
            span.size.min(available)
        } else {
            available.min(max_bytes)
        };
        if len == 0 {
            return Ok(());
        }
        plan.magic = span.magic;
        plan.base_offset = span.base_offset;
        plan.records = Some(FileRange {
            file: segment.file()?,
            position: span.position,
            len,
        });
        if plan.aborted.is_some() {
            let none = self.segments[index..]
                .iter()
                .all(|segment| segment.aborted.is_empty());
            if !none {
                let upper = self.beyond(index, span.position + len as u64, reach)?;
                plan.aborted = Some(self.aborted_between(index, from, upper, reach)?);
            }
        }
        Ok(())
    }

    /// An offset beyond everything before `position` of a segment, as near as the index knows: that is how far Apache
    /// Kafka looks for aborted transactions.
    fn beyond(&self, index: usize, position: u64, reach: Reach) -> Result<Offset, StorageError> {
        let segment = &self.segments[index];
        let entry = segment
            .offsets
            .first_where_not(|entry| u64::from(entry.position) < position, reach)?;
        Ok(match entry {
            Some(entry) => segment.base_offset + i64::from(entry.relative_offset),
            None => self
                .segments
                .get(index + 1)
                .map_or(self.log_end, |next| next.base_offset),
        })
    }

    /// Aborted transactions that overlap `from..upper`, beginning in segment `first`.
    fn aborted_between(
        &self,
        first: usize,
        from: Offset,
        upper: Offset,
        reach: Reach,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut found = Vec::new();
        for segment in &self.segments[first..] {
            if segment.aborted.is_empty() {
                continue;
            }
            // A segment may have millions of them.
            let before = |entry: &AbortedTransaction| entry.last_offset < from;
            let enough = segment.aborted.each_where_not(before, reach, |entry| {
                if entry.first_offset < upper {
                    found.push(entry);
                }
                entry.last_stable_offset >= upper
            })?;
            if enough {
                break;
            }
        }
        Ok(found)
    }
}

/// The first record of a batch for which `wanted` holds.
fn first_record(
    segment: &mut Segment,
    span: &Span,
    reach: Reach,
    wanted: impl Fn(Offset, Timestamp) -> bool,
) -> Result<Option<FoundOffset>, StorageError> {
    let bytes = segment.read(span, reach)?;
    let Ok(header) = BatchHeader::parse(&bytes) else {
        return Ok(first_old_record(&bytes, wanted));
    };
    let Ok(body) = record::decompressed(&header, &bytes, DECOMPRESSED_MAX) else {
        return Ok(None);
    };
    Ok(record::records(&header, &body)
        .flatten()
        .find(|record| wanted(record.offset, record.timestamp))
        .map(|record| FoundOffset {
            offset: record.offset,
            timestamp: record.timestamp,
            leader_epoch: header.leader_epoch,
        }))
}

/// The same in a message of an older format, or in the wrapper of several.
fn first_old_record(
    bytes: &[u8],
    wanted: impl Fn(Offset, Timestamp) -> bool,
) -> Option<FoundOffset> {
    let mut found = None;
    let message = legacy::read_message(&mut &*bytes).ok()?;
    // What cannot be read has no records.
    let _ = message.each_record(DECOMPRESSED_MAX, |record| {
        if found.is_none() && wanted(record.offset, record.timestamp) {
            found = Some(FoundOffset {
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch: -1,
            });
        }
        Ok::<(), BatchError>(())
    });
    found
}
