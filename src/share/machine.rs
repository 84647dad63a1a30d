//! pure: delivery state of the records of one partition for one share group (Kafka: `SharePartition`).
//!
//! ```text
//!              acquire                  acknowledge
//!   Available ─────────▶ Acquired ──────────────────▶ Acknowledged
//!       ▲                  │  │ reject, or released for the last time
//!       └──────────────────┘  └─────────────────────▶ Archived
//!     release, or the lock expires
//! ```
//!
//! The offsets from `start` to `end` are runs without gaps between them; each run has one state. All records before `start` are
//! done; no record from `end` on has been delivered. A member holds a record until its acquisition lock expires. An
//! acknowledgement or release takes effect when the share coordinator has written it; an expired lock takes effect at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::ids::{LeaderEpoch, Offset};
use crate::coordinator::share_state::batches::{ACKNOWLEDGED, ARCHIVED, AVAILABLE};
use crate::coordinator::share_state::record::StateBatch;
use crate::coordinator::share_state::request::{Known, Write};
use crate::wire::error_code::ErrorCode;

/// Limits of deliveries, from the settings of the group and the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Duration of an acquisition lock.
    pub lock_ms: i64,
    /// Number of deliveries after which a record is archived.
    pub deliveries_max: i16,
    /// Largest distance between the start and the end, in offsets.
    pub window_max: i64,
    /// Number of records that the request may get. Without `is_strict`, the batch that contains the last of them is delivered
    /// whole.
    pub records_max: i64,
    pub is_strict: bool,
}

/// A batch of the log, from its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBatch {
    pub first: Offset,
    pub last: Offset,
    /// Whether the batch belongs to an aborted transaction; only set for groups that read committed records.
    pub is_aborted: bool,
}

/// Records that are delivered to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub first: Offset,
    pub last: Offset,
    /// Number of the delivery, from 1 on.
    pub count: i16,
}

/// Acknowledgement type that a member gives to records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no record at the offset.
    Gap,
    Accept,
    Release,
    Reject,
    /// The lock is to be extended.
    Renew,
}

impl Verdict {
    pub fn from_number(number: i8) -> Option<Self> {
        Some(match number {
            0 => Self::Gap,
            1 => Self::Accept,
            2 => Self::Release,
            3 => Self::Reject,
            4 => Self::Renew,
            _ => return None,
        })
    }
}

/// A verdict about consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub first: Offset,
    pub last: Offset,
    pub verdict: Verdict,
}

/// A change that the share coordinator must write; see [`Machine::settle`].
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    number: u64,
    ranges: Vec<(Offset, Offset)>,
    pub write: Write,
}

/// State of an acquired record after its change is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Archived,
    Available,
}

