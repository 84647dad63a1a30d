//! pure: leader side of one partition: the ISR and the high watermark. Kafka's `Partition` with its `Replica`s.
//!
//! Owner: [`Partition`](super::partition::Partition), under the lock of its role. The state is told of appends, fetches of
//! followers, metadata and answers of the controller. It computes the high watermark, and proposes changes of the ISR to the
//! controller (KIP-497). It never sees a log, a socket or the clock.
//!
//! ```text
//! high watermark = the lowest log end of: the leader, the maximal ISR, and followers that are about to join the ISR
//! maximal ISR    = the committed ISR, and the broker that a change without an answer of the controller adds
//! ```
//! A replica that a change removes counts until the change is committed: another leader may be elected from the committed ISR.

use crate::base::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Log end offset of a follower that has not fetched in this leader epoch.
const UNKNOWN: Offset = -1;
/// Broker epoch of a fetch in a version without one (before KIP-903).
const NO_BROKER_EPOCH: BrokerEpoch = -1;

/// Metadata of a partition that its replicas need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Id of the leader; -1 if there is none.
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    /// Increases with every change of the partition's metadata.
    pub partition_epoch: PartitionEpoch,
    pub replicas: &'a [BrokerId],
    pub isr: &'a [BrokerId],
}

/// Settings that the leader needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `min.insync.replicas` of the topic.
    pub min_isr: usize,
    /// `replica.lag.time.max.ms` of the broker.
    pub lag_max_ms: i64,
}

/// A broker that is registered and not fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alive {
    pub epoch: BrokerEpoch,
    pub shuts_down: bool,
}

/// Position of a follower, from one of its fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    pub replica: BrokerId,
    /// -1 if the version of the request has no broker epoch.
    pub broker_epoch: BrokerEpoch,
    /// Log end offset of the follower: its fetch offset.
    pub log_end: Offset,
    /// Log end offset of the leader, as planned for the read. Records appended later do not count as lag.
    pub leader_log_end: Offset,
}

/// Contents of an AlterPartition request for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// Proposed ISR: each broker with the broker epoch of its last fetch (KIP-903), -1 if that fetch had none. The epoch of the
    /// leader is filled in when the request is sent.
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// The answer to a [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted {
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: Vec<BrokerId>,
    },
    Refused(ErrorCode),
}

/// What the sender of a [`Proposal`] does after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    SendAgain,
}

/// Whether an append with acks=all may be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    Yes,
    /// Not yet.
    Waits,
    /// All replicas in sync have the records, but there are fewer than `min.insync.replicas`: NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    ByTooFew,
}

/// State of a leader; see the module.
#[derive(Debug)]
pub struct LeaderState {
    me: BrokerId,
    epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    rules: Rules,
    /// Log end offset when this leader epoch began.
    epoch_start: Offset,
    log_end: Offset,
    /// Log end offset of the leader's own replica for the high watermark. Records that must be flushed first (`flush.messages`)
    /// count only when they are on disk.
    own_end: Offset,
    high_watermark: Offset,
    /// The other replicas, sorted by id.
    followers: Vec<Follower>,
    /// The pending change of the ISR, at most one.
    change: Option<Box<Change>>,
}

#[derive(Clone, Debug)]
struct Follower {
    id: BrokerId,
    /// Whether the follower is in the committed ISR.
    is_in_isr: bool,
    log_end: Offset,
    /// Last time at which the follower had all records that the leader had.
    caught_up_at: Timestamp,
    fetched_at: Timestamp,
    /// Log end offset of the leader at the last fetch.
    leader_end_at_fetch: Offset,
    /// Broker epoch of the last fetch; `None` before the first fetch.
    fetch_epoch: Option<BrokerEpoch>,
    /// Registration of the broker in the metadata; `None` if it is fenced or not registered.
    alive: Option<Alive>,
}

