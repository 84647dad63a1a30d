//! pure: the records of a partition on their way to one share group (Kafka: `SharePartition`).
//!
//! ```text
//!              acquire                  acknowledge
//!   Available ─────────▶ Acquired ──────────────────▶ Acknowledged
//!       ▲                  │  │ reject, or released for the last time
//!       └──────────────────┘  └─────────────────────▶ Archived
//!          release, lock over
//! ```
//!
//! The offsets from the start on that were looked at are runs without gaps: each has one state. Before the start everything is done
//! with, behind the last run nothing has begun. A member has a record for as long as its lock lasts. What is acknowledged or released
//! shows only when the share coordinator has it; a lock that is over shows at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::ids::{LeaderEpoch, Offset};
use crate::coordinator::share_state::batches::{ACKNOWLEDGED, ARCHIVED, AVAILABLE};
use crate::coordinator::share_state::record::StateBatch;
use crate::coordinator::share_state::request::{Known, Write};
use crate::wire::error_code::ErrorCode;

/// What may be done with records, by the settings of the group and the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a member may keep a record.
    pub lock_ms: i64,
    /// After so many deliveries a record is archived.
    pub deliveries_max: i16,
    /// Offsets from the start on in which there may be records that are on their way.
    pub window_max: i64,
    /// Records that the request may get. Without `is_strict`, the batch with the last of them comes whole.
    pub records_max: i64,
    pub is_strict: bool,
}

/// A batch of the log, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBatch {
    pub first: Offset,
    pub last: Offset,
    /// Of a transaction that was aborted, for groups that read what is committed.
    pub is_aborted: bool,
}

/// Records that a member gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub first: Offset,
    pub last: Offset,
    /// Which delivery it is, from 1 on.
    pub count: i16,
}

/// What a member says of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no record at the offset.
    Gap,
    Accept,
    Release,
    Reject,
    /// Needs more time.
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

/// A verdict about offsets that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub first: Offset,
    pub last: Offset,
    pub verdict: Verdict,
}

/// What the share coordinator shall keep; see [`Machine::settle`].
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    number: u64,
    ranges: Vec<(Offset, Offset)>,
    pub write: Write,
}

/// What becomes of an acquired record once it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Acknowledged,
    Archived,
    Available,
}

impl Outcome {
    /// Of a record that is nobody's any more, after so many deliveries.
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
    /// Steady milliseconds.
    until: i64,
    /// The change that is being written, and what comes of it.
    writing: Option<(u64, Outcome)>,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Available,
    Acquired(Lock),
    Acknowledged,
    Archived,
}

/// Offsets of one state, up to `last`.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    last: Offset,
    /// Deliveries until now.
    count: i16,
    state: State,
}

