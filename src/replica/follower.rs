//! pure: how a replica that does not lead follows its leader: where it fetches, what of an answer it takes, and where it cuts
//! its log. Kafka's `AbstractFetcherThread` and `ReplicaFetcherThread` for one partition (KIP-101, KIP-279, KIP-595).
//!
//! Owner: [`Partition`](super::partition::Partition), under the lock of its role. Whoever fetches asks [`FollowerState::next`]
//! what to do, shows the answer, does with the log what the verdict says, and reports it. The state never sees a log, a socket or
//! the clock.
//!
//! ```text
//! fetch ──► records:    append, then high watermark, then log start          (the order of Kafka)
//!       ├─► diverging:  cut, and nothing else of the answer is used           (KAFKA-14704)
//!       ├─► out of range: ask for the leader's end, perhaps for its start     (KIP-320)
//!       └─► error:      wait, or wait for metadata
//! ```

use crate::base::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::base::time::Timestamp;
use crate::log::leader_epoch::LeaderEpochs;
use crate::wire::error_code::ErrorCode;

use super::leader::Assignment;

/// Stands for an epoch where a log has none.
const NO_EPOCH: LeaderEpoch = -1;

/// The follower's log at a moment.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    pub log_start: Offset,
    pub log_end: Offset,
    pub epochs: &'a LeaderEpochs,
}

/// What a follower asks its leader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub current_leader_epoch: LeaderEpoch,
    /// The end of the follower's log.
    pub offset: Offset,
    /// Of the last record, -1 where there is none.
    pub last_fetched_epoch: LeaderEpoch,
    pub log_start: Offset,
}

/// What a follower does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Fetch(Fetch),
    /// Ask the leader for the end of its log (ListOffsets of a replica).
    AskEnd,
    /// Ask the leader for the start of its log.
    AskStart,
    /// Cut the log there, report it with [`FollowerState::cut`], and ask again what is next.
    Cut(Offset),
    WaitUntil(Timestamp),
    /// Nobody leads, or the leader has another epoch than the metadata that is here.
    WaitForMetadata,
}

/// A batch in an answer, as its header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    pub base_offset: Offset,
    pub next_offset: Offset,
    pub epoch: LeaderEpoch,
}

/// The leader's answer to a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchAnswer {
    Records {
        batches: Vec<BatchSpan>,
        high_watermark: Offset,
        log_start: Offset,
    },
    Diverging {
        epoch: LeaderEpoch,
        end_offset: Offset,
    },
    Failed(ErrorCode),
}

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append so many of the batches, and report it with [`FollowerState::appended`].
    Append(usize),
    /// Cut the log there, with the leader epochs that begin there or behind (KAFKA-10706), and report it with
    /// [`FollowerState::cut`].
    Cut(Offset),
    /// Empty the log and begin at this offset; report it with [`FollowerState::cut`].
    StartAnewAt(Offset),
    /// Nothing. What is next may have changed.
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub struct FollowerState {
    leader: BrokerId,
    epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    high_watermark: Offset,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A log without leader epochs cannot say where it diverges: what may not be committed goes first.
    CutToHighWatermark,
    Fetching,
    /// The leader does not have the offset: first its end is asked for, then its start.
    AskingEnd,
    AskingStart,
    BackingOff(Timestamp),
    /// The leader is in a later epoch.
    Fenced,
}

impl FollowerState {
    /// Begins to follow. Metadata of the same leader epoch changes nothing; a new epoch starts over, also under the same leader.
    pub fn new(assignment: &Assignment<'_>, high_watermark: Offset, log: &LogView<'_>) -> Self {
        let has_epochs = log.epochs.latest().is_some();
        let this = Self {
            leader: assignment.leader,
            epoch: assignment.epoch,
            partition_epoch: assignment.partition_epoch,
            high_watermark: high_watermark.clamp(log.log_start, log.log_end),
            stage: match has_epochs {
                true => Stage::Fetching,
                false => Stage::CutToHighWatermark,
            },
        };
        this.invariants(log.log_end);
        this
    }

