//! pure: who is in sync and how far readers may read, on the leader of one partition. Kafka's `Partition` with its `Replica`s.
//!
//! Owner: [`Partition`](super::partition::Partition), under the lock of its role. The state is told of appends, of fetches of
//! followers, of metadata and of the controller's answers; it says where the high watermark is, and which changes of the ISR the
//! controller shall make (KIP-497). It never sees a log, a socket or the clock.
//!
//! ```text
//! high watermark = the lowest log end of: the leader, the maximal ISR, and followers that are about to join the ISR
//! maximal ISR    = the committed ISR, and whoever a change adds that the controller has not answered yet
//! ```
//! A replica that a change takes out counts until the change is committed: another leader may be elected from the committed ISR.

use crate::base::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// A follower whose log end is not known: it has not fetched in this leader's time.
const UNKNOWN: Offset = -1;
/// The broker epoch of a fetch in a version that has none (before KIP-903), and of whoever has not fetched yet.
const NO_BROKER_EPOCH: BrokerEpoch = -1;

/// What the metadata says of a partition, as far as its replicas need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// -1 where nobody leads.
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    /// Rises with every change of the partition's metadata.
    pub partition_epoch: PartitionEpoch,
    pub replicas: &'a [BrokerId],
    pub isr: &'a [BrokerId],
}

/// What the settings say.
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

/// What a fetch says of the follower that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    pub replica: BrokerId,
    /// -1 where the version of the request has none.
    pub broker_epoch: BrokerEpoch,
    /// Where the follower's log ends: the offset that it asks for.
    pub log_end: Offset,
    /// The leader's log end, asked for before the read: what was appended meanwhile is not held against the follower.
    pub leader_log_end: Offset,
}

/// What AlterPartition shall ask of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// With the epoch of each broker as its last fetch had it (KIP-903), -1 where it had none; of the leader whatever the node
    /// puts there.
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

/// What the sender of a [`Proposal`] does after its answer.
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
    /// The records are in the log of every replica in sync, but these are too few: NOT_ENOUGH_REPLICAS_AFTER_APPEND.
    ByTooFew,
}

/// See the module.
#[derive(Debug)]
pub struct LeaderState {
    me: BrokerId,
    epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    rules: Rules,
    /// The end of the log when this epoch began.
    epoch_start: Offset,
    log_end: Offset,
    /// Up to where the leader's own replica counts: what `flush.messages` wants on disk first does not yet.
    own_end: Offset,
    high_watermark: Offset,
    /// The other replicas, by their ids.
    followers: Vec<Follower>,
    /// One at a time.
    change: Option<Box<Change>>,
}

#[derive(Clone, Debug)]
struct Follower {
    id: BrokerId,
    /// In the committed ISR.
    is_in_isr: bool,
    log_end: Offset,
    /// When the follower had last fetched all that there was then.
    caught_up_at: Timestamp,
    fetched_at: Timestamp,
    /// The leader's log end at the last fetch.
    leader_end_at_fetch: Offset,
    /// Of the last fetch; `None` before the first.
    fetch_epoch: Option<BrokerEpoch>,
    /// As the metadata has the broker; `None` where it is fenced or not registered.
    alive: Option<Alive>,
}

/// A change of the ISR that the controller has not committed yet, as far as is known here.
#[derive(Debug)]
struct Change {
    /// Who joins; `None` where others leave.
    joins: Option<BrokerId>,
    proposal: Proposal,
}

