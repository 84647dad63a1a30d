//! One partition on this node: its log, this node's role in it, and the requests that wait for it. Kafka's `Partition`.
//!
//! ```text
//! role (one lock) ──► log (its own lock) ──► segment
//!       │ publishes under the lock
//!       ├──► leader epoch, and whether this node leads     one atomic, which requests check first
//!       ├──► high watermark                                one atomic, which the log reads too
//!       └──► waiters                                       woken by the high watermark; all of them by a change of role
//! ```
//! An append holds the lock of the role from the check of the epoch until the records are in the log: no record of an epoch is
//! written after the node has learnt of the next epoch. Records are decompressed before, and flushed to disk afterwards.

pub mod following;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use following::Cutting;

use super::follower::FollowerState;
use super::lane::Key;
use super::leader::{
    Acknowledged, Alive, Answer, Assignment, FollowerFetch, LeaderState, Next, Proposal, Rules,
};
use super::purgatory::{Mark, WaitList, Watched};
use crate::base::disk_pool::aside;
use crate::base::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, TopicPartition,
    Uuid,
};
use crate::base::time::Timestamp;
use crate::log::append::Origin;
use crate::log::error::{AppendError, StorageError};
use crate::log::partition_log::reader::LogReader;
use crate::log::partition_log::{Appended, PartitionLog};
use crate::telemetry::meters::{Meters, TopicMeter};
use crate::wire::error_code::ErrorCode;

/// Role of this node in a partition.
#[derive(Debug)]
pub enum Role {
    Leader(LeaderState),
    Follower {
        state: FollowerState,
        cutting: Cutting,
    },
    /// The partition was deleted, or its log directory has failed. Holders of the partition must look it up again.
    Offline,
}

/// Newest metadata of a partition.
#[derive(Clone, Copy)]
pub struct News<'a> {
    pub assignment: Assignment<'a>,
    pub rules: Rules,
    pub alive: &'a dyn Fn(BrokerId) -> Option<Alive>,
    pub now: Timestamp,
}

/// Number of replicas that must have records before they are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Only the leader: acks=1 and acks=0.
    Leader,
    /// All of the ISR, which must not be smaller than `min.insync.replicas`: acks=all.
    All,
}

/// Conditions of an append.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Leader epoch in which the append was decided.
    pub epoch: LeaderEpoch,
    pub acks: Acks,
    pub origin: Origin,
}

/// Identity of a broker that fetches as a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerId {
    pub id: BrokerId,
    /// -1 if the version of the request has no broker epoch.
    pub broker_epoch: BrokerEpoch,
}

/// An append that may not be committed yet.
#[derive(Clone, Debug)]
pub struct Uncommitted {
    pub partition: Arc<Partition>,
    pub epoch: LeaderEpoch,
    /// Offset after the last record.
    pub end: Offset,
}

/// State of a partition; see the module.
#[derive(Debug)]
pub struct Partition {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: PartitionIndex,
    pub(super) log: Arc<PartitionLog>,
    meter: OnceLock<Arc<TopicMeter>>,
    me: BrokerId,
    role: Mutex<Role>,
    /// Encoded [`Standing`].
    standing: AtomicU64,
    /// Whether lagging followers are throttled (`leader.replication.throttled.replicas`).
    is_served_slowly: AtomicBool,
    /// Whether this replica is throttled while it lags (`follower.replication.throttled.replicas`).
    is_fetched_slowly: AtomicBool,
    waiting: WaitList,
}

/// The leader epoch, and whether this node leads in it: a copy of the role's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    epoch: LeaderEpoch,
    leads: bool,
}

const LEADS: u64 = 1 << 32;

impl Standing {
    fn to_bits(self) -> u64 {
        u64::from(self.epoch.cast_unsigned()) | if self.leads { LEADS } else { 0 }
    }

    fn from_bits(bits: u64) -> Self {
        Self {
            epoch: (bits as u32).cast_signed(),
            leads: bits & LEADS != 0,
        }
    }
}

impl Partition {
    pub fn new(
        topic: Arc<str>,
        topic_id: Uuid,
        index: PartitionIndex,
        log: Arc<PartitionLog>,
        me: BrokerId,
        news: &News<'_>,
    ) -> Self {
        let this = Self {
            topic,
            topic_id,
            index,
            log,
            meter: OnceLock::new(),
            me,
            role: Mutex::new(Role::Offline),
            standing: AtomicU64::new(0),
            is_served_slowly: AtomicBool::new(false),
            is_fetched_slowly: AtomicBool::new(false),
            waiting: WaitList::default(),
        };
        let mut role = this.role.lock();
        *role = this.begin(&Role::Offline, news);
        this.publish(&role, news.assignment.epoch);
        drop(role);
        this
    }

