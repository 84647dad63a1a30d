//! Follower side of a partition with its log. The fetching task asks [`Partition::next_step`], passes in answers of the leader,
//! and does the [chores](Chore), which may wait for a disk.
//!
//! ```text
//! under the role's lock:  check that the same fetch would still be sent ──► append ──► high watermark
//! without a lock:         chores: truncate, flush, delete before the log start offset
//! ```
//! The role does not change while the log is truncated: new metadata is kept until the truncation ends. Otherwise the node
//! could become leader and append during the truncation, or the task that applies metadata would wait for a disk.

use super::*;
use crate::log::manager::Cut;
use crate::log::partition_log::following::{Followed, Replicated};
use crate::replica::follower::{
    BatchSpan, Fetch, FetchAnswer, FollowerState, LogView, Next as Ahead, Verdict,
};

/// A leader's answer for one partition.
#[derive(Clone, Debug)]
pub enum LeaderAnswer {
    Records {
        records: Replicated,
        high_watermark: Offset,
        log_start: Offset,
    },
    Diverging {
        epoch: LeaderEpoch,
        end_offset: Offset,
    },
    Failed(ErrorCode),
}

/// Next step of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Fetch(Fetch),
    AskEnd,
    AskStart,
    Do(Chore),
    WaitUntil(Timestamp),
    /// Wait for metadata.
    Wait,
}

/// Work that may wait for a disk. The next step is asked for after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Truncate the log, then call [`Partition::was_cut`], even after an error.
    Cut(Cut),
    /// Flush records below this offset to disk.
    Flush(Offset),
    DeleteBefore(Offset),
}

/// Whether the log is being truncated, and the metadata that arrived meanwhile.
#[derive(Debug, Default)]
pub struct Cutting {
    is_on: bool,
    news: Option<Box<Postponed>>,
}

impl Cutting {
    /// Begins a truncation.
    fn begin(&mut self, cut: Cut) -> Chore {
        self.is_on = true;
        Chore::Cut(cut)
    }

    /// Begins the truncation that a verdict asks for.
    fn chore_of(&mut self, verdict: Verdict) -> Option<Chore> {
        match verdict {
            Verdict::Cut(offset) => Some(self.begin(Cut::At(offset))),
            Verdict::StartAnewAt(offset) => Some(self.begin(Cut::StartAnewAt(offset))),
            Verdict::Nothing | Verdict::Append(_) => None,
        }
    }

    /// Keeps metadata for the end of a truncation. Returns whether there is a truncation.
    pub(super) fn postpone(&mut self, news: &News<'_>) -> bool {
        if self.is_on {
            self.news = Some(Box::new(Postponed::of(news)));
        }
        self.is_on
    }

    /// Updates the rules in the kept metadata, if there is any.
    pub(super) fn postpone_rules(&mut self, rules: Rules) {
        if let Some(news) = &mut self.news {
            news.rules = rules;
        }
    }

    /// Updates the alive brokers in the kept metadata, if there is any.
    pub(super) fn postpone_alive(&mut self, alive: &dyn Fn(BrokerId) -> Option<Alive>) {
        if let Some(news) = &mut self.news {
            news.set_alive(alive);
        }
    }
}

/// Owned copy of [`News`].
#[derive(Debug)]
struct Postponed {
    leader: BrokerId,
    epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    replicas: Vec<BrokerId>,
    isr: Vec<BrokerId>,
    rules: Rules,
    alive: Vec<(BrokerId, Alive)>,
}

impl Postponed {
    fn of(news: &News<'_>) -> Self {
        let assignment = &news.assignment;
        let mut this = Self {
            leader: assignment.leader,
            epoch: assignment.epoch,
            partition_epoch: assignment.partition_epoch,
            replicas: assignment.replicas.to_vec(),
            isr: assignment.isr.to_vec(),
            rules: news.rules,
            alive: Vec::new(),
        };
        this.set_alive(news.alive);
        this
    }

    fn set_alive(&mut self, alive: &dyn Fn(BrokerId) -> Option<Alive>) {
        let replicas = self.replicas.iter();
        self.alive = replicas.filter_map(|id| Some((*id, alive(*id)?))).collect();
    }

    fn tell(&self, partition: &Partition, now: Timestamp) {
        let alive = |id: BrokerId| {
            let found = self.alive.iter().find(|(one, _)| *one == id);
            found.map(|(_, alive)| *alive)
        };
        partition.update(&News {
            assignment: Assignment {
                leader: self.leader,
                epoch: self.epoch,
                partition_epoch: self.partition_epoch,
                replicas: &self.replicas,
                isr: &self.isr,
            },
            rules: self.rules,
            alive: &alive,
            now,
        });
    }
}

impl Partition {
    /// The leader that this node follows, and the epoch; `None` if this node leads, there is no leader, or the partition is
    /// offline.
    pub fn follows(&self) -> Option<(BrokerId, LeaderEpoch)> {
        match &*self.role.lock() {
            Role::Follower { state, .. } if state.leader() >= 0 => {
                Some((state.leader(), state.epoch()))
            }
            _ => None,
        }
    }

