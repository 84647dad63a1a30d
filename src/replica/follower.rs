//! pure: follower side of one partition: where it fetches, which batches of an answer it appends, and where it truncates its
//! log. Kafka's `AbstractFetcherThread` and `ReplicaFetcherThread` for one partition (KIP-101, KIP-279, KIP-595).
//!
//! Owner: [`Partition`](super::partition::Partition), under the lock of its role. The fetching task asks
//! [`FollowerState::next`] what to do, passes in the answer, applies the verdict to the log, and reports the result. The state
//! never sees a log, a socket or the clock.
//!
//! ```text
//! fetch ──► records:      append, then high watermark, then log start offset       (Kafka's order)
//!       ├─► diverging:    truncate; the rest of the answer is ignored              (KAFKA-14704)
//!       ├─► out of range: ask for the leader's log end offset, then its log start  (KIP-320)
//!       └─► error:        pause, or wait for metadata
//! ```

use crate::base::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::base::time::Timestamp;
use crate::log::leader_epoch::LeaderEpochs;
use crate::wire::error_code::ErrorCode;

use super::leader::Assignment;

/// Epoch of an empty epoch cache.
const NO_EPOCH: LeaderEpoch = -1;

/// Offsets and epochs of the follower's log at one moment.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    pub log_start: Offset,
    pub log_end: Offset,
    pub epochs: &'a LeaderEpochs,
}

/// Fetch position that a follower sends to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub current_leader_epoch: LeaderEpoch,
    /// Log end offset of the follower.
    pub offset: Offset,
    /// Leader epoch of the last record; -1 if there is none.
    pub last_fetched_epoch: LeaderEpoch,
    pub log_start: Offset,
}

/// Next step of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Fetch(Fetch),
    /// Ask the leader for its log end offset (ListOffsets of a replica).
    AskEnd,
    /// Ask the leader for its log start offset.
    AskStart,
    /// Truncate the log to this offset, report it with [`FollowerState::cut`], and ask again for the next step.
    Cut(Offset),
    WaitUntil(Timestamp),
    /// Wait for metadata: there is no leader, or the leader has a newer epoch than the metadata of this node.
    WaitForMetadata,
}

/// Offsets and epoch of a batch in an answer, from its header.
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

/// What the caller does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append this many of the batches, and report it with [`FollowerState::appended`].
    Append(usize),
    /// Truncate the log to this offset, remove the leader epochs that begin at or after it (KAFKA-10706), and report it with
    /// [`FollowerState::cut`].
    Cut(Offset),
    /// Delete all records and restart the log at this offset; report it with [`FollowerState::cut`].
    StartAnewAt(Offset),
    /// Do nothing. The next step may have changed.
    Nothing,
}

/// State of a follower; see the module.
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
    /// A log without leader epochs cannot find where it diverges: it is truncated to the high watermark first.
    CutToHighWatermark,
    Fetching,
    /// The leader does not have the fetch offset: its log end offset is asked for first, then its log start offset.
    AskingEnd,
    AskingStart,
    BackingOff(Timestamp),
    /// The leader has a later epoch.
    Fenced,
}

impl FollowerState {
    /// Begins to follow in a leader epoch. Newer metadata of the same epoch goes to [`Self::update`]; a new epoch needs a new
    /// state, even under the same leader.
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

