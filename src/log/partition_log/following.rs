//! Appending records that already have offsets, from a leader or for a copy of a log: batches, and messages of the old formats.
//! They are checked once, without a lock, and written unchanged: all batches of an answer that belong in one segment with a
//! single write.

use super::*;

/// Checked records: whole batches, and messages of the old formats.
#[derive(Clone, Debug)]
pub struct Replicated {
    bytes: Bytes,
    batches: Vec<Placed>,
}

/// A batch, or a message of an old format, with offsets.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Its position is relative to the beginning of the records.
    pub span: Span,
    /// Offset of the first record. A wrapper message of the old formats has only the offset of its last record.
    pub first_offset: Offset,
    header: Option<BatchHeader>,
    marker: Option<Marker>,
}

/// Result of a follower's append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    pub log_end: Offset,
    /// Whether `flush.messages` requires that the records are [on disk](PartitionLog::flush_up_to) before the next fetch, which
    /// tells the leader that the follower has them.
    pub must_flush: bool,
}

impl Replicated {
    /// Checks the checksum of each batch. A last batch that is cut off is left out. Errors: CORRUPT_MESSAGE.
    pub fn check(records: Bytes) -> Result<Self, AppendError> {
        let mut batches = Vec::new();
        let mut at = 0;
        while let Some(rest) = records.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(span) = Span::parse(rest, at as u64) else {
                if rest.len() < HEADER_SIZE {
                    break;
                }
                return Err(corrupt("no batch begins where one should"));
            };
            let Some(batch) = rest.get(..span.size) else {
                break;
            };
            at += span.size;
            batches.push(Placed::check(span, &records.slice_ref(batch))?);
        }
        Ok(Self {
            bytes: records,
            batches,
        })
    }

    /// The batches in their order.
    pub fn batches(&self) -> &[Placed] {
        &self.batches
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether there are bytes, but not one whole batch.
    pub fn is_cut_off(&self) -> bool {
        self.batches.is_empty() && !self.bytes.is_empty()
    }
}

impl Placed {
    fn check(span: Span, batch: &Bytes) -> Result<Self, AppendError> {
        if span.magic == MAGIC_V2 {
            let (header, marker) = append::validate_copied(batch)?;
            return Ok(Self {
                span,
                first_offset: span.base_offset,
                header: Some(header),
                marker,
            });
        }
        if !recovery::checksum_holds(&span, batch) {
            return Err(corrupt("the checksum of a message does not match"));
        }
        Ok(Self {
            span,
            first_offset: recovery::base_for(&span, batch),
            header: None,
            marker: None,
        })
    }
}

fn corrupt(what: &str) -> AppendError {
    AppendError::refused(ErrorCode::CorruptMessage, what)
}

impl PartitionLog {
    /// Appends the first `count` of the fetched batches under one lock. `None` while the log moves to another directory: the
    /// caller then [waits](Self::wait_for_move) without its own lock.
    ///
    /// Errors: INVALID_RECORD if offsets do not increase (nothing is appended then); disk errors.
    pub fn append_as_follower(
        &self,
        records: &Replicated,
        count: usize,
        now: Timestamp,
    ) -> Result<Option<Followed>, AppendError> {
        let batches = records.batches.get(..count).unwrap_or(&records.batches);
        let mut state = self.state.lock();
        state.check_there()?;
        if state.is_moving {
            return Ok(None);
        }
        let mut end = state.log_end;
        for batch in batches {
            if batch.first_offset < end {
                return Err(AppendError::refused(
                    ErrorCode::InvalidRecord,
                    format!("offset {} lies before the end {end}", batch.first_offset),
                ));
            }
            end = batch.span.last_offset + 1;
        }
        let appended = state.append_placed(&records.bytes, batches, now);
        state.watch(appended)?;
        Ok(Some(Followed {
            log_end: state.log_end,
            must_flush: state.has_unflushed_messages(),
        }))
    }

    /// Calls `work` with the log start offset, the log end offset and the leader epochs, which do not change meanwhile.
    pub fn with_ends<T>(&self, work: impl FnOnce(Offset, Offset, &LeaderEpochs) -> T) -> T {
        let state = self.state.lock();
        work(state.log_start, state.log_end, &state.epochs)
    }

    /// The log end offset, if `flush.messages` requires that the records before it are flushed now.
    pub fn must_flush_up_to(&self) -> Option<Offset> {
        let state = self.state.lock();
        state.has_unflushed_messages().then_some(state.log_end)
    }

    /// Loads information about batches from before the log was opened, so that the next append need not wait for a disk.
    pub fn recall(&self) {
        self.settings_for_check();
    }
}

impl State {
    /// Appends batches with increasing offsets unchanged.
    pub(super) fn append_placed(
        &mut self,
        bytes: &Bytes,
        batches: &[Placed],
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let mut rest = batches;
        while let Some(Placed {
            span, first_offset, ..
        }) = rest.first()
        {
            let offsets = *first_offset..=span.last_offset;
            // A batch that is larger than a segment gets a segment of its own, because its leader has accepted it
            // (KAFKA-17375).
            self.roll_if_due(span.size, span.max_timestamp, offsets, now)?;
            let (run, behind) = rest.split_at(self.length_of_run(rest)?);
            self.append_run(bytes, run)?;
            rest = behind;
        }
        Ok(())
    }

    /// Number of batches that fit into the active segment, including the first one.
    fn length_of_run(&mut self, batches: &[Placed]) -> Result<usize, StorageError> {
        let age_limit = self.age_limit();
        let settings = &self.settings;
        let active = self.segments.active_mut();
        // Each batch adds at most one entry to each index.
        let entries = active.index_room(settings.segment_index_bytes);
        let mut first = match active.size {
            0 => None,
            _ => active.first_timestamp(Reach::Disk)?,
        };
        let mut size = active.size;
        for (count, Placed { span, .. }) in batches.iter().enumerate() {
            size += span.size as u64;
            let at = span.max_timestamp;
            let fits = size <= u64::from(settings.segment_bytes)
                && count < entries
                && first.is_none_or(|first| at.saturating_sub(first) <= age_limit)
                && span.last_offset - active.base_offset <= i64::from(i32::MAX);
            if !fits && count > 0 {
                return Ok(count);
            }
            if first.is_none() && at >= 0 {
                first = Some(at);
            }
        }
        Ok(batches.len())
    }

    fn append_run(&mut self, bytes: &Bytes, run: &[Placed]) -> Result<(), StorageError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let interval = u64::from(self.settings.index_interval_bytes);
        let written = bytes.slice(first.span.position as usize..last.span.end() as usize);
        let active = self.segments.active_mut();
        active.append_run(&written, run.iter().map(|batch| &batch.span), interval)?;
        self.producers.on_high_watermark(self.high_watermark.get());
        for Placed {
            span,
            header,
            marker,
            ..
        } in run
        {
            self.log_end = span.last_offset + 1;
            let Some(header) = header else {
                continue;
            };
            self.assign_epoch(header.leader_epoch, header.base_offset);
            if let Some(aborted) = self.producers.take_in(header, *marker) {
                self.segments.active_mut().aborted.push(aborted)?;
            }
        }
        Ok(())
    }
}
