//! Reading a log: ranges of records by offset, aborted transactions for readers of committed records, positions and producers.

use super::*;

/// Number of attempts per segment, like [`LOOKS_MAX`], for work that looks at all segments: a segment has a data file and three
/// indexes.
const LOOKS_PER_SEGMENT: usize = 4;

/// Read access to a log. A reader locks the state of the log, which is never locked by somebody who waits for a disk. The start
/// and end of the log are known without the lock.
#[derive(Clone, Copy, Debug)]
pub struct LogReader<'a>(pub(super) &'a PartitionLog);

impl PartitionLog {
    /// Read access to the log.
    pub fn reader(&self) -> LogReader<'_> {
        LogReader(self)
    }
}

impl LogReader<'_> {
    pub fn watermarks(self) -> Watermarks {
        self.0.state.lock().watermarks()
    }

    /// Log start offset, read without the lock.
    pub fn log_start(self) -> Offset {
        self.0.state.log_start()
    }

    /// Log end offset, read without the lock.
    pub fn log_end(self) -> Offset {
        self.0.state.log_end()
    }

    /// Number of offsets that a copy lacks compared with its original.
    pub fn lag_behind(self, original: Self) -> Offset {
        (original.log_end() - self.log_end()).max(0)
    }

    pub(in crate::log) fn segment_count(self) -> usize {
        self.0.state.lock().segments.count()
    }

    /// Size of all segments in bytes.
    pub fn size(self) -> u64 {
        self.0.state.lock().segments.bytes()
    }

    pub fn settings(self) -> Arc<LogSettings> {
        Arc::clone(&self.0.state.lock().settings)
    }

    /// Base offset of each segment and the time of its last write, oldest first: lookups by time used these before records had
    /// timestamps. The end of the log follows with `now`, unless the last segment is empty. Reads file attributes of each segment
    /// from the disk.
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

    /// Leader epoch of the record at `offset`, or -1 if unknown.
    pub fn epoch_of(self, offset: Offset) -> LeaderEpoch {
        self.0.state.lock().epochs.epoch_of(offset).unwrap_or(-1)
    }

    #[cfg(test)]
    pub fn leader_epochs(self) -> LeaderEpochs {
        self.0.state.lock().epochs.clone()
    }

    /// The latest leader epoch of the log.
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

    /// Whether the producer has an open transaction with this epoch in the log.
    pub fn has_open_transaction(self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.0
            .state
            .lock()
            .producers
            .has_open_transaction(producer_id, epoch)
    }

    /// Offset of the last transaction marker of a producer, if the marker was appended since the log was opened.
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

    /// Plans a read of at most `max_bytes` from the batch that contains `from`.
    ///
    /// A first batch that is larger than `max_bytes` is returned whole with `at_least_one`, and not at all without. Errors:
    /// `OutOfRange`.
    pub fn read(
        self,
        from: Offset,
        max_bytes: usize,
        end: ReadEnd,
        at_least_one: bool,
    ) -> Result<ReadPlan, ReadError> {
        self.read_within(from, max_bytes, end, at_least_one, Reach::Disk)
    }

    /// Plans a read like [`Self::read`], but only with data that `reach` allows to read. Errors: also data that is not in the
    /// page cache.
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

/// Runs `work`, which locks a log, with data from the page cache. Missing data is loaded without the lock, and `work` runs again,
/// at most `looks_max` times; the last run may read from the disk.
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
    /// Runs `work` with the state locked, if `work` may look at all segments. See [`warmly`].
    pub(super) fn warmly<T>(
        &self,
        mut work: impl FnMut(&mut State, Reach) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let looks_max = LOOKS_PER_SEGMENT * self.reader().segment_count();
        warmly(looks_max, |reach| self.locked(|state| work(state, reach)))
    }
}

/// Planner of reads. It is used with the state locked, and uses what is in memory and, as far as `reach` allows, in the indexes.
/// The planned read itself is done without the lock.
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
    /// End offset of a segment.
    pub(super) fn end_of(&self, index: usize) -> Offset {
        self.segments.base_behind(index).unwrap_or(self.log_end)
    }

    /// Adds the range of records from `from` on, below `limit`, to the plan, if there is any.
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
                // Compaction may have removed all later records of this segment.
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

    /// An offset above all records before `position` of a segment, as precise as the index allows. Apache Kafka looks for aborted
    /// transactions up to this offset.
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

    /// Aborted transactions that overlap `from..upper`, from segment `first` on.
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
            // A segment may have millions of aborted transactions.
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
