//! What others see of a log: a stretch of a file for an offset, what readers of committed records skip, positions, producers.

use super::*;

/// [`LOOKS_MAX`] for each segment of a log, where all of them are looked at: each has a data file and three indexes.
const LOOKS_PER_SEGMENT: usize = 4;

/// The side of a log that others see; it changes nothing. A reader waits for whoever has the log's lock, which nobody holds while
/// waiting for a disk; it waits for nobody to know where the log begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct LogReader<'a>(pub(super) &'a PartitionLog);

impl PartitionLog {
    /// What others may see of the log.
    pub fn reader(&self) -> LogReader<'_> {
        LogReader(self)
    }
}

impl LogReader<'_> {
    pub fn watermarks(self) -> Watermarks {
        self.0.state.lock().watermarks()
    }

    /// Without the lock.
    pub fn log_start(self) -> Offset {
        self.0.state.log_start()
    }

    /// Without the lock.
    pub fn log_end(self) -> Offset {
        self.0.state.log_end()
    }

    /// How many offsets a copy lacks of the log that it is made of.
    pub fn lag_behind(self, original: Self) -> Offset {
        (original.log_end() - self.log_end()).max(0)
    }

    pub(in crate::log) fn segment_count(self) -> usize {
        self.0.state.lock().segments.count()
    }

    /// Bytes of all segments.
    pub fn size(self) -> u64 {
        self.0.state.lock().segments.bytes()
    }

    pub fn settings(self) -> Arc<LogSettings> {
        Arc::clone(&self.0.state.lock().settings)
    }

    /// Where each segment begins and when it was last written to, from the oldest on: lookups by time were made of that before
    /// records had times. Behind the segments the end of the log as of `now`, unless the last segment is empty. Asks the disk for
    /// each of them.
    pub fn segment_starts(self, now: Timestamp) -> Vec<(Offset, Timestamp)> {
        let (disk, files, end) = {
            let state = self.0.state.lock();
            let file = |segment: &Segment| {
                let start = segment.base_offset.max(state.log_start);
                (start, segment.path().to_owned(), segment.created)
            };
            let files: Vec<_> = state.segments.iter().map(file).collect();
            let holds_any = state.segments.active().size > 0;
            let end = holds_any.then_some((state.log_end, now));
            (state.disk.clone(), files, end)
        };
        let starts = files.into_iter().map(|(start, path, created)| {
            let modified = last_modified(&disk, &path);
            (start, modified.unwrap_or(created))
        });
        starts.chain(end).collect()
    }

    /// The epoch that wrote `offset`, -1 if none is known.
    pub fn epoch_of(self, offset: Offset) -> LeaderEpoch {
        self.0.state.lock().epochs.epoch_of(offset).unwrap_or(-1)
    }

    pub fn leader_epochs(self) -> LeaderEpochs {
        self.0.state.lock().epochs.clone()
    }

    /// The newest leader epoch that wrote to the log.
    pub fn latest_epoch(self) -> Option<LeaderEpoch> {
        self.0.state.lock().epochs.latest()
    }

    /// See [`LeaderEpochs::end_of`].
    pub fn end_of_epoch(self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.0.state.lock();
        state.epochs.end_of(epoch, state.log_end)
    }

    pub fn producers(self) -> Vec<ActiveProducer> {
        let state = self.0.state.lock();
        let active = |(producer_id, producer): (ProducerId, &Producer)| ActiveProducer {
            producer_id,
            state: producer.clone(),
        };
        state.producers.iter().map(active).collect()
    }

    /// Whether a producer of this epoch has a transaction open in the log.
    pub fn has_open_transaction(self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.0
            .state
            .lock()
            .producers
            .has_open_transaction(producer_id, epoch)
    }

    /// Where the last marker of a producer lies, if it came since the log was opened.
    pub fn last_marker(self, producer_id: ProducerId) -> Option<Offset> {
        self.0.state.lock().producers.last_marker(producer_id)
    }

    /// See [`ProducerStates::check_joining`].
    pub fn check_joining(
        self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        admission: Admission,
    ) -> Result<(), ErrorCode> {
        let state = self.0.state.lock();
        state.producers.check_joining(producer_id, epoch, admission)
    }

    /// See [`ProducerStates::check_marker`].
    pub fn check_marker(
        self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<(), AppendError> {
        let state = self.0.state.lock();
        state
            .producers
            .check_marker(producer_id, epoch, marker, rules)
    }

    /// Plans a read of at most `max_bytes` from the batch that holds `from`.
    ///
    /// With `at_least_one` a first batch beyond `max_bytes` is sent whole; without, nothing is. Errors: `OutOfRange`.
    pub fn read(
        self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        self.read_within(from, max_bytes, end, at_least_one, Reach::Disk)
    }

    /// The same as far as `reach` allows. Errors: also what is cold.
    pub fn read_within(
        self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
        reach: Reach,
    ) -> Result<ReadPlan, ReadError> {
        let read = |reach| self.read_locked(from, max_bytes, end, at_least_one, reach);
        match reach {
            Reach::Cache => read(Reach::Cache),
            Reach::Disk => warmly(LOOKS_MAX, read),
        }
    }

    fn read_locked(
        self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
        reach: Reach,
    ) -> Result<ReadPlan, ReadError> {
        let mut state = self.0.state.lock();
        let watermarks = state.watermarks();
        if from < watermarks.log_start || from > watermarks.log_end {
            return Err(ReadError::OutOfRange {
                offset: from,
                log_start: watermarks.log_start,
                log_end: watermarks.log_end,
            });
        }
        let limit = watermarks.at(end);
        let mut plan = ReadPlan {
            watermarks,
            records: None,
            magic: MAGIC_V2,
            base_offset: from,
            aborted: (end == ReadEnd::LastStable).then(Vec::new),
        };
        if from < limit {
            state.check_health()?;
            let mut planner = state.planner(reach);
            let planned = planner.plan(from, max_bytes, limit, at_least_one, &mut plan);
            state.watch(planned)?;
        }
        Ok(plan)
    }
}