/// A change of the ISR that the controller has not committed yet, as far as this node knows.
#[derive(Debug)]
struct Change {
    /// Broker that joins the ISR; `None` if brokers leave it.
    joins: Option<BrokerId>,
    proposal: Proposal,
}

impl LeaderState {
    /// Begins to lead. `log_end` and `high_watermark` are those of this node's replica; `before` is the state of the last epoch
    /// that this node led, if there was one. The state is used only if its epoch is the one before: in an epoch between,
    /// another leader may have truncated the followers' logs. Kafka differs: it uses the state of any earlier epoch.
    pub fn new(
        me: BrokerId,
        assignment: &Assignment<'_>,
        rules: Rules,
        (log_end, high_watermark): (Offset, Offset),
        before: Option<&Self>,
        alive: impl Fn(BrokerId) -> Option<Alive>,
        now: Timestamp,
    ) -> Self {
        let mut this = Self {
            me,
            epoch: assignment.epoch,
            partition_epoch: assignment.partition_epoch,
            rules,
            epoch_start: log_end,
            log_end,
            own_end: log_end,
            high_watermark: high_watermark.min(log_end),
            followers: Vec::new(),
            change: None,
        };
        let before = before.filter(|before| before.epoch.checked_add(1) == Some(this.epoch));
        let known = before.map_or(&[][..], |before| &before.followers);
        this.take_replicas(assignment, known, alive);
        for follower in &mut this.followers {
            // The controller has put the follower into the ISR: it gets the whole lag time for its first fetch.
            let since = if follower.is_in_isr {
                now
            } else {
                Timestamp::MIN
            };
            follower.caught_up_at = since;
            follower.fetched_at = since;
            follower.leader_end_at_fetch = if before.is_some() { log_end } else { UNKNOWN };
        }
        this.advance(now);
        this.invariants();
        this
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

    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Whether everything that was in the log when this epoch began is known to be committed.
    pub fn has_reached_its_start(&self) -> bool {
        self.high_watermark >= self.epoch_start
    }

    /// Whether the partition has other replicas.
    pub fn has_followers(&self) -> bool {
        !self.followers.is_empty()
    }

    /// The committed ISR.
    pub fn isr(&self) -> Vec<BrokerId> {
        let others = self.followers.iter().filter(|one| one.is_in_isr);
        let mut isr: Vec<_> = others.map(|one| one.id).chain([self.me]).collect();
        isr.sort_unstable();
        isr
    }

    /// Whether a change waits for the controller's answer.
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Applies newer metadata of the same leader epoch, which makes a pending change obsolete.
    pub fn update(
        &mut self,
        assignment: &Assignment<'_>,
        alive: impl Fn(BrokerId) -> Option<Alive>,
        now: Timestamp,
    ) {
        assert_eq!(assignment.epoch, self.epoch, "{self:?}");
        // The controller's answer to a change has the ISR but no replicas: metadata of the same partition epoch may have other
        // replicas.
        let is_news = assignment.partition_epoch > self.partition_epoch
            || assignment.partition_epoch == self.partition_epoch
                && !self.has_replicas_of(assignment);
        if !is_news {
            return;
        }
        self.partition_epoch = assignment.partition_epoch;
        self.change = None;
        let known = std::mem::take(&mut self.followers);
        self.take_replicas(assignment, &known, alive);
        self.advance(now);
        self.invariants();
    }

    pub fn set_rules(&mut self, rules: Rules, now: Timestamp) {
        self.rules = rules;
        self.advance(now);
        self.invariants();
    }

    /// Updates which brokers are alive. Fenced brokers and those that shut down do not join the ISR (KIP-841), and the high
    /// watermark does not wait for them to join.
    pub fn set_alive(&mut self, alive: impl Fn(BrokerId) -> Option<Alive>, now: Timestamp) {
        for follower in &mut self.followers {
            follower.alive = alive(follower.id);
        }
        self.advance(now);
        self.invariants();
    }

    /// Reports a new log end offset. `is_durable` is false if records must be on disk before they count for the leader's own
    /// replica.
    pub fn appended(&mut self, log_end: Offset, is_durable: bool, now: Timestamp) {
        self.log_end = self.log_end.max(log_end);
        if is_durable {
            self.made_durable(log_end, now);
        }
        self.invariants();
    }

    /// Reports that records below `end` are on the leader's disk.
    pub fn made_durable(&mut self, end: Offset, now: Timestamp) {
        self.own_end = self.own_end.max(end.min(self.log_end));
        self.advance(now);
        self.invariants();
    }

    /// Checks before an append with acks=all. Errors: NOT_ENOUGH_REPLICAS if the ISR is smaller than `min.insync.replicas`.
    pub fn check_isr(&self) -> Result<(), ErrorCode> {
        match self.is_under_min_isr() {
            true => Err(ErrorCode::NotEnoughReplicas),
            false => Ok(()),
        }
    }

    /// Whether records that end at `end` may be acknowledged. The caller checks that they were appended in this epoch.
    pub fn acknowledged(&self, end: Offset) -> Acknowledged {
        if self.high_watermark < end {
            Acknowledged::Waits
        } else if self.maximal_isr().count() < self.min_isr() {
            Acknowledged::ByTooFew
        } else {
            Acknowledged::Yes
        }
    }

    /// Checks that a broker may fetch as a follower: it must be one of the replicas, and its broker epoch must not be older
    /// than its registration (KAFKA-15221). `knows_epoch` tells whether the request names the leader epoch.
    pub fn check_follower(
        &self,
        replica: BrokerId,
        broker_epoch: BrokerEpoch,
        knows_epoch: bool,
    ) -> Result<(), ErrorCode> {
        let Some(follower) = self.follower(replica) else {
            // A broker that knows this leader epoch may have an assignment that this node has not seen yet.
            return Err(match knows_epoch {
                true => ErrorCode::UnknownLeaderEpoch,
                false => ErrorCode::NotLeaderOrFollower,
            });
        };
        let is_stale = follower.alive.is_some_and(|now| now.epoch > broker_epoch);
        match is_stale && broker_epoch != NO_BROKER_EPOCH {
            true => Err(ErrorCode::NotLeaderOrFollower),
            false => Ok(()),
        }
    }

    /// Records the position of a follower whose log has not diverged (KAFKA-13141). Returns a proposal if the follower may join
    /// the ISR.
    pub fn fetched(&mut self, fetch: FollowerFetch, now: Timestamp) -> Option<Proposal> {
        let place = self.place_of(fetch.replica)?;
        let follower = &mut self.followers[place];
        if fetch.log_end >= fetch.leader_log_end {
            follower.caught_up_at = follower.caught_up_at.max(now);
        } else if fetch.log_end >= follower.leader_end_at_fetch {
            // The follower has everything that the leader had at the previous fetch.
            follower.caught_up_at = follower.caught_up_at.max(follower.fetched_at);
        }
        follower.log_end = fetch.log_end;
        follower.leader_end_at_fetch = follower.leader_end_at_fetch.max(fetch.leader_log_end);
        follower.fetched_at = now;
        follower.fetch_epoch = Some(fetch.broker_epoch);
        let proposal = self.expand(place, now);
        self.advance(now);
        self.invariants();
        proposal
    }

    /// Proposes to remove lagging followers from the ISR. Called every half of `replica.lag.time.max.ms`.
    pub fn shrink(&mut self, now: Timestamp) -> Option<Proposal> {
        if self.change.is_some() {
            return None;
        }
        let lag = |one: &&Follower| one.is_in_isr && !self.is_caught_up(one, now);
        let out: Vec<_> = self
            .followers
            .iter()
            .filter(lag)
            .map(|one| one.id)
            .collect();
        if out.is_empty() {
            return None;
        }
        let proposal = self.propose(None, |one| one.is_in_isr && !out.contains(&one.id));
        self.invariants();
        Some(proposal)
    }

    fn propose(&mut self, joins: Option<BrokerId>, stays: impl Fn(&Follower) -> bool) -> Proposal {
        let with_epoch = |one: &Follower| (one.id, one.fetch_epoch.unwrap_or(NO_BROKER_EPOCH));
        let others = self
            .followers
            .iter()
            .filter(|one| stays(one))
            .map(with_epoch);
        let mut isr: Vec<_> = others.chain([(self.me, NO_BROKER_EPOCH)]).collect();
        isr.sort_unstable();
        let proposal = Proposal {
            leader_epoch: self.epoch,
            partition_epoch: self.partition_epoch,
            isr,
        };
        self.change = Some(Box::new(Change {
            joins,
            proposal: proposal.clone(),
        }));
        proposal
    }

    /// Handles the controller's answer to a proposal.
    pub fn answered(&mut self, sent: &Proposal, answer: &Answer, now: Timestamp) -> Next {
        if (self.change.as_ref()).is_none_or(|change| change.proposal != *sent) {
            // Newer metadata has replaced the proposal.
            return Next::Done;
        }
        let next = match answer {
            Answer::Accepted {
                leader_epoch,
                partition_epoch,
                isr,
            } => {
                // An answer of another leader epoch, or older than the metadata of this node, is ignored: the metadata decides.
                if *leader_epoch == self.epoch && *partition_epoch >= self.partition_epoch {
                    self.partition_epoch = *partition_epoch;
                    self.change = None;
                    self.take_isr(isr);
                }
                Next::Done
            }
            Answer::Refused(ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted) => {
                self.change = None;
                Next::Done
            }
            // The controller has newer metadata, or the partition does not exist any more. The change may have been made, so
            // the maximal ISR stays until new metadata arrives.
            Answer::Refused(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => Next::Done,
            Answer::Refused(_) => Next::SendAgain,
        };
        self.advance(now);
        self.invariants();
        next
    }

    fn take_replicas(
        &mut self,
        assignment: &Assignment<'_>,
        known: &[Follower],
        alive: impl Fn(BrokerId) -> Option<Alive>,
    ) {
        let follower = |id: BrokerId| {
            let known = known.iter().find(|one| one.id == id).cloned();
            Follower {
                alive: alive(id),
                ..known.unwrap_or_else(|| Follower::new(id))
            }
        };
        self.followers = self.others(assignment).into_iter().map(follower).collect();
        self.take_isr(assignment.isr);
    }

    /// The replicas without this node, sorted.
    fn others(&self, assignment: &Assignment<'_>) -> Vec<BrokerId> {
        let others = assignment.replicas.iter().filter(|id| **id != self.me);
        let mut others: Vec<_> = others.copied().collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    fn has_replicas_of(&self, assignment: &Assignment<'_>) -> bool {
        let followers = self.followers.iter().map(|one| one.id);
        followers.eq(self.others(assignment))
    }

    fn take_isr(&mut self, isr: &[BrokerId]) {
        for follower in &mut self.followers {
            follower.is_in_isr = isr.contains(&follower.id);
        }
    }

    fn place_of(&self, id: BrokerId) -> Option<usize> {
        self.followers.binary_search_by_key(&id, |one| one.id).ok()
    }

    fn follower(&self, id: BrokerId) -> Option<&Follower> {
        self.followers.get(self.place_of(id)?)
    }

    /// `min.insync.replicas`, at most the number of replicas.
    fn min_isr(&self) -> usize {
        self.rules.min_isr.min(self.followers.len() + 1)
    }

    fn is_under_min_isr(&self) -> bool {
        let in_isr = self.followers.iter().filter(|one| one.is_in_isr).count();
        in_isr + 1 < self.min_isr()
    }

    /// Members of the maximal ISR: those in the committed ISR, those that a pending change adds, and the leader.
    fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> {
        let others = self.followers.iter().filter(|one| self.is_maximal(one));
        others.map(|one| one.id).chain([self.me])
    }

    fn is_maximal(&self, one: &Follower) -> bool {
        let joins = self.change.as_ref().and_then(|change| change.joins);
        one.is_in_isr || joins == Some(one.id)
    }

    fn is_caught_up(&self, one: &Follower, now: Timestamp) -> bool {
        one.log_end == self.log_end || now.saturating_sub(one.caught_up_at) <= self.rules.lag_max_ms
    }

    fn expand(&mut self, place: usize, now: Timestamp) -> Option<Proposal> {
        let one = self.followers.get(place)?;
        // A replica that ends below the start of this epoch may lack records that an earlier leader has committed (KAFKA-7128).
        let has_all = one.log_end >= self.high_watermark.max(self.epoch_start);
        // Kafka differs: while the ISR is too small the high watermark does not move, so reaching it does not show that a
        // follower keeps up (KAFKA-19996).
        let is_near = !self.is_under_min_isr() || self.is_caught_up(one, now);
        if self.change.is_some() || one.is_in_isr || !has_all || !is_near || !one.is_eligible() {
            return None;
        }
        let id = one.id;
        Some(self.propose(Some(id), |one| one.is_in_isr || one.id == id))
    }

    /// Moves the high watermark as far as possible.
    fn advance(&mut self, now: Timestamp) {
        if self.is_under_min_isr() {
            return;
        }
        // Followers that are caught up and may join the ISR count too: otherwise appends would always keep them from joining.
        // Followers that may not join do not count (KAFKA-15021).
        let counts = |one: &&Follower| {
            self.is_maximal(one) || one.is_eligible() && self.is_caught_up(one, now)
        };
        let ends = self.followers.iter().filter(counts).map(|one| one.log_end);
        let end = ends.fold(self.own_end, Offset::min);
        self.high_watermark = self.high_watermark.max(end);
    }

    /// Checks what must hold after each change.
    fn invariants(&self) {
        assert!(
            self.high_watermark <= self.own_end && self.own_end <= self.log_end,
            "{self:?}"
        );
        assert!(self.epoch_start <= self.log_end, "{self:?}");
        let is_in = |id: &BrokerId| self.follower(*id).is_some_and(|one| one.is_in_isr);
        if let Some(change) = &self.change {
            assert_eq!(change.proposal.leader_epoch, self.epoch, "{self:?}");
            assert_eq!(
                change.proposal.partition_epoch, self.partition_epoch,
                "{self:?}"
            );
            let mut isr = change.proposal.isr.iter().map(|(id, _)| id);
            // The leader is a member of its own ISR, and at most the broker that joins is added to the committed members.
            let may_be = |id: &BrokerId| *id == self.me || change.joins == Some(*id) || is_in(id);
            assert!(
                isr.clone().any(|id| *id == self.me) && isr.all(may_be),
                "{self:?}"
            );
        }
    }
}

impl Follower {
    fn new(id: BrokerId) -> Self {
        Self {
            id,
            is_in_isr: false,
            log_end: UNKNOWN,
            caught_up_at: Timestamp::MIN,
            fetched_at: Timestamp::MIN,
            leader_end_at_fetch: UNKNOWN,
            fetch_epoch: None,
            alive: None,
        }
    }

    /// Whether the broker that fetched is the one in the metadata. A broker that restarted with an empty disk must not join the
    /// ISR because of fetches before the restart (KIP-903).
    fn is_eligible(&self) -> bool {
        self.alive
            .zip(self.fetch_epoch)
            .is_some_and(|(alive, fetch)| {
                !alive.shuts_down && (fetch == NO_BROKER_EPOCH || fetch == alive.epoch)
            })
    }
}