    /// Applies newer metadata of the same leader epoch.
    pub fn update(&mut self, assignment: &Assignment<'_>) {
        assert_eq!(assignment.epoch, self.epoch, "{self:?}");
        if assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.leader = assignment.leader;
        }
    }

    /// Id of the leader; -1 if there is none.
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
                    // The epoch is that of the log and not of the last answer, which may be empty (KAFKA-15510).
                    last_fetched_epoch: log.epochs.latest().unwrap_or(NO_EPOCH),
                    log_start: log.log_start,
                })
            }
        }
    }

    /// Decides about an answer. An answer to a fetch that would not be sent any more is ignored.
    pub fn fetched(
        &mut self,
        asked: &Fetch,
        answer: &FetchAnswer,
        log: &LogView<'_>,
        backoff_ms: i64,
        now: Timestamp,
    ) -> Verdict {
        // The log may have changed and still end at the same offset. The epoch of the last record is compared too: a divergence
        // found for the old log must not truncate the new one.
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
            // The leader does not know the epoch yet, does not lead any more, or the records are damaged.
            FetchAnswer::Failed(_) => None,
        };
        verdict.unwrap_or_else(|| {
            self.stage = Stage::BackingOff(now.saturating_add(backoff_ms));
            Verdict::Nothing
        })
    }

    /// Handles the leader's log end offset, which was asked for because the leader does not have the fetch offset.
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
            // The leader's log may be shorter after an unclean election.
            self.stage = Stage::Fetching;
            return cut_at(end, log);
        }
        self.stage = Stage::AskingStart;
        Verdict::Nothing
    }

    /// Handles the leader's log start offset.
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

    /// Handles an error instead of the leader's log end offset or log start offset.
    pub fn refused(&mut self, code: ErrorCode, backoff_ms: i64, now: Timestamp) {
        if matches!(self.stage, Stage::AskingEnd | Stage::AskingStart) {
            self.stage = match code {
                ErrorCode::FencedLeaderEpoch => Stage::Fenced,
                _ => Stage::BackingOff(now.saturating_add(backoff_ms)),
            };
        }
    }

    /// Reports that batches (or none) were appended, with the leader's high watermark and log start offset. Returns the new
    /// high watermark and log start offset of the follower.
    pub fn appended(
        &mut self,
        log: &LogView<'_>,
        leader_high_watermark: Offset,
        leader_log_start: Offset,
    ) -> (Offset, Offset) {
        self.stage = Stage::Fetching;
        // A new leader may have a lower high watermark than the follower: the follower's never goes back.
        let high_watermark = leader_high_watermark.min(log.log_end);
        self.high_watermark = self.high_watermark.max(high_watermark);
        let log_start = leader_log_start.min(self.high_watermark);
        self.invariants(log.log_end);
        (self.high_watermark, log_start.max(log.log_start))
    }

    /// Reports that the log was truncated or restarted. Returns the new high watermark.
    pub fn cut(&mut self, log: &LogView<'_>) -> Offset {
        if self.stage == Stage::CutToHighWatermark {
            self.stage = Stage::Fetching;
        }
        self.high_watermark = self.high_watermark.clamp(log.log_start, log.log_end);
        self.invariants(log.log_end);
        self.high_watermark
    }

    /// Chooses the truncation for a diverging answer: the leader's log ends `epoch` at `end_offset`. `None` if nothing would
    /// change.
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
                // The follower's log has no records of that epoch: it is truncated to the end of the epoch before, and the next
                // fetch names that epoch (KIP-279).
                Some((_, end)) => end,
                None => end_offset,
            }
        };
        let target = target.min(log.log_end);
        let last = log.epochs.entries().last();
        let changes = target < log.log_end || last.is_some_and(|(_, start)| *start >= target);
        changes.then(|| cut_at(target, log))
    }

    /// Decides how many of the batches are appended. `None` if the answer is inconsistent.
    fn judge(&self, asked: &Fetch, batches: &[BatchSpan], log: &LogView<'_>) -> Option<Verdict> {
        // After a leader change an answer may contain records of a later epoch, whose beginning this follower has not seen
        // (KAFKA-18723).
        let ours = |batch: &&BatchSpan| batch.epoch <= asked.current_leader_epoch;
        let taken: Vec<_> = batches.iter().take_while(ours).collect();
        let mut end = log.log_end;
        for batch in &taken {
            if batch.base_offset < end {
                let holds_end = batch.base_offset < log.log_end && log.log_end < batch.next_offset;
                let is_first = end == log.log_end && log.log_start == log.log_end;
                // DeleteRecords moved the leader's log start offset into the middle of a batch (KAFKA-6975).
                return (holds_end && is_first).then_some(Verdict::StartAnewAt(batch.base_offset));
            }
            if batch.next_offset <= batch.base_offset {
                return None;
            }
            end = batch.next_offset;
        }
        // The first batch is of an epoch that this node's metadata does not have yet. A fetch without a pause would only get
        // the same batch again.
        let is_ahead = taken.is_empty() && !batches.is_empty();
        (!is_ahead).then_some(Verdict::Append(taken.len()))
    }

    /// Checks what must hold after each change.
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