impl Outcome {
    /// Outcome of a record that is released after this many deliveries.
    fn released(count: i16, deliveries_max: i16) -> Self {
        match count >= deliveries_max {
            true => Self::Archived,
            false => Self::Available,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Lock {
    member: Arc<str>,
    /// End of the lock, in milliseconds of a monotonic clock.
    until: i64,
    /// Number of the change that is being written, and its outcome.
    writing: Option<(u64, Outcome)>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Available,
    Acquired(Lock),
    Acknowledged,
    Archived,
}

/// Consecutive offsets with one state; `last` is inclusive.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    last: Offset,
    /// Number of deliveries so far.
    count: i16,
    state: State,
}

impl Run {
    fn is_done(&self) -> bool {
        matches!(self.state, State::Acknowledged | State::Archived)
    }
}

/// State of a share partition; see the module.
#[derive(Clone, Debug)]
pub struct Machine {
    state_epoch: i32,
    leader_epoch: LeaderEpoch,
    /// Runs by first offset, without gaps from `start` to `end`.
    runs: BTreeMap<Offset, Run>,
    start: Offset,
    /// Offset after the last run.
    end: Offset,
    /// Number of offsets in the runs that are done.
    done: i64,
    /// No run before this offset is available.
    looked_to: Offset,
    changes: u64,
    /// Lower bound of the ends of all locks.
    first_deadline: Option<i64>,
}

impl Machine {
    /// Creates the state from what the share coordinator has stored. `start` is the stored start offset, or the offset at which
    /// a new group begins.
    ///
    /// Errors: `UnknownServerError` for a stored state that is invalid.
    pub fn new(known: &Known, start: Offset, leader_epoch: LeaderEpoch) -> Result<Self, ErrorCode> {
        let mut this = Self {
            state_epoch: known.state_epoch,
            leader_epoch,
            runs: BTreeMap::new(),
            start,
            end: start,
            done: 0,
            looked_to: start,
            changes: 0,
            first_deadline: None,
        };
        for batch in &known.batches {
            let is_reversed = batch.last_offset < batch.first_offset;
            if is_reversed || batch.first_offset < this.end || batch.last_offset == Offset::MAX {
                return Err(ErrorCode::UnknownServerError);
            }
            let state = match batch.delivery_state {
                AVAILABLE => State::Available,
                ACKNOWLEDGED => State::Acknowledged,
                ARCHIVED => State::Archived,
                _ => return Err(ErrorCode::UnknownServerError),
            };
            if batch.first_offset > this.end {
                // Offsets between stored batches were acquired when the state was stored, and are available now.
                this.append(batch.first_offset - 1, 0, State::Available);
            }
            this.append(batch.last_offset, batch.delivery_count, state);
        }
        this.advance();
        Ok(this)
    }

    /// Number of runs, which determines the memory that the machine takes.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Offset of the next read; `None` while the window is full.
    pub fn next_offset(&mut self, window_max: i64) -> Option<Offset> {
        let from = self.run_at(self.looked_to);
        let mut runs = self.runs.range(from..);
        match runs.find(|(_, run)| run.state == State::Available) {
            Some((first, _)) => {
                self.looked_to = *first;
                Some(*first)
            }
            None => {
                self.looked_to = self.end;
                (self.end - self.start < window_max).then_some(self.end)
            }
        }
    }

    /// Acquires available records for a member, from batches that were read from `from` on.
    pub fn acquire(
        &mut self,
        now: i64,
        member: &Arc<str>,
        terms: &Terms,
        from: Offset,
        batches: &[LogBatch],
    ) -> Vec<Acquired> {
        let mut taking = Taking {
            lock: Lock {
                member: Arc::clone(member),
                until: now.saturating_add(terms.lock_ms),
                writing: None,
            },
            terms,
            left: terms.records_max,
            taken: Vec::new(),
        };
        let mut at = from.max(self.start);
        for batch in batches {
            if taking.left <= 0 || at > self.end {
                break;
            }
            if batch.last < at {
                continue;
            }
            let first = batch.first.max(at);
            // The log has no records at these offsets any more.
            self.skip(at, first - 1);
            if batch.is_aborted {
                self.skip(first, batch.last);
            } else {
                let known = batch.last.min(self.end - 1);
                if first <= known && !self.take_again(first, known, &mut taking) {
                    break;
                }
                if batch.last >= self.end && !self.take_new(batch.last, &mut taking) {
                    break;
                }
            }
            at = batch.last.saturating_add(1);
        }
        if !taking.taken.is_empty() {
            self.first_deadline = earlier(self.first_deadline, taking.lock.until);
        }
        self.advance();
        taking.taken
    }

    /// Acquires available records among known offsets. False if no more may be acquired.
    fn take_again(&mut self, first: Offset, last: Offset, taking: &mut Taking<'_>) -> bool {
        let mut at = first;
        while at <= last && taking.left > 0 {
            let begins = self.run_at(at);
            let Some(run) = self.runs.get(&begins) else {
                return true;
            };
            let (run_last, count) = (run.last.min(last), run.count);
            if run.state != State::Available {
                at = run_last + 1;
                continue;
            }
            let size = run_last - at + 1;
            // Records that were delivered several times are delivered in smaller and smaller sets, at last one by one, so that a
            // record that always fails does not make others fail.
            let limit = taking.terms.deliveries_max;
            let suspect = count - (limit / 2 + limit % 2).max(2);
            let is_suspect = suspect >= 0;
            if is_suspect && !taking.taken.is_empty() {
                return false;
            }
            let take = match is_suspect {
                true if limit > 2 && count == limit - 1 => 1,
                true => (size >> (suspect + 1).min(62)).clamp(1, taking.left),
                false => size.min(taking.left),
            };
            let until = at + take - 1;
            self.split(at);
            self.split(until + 1);
            if let Some(run) = self.runs.get_mut(&at) {
                run.count = run.count.saturating_add(1);
                run.state = State::Acquired(taking.lock.clone());
            }
            taking.took(at, until, count.saturating_add(1));
            if is_suspect {
                return false;
            }
            at = until + 1;
        }
        true
    }

    /// Acquires new records, from `end` to the end of a batch. False if no more may be acquired.
    fn take_new(&mut self, last: Offset, taking: &mut Taking<'_>) -> bool {
        let room = taking.terms.window_max - (self.end - self.start);
        let may = taking.left.min(room);
        if may <= 0 {
            return false;
        }
        let first = self.end;
        let take = match taking.terms.is_strict {
            true => may.min(last - first + 1),
            false => last - first + 1,
        };
        let until = first + take - 1;
        self.append(until, 1, State::Acquired(taking.lock.clone()));
        taking.took(first, until, 1);
        if until < last {
            self.append(last, 0, State::Available);
            return false;
        }
        true
    }

    /// Archives available offsets without records, or with records that the group must not get.
    fn skip(&mut self, first: Offset, last: Offset) {
        if last >= self.end {
            self.append(last, 0, State::Archived);
        }
        let mut at = first;
        while at <= last {
            let begins = self.run_at(at);
            let Some(run) = self.runs.get(&begins) else {
                return;
            };
            let run_last = run.last.min(last);
            if run.state == State::Available {
                self.split(at);
                self.split(run_last + 1);
                self.set(at, State::Archived);
            }
            at = run_last + 1;
        }
    }

    /// Applies a member's acknowledgements: all of them or none.
    ///
    /// Errors: `InvalidRequest` for offsets that were never delivered, `InvalidRecordState` for records that the member does
    /// not hold.
    pub fn acknowledge(
        &mut self,
        now: i64,
        member: &str,
        said: &[Said],
        terms: &Terms,
    ) -> Result<Option<Change>, ErrorCode> {
        let mut before = None;
        for one in said {
            if one.first > one.last || one.last >= self.end {
                return Err(ErrorCode::InvalidRequest);
            }
            if before.is_some_and(|before| one.first <= before) {
                return Err(ErrorCode::InvalidRecordState);
            }
            before = Some(one.last);
            // Records before the start are done.
            let first = one.first.max(self.start);
            if first > one.last {
                continue;
            }
            let mut runs = self.runs.range(self.run_at(first)..=one.last);
            let is_wrong = |run: &Run| match &run.state {
                State::Acquired(lock) => &*lock.member != member || lock.writing.is_some(),
                _ => true,
            };
            if runs.any(|(_, run)| is_wrong(run)) {
                return Err(ErrorCode::InvalidRecordState);
            }
        }
        let mut change = self.begin_change();
        for one in said {
            let first = one.first.max(self.start);
            if first > one.last {
                continue;
            }
            self.split(first);
            self.split(one.last + 1);
            let mut has_written = false;
            for (start, run) in self.runs.range_mut(first..=one.last) {
                let State::Acquired(lock) = &mut run.state else {
                    continue;
                };
                let outcome = match one.verdict {
                    Verdict::Renew => {
                        lock.until = now.saturating_add(terms.lock_ms);
                        continue;
                    }
                    Verdict::Accept => Outcome::Acknowledged,
                    Verdict::Gap | Verdict::Reject => Outcome::Archived,
                    Verdict::Release => Outcome::released(run.count, terms.deliveries_max),
                };
                lock.writing = Some((change.number, outcome));
                has_written = true;
                change.add(*start, run.last, outcome, run.count);
            }
            if has_written {
                change.ranges.push((first, one.last));
            }
        }
        Ok(self.finish_change(change))
    }

    /// Releases all records of members that have left.
    pub fn release(
        &mut self,
        has_left: impl Fn(&Arc<str>) -> bool,
        deliveries_max: i16,
    ) -> Option<Change> {
        let mut change = self.begin_change();
        for (first, run) in &mut self.runs {
            let State::Acquired(lock) = &mut run.state else {
                continue;
            };
            if lock.writing.is_some() || !has_left(&lock.member) {
                continue;
            }
            let outcome = Outcome::released(run.count, deliveries_max);
            lock.writing = Some((change.number, outcome));
            change.add(*first, run.last, outcome, run.count);
            change.ranges.push((*first, run.last));
        }
        self.finish_change(change)
    }

    /// Applies a change if the share coordinator has written it; undoes it otherwise.
    pub fn settle(&mut self, change: &Change, is_written: bool, now: i64, deliveries_max: i16) {
        for (first, last) in &change.ranges {
            // Runs with a pending change are not merged, so they still begin at the same offsets.
            let starts: Vec<Offset> = self
                .runs
                .range(first..=last)
                .map(|(start, _)| *start)
                .collect();
            for start in starts {
                let Some(run) = self.runs.get_mut(&start) else {
                    continue;
                };
                let State::Acquired(lock) = &mut run.state else {
                    continue;
                };
                let Some((number, outcome)) = lock.writing else {
                    continue;
                };
                if number != change.number {
                    continue;
                }
                lock.writing = None;
                let is_over = lock.until <= now;
                match (is_written, outcome) {
                    (true, Outcome::Acknowledged) => self.set(start, State::Acknowledged),
                    (true, Outcome::Archived) => self.set(start, State::Archived),
                    (true, Outcome::Available) => self.set(start, State::Available),
                    (false, _) if is_over => self.give_back(start, deliveries_max),
                    (false, _) => {
                        self.first_deadline = earlier(self.first_deadline, lock.until);
                    }
                }
            }
        }
        self.advance();
    }

    /// Time at which the first lock may expire.
    pub fn next_deadline(&self) -> Option<i64> {
        self.first_deadline
    }

    /// Releases records whose locks have expired.
    pub fn expire(&mut self, now: i64, deliveries_max: i16) -> Option<Change> {
        if self.first_deadline.is_none_or(|at| at > now) {
            return None;
        }
        let mut over = Vec::new();
        self.first_deadline = None;
        let mut change = self.begin_change();
        for (first, run) in &self.runs {
            // The outcome of a pending change is not known yet: its records are left out.
            if let State::Acquired(Lock {
                until,
                writing: None,
                ..
            }) = &run.state
            {
                if *until <= now {
                    over.push(*first);
                    let outcome = Outcome::released(run.count, deliveries_max);
                    change.add(*first, run.last, outcome, run.count);
                } else {
                    self.first_deadline = earlier(self.first_deadline, *until);
                }
            }
        }
        // An expiry takes effect at once, even if it cannot be written.
        let change = self.finish_change(change);
        for first in over {
            self.give_back(first, deliveries_max);
        }
        self.advance();
        change
    }

    /// Handles a later log start offset. Records that members hold stay theirs.
    pub fn log_starts_at(&mut self, log_start: Offset) {
        self.skip(self.start, log_start - 1);
        self.advance();
    }

    /// Releases a run whose lock has expired.
    fn give_back(&mut self, start: Offset, deliveries_max: i16) {
        let count = self.runs.get(&start).map_or(0, |run| run.count);
        let state = match Outcome::released(count, deliveries_max) {
            Outcome::Available => State::Available,
            Outcome::Acknowledged | Outcome::Archived => State::Archived,
        };
        self.set(start, state);
    }

    fn begin_change(&mut self) -> Draft {
        self.changes += 1;
        Draft {
            number: self.changes,
            ranges: Vec::new(),
            batches: Vec::new(),
            done: 0,
        }
    }

    fn finish_change(&self, draft: Draft) -> Option<Change> {
        if draft.batches.is_empty() {
            return None;
        }
        Some(Change {
            number: draft.number,
            ranges: draft.ranges,
            write: Write {
                state_epoch: self.state_epoch,
                leader_epoch: self.leader_epoch,
                start_offset: self.start,
                complete_count: i32::try_from(self.done + draft.done).unwrap_or(i32::MAX),
                batches: draft.batches,
            },
        })
    }

    /// First offset of the run that contains an offset.
    fn run_at(&self, offset: Offset) -> Offset {
        let before = self.runs.range(..=offset).next_back();
        before.map_or(offset, |(first, _)| *first)
    }

    /// Splits the run at an offset, so that a run begins there.
    fn split(&mut self, at: Offset) {
        let first = self.run_at(at);
        if first == at {
            return;
        }
        let Some(run) = self.runs.get_mut(&first) else {
            return;
        };
        if run.last < at {
            return;
        }
        let rest = run.clone();
        run.last = at - 1;
        self.runs.insert(at, rest);
    }

    /// Adds a run at the end.
    fn append(&mut self, last: Offset, count: i16, state: State) {
        let first = self.end;
        let run = Run { last, count, state };
        if run.is_done() {
            self.done += last - first + 1;
        }
        self.end = last.saturating_add(1);
        if run.state == State::Available {
            self.looked_to = self.looked_to.min(first);
        }
        match self.runs.last_entry() {
            Some(mut before)
                if before.get().state == run.state && before.get().count == run.count =>
            {
                before.get_mut().last = last;
            }
            _ => drop(self.runs.insert(first, run)),
        }
    }

    /// Sets the state of a run. Runs that are done are merged with such neighbours: their delivery counts are not needed any
    /// more.
    fn set(&mut self, start: Offset, state: State) {
        let Some(run) = self.runs.get_mut(&start) else {
            return;
        };
        let size = run.last - start + 1;
        let was_done = run.is_done();
        run.state = state;
        if run.state == State::Available {
            self.looked_to = self.looked_to.min(start);
        }
        match (was_done, run.is_done()) {
            (false, true) => self.done += size,
            (true, false) => self.done -= size,
            _ => return,
        }
        let last = run.last;
        let mut first = start;
        if let Some((begins, before)) = self.runs.range_mut(..start).next_back()
            && before.is_done()
        {
            before.last = last;
            first = *begins;
            self.runs.remove(&start);
        }
        if let Some(behind) = self.runs.get(&(last.saturating_add(1)))
            && behind.is_done()
        {
            let until = behind.last;
            self.runs.remove(&(last + 1));
            if let Some(run) = self.runs.get_mut(&first) {
                run.last = until;
            }
        }
    }

    /// Moves the start over runs that are done.
    fn advance(&mut self) {
        while let Some(first) = self.runs.first_entry()
            && first.get().is_done()
        {
            let (begins, run) = first.remove_entry();
            self.done -= run.last - begins + 1;
            self.start = run.last.saturating_add(1);
        }
        self.looked_to = self.looked_to.max(self.start);
    }
}

/// The earlier one of two deadlines.
fn earlier(known: Option<i64>, new: i64) -> Option<i64> {
    Some(known.map_or(new, |known| known.min(new)))
}

/// An acquisition in progress.
struct Taking<'a> {
    lock: Lock,
    terms: &'a Terms,
    left: i64,
    taken: Vec<Acquired>,
}

impl Taking<'_> {
    fn took(&mut self, first: Offset, last: Offset, count: i16) {
        self.left -= last - first + 1;
        match self.taken.last_mut() {
            Some(before) if before.last + 1 == first && before.count == count => {
                before.last = last;
            }
            _ => self.taken.push(Acquired { first, last, count }),
        }
    }
}

/// A change in preparation.
struct Draft {
    number: u64,
    ranges: Vec<(Offset, Offset)>,
    batches: Vec<StateBatch>,
    /// Number of offsets that this change makes done.
    done: i64,
}

impl Draft {
    fn add(&mut self, first: Offset, last: Offset, outcome: Outcome, count: i16) {
        let state = match outcome {
            Outcome::Acknowledged => ACKNOWLEDGED,
            Outcome::Archived => ARCHIVED,
            Outcome::Available => AVAILABLE,
        };
        if state != AVAILABLE {
            self.done += last - first + 1;
        }
        match self.batches.last_mut() {
            Some(before)
                if before.last_offset + 1 == first
                    && (before.delivery_state, before.delivery_count) == (state, count) =>
            {
                before.last_offset = last;
            }
            _ => self.batches.push(StateBatch {
                first_offset: first,
                last_offset: last,
                delivery_state: state,
                delivery_count: count,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