    /// Next step of the follower in a leader epoch. Returning [`Chore::Cut`] begins the truncation.
    pub fn next_step(&self, epoch: LeaderEpoch, now: Timestamp) -> Step {
        let mut role = self.role.lock();
        let Some((follower, cutting)) = role.follower_in(epoch) else {
            return Step::Wait;
        };
        if cutting.is_on {
            return Step::Wait;
        }
        match self.view(|log| follower.next(log, now)) {
            // A fetch tells the leader that the follower has the records before it. Another lane may still flush them.
            Ahead::Fetch(fetch) => match self.log.must_flush_up_to() {
                Some(end) => Step::Do(Chore::Flush(end)),
                None => Step::Fetch(fetch),
            },
            Ahead::AskEnd => Step::AskEnd,
            Ahead::AskStart => Step::AskStart,
            Ahead::Cut(offset) => Step::Do(cutting.begin(Cut::At(offset))),
            Ahead::WaitUntil(until) => Step::WaitUntil(until),
            Ahead::WaitForMetadata => Step::Wait,
        }
    }

    /// Handles the answer to a fetch, if the same fetch would still be sent now: appends the records and moves the high
    /// watermark. Returns the chores that remain.
    ///
    /// Errors: those of the log.
    pub fn take_in(
        &self,
        asked: &Fetch,
        answer: &LeaderAnswer,
        backoff_ms: i64,
        now: Timestamp,
    ) -> Result<Vec<Chore>, AppendError> {
        let (records, seen) = match answer {
            LeaderAnswer::Records {
                records,
                high_watermark,
                log_start,
            } => {
                if !records.batches().is_empty() {
                    self.log.recall();
                }
                let seen = FetchAnswer::Records {
                    batches: spans(records),
                    high_watermark: *high_watermark,
                    log_start: *log_start,
                };
                (Some(records), seen)
            }
            LeaderAnswer::Diverging { epoch, end_offset } => {
                let (epoch, end_offset) = (*epoch, *end_offset);
                (None, FetchAnswer::Diverging { epoch, end_offset })
            }
            LeaderAnswer::Failed(code) => (None, FetchAnswer::Failed(*code)),
        };
        loop {
            let mut role = self.role.lock();
            let Some((follower, cutting)) = role.follower_in(asked.current_leader_epoch) else {
                return Ok(Vec::new());
            };
            if cutting.is_on {
                return Ok(Vec::new());
            }
            let verdict = self.view(|log| follower.fetched(asked, &seen, log, backoff_ms, now));
            let Verdict::Append(count) = verdict else {
                return Ok(cutting.chore_of(verdict).into_iter().collect());
            };
            let appended = match records {
                Some(records) if count > 0 => self.log.append_as_follower(records, count, now)?,
                _ => Some(Followed {
                    log_end: asked.offset,
                    must_flush: false,
                }),
            };
            if let Some(appended) = appended {
                return Ok(self.appended(follower, appended, &seen));
            }
            drop(role);
            self.log.wait_for_move();
        }
    }

    fn appended(
        &self,
        follower: &mut FollowerState,
        appended: Followed,
        answer: &FetchAnswer,
    ) -> Vec<Chore> {
        let FetchAnswer::Records {
            high_watermark,
            log_start,
            ..
        } = answer
        else {
            return Vec::new();
        };
        let (before, (high_watermark, starts)) = self.view(|log| {
            let marks = follower.appended(log, *high_watermark, *log_start);
            (log.log_start, marks)
        });
        self.publish_high_watermark(high_watermark);
        let flush = (appended.must_flush).then_some(Chore::Flush(appended.log_end));
        let delete = (starts > before).then_some(Chore::DeleteBefore(starts));
        flush.into_iter().chain(delete).collect()
    }

    /// Handles the leader's log end offset, which a follower of this epoch has asked for.
    pub fn leader_ends_at(&self, epoch: LeaderEpoch, end: Offset) -> Option<Chore> {
        let mut role = self.role.lock();
        let (follower, cutting) = role.follower_in(epoch)?;
        let verdict = self.view(|log| follower.leader_ends_at(epoch, end, log));
        cutting.chore_of(verdict)
    }

    /// Handles the leader's log start offset, which a follower of this epoch has asked for.
    pub fn leader_starts_at(&self, epoch: LeaderEpoch, start: Offset) -> Option<Chore> {
        let mut role = self.role.lock();
        let (follower, cutting) = role.follower_in(epoch)?;
        let verdict = self.view(|log| follower.leader_starts_at(epoch, start, log));
        cutting.chore_of(verdict)
    }

    /// Handles a refused request for the leader's log end offset or log start offset.
    pub fn was_refused(
        &self,
        epoch: LeaderEpoch,
        code: ErrorCode,
        backoff_ms: i64,
        now: Timestamp,
    ) {
        if let Some((follower, _)) = self.role.lock().follower_in(epoch) {
            follower.refused(code, backoff_ms, now);
        }
    }

    /// Ends a truncation. Applies the metadata that arrived meanwhile; returns whether there was any.
    pub fn was_cut(&self, now: Timestamp) -> bool {
        let mut role = self.role.lock();
        let Role::Follower { state, cutting } = &mut *role else {
            return false;
        };
        let high_watermark = self.view(|log| state.cut(log));
        self.log.high_watermark().set(high_watermark);
        let news = std::mem::take(cutting).news;
        drop(role);
        if let Some(news) = &news {
            news.tell(self, now);
        }
        news.is_some()
    }

    /// Calls a function with the log as a follower sees it.
    pub(super) fn view<T>(&self, look: impl FnOnce(&LogView<'_>) -> T) -> T {
        self.log.with_ends(|log_start, log_end, epochs| {
            look(&LogView {
                log_start,
                log_end,
                epochs,
            })
        })
    }
}

fn spans(records: &Replicated) -> Vec<BatchSpan> {
    let batches = records.batches().iter();
    let span = batches.map(|batch| BatchSpan {
        base_offset: batch.first_offset,
        next_offset: batch.span.last_offset + 1,
        epoch: batch.span.leader_epoch,
    });
    span.collect()
}