impl LeaderState {
    /// Begins to lead. `log_end` and `high_watermark` are where this node's replica stands; `before` is the state of an
    /// earlier epoch in which the node led too.
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
        let known = before.map_or(&[][..], |before| &before.followers);
        this.take_replicas(assignment, known, alive);
        for follower in &mut this.followers {
            // The controller says that it is in sync: it has its time to fetch.
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

    /// Whether all that was there when this epoch began is known to be committed.
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

    /// Whether a change waits for the controller.
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Takes over newer metadata of the same leader epoch; a change that waits for the controller is no matter any more then.
    pub fn update(
        &mut self,
        assignment: &Assignment<'_>,
        alive: impl Fn(BrokerId) -> Option<Alive>,
        now: Timestamp,
    ) {
        assert_eq!(assignment.epoch, self.epoch, "{self:?}");
        // The controller's answer gives the ISR and no replicas: metadata of the same partition epoch may have others.
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

    /// Has the metadata say which brokers are alive: fenced ones and those that shut down do not join the ISR (KIP-841), and
    /// hold nobody up on their way to it.
    pub fn set_alive(&mut self, alive: impl Fn(BrokerId) -> Option<Alive>, now: Timestamp) {
        for follower in &mut self.followers {
            follower.alive = alive(follower.id);
        }
        self.advance(now);
        self.invariants();
    }

    /// The leader's log ends there now. `is_durable` is false where records must be on disk before the leader's own replica
    /// counts as having them.
    pub fn appended(&mut self, log_end: Offset, is_durable: bool, now: Timestamp) {
        self.log_end = self.log_end.max(log_end);
        if is_durable {
            self.made_durable(log_end, now);
        }
        self.invariants();
    }

    /// Records below `end` are on the leader's disk.
    pub fn made_durable(&mut self, end: Offset, now: Timestamp) {
        self.own_end = self.own_end.max(end.min(self.log_end));
        self.advance(now);
        self.invariants();
    }

    /// Whether an append with acks=all may be tried: NOT_ENOUGH_REPLICAS where the ISR is smaller than `min.insync.replicas`.
    pub fn check_isr(&self) -> Result<(), ErrorCode> {
        match self.is_under_min_isr() {
            true => Err(ErrorCode::NotEnoughReplicas),
            false => Ok(()),
        }
    }

    /// Whether records that end at `end` may be acknowledged. They must have been appended in this epoch: whoever asks compares.
    pub fn acknowledged(&self, end: Offset) -> Acknowledged {
        if self.high_watermark < end {
            Acknowledged::Waits
        } else if self.maximal_isr().count() < self.min_isr() {
            Acknowledged::ByTooFew
        } else {
            Acknowledged::Yes
        }
    }

    /// Whether a broker may fetch as a follower: it must be one of the replicas, and not be an older self of a broker that has
    /// registered since (KAFKA-15221). `knows_epoch` tells whether the request names the leader epoch.
    pub fn check_follower(
        &self,
        replica: BrokerId,
        broker_epoch: BrokerEpoch,
        knows_epoch: bool,
    ) -> Result<(), ErrorCode> {
        let Some(follower) = self.follower(replica) else {
            // One that knows this epoch may have seen an assignment that has not come here yet.
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

    /// A follower has fetched, and its log has not diverged (KAFKA-13141): notes how far it is. It may have caught up enough to
    /// join the ISR.
    pub fn fetched(&mut self, fetch: FollowerFetch, now: Timestamp) -> Option<Proposal> {
        let place = self.place_of(fetch.replica)?;
        let follower = &mut self.followers[place];
        if fetch.log_end >= fetch.leader_log_end {
            follower.caught_up_at = follower.caught_up_at.max(now);
        } else if fetch.log_end >= follower.leader_end_at_fetch {
            // It has all that it could ask for last time.
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

    /// Takes followers out of the ISR that lag for too long, to be looked at every half of `replica.lag.time.max.ms`.
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

    /// Takes in the controller's answer to a proposal.
    pub fn answered(&mut self, sent: &Proposal, answer: &Answer, now: Timestamp) -> Next {
        if (self.change.as_ref()).is_none_or(|change| change.proposal != *sent) {
            // Newer metadata has come meanwhile.
            return Next::Done;
        }
        let next = match answer {
            Answer::Accepted {
                leader_epoch,
                partition_epoch,
                isr,
            } => {
                // Of another leader's time, or older than the metadata that is here: the image decides.
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
            // The controller knows something newer, or of no such partition any more: the change may have been made, and what is
            // maximal stays so until the metadata comes.
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

    /// The replicas but this node's own, in order.
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

    /// A partition cannot have more replicas in sync than it has replicas.
    fn min_isr(&self) -> usize {
        self.rules.min_isr.min(self.followers.len() + 1)
    }

    fn is_under_min_isr(&self) -> bool {
        let in_isr = self.followers.iter().filter(|one| one.is_in_isr).count();
        in_isr + 1 < self.min_isr()
    }

    /// Committed and maybe committed members, the leader among them.
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
        // Below the epoch's start a replica may lack what an earlier leader has committed (KAFKA-7128).
        let has_all = one.log_end >= self.high_watermark.max(self.epoch_start);
        // Kafka differs: while the ISR is too small the high watermark stands still, and says nothing of who lags (KAFKA-19996).
        let is_near = !self.is_under_min_isr() || self.is_caught_up(one, now);
        if self.change.is_some() || one.is_in_isr || !has_all || !is_near || !one.is_eligible() {
            return None;
        }
        let id = one.id;
        Some(self.propose(Some(id), |one| one.is_in_isr || one.id == id))
    }

    /// Moves the high watermark up as far as it may go.
    fn advance(&mut self, now: Timestamp) {
        if self.is_under_min_isr() {
            return;
        }
        // A follower that has caught up and may join is waited for, or it would never do so while others append (KAFKA-15021: not
        // for one that may not).
        let counts = |one: &&Follower| {
            self.is_maximal(one) || one.is_eligible() && self.is_caught_up(one, now)
        };
        let ends = self.followers.iter().filter(counts).map(|one| one.log_end);
        let end = ends.fold(self.own_end, Offset::min);
        self.high_watermark = self.high_watermark.max(end);
    }

    /// What holds after each change.
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
            // The leader is in sync with itself, and only whoever joins comes beside those who are in the ISR.
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

    /// Whether the broker that fetches is the one that the metadata shows as alive: one that was started anew with an empty disk
    /// must not come into the ISR by what it had fetched before (KIP-903).
    fn is_eligible(&self) -> bool {
        self.alive
            .zip(self.fetch_epoch)
            .is_some_and(|(alive, fetch)| {
                !alive.shuts_down && (fetch == NO_BROKER_EPOCH || fetch == alive.epoch)
            })
    }
}