/// Does `work`, which holds a log's lock, with what the page cache has. What it lacks is brought there without the lock, and the work
/// begins anew, at most so often: what is read with the lock in hand after that goes as fast as it came.
pub(super) fn warmly<T, E: MayBeCold>(
    looks_max: usize,
    mut work: impl FnMut(Reach) -> Result<T, E>,
) -> Result<T, E> {
    for _ in 0..looks_max {
        let done = work(Reach::Cache);
        match done.as_ref().err().and_then(MayBeCold::cold) {
            Some(cold) => cold.warm(),
            None => return done,
        }
    }
    work(Reach::Disk)
}

impl PartitionLog {
    /// Does something with the lock in hand for which all segments may be looked at. See [`warmly`].
    pub(super) fn warmly<T>(
        &self,
        mut work: impl FnMut(&mut State, Reach) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let looks_max = LOOKS_PER_SEGMENT * self.reader().segment_count();
        warmly(looks_max, |reach| self.locked(|state| work(state, reach)))
    }
}

/// The segments of a log, for whoever plans to read them: with the lock in hand, from what is in memory and, as far as it may reach,
/// in the indexes. The plan is carried out without the lock.
pub(super) struct ReadPlanner<'a> {
    pub(super) segments: &'a mut Segments,
    pub(super) log_end: Offset,
    pub(super) reach: Reach,
}

impl State {
    pub(super) fn planner(&mut self, reach: Reach) -> ReadPlanner<'_> {
        ReadPlanner {
            segments: &mut self.segments,
            log_end: self.log_end,
            reach,
        }
    }
}

impl ReadPlanner<'_> {
    /// Where a segment ends.
    pub(super) fn end_of(&self, index: usize) -> Offset {
        self.segments.base_behind(index).unwrap_or(self.log_end)
    }

    /// The stretch of records from `from` on, below `limit`, if there is any.
    pub(super) fn plan(
        &mut self,
        from: Offset,
        max_bytes: usize,
        limit: Offset,
        at_least_one: bool,
        plan: &mut ReadPlan,
    ) -> Result<(), StorageError> {
        let reach = self.reach;
        let mut index = self.segments.index_of(from);
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
        let next_base = self.end_of(index);
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
            let mut rest = self.segments.iter().skip(index);
            let none = rest.all(|segment| segment.aborted.is_empty());
            if !none {
                let upper = self.beyond(index, span.position + len as u64)?;
                plan.aborted = Some(self.aborted_between(index, from, upper)?);
            }
        }
        Ok(())
    }

    /// An offset beyond everything before `position` of a segment, as near as the index knows: that is how far Apache
    /// Kafka looks for aborted transactions.
    fn beyond(&self, index: usize, position: u64) -> Result<Offset, StorageError> {
        let segment = &self.segments[index];
        let entry = segment
            .offsets
            .first_where_not(|entry| u64::from(entry.position) < position, self.reach)?;
        Ok(match entry {
            Some(entry) => segment.base_offset + i64::from(entry.relative_offset),
            None => self.end_of(index),
        })
    }

    /// Aborted transactions that overlap `from..upper`, beginning in segment `first`.
    fn aborted_between(
        &self,
        first: usize,
        from: Offset,
        upper: Offset,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        let mut found = Vec::new();
        for segment in self.segments.iter().skip(first) {
            if segment.aborted.is_empty() {
                continue;
            }
            // A segment may have millions of them.
            let before = |entry: &AbortedTransaction| entry.last_offset < from;
            let enough = segment
                .aborted
                .each_where_not(before, self.reach, |entry| {
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