impl Run {
    fn is_done(&self) -> bool {
        matches!(self.state, State::Acknowledged | State::Archived)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Machine {
    state_epoch: i32,
    leader_epoch: LeaderEpoch,
    /// By first offset, side by side from `start` to `end`.
    runs: BTreeMap<Offset, Run>,
    start: Offset,
    /// The offset behind the last run.
    end: Offset,
    /// Offsets among them with which everybody is done.
    done: i64,
    /// No run before it is available.
    looked_to: Offset,
    changes: u64,
    /// No lock is over before it.
    first_deadline: Option<i64>,
}

impl Machine {
    /// As the share coordinator knows it. `start` is that of what is known, or where a group begins of which nothing is.
    ///
    /// Errors: `UnknownServerError` for what nobody can have written.
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
                // Somebody had these when they were last heard of.
                this.append(batch.first_offset - 1, 0, State::Available);
            }
            this.append(batch.last_offset, batch.delivery_count, state);
        }
        this.advance();
        Ok(this)
    }

    pub fn start(&self) -> Offset {
        self.start
    }

    /// How many runs there are: what the machine takes of memory.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Where to read next; `None` while the window has no room.
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

    /// Gives a member what is available of batches that were read from `from` on.
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
            // The log has nothing there any more.
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
            let until = taking.lock.until;
            self.first_deadline = Some(self.first_deadline.map_or(until, |at| at.min(until)));
        }
        self.advance();
        taking.taken
    }

    /// Takes what is available among known offsets. False where nothing more may come.
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
            // Records that come back again and again are looked for among fewer and fewer, so that one does not take others along.
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

    /// Takes from the end on, up to the end of a batch. False where nothing more may come.
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

    /// Nobody gets these: they are not there, or not meant for the group.
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

    /// A member says what became of records. All of it is taken, or nothing.
    ///
    /// Errors: `InvalidRequest` beyond what was ever delivered, `InvalidRecordState` where the member has not got the record.
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
            // What lies before the start is done with.
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
            let mut starts = Vec::new();
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
                starts.push((*start, run.last, outcome, run.count));
            }
            for (first, last, outcome, count) in starts {
                change.add(first, last, outcome, count);
            }
            if has_written {
                change.ranges.push((first, one.last));
            }
        }
        Ok(self.finish_change(change))
    }

    /// A member has gone: it releases what it has.
    pub fn release(&mut self, member: &str, deliveries_max: i16) -> Option<Change> {
        let mut change = self.begin_change();
        for (first, run) in &mut self.runs {
            let State::Acquired(lock) = &mut run.state else {
                continue;
            };
            if &*lock.member != member || lock.writing.is_some() {
                continue;
            }
            let outcome = Outcome::released(run.count, deliveries_max);
            lock.writing = Some((change.number, outcome));
            change.add(*first, run.last, outcome, run.count);
            change.ranges.push((*first, run.last));
        }
        self.finish_change(change)
    }

    /// The share coordinator has written a change, or could not.
    pub fn settle(&mut self, change: &Change, is_written: bool, now: i64, deliveries_max: i16) {
        for (first, last) in &change.ranges {
            // Runs are not merged while they wait, so they begin where they began.
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
                        let until = lock.until;
                        self.first_deadline =
                            Some(self.first_deadline.map_or(until, |at| at.min(until)));
                    }
                }
            }
        }
        self.advance();
    }

    /// When the first lock may be over.
    pub fn next_deadline(&self) -> Option<i64> {
        self.first_deadline
    }

    /// Takes back what members have kept for too long.
    pub fn expire(&mut self, now: i64, deliveries_max: i16) -> Option<Change> {
        if self.first_deadline.is_none_or(|at| at > now) {
            return None;
        }
        let mut over = Vec::new();
        self.first_deadline = None;
        let mut change = self.begin_change();
        for (first, run) in &self.runs {
            // Of what is being written, it is not known yet what becomes.
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
                    self.first_deadline =
                        Some(self.first_deadline.map_or(*until, |at| at.min(*until)));
                }
            }
        }
        // It is true at once, whether it can be written or not.
        let change = self.finish_change(change);
        for first in over {
            self.give_back(first, deliveries_max);
        }
        self.advance();
        change
    }

    /// The log begins later than it did.
    pub fn log_starts_at(&mut self, log_start: Offset) {
        self.skip(self.start, log_start - 1);
        self.advance();
    }

    /// A lock is over.
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

    /// The first offset of the run with an offset in it.
    fn run_at(&self, offset: Offset) -> Offset {
        let before = self.runs.range(..=offset).next_back();
        before.map_or(offset, |(first, _)| *first)
    }

    /// Has a run begin at an offset.
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

    /// Puts a run behind all others.
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

    /// Gives a run another state. Runs that are done become one with such neighbours: nobody asks any more how often they were
    /// delivered.
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

    /// The start moves over what is done with.
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

/// What a member takes.
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

/// A change that is being made.
struct Draft {
    number: u64,
    ranges: Vec<(Offset, Offset)>,
    batches: Vec<StateBatch>,
    /// Offsets that will be done with besides those that are.
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