    /// Meter of the topic, made at the first use.
    pub fn meter(&self, meters: &Meters) -> &TopicMeter {
        self.meter.get_or_init(|| meters.topic(&self.topic))
    }

    /// Read access to the log. Only the role appends to the log and moves its high watermark.
    pub fn log(&self) -> LogReader<'_> {
        self.log.reader()
    }

    pub fn name(&self) -> &TopicPartition {
        self.log.partition()
    }

    pub fn key(&self) -> Key {
        (self.topic_id, self.index)
    }

    fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Acquire))
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.standing().epoch
    }

    /// The epoch in which this node leads. Errors: NOT_LEADER_OR_FOLLOWER.
    pub fn leads_in(&self) -> Result<LeaderEpoch, ErrorCode> {
        let Standing { epoch, leads } = self.standing();
        leads.then_some(epoch).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Checks that this node leads in this epoch. Errors: NOT_LEADER_OR_FOLLOWER.
    pub fn leads_in_epoch(&self, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        match self.leads_in()? == epoch {
            true => Ok(()),
            false => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Compares the epoch that a client knows (-1 for none) with the current one.
    pub fn check_epoch(&self, known: LeaderEpoch) -> Result<(), ErrorCode> {
        let current = self.leads_in()?;
        if known < 0 || known == current {
            Ok(())
        } else if known < current {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }

    /// Sets whether the topic's settings throttle this replica as a leader and as a follower.
    pub fn set_throttled(&self, as_leader: bool, as_follower: bool) {
        self.is_served_slowly.store(as_leader, Ordering::Relaxed);
        self.is_fetched_slowly.store(as_follower, Ordering::Relaxed);
    }

    pub fn is_served_slowly(&self) -> bool {
        self.is_served_slowly.load(Ordering::Relaxed)
    }

    pub fn is_fetched_slowly(&self) -> bool {
        self.is_fetched_slowly.load(Ordering::Relaxed)
    }

    /// Whether this node leads and has the broker in its ISR.
    pub fn has_in_sync(&self, replica: BrokerId) -> bool {
        match &*self.role.lock() {
            Role::Leader(leader) => leader.isr().contains(&replica),
            Role::Follower { .. } | Role::Offline => false,
        }
    }

    /// A number that changes with each change of role.
    pub fn turn(&self) -> u32 {
        self.waiting.turn()
    }

    /// The high watermark: consumers may read below it.
    pub fn high_watermark(&self) -> Offset {
        self.log.high_watermark().get()
    }

    /// The high watermark of a leader epoch. Records appended in one epoch are not committed by the high watermark of another
    /// one, whose leader may have other records at their offsets (KAFKA-20634).
    pub fn high_watermark_in(&self, epoch: LeaderEpoch) -> Result<Offset, ErrorCode> {
        let high_watermark = self.high_watermark();
        // The high watermark is read before the epoch is checked, so it is that of this epoch or of an earlier one.
        self.leads_in_epoch(epoch)?;
        Ok(high_watermark)
    }

    /// Whether the leader's high watermark has reached the start of its epoch. Before, an earlier leader may have shown
    /// consumers a higher one.
    pub fn knows_what_is_committed(&self) -> bool {
        match &*self.role.lock() {
            Role::Leader(leader) => leader.has_reached_its_start(),
            Role::Follower { .. } | Role::Offline => false,
        }
    }

    /// Applies newer metadata. Waiting requests are not woken if nothing has changed for this partition, which happens when
    /// another partition of the topic changes.
    pub fn update(&self, news: &News<'_>) {
        let mut role = self.role.lock();
        let Some((epoch, partition_epoch)) = role.epochs() else {
            return;
        };
        let assignment = &news.assignment;
        if (assignment.epoch, assignment.partition_epoch) < (epoch, partition_epoch) {
            return;
        }
        if let Role::Follower { cutting, .. } = &mut *role
            && cutting.postpone(news)
        {
            return;
        }
        let leads = assignment.leader == self.me;
        match &mut *role {
            Role::Leader(leader) if leads && assignment.epoch == epoch => {
                leader.set_rules(news.rules, news.now);
                leader.update(assignment, news.alive, news.now);
                leader.set_alive(news.alive, news.now);
                self.publish_high_watermark(leader.high_watermark());
            }
            Role::Follower { state, .. } if !leads && assignment.epoch == epoch => {
                state.update(assignment);
            }
            _ => {
                *role = self.begin(&role, news);
                self.publish(&role, assignment.epoch);
            }
        }
    }

    pub fn set_rules(&self, rules: Rules, now: Timestamp) {
        match &mut *self.role.lock() {
            Role::Leader(leader) => {
                leader.set_rules(rules, now);
                self.publish_high_watermark(leader.high_watermark());
            }
            Role::Follower { cutting, .. } => cutting.postpone_rules(rules),
            Role::Offline => {}
        }
    }

    /// Updates which brokers are alive.
    pub fn set_alive(&self, alive: &dyn Fn(BrokerId) -> Option<Alive>, now: Timestamp) {
        match &mut *self.role.lock() {
            Role::Leader(leader) => {
                leader.set_alive(alive, now);
                self.publish_high_watermark(leader.high_watermark());
            }
            Role::Follower { cutting, .. } => cutting.postpone_alive(alive),
            Role::Offline => {}
        }
    }

    /// Takes the partition offline: it was deleted, or its log directory has failed.
    pub fn retire(&self) {
        let mut role = self.role.lock();
        *role = Role::Offline;
        self.publish(&role, self.leader_epoch());
    }

    /// The role that the metadata gives this node in a new epoch.
    fn begin(&self, before: &Role, news: &News<'_>) -> Role {
        let News {
            assignment,
            rules,
            alive,
            now,
        } = *news;
        if assignment.leader == self.me {
            let before = match before {
                Role::Leader(leader) => Some(leader),
                Role::Follower { .. } | Role::Offline => None,
            };
            let watermarks = self.log().watermarks();
            let ends = (watermarks.log_end, watermarks.high_watermark);
            self.log.note_epoch(assignment.epoch);
            let leader = LeaderState::new(self.me, &assignment, rules, ends, before, alive, now);
            return Role::Leader(leader);
        }
        Role::Follower {
            state: self.view(|log| FollowerState::new(&assignment, self.high_watermark(), log)),
            cutting: Cutting::default(),
        }
    }

    /// Publishes a new role for readers without the lock, and wakes waiting requests.
    fn publish(&self, role: &Role, epoch: LeaderEpoch) {
        let (leads, high_watermark) = match role {
            Role::Leader(leader) => (true, Some(leader.high_watermark())),
            Role::Follower { state, .. } => (false, Some(state.high_watermark())),
            Role::Offline => (false, None),
        };
        // The role is published first: a high watermark of the new role must not be taken for one of the old role.
        let standing = Standing { epoch, leads };
        self.standing.store(standing.to_bits(), Ordering::Release);
        if let Some(high_watermark) = high_watermark {
            self.log.high_watermark().set(high_watermark);
        }
        self.waiting.wake_all();
    }

    /// Publishes a higher high watermark of the role, and wakes the requests that wait for it.
    fn publish_high_watermark(&self, high_watermark: Offset) {
        let shown = self.log.high_watermark();
        if high_watermark > shown.get() {
            shown.set(high_watermark);
            self.waiting.moved(Mark::HighWatermark, high_watermark);
        }
    }

    /// Appends as the leader of the epoch in the terms. Also tells whether the records are already acknowledged in the sense of
    /// acks=all, as they are if the ISR is this node alone.
    ///
    /// Errors: those of the log; FENCED_LEADER_EPOCH and NOT_LEADER_OR_FOLLOWER if that epoch is over; NOT_ENOUGH_REPLICAS.
    pub fn append(
        &self,
        records: &Bytes,
        terms: Terms,
        now: Timestamp,
    ) -> Result<(Appended, Acknowledged), AppendError> {
        let Terms {
            epoch,
            acks,
            origin,
        } = terms;
        self.check_epoch(epoch).map_err(over)?;
        let mut valid = self.log.validate(records, origin, now)?;
        let (appended, acknowledged) = loop {
            let mut role = self.role.lock();
            let leader = role.leader_in(epoch).map_err(over)?;
            if acks == Acks::All {
                let enough = leader.check_isr();
                enough
                    .map_err(|code| AppendError::refused(code, "too few replicas are in sync"))?;
            }
            let Some(mut writer) = self.log.writer()? else {
                drop(role);
                self.log.wait_for_move();
                continue;
            };
            let appended = writer.append_as_leader(&mut valid, epoch, origin, now)?;
            drop(writer);
            if !appended.duplicate {
                leader.appended(appended.log_end, !appended.must_flush, now);
                if leader.has_followers() {
                    self.waiting.moved(Mark::LogEnd, appended.log_end);
                }
                self.publish_high_watermark(leader.high_watermark());
            }
            break (appended, leader.acknowledged(appended.last_offset + 1));
        };
        if !appended.must_flush {
            return Ok((appended, acknowledged));
        }
        aside(|| self.log.flush_up_to(appended.log_end, now))?;
        let mut role = self.role.lock();
        let Ok(leader) = role.leader_in(epoch) else {
            return Ok((appended, Acknowledged::Waits));
        };
        leader.made_durable(appended.log_end, now);
        self.publish_high_watermark(leader.high_watermark());
        Ok((appended, leader.acknowledged(appended.last_offset + 1)))
    }

    /// Deletes the records before an offset, but no uncommitted ones. Returns the new log start offset. Blocks on the disk.
    pub fn delete_records(&self, before: Offset, now: Timestamp) -> Result<Offset, StorageError> {
        self.log.advance_start(before, now)
    }

    /// Whether records that were appended in an epoch and end at `end` may be acknowledged. Errors: NOT_LEADER_OR_FOLLOWER if
    /// the epoch is over, even if the high watermark has passed `end`.
    pub fn acknowledged(&self, epoch: LeaderEpoch, end: Offset) -> Result<Acknowledged, ErrorCode> {
        let mut role = self.role.lock();
        let leader = role.leader_in(epoch);
        let leader = leader.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
        Ok(leader.acknowledged(end))
    }

    /// Checks that a broker may fetch as a follower of this node, in the epoch that it knows (-1 for none).
    pub fn check_follower(
        &self,
        follower: FollowerId,
        known: LeaderEpoch,
    ) -> Result<(), ErrorCode> {
        let epoch = self.leads_in()?;
        let mut role = self.role.lock();
        let leader = role.leader_in(epoch)?;
        leader.check_follower(follower.id, follower.broker_epoch, known >= 0)
    }

    /// Records the position of a follower whose log has not diverged. Returns a change of the ISR for the controller, if there
    /// is one.
    pub fn followed(
        &self,
        epoch: LeaderEpoch,
        fetch: FollowerFetch,
        now: Timestamp,
    ) -> Result<Option<Proposal>, ErrorCode> {
        let mut role = self.role.lock();
        let leader = role.leader_in(epoch)?;
        leader.check_follower(fetch.replica, fetch.broker_epoch, true)?;
        let proposal = leader.fetched(fetch, now);
        self.publish_high_watermark(leader.high_watermark());
        Ok(proposal)
    }

    /// Proposes to remove lagging followers from the ISR.
    pub fn shrink_isr(&self, now: Timestamp) -> Option<Proposal> {
        match &mut *self.role.lock() {
            Role::Leader(leader) => leader.shrink(now),
            Role::Follower { .. } | Role::Offline => None,
        }
    }

    /// Handles the controller's answer to a proposal.
    pub fn isr_answered(&self, sent: &Proposal, answer: &Answer, now: Timestamp) -> Next {
        let mut role = self.role.lock();
        let Ok(leader) = role.leader_in(sent.leader_epoch) else {
            return Next::Done;
        };
        let next = leader.answered(sent, answer, now);
        self.publish_high_watermark(leader.high_watermark());
        next
    }
}

fn over(code: ErrorCode) -> AppendError {
    AppendError::refused(
        code,
        "this broker does not lead the partition in this epoch",
    )
}

impl Role {
    fn epochs(&self) -> Option<(LeaderEpoch, PartitionEpoch)> {
        match self {
            Self::Leader(leader) => Some((leader.epoch(), leader.partition_epoch())),
            Self::Follower { state, .. } => Some((state.epoch(), state.partition_epoch())),
            Self::Offline => None,
        }
    }

    fn follower_in(&mut self, epoch: LeaderEpoch) -> Option<(&mut FollowerState, &mut Cutting)> {
        match self {
            Self::Follower { state, cutting } if state.epoch() == epoch => Some((state, cutting)),
            _ => None,
        }
    }

    fn leader_in(&mut self, epoch: LeaderEpoch) -> Result<&mut LeaderState, ErrorCode> {
        match self {
            Self::Leader(leader) if epoch == leader.epoch() => Ok(leader),
            Self::Leader(_) => Err(ErrorCode::FencedLeaderEpoch),
            Self::Follower { .. } | Self::Offline => Err(ErrorCode::NotLeaderOrFollower),
        }
    }
}

impl Watched for Arc<Partition> {
    fn list(&self) -> &WaitList {
        &self.waiting
    }

    fn position(&self, mark: Mark) -> Offset {
        match mark {
            Mark::HighWatermark => self.high_watermark(),
            Mark::LogEnd => self.log().log_end(),
        }
    }
}