    /// Takes over newer metadata of the same leader epoch.
    pub fn update(&mut self, assignment: &Assignment<'_>) {
        assert_eq!(assignment.epoch, self.epoch, "{self:?}");
        if assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.leader = assignment.leader;
        }
    }

    /// -1 where nobody leads.
    pub fn leader(&self) -> BrokerId {
        self.leader
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub fn next(&self, log: &LogView<'_>, now: Timestamp) -> Next {
        if self.leader < 0 {
            return Next::WaitForMetadata;
        }
        match self.stage {
            Stage::Fenced => Next::WaitForMetadata,
            Stage::BackingOff(until) if now < until => Next::WaitUntil(until),
            Stage::CutToHighWatermark if self.high_watermark < log.log_end => {
                Next::Cut(self.high_watermark)
            }
            Stage::AskingEnd => Next::AskEnd,
            Stage::AskingStart => Next::AskStart,
            Stage::CutToHighWatermark | Stage::BackingOff(_) | Stage::Fetching => {
                Next::Fetch(Fetch {
                    current_leader_epoch: self.epoch,
                    offset: log.log_end,
                    // Of the log and not of the last answer: an answer may be empty (KAFKA-15510).
                    last_fetched_epoch: log.epochs.latest().unwrap_or(NO_EPOCH),
                    log_start: log.log_start,
                })
            }
        }
    }

    /// Judges an answer. One to a question that would not be asked any more counts for nothing.
    pub fn fetched(
        &mut self,
        asked: &Fetch,
        answer: &FetchAnswer,
        log: &LogView<'_>,
        backoff_ms: i64,
        now: Timestamp,
    ) -> Verdict {
        // Two logs of this follower may end at the same offset: what says where the first parts from the leader's cuts the second.
        let of = |fetch: &Fetch| {
            (
                fetch.offset,
                fetch.last_fetched_epoch,
                fetch.current_leader_epoch,
            )
        };
        let is_current = |now: Fetch| of(&now) == of(asked);
        if !matches!(self.next(log, now), Next::Fetch(now) if is_current(now)) {
            return Verdict::Nothing;
        }
        self.stage = Stage::Fetching;
        let verdict = match answer {
            FetchAnswer::Diverging { epoch, end_offset } => {
                self.diverging(*epoch, *end_offset, log)
            }
            FetchAnswer::Records { batches, .. } => self.judge(asked, batches, log),
            FetchAnswer::Failed(ErrorCode::OffsetOutOfRange) => {
                self.stage = Stage::AskingEnd;
                Some(Verdict::Nothing)
            }
            FetchAnswer::Failed(ErrorCode::FencedLeaderEpoch) => {
                self.stage = Stage::Fenced;
                Some(Verdict::Nothing)
            }
            // The leader does not know the epoch yet, leads no more, or the records are damaged.
            FetchAnswer::Failed(_) => None,
        };
        verdict.unwrap_or_else(|| {
            self.stage = Stage::BackingOff(now.saturating_add(backoff_ms));
            Verdict::Nothing
        })
    }

    /// The end of the leader's log, asked for because the leader does not have the end of ours.
    pub fn leader_ends_at(
        &mut self,
        epoch: LeaderEpoch,
        end: Offset,
        log: &LogView<'_>,
    ) -> Verdict {
        if self.stage != Stage::AskingEnd || epoch != self.epoch {
            return Verdict::Nothing;
        }
        if end < log.log_end {
            // After an unclean election a leader may have less.
            self.stage = Stage::Fetching;
            return cut_at(end, log);
        }
        self.stage = Stage::AskingStart;
        Verdict::Nothing
    }

    /// The start of the leader's log.
    pub fn leader_starts_at(
        &mut self,
        epoch: LeaderEpoch,
        start: Offset,
        log: &LogView<'_>,
    ) -> Verdict {
        if self.stage != Stage::AskingStart || epoch != self.epoch {
            return Verdict::Nothing;
        }
        self.stage = Stage::Fetching;
        match start > log.log_end {
            true => Verdict::StartAnewAt(start),
            false => Verdict::Nothing,
        }
    }

    /// The leader does not say where its log ends or starts.
    pub fn refused(&mut self, code: ErrorCode, backoff_ms: i64, now: Timestamp) {
        if matches!(self.stage, Stage::AskingEnd | Stage::AskingStart) {
            self.stage = match code {
                ErrorCode::FencedLeaderEpoch => Stage::Fenced,
                _ => Stage::BackingOff(now.saturating_add(backoff_ms)),
            };
        }
    }

    /// Batches were appended, or none, and these are the marks that came with them. Gives the high watermark and the log start
    /// that the follower has now.
    pub fn appended(
        &mut self,
        log: &LogView<'_>,
        leader_high_watermark: Offset,
        leader_log_start: Offset,
    ) -> (Offset, Offset) {
        self.stage = Stage::Fetching;
        // A new leader may not have heard yet of all that is committed.
        let high_watermark = leader_high_watermark.min(log.log_end);
        self.high_watermark = self.high_watermark.max(high_watermark);
        let log_start = leader_log_start.min(self.high_watermark);
        self.invariants(log.log_end);
        (self.high_watermark, log_start.max(log.log_start))
    }

    /// The log was cut, or begins anew, and ends there now.
    pub fn cut(&mut self, log: &LogView<'_>) -> Offset {
        if self.stage == Stage::CutToHighWatermark {
            self.stage = Stage::Fetching;
        }
        self.high_watermark = self.high_watermark.clamp(log.log_start, log.log_end);
        self.invariants(log.log_end);
        self.high_watermark
    }

    /// The leader's log ends with `epoch` at `end_offset`, as far as it can agree with ours.
    fn diverging(
        &self,
        epoch: LeaderEpoch,
        end_offset: Offset,
        log: &LogView<'_>,
    ) -> Option<Verdict> {
        let target = if epoch < 0 || end_offset < 0 {
            self.high_watermark
        } else {
            match log.epochs.end_of(epoch, log.log_end) {
                Some((ours, end)) if ours == epoch => end.min(end_offset),
                // The leader's epoch never wrote here: the next fetch names the epoch before it (KIP-279).
                Some((_, end)) => end,
                None => end_offset,
            }
        };
        let target = target.min(log.log_end);
        let last = log.epochs.entries().last();
        let changes = target < log.log_end || last.is_some_and(|(_, start)| *start >= target);
        changes.then(|| cut_at(target, log))
    }

    /// How many of the batches are taken. `None` where the answer makes no sense.
    fn judge(&self, asked: &Fetch, batches: &[BatchSpan], log: &LogView<'_>) -> Option<Verdict> {
        // An answer of before a leader change may have records of a later epoch behind it, whose beginning we have not seen
        // (KAFKA-18723).
        let ours = |batch: &&BatchSpan| batch.epoch <= asked.current_leader_epoch;
        let taken: Vec<_> = batches.iter().take_while(ours).collect();
        let mut end = log.log_end;
        for batch in &taken {
            if batch.base_offset < end {
                let holds_end = batch.base_offset < log.log_end && log.log_end < batch.next_offset;
                let is_first = end == log.log_end && log.log_start == log.log_end;
                // The leader's log was cut inside of a batch, by DeleteRecords (KAFKA-6975).
                return (holds_end && is_first).then_some(Verdict::StartAnewAt(batch.base_offset));
            }
            if batch.next_offset <= batch.base_offset {
                return None;
            }
            end = batch.next_offset;
        }
        // What comes next is of an epoch that the metadata has not told here: asked again at once, the leader would send it again.
        let is_ahead = taken.is_empty() && !batches.is_empty();
        (!is_ahead).then_some(Verdict::Append(taken.len()))
    }

    /// What holds after each change.
    fn invariants(&self, log_end: Offset) {
        assert!(self.high_watermark <= log_end, "{log_end} {self:?}");
    }
}

fn cut_at(offset: Offset, log: &LogView<'_>) -> Verdict {
    match offset < log.log_start {
        true => Verdict::StartAnewAt(offset.max(0)),
        false => Verdict::Cut(offset),
    }
}
