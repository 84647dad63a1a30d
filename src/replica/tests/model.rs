//! Model of a partition: the pure machines of its replicas with a minimal log, a controller, and a network that loses and
//! reorders messages. After each step it checks that no acknowledged record is lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::base::time::Timestamp;
use crate::log::leader_epoch::LeaderEpochs;
use crate::replica::follower::{
    BatchSpan, Fetch, FetchAnswer, FollowerState, LogView, Next as FollowerNext, Verdict,
};
use crate::replica::leader::{
    Acknowledged, Alive, Answer, Assignment, FollowerFetch, LeaderState, Next, Proposal, Rules,
};
use crate::wire::error_code::ErrorCode;

pub const LAG_MAX_MS: i64 = 30_000;
const BACKOFF_MS: i64 = 1_000;
/// Largest number of records in an answer to a fetch.
const RECORDS_MAX: usize = 3;

/// A record; each is a batch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub epoch: LeaderEpoch,
    pub value: u32,
}

#[derive(Debug)]
pub enum Role {
    Nothing,
    Leader(LeaderState),
    Follower(FollowerState),
}

/// A broker and its replica of the partition.
#[derive(Debug)]
pub struct Replica {
    pub id: BrokerId,
    /// Broker epoch of its newest registration.
    pub broker_epoch: BrokerEpoch,
    pub is_up: bool,
    pub log_start: Offset,
    pub records: Vec<Record>,
    pub epochs: LeaderEpochs,
    pub high_watermark: Offset,
    /// Records below this offset are on disk; a power loss removes some of the others.
    pub synced: Offset,
    /// High watermark that is read at a start.
    checkpoint: Offset,
    /// Whether a power loss has removed records and the replica has not been in sync since.
    lacks: bool,
    pub role: Role,
    /// Metadata that the broker has applied.
    known: Option<Metadata>,
}

/// Metadata of the controller.
#[derive(Clone, Debug)]
pub struct Metadata {
    pub leader: BrokerId,
    pub epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Eligible leader replicas (KIP-966), if the controller keeps them: replicas that left an ISR that became too small. They
    /// have everything acknowledged, because nothing was acknowledged afterwards.
    pub elr: Vec<BrokerId>,
    /// Last leader before the ISR became empty.
    pub last_known: Option<BrokerId>,
    pub brokers: BTreeMap<BrokerId, Broker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker {
    pub epoch: BrokerEpoch,
    pub is_fenced: bool,
    pub shuts_down: bool,
}

/// Messages in flight.
#[derive(Clone, Debug)]
pub enum Letter {
    Fetch {
        from: BrokerId,
        to: BrokerId,
        broker_epoch: BrokerEpoch,
        asked: Fetch,
    },
    Fetched {
        to: BrokerId,
        /// Broker epoch of the process that asked: a restarted process has new connections.
        broker_epoch: BrokerEpoch,
        asked: Fetch,
        answer: FetchAnswer,
        records: Vec<Record>,
    },
    Alter {
        from: BrokerId,
        proposal: Proposal,
    },
    Altered {
        to: BrokerId,
        proposal: Proposal,
        answer: Answer,
    },
}

#[derive(Debug)]
pub struct Model {
    pub now: Timestamp,
    pub min_isr: usize,
    /// Whether the controller keeps eligible leader replicas. If so, a broker that comes back after an unclean stop is not in
    /// sync.
    pub keeps_eligible: bool,
    pub metadata: Metadata,
    pub replicas: BTreeMap<BrokerId, Replica>,
    /// Processes whose brokers were registered again by other processes. They do not know it yet.
    pub replaced: Vec<Replica>,
    pub letters: Vec<Letter>,
    /// Records that were acknowledged to clients, or shown to consumers by a leader's high watermark.
    pub acked: BTreeMap<Offset, Record>,
    /// Appends with acks=all that wait: leader, leader epoch, offset and record.
    waiting: Vec<(BrokerId, LeaderEpoch, Offset, Record)>,
    /// Highest high watermark of each leader epoch.
    marks: BTreeMap<LeaderEpoch, Offset>,
    /// Whether there was an unclean election: then records are lost, and an old leader still acknowledges records until it
    /// learns of the election.
    was_unclean: bool,
    next_value: u32,
    next_broker_epoch: BrokerEpoch,
}

impl Replica {
    fn new(id: BrokerId) -> Self {
        Self {
            id,
            broker_epoch: 0,
            is_up: false,
            log_start: 0,
            records: Vec::new(),
            epochs: LeaderEpochs::default(),
            high_watermark: 0,
            synced: 0,
            checkpoint: 0,
            lacks: false,
            role: Role::Nothing,
            known: None,
        }
    }

    pub fn log_end(&self) -> Offset {
        self.log_start + self.records.len() as Offset
    }

    pub fn view(&self) -> LogView<'_> {
        LogView {
            log_start: self.log_start,
            log_end: self.log_end(),
            epochs: &self.epochs,
        }
    }

    pub fn record(&self, offset: Offset) -> Option<Record> {
        let place = usize::try_from(offset - self.log_start).ok()?;
        self.records.get(place).copied()
    }

    pub fn values(&self) -> Vec<u32> {
        self.records.iter().map(|record| record.value).collect()
    }

    pub fn leader(&mut self) -> &mut LeaderState {
        match &mut self.role {
            Role::Leader(leader) => leader,
            other => panic!("{} does not lead: {other:?}", self.id),
        }
    }

    pub fn follower(&self) -> &FollowerState {
        match &self.role {
            Role::Follower(follower) => follower,
            other => panic!("{} does not follow: {other:?}", self.id),
        }
    }

    pub fn append(&mut self, record: Record) {
        self.epochs.assign(record.epoch, self.log_end());
        self.records.push(record);
    }

    pub fn cut(&mut self, offset: Offset) {
        assert!(offset >= self.log_start, "{self:?}");
        self.records.truncate((offset - self.log_start) as usize);
        self.epochs.truncate_end(offset);
        self.synced = self.synced.min(offset);
        self.checkpoint = self.checkpoint.min(offset);
    }

    pub fn start_anew(&mut self, offset: Offset) {
        self.records.clear();
        self.epochs = LeaderEpochs::default();
        self.log_start = offset;
        (self.synced, self.checkpoint) = (offset, offset);
    }

    pub fn delete_before(&mut self, offset: Offset) {
        if offset > self.log_start {
            self.records.drain(..(offset - self.log_start) as usize);
            self.log_start = offset;
            self.epochs.truncate_start(offset);
            self.synced = self.synced.max(offset);
            self.checkpoint = self.checkpoint.max(offset);
        }
    }

    /// Applies the role that the metadata gives.
    fn learn(&mut self, metadata: &Metadata, min_isr: usize, now: Timestamp) {
        let assignment = Assignment {
            leader: metadata.leader,
            epoch: metadata.epoch,
            partition_epoch: metadata.partition_epoch,
            replicas: &metadata.replicas,
            isr: &metadata.isr,
        };
        let rules = Rules {
            min_isr,
            lag_max_ms: LAG_MAX_MS,
        };
        let alive = |id: BrokerId| {
            let broker = metadata.brokers.get(&id).filter(|one| !one.is_fenced)?;
            Some(Alive {
                epoch: broker.epoch,
                shuts_down: broker.shuts_down,
            })
        };
        let leads = metadata.leader == self.id;
        match &mut self.role {
            Role::Leader(leader) if leads && leader.epoch() == metadata.epoch => {
                leader.update(&assignment, alive, now);
                leader.set_alive(alive, now);
            }
            Role::Follower(follower) if !leads && follower.epoch() == metadata.epoch => {
                follower.update(&assignment);
            }
            before if leads => {
                let before = match before {
                    Role::Leader(leader) => Some(&*leader),
                    _ => None,
                };
                let ends = (
                    self.log_start + self.records.len() as Offset,
                    self.high_watermark,
                );
                let leader =
                    LeaderState::new(self.id, &assignment, rules, ends, before, alive, now);
                self.role = Role::Leader(leader);
                self.epochs.assign(metadata.epoch, self.log_end());
            }
            _ => {
                let follower = FollowerState::new(&assignment, self.high_watermark, &self.view());
                self.role = Role::Follower(follower);
            }
        }
        self.known = Some(metadata.clone());
        self.note_high_watermark();
    }

    fn note_high_watermark(&mut self) {
        self.high_watermark = match &self.role {
            Role::Nothing => return,
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
        };
    }

    /// Answers a follower's fetch like the handler of Fetch.
    fn serve(
        &mut self,
        (from, broker_epoch): (BrokerId, BrokerEpoch),
        asked: &Fetch,
        now: Timestamp,
    ) -> (FetchAnswer, Vec<Record>, Option<Proposal>) {
        let (end, high_watermark, log_start) =
            (self.log_end(), self.high_watermark, self.log_start);
        let epochs = self.epochs.clone();
        let failed = |code| (FetchAnswer::Failed(code), Vec::new(), None);
        let Role::Leader(leader) = &mut self.role else {
            return failed(ErrorCode::NotLeaderOrFollower);
        };
        if asked.current_leader_epoch < leader.epoch() {
            return failed(ErrorCode::FencedLeaderEpoch);
        }
        if asked.current_leader_epoch > leader.epoch() {
            return failed(ErrorCode::UnknownLeaderEpoch);
        }
        if let Err(error) = leader.check_follower(from, broker_epoch, true) {
            return failed(error);
        }
        if asked.offset < log_start {
            return failed(ErrorCode::OffsetOutOfRange);
        }
        if asked.last_fetched_epoch >= 0 {
            let Some((epoch, end_offset)) = epochs.end_of(asked.last_fetched_epoch, end) else {
                return failed(ErrorCode::OffsetOutOfRange);
            };
            if epoch < asked.last_fetched_epoch || end_offset < asked.offset {
                return (
                    FetchAnswer::Diverging { epoch, end_offset },
                    Vec::new(),
                    None,
                );
            }
        }
        if asked.offset > end {
            return failed(ErrorCode::OffsetOutOfRange);
        }
        let records: Vec<_> = self.records[(asked.offset - log_start) as usize..]
            .iter()
            .take(RECORDS_MAX)
            .copied()
            .collect();
        let fetch = FollowerFetch {
            replica: from,
            broker_epoch,
            log_end: asked.offset,
            leader_log_end: end,
        };
        let proposal = leader.fetched(fetch, now);
        let spans = (asked.offset..)
            .zip(&records)
            .map(|(offset, record)| BatchSpan {
                base_offset: offset,
                next_offset: offset + 1,
                epoch: record.epoch,
            });
        let answer = FetchAnswer::Records {
            batches: spans.collect(),
            high_watermark,
            log_start,
        };
        self.note_high_watermark();
        (answer, records, proposal)
    }

    fn take_in(&mut self, asked: &Fetch, answer: &FetchAnswer, records: &[Record], now: Timestamp) {
        let (log_start, log_end) = (self.log_start, self.log_end());
        let epochs = self.epochs.clone();
        let view = LogView {
            log_start,
            log_end,
            epochs: &epochs,
        };
        let Role::Follower(follower) = &mut self.role else {
            return;
        };
        let verdict = follower.fetched(asked, answer, &view, BACKOFF_MS, now);
        self.carry_out(verdict, answer, records);
    }

    fn carry_out(&mut self, verdict: Verdict, answer: &FetchAnswer, records: &[Record]) {
        match verdict {
            Verdict::Nothing => return,
            Verdict::Append(count) => {
                for record in &records[..count] {
                    self.append(*record);
                }
                self.was_appended(answer);
                return;
            }
            Verdict::Cut(offset) => self.cut(offset),
            Verdict::StartAnewAt(offset) => self.start_anew(offset),
        }
        self.was_cut();
    }

    fn was_appended(&mut self, answer: &FetchAnswer) {
        let FetchAnswer::Records {
            high_watermark,
            log_start,
            ..
        } = answer
        else {
            panic!("{answer:?}");
        };
        let epochs = self.epochs.clone();
        let view = LogView {
            log_start: self.log_start,
            log_end: self.log_end(),
            epochs: &epochs,
        };
        let Role::Follower(follower) = &mut self.role else {
            panic!("{self:?}");
        };
        let (_, start) = follower.appended(&view, *high_watermark, *log_start);
        self.note_high_watermark();
        self.delete_before(start);
    }

    fn was_cut(&mut self) {
        let epochs = self.epochs.clone();
        let view = LogView {
            log_start: self.log_start,
            log_end: self.log_end(),
            epochs: &epochs,
        };
        if let Role::Follower(follower) = &mut self.role {
            follower.cut(&view);
        }
        self.note_high_watermark();
    }
}

impl Model {
    /// All brokers are up, in sync, and have applied the metadata in which 1 leads.
    pub fn new(brokers: BrokerId, min_isr: usize) -> Self {
        let ids: Vec<BrokerId> = (1..=brokers).collect();
        let mut this = Self {
            now: 1_000_000,
            min_isr,
            keeps_eligible: false,
            metadata: Metadata {
                leader: 1,
                epoch: 0,
                partition_epoch: 0,
                replicas: ids.clone(),
                isr: ids.clone(),
                elr: Vec::new(),
                last_known: None,
                brokers: BTreeMap::new(),
            },
            replicas: ids.iter().map(|id| (*id, Replica::new(*id))).collect(),
            replaced: Vec::new(),
            letters: Vec::new(),
            acked: BTreeMap::new(),
            waiting: Vec::new(),
            marks: BTreeMap::new(),
            was_unclean: false,
            next_value: 0,
            next_broker_epoch: 100,
        };
        for id in &ids {
            this.register(*id);
            this.unfence(*id);
        }
        this.all_learn();
        this
    }

    pub fn at(&mut self, id: BrokerId) -> &mut Replica {
        self.replicas.get_mut(&id).unwrap()
    }

    pub fn leader(&mut self) -> &mut LeaderState {
        let id = self.metadata.leader;
        self.at(id).leader()
    }

    // The controller.

    /// Registers a started process: it is fenced until it is unfenced.
    fn register(&mut self, id: BrokerId) {
        self.next_broker_epoch += 1;
        let epoch = self.next_broker_epoch;
        let replica = self.at(id);
        replica.is_up = true;
        replica.broker_epoch = epoch;
        self.metadata.brokers.insert(
            id,
            Broker {
                epoch,
                is_fenced: true,
                shuts_down: false,
            },
        );
    }

    pub fn fence(&mut self, id: BrokerId) {
        if let Some(broker) = self.metadata.brokers.get_mut(&id) {
            broker.is_fenced = true;
        }
        self.leave_isr(id);
    }

    pub fn shuts_down(&mut self, id: BrokerId) {
        if let Some(broker) = self.metadata.brokers.get_mut(&id) {
            broker.shuts_down = true;
        }
        self.leave_isr(id);
    }

    fn leave_isr(&mut self, id: BrokerId) {
        let metadata = &mut self.metadata;
        let is_last = metadata.isr == [id];
        let in_isr = metadata.isr.contains(&id);
        if in_isr && (!is_last || self.keeps_eligible) {
            let isr = metadata.isr.iter().filter(|one| **one != id);
            let isr = isr.copied().collect();
            self.set_isr(isr);
        }
        if self.metadata.leader == id {
            self.elect_any();
        }
    }

    fn set_isr(&mut self, isr: Vec<BrokerId>) {
        let is_enough = isr.len() >= self.min_isr.min(self.replicas.len());
        let metadata = &mut self.metadata;
        if self.keeps_eligible && !is_enough {
            let both: BTreeSet<_> = metadata.elr.iter().chain(&metadata.isr).copied().collect();
            metadata.elr = both.into_iter().filter(|id| !isr.contains(id)).collect();
        } else {
            metadata.elr.clear();
        }
        match isr.is_empty() {
            true if !metadata.isr.is_empty() => metadata.last_known = Some(metadata.leader),
            true => {}
            false => metadata.last_known = None,
        }
        metadata.isr = isr;
        metadata.partition_epoch += 1;
    }

    /// Handles the return of a broker after an unclean stop: it may lack records that it had.
    fn was_unclean_stop(&mut self, id: BrokerId) {
        if let Some(broker) = self.metadata.brokers.get_mut(&id) {
            // Fencing and removal from the ISR are one decision, so the broker is not elected in between.
            broker.is_fenced = true;
        }
        self.leave_isr(id);
        let metadata = &mut self.metadata;
        if metadata.elr.contains(&id) {
            metadata.elr.retain(|one| *one != id);
            metadata.partition_epoch += 1;
        }
    }

    /// Whether another broker has everything acknowledged, even if this one loses its records.
    pub fn can_be_missed(&self, id: BrokerId) -> bool {
        let metadata = &self.metadata;
        let mut able = metadata.isr.iter().chain(&metadata.elr);
        able.any(|one| *one != id && !self.replicas[one].lacks)
    }

    /// Whether a broker may lose records: eligible leader replicas tolerate fewer such losses at a time than
    /// `min.insync.replicas`.
    pub fn may_lose(&self, id: BrokerId) -> bool {
        let others = self.replicas.values().filter(|one| one.id != id);
        let losses = 1 + others.filter(|one| one.lacks).count();
        losses < self.min_isr && self.can_be_missed(id)
    }

    /// Whether a killed broker may come back: with eligible leader replicas it does not count as in sync then.
    pub fn may_start(&self, id: BrokerId) -> bool {
        let nobody_lacks = || !self.replicas.values().any(|one| one.lacks);
        !self.keeps_eligible || self.can_be_missed(id) || nobody_lacks()
    }

    pub fn unfence(&mut self, id: BrokerId) {
        if let Some(broker) = self.metadata.brokers.get_mut(&id) {
            broker.is_fenced = false;
        }
        if self.metadata.leader < 0 {
            self.elect_any();
        }
    }

    fn may_lead(&self, id: BrokerId) -> bool {
        let broker = self.metadata.brokers.get(&id);
        broker.is_some_and(|one| !one.is_fenced && !one.shuts_down)
    }

    fn elect_any(&mut self) {
        let metadata = &self.metadata;
        let last_known = metadata.last_known.iter();
        let candidates: Vec<_> = if !metadata.isr.is_empty() {
            metadata.isr.clone()
        } else if !metadata.elr.is_empty() {
            metadata.elr.clone()
        } else {
            last_known.copied().collect()
        };
        let able = candidates.into_iter().find(|id| self.may_lead(*id));
        if let Some(leader) = able
            && self.metadata.isr.is_empty()
        {
            self.set_isr(vec![leader]);
        }
        self.set_leader(able.unwrap_or(-1));
    }

    fn set_leader(&mut self, leader: BrokerId) {
        self.metadata.leader = leader;
        self.metadata.epoch += 1;
        self.metadata.partition_epoch += 1;
    }

    /// Elects a leader from the ISR, if possible.
    pub fn elect(&mut self, id: BrokerId) {
        if self.metadata.isr.contains(&id) && self.may_lead(id) {
            self.set_leader(id);
        }
    }

    /// Elects a leader that may lack records: from then on only the records of the new leader are expected.
    pub fn elect_unclean(&mut self, id: BrokerId) {
        self.metadata.isr = vec![id];
        self.metadata.elr.clear();
        self.set_leader(id);
        self.was_unclean = true;
    }

    fn alter(&mut self, from: BrokerId, proposal: &Proposal) -> Answer {
        let metadata = &mut self.metadata;
        let refused = Answer::Refused;
        if proposal.leader_epoch > metadata.epoch
            || proposal.partition_epoch > metadata.partition_epoch
        {
            return refused(ErrorCode::NotController);
        }
        if proposal.leader_epoch < metadata.epoch {
            return refused(ErrorCode::FencedLeaderEpoch);
        }
        if from != metadata.leader {
            return refused(ErrorCode::InvalidRequest);
        }
        if proposal.partition_epoch < metadata.partition_epoch {
            return refused(ErrorCode::InvalidUpdateVersion);
        }
        let is_eligible = |(id, epoch): &(BrokerId, BrokerEpoch)| {
            let broker = metadata.brokers.get(id);
            broker.is_some_and(|one| {
                !one.is_fenced && !one.shuts_down && (*epoch < 0 || *epoch == one.epoch)
            })
        };
        if !proposal.isr.iter().all(is_eligible) {
            return refused(ErrorCode::IneligibleReplica);
        }
        let isr: Vec<_> = proposal.isr.iter().map(|(id, _)| *id).collect();
        for id in isr.iter().filter(|id| !self.metadata.isr.contains(id)) {
            // A broker that is down may join because of its last fetches. It is not trusted when it comes back.
            if let Some(replica) = self.replicas.get_mut(id).filter(|one| one.is_up) {
                replica.lacks = false;
            }
        }
        self.set_isr(isr);
        let metadata = &self.metadata;
        Answer::Accepted {
            leader_epoch: metadata.epoch,
            partition_epoch: metadata.partition_epoch,
            isr: metadata.isr.clone(),
        }
    }

    // The brokers.

    /// Applies the newest metadata on a broker.
    pub fn learn(&mut self, id: BrokerId) {
        let (metadata, min_isr, now) = (self.metadata.clone(), self.min_isr, self.now);
        let replica = self.at(id);
        if replica.is_up {
            replica.learn(&metadata, min_isr, now);
        }
        self.check();
    }

    pub fn all_learn(&mut self) {
        let ids: Vec<_> = self.replicas.keys().copied().collect();
        for id in ids {
            self.learn(id);
        }
    }

    /// Flushes the log and writes the high watermark checkpoint.
    pub fn sync(&mut self, id: BrokerId) {
        let replica = self.at(id);
        replica.synced = replica.log_end();
        replica.checkpoint = replica.high_watermark;
    }

    /// kill -9: the log stays; the high watermark is that of the last checkpoint.
    pub fn crash(&mut self, id: BrokerId) {
        let replica = self.at(id);
        replica.is_up = false;
        replica.role = Role::Nothing;
        replica.known = None;
        replica.high_watermark = replica
            .checkpoint
            .clamp(replica.log_start, replica.log_end());
    }

    /// Power loss: of the records that were not on disk only the first `kept` stay.
    pub fn power_cut(&mut self, id: BrokerId, kept: Offset) {
        self.crash(id);
        let replica = self.at(id);
        let end = replica.synced.max(replica.log_start) + kept;
        if end < replica.log_end() {
            replica.cut(end);
            replica.lacks = true;
            replica.high_watermark = replica.high_watermark.min(end);
        }
    }

    /// Starts a new process on the same disk, without metadata.
    pub fn start(&mut self, id: BrokerId) {
        self.crash(id);
        if self.keeps_eligible {
            self.was_unclean_stop(id);
        }
        self.register(id);
        self.fence(id);
    }

    /// Starts a new process on an empty disk.
    pub fn start_empty(&mut self, id: BrokerId) {
        self.start(id);
        let lacks = self.keeps_eligible;
        let replica = self.at(id);
        replica.start_anew(0);
        replica.high_watermark = 0;
        replica.lacks = lacks;
    }

    /// Starts a new process with an empty disk for a broker whose process lives on, cut off from the controller.
    pub fn replace(&mut self, id: BrokerId) {
        let lives = self.replicas[&id].is_up;
        let before = std::mem::replace(self.at(id), Replica::new(id));
        if lives {
            self.replaced.push(before);
        }
        self.start_empty(id);
    }

    /// The process with this broker epoch, if it is up.
    fn process(&mut self, id: BrokerId, broker_epoch: BrokerEpoch) -> Option<&mut Replica> {
        let replaced = self.replaced.iter_mut();
        let mut all = self.replicas.get_mut(&id).into_iter().chain(replaced);
        all.find(|one| one.is_up && (one.id, one.broker_epoch) == (id, broker_epoch))
    }

    /// Takes the next step of a process that was replaced.
    pub fn poll_replaced(&mut self, place: usize) {
        let now = self.now;
        let Some(replica) = self.replaced.get_mut(place) else {
            return;
        };
        let Role::Follower(follower) = &replica.role else {
            return;
        };
        match follower.next(&replica.view(), now) {
            FollowerNext::Fetch(asked) => {
                let letter = Letter::Fetch {
                    from: replica.id,
                    to: follower.leader(),
                    broker_epoch: replica.broker_epoch,
                    asked,
                };
                self.letters.push(letter);
            }
            FollowerNext::Cut(offset) => {
                replica.cut(offset);
                replica.was_cut();
            }
            FollowerNext::AskEnd
            | FollowerNext::AskStart
            | FollowerNext::WaitUntil(_)
            | FollowerNext::WaitForMetadata => {}
        }
        self.check();
    }

    /// A process that was replaced sees the newest metadata, and ends.
    pub fn learn_replaced(&mut self, place: usize) {
        if place < self.replaced.len() {
            self.replaced.swap_remove(place);
        }
    }

    /// Appends with acks=all at a broker that considers itself the leader; returns the error if it is refused.
    pub fn append(&mut self, id: BrokerId) -> Result<(), ErrorCode> {
        let (value, now) = (self.next_value, self.now);
        let replica = self.at(id);
        let Role::Leader(leader) = &mut replica.role else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        leader.check_isr()?;
        let epoch = leader.epoch();
        let record = Record { epoch, value };
        let offset = replica.log_end();
        replica.append(record);
        replica.leader().appended(offset + 1, true, now);
        replica.note_high_watermark();
        self.waiting.push((id, epoch, offset, record));
        self.next_value += 1;
        self.check();
        Ok(())
    }

    /// Takes the next step of a follower, which may send a fetch.
    pub fn poll(&mut self, id: BrokerId) {
        let now = self.now;
        let replica = self.at(id);
        if !replica.is_up {
            return;
        }
        let Role::Follower(follower) = &replica.role else {
            return;
        };
        let (leader, epoch) = (follower.leader(), follower.epoch());
        match follower.next(&replica.view(), now) {
            FollowerNext::Fetch(asked) => {
                let broker_epoch = replica.broker_epoch;
                self.letters.push(Letter::Fetch {
                    from: id,
                    to: leader,
                    broker_epoch,
                    asked,
                });
            }
            FollowerNext::Cut(offset) => {
                replica.cut(offset);
                replica.was_cut();
            }
            next @ (FollowerNext::AskEnd | FollowerNext::AskStart) => {
                self.ask(id, leader, epoch, next);
            }
            FollowerNext::WaitUntil(_) | FollowerNext::WaitForMetadata => {}
        }
        self.check();
    }

    /// ListOffsets of a replica, answered at once.
    fn ask(&mut self, id: BrokerId, leader: BrokerId, epoch: LeaderEpoch, what: FollowerNext) {
        let Some(there) = self.replicas.get_mut(&leader).filter(|one| one.is_up) else {
            return;
        };
        if !matches!(&there.role, Role::Leader(leader) if leader.epoch() == epoch) {
            return;
        }
        let (start, end) = (there.log_start, there.log_end());
        let replica = self.at(id);
        let (epochs, log_start, log_end) =
            (replica.epochs.clone(), replica.log_start, replica.log_end());
        let view = LogView {
            log_start,
            log_end,
            epochs: &epochs,
        };
        let Role::Follower(follower) = &mut replica.role else {
            return;
        };
        let verdict = match what {
            FollowerNext::AskEnd => follower.leader_ends_at(epoch, end, &view),
            _ => follower.leader_starts_at(epoch, start, &view),
        };
        let none = FetchAnswer::Failed(ErrorCode::OffsetOutOfRange);
        replica.carry_out(verdict, &none, &[]);
    }

    /// Lets a leader remove lagging followers.
    pub fn shrink(&mut self, id: BrokerId) {
        let now = self.now;
        let replica = self.at(id);
        if let Role::Leader(leader) = &mut replica.role
            && let Some(proposal) = leader.shrink(now)
        {
            self.letters.push(Letter::Alter { from: id, proposal });
        }
        self.check();
    }

    /// Delivers a message.
    pub fn deliver(&mut self, place: usize) {
        let letter = self.letters.remove(place);
        let now = self.now;
        match letter {
            Letter::Fetch {
                from,
                to,
                broker_epoch,
                asked,
            } => {
                let Some(leader) = self.replicas.get_mut(&to).filter(|one| one.is_up) else {
                    return;
                };
                let (answer, records, proposal) = leader.serve((from, broker_epoch), &asked, now);
                self.letters.push(Letter::Fetched {
                    to: from,
                    broker_epoch,
                    asked,
                    answer,
                    records,
                });
                let sent = proposal.map(|proposal| Letter::Alter { from: to, proposal });
                self.letters.extend(sent);
            }
            Letter::Fetched {
                to,
                broker_epoch,
                asked,
                answer,
                records,
            } => {
                if let Some(replica) = self.process(to, broker_epoch) {
                    replica.take_in(&asked, &answer, &records, now);
                }
            }
            Letter::Alter { from, proposal } => {
                let answer = self.alter(from, &proposal);
                self.letters.push(Letter::Altered {
                    to: from,
                    proposal,
                    answer,
                });
            }
            Letter::Altered {
                to,
                proposal,
                answer,
            } => {
                let replica = self.at(to);
                if let Role::Leader(leader) = &mut replica.role {
                    let next = leader.answered(&proposal, &answer, now);
                    replica.note_high_watermark();
                    if next == Next::SendAgain {
                        self.letters.push(Letter::Alter { from: to, proposal });
                    }
                }
            }
        }
        self.check();
    }

    /// Loses a message. A request to the controller is sent again until it is answered.
    pub fn lose(&mut self, place: usize) {
        let letter = self.letters.remove(place);
        if let Letter::Alter { from, proposal }
        | Letter::Altered {
            to: from, proposal, ..
        } = letter
        {
            self.letters.push(Letter::Alter { from, proposal });
        }
    }

    /// DeleteRecords up to the high watermark of the leader.
    pub fn delete_records(&mut self, id: BrokerId) {
        let replica = self.at(id);
        if matches!(replica.role, Role::Leader(_)) {
            replica.delete_before(replica.high_watermark);
        }
        self.check();
    }

    /// Delivers all messages in the order in which they were sent.
    pub fn deliver_all(&mut self) {
        while !self.letters.is_empty() {
            self.deliver(0);
        }
    }

    /// Lets a follower fetch, and delivers the answer.
    pub fn fetch(&mut self, id: BrokerId) {
        self.poll(id);
        self.deliver_all();
    }

    // Invariants.

    fn check(&mut self) {
        self.acknowledge();
        for replica in self.replicas.values() {
            assert!(replica.high_watermark <= replica.log_end(), "{replica:?}");
            if let Role::Leader(leader) = &replica.role {
                let before = self.marks.entry(leader.epoch()).or_default();
                assert!(leader.high_watermark() >= *before, "{leader:?}");
                let shown = replica.log_start.max(*before)..leader.high_watermark();
                *before = leader.high_watermark();
                for offset in shown {
                    let record = replica.record(offset).unwrap();
                    let known = *self.acked.entry(offset).or_insert(record);
                    assert!(known == record || self.was_unclean, "{offset}: {replica:?}");
                }
            }
        }
        let metadata = &self.metadata;
        assert!(
            !metadata.isr.is_empty() || self.keeps_eligible,
            "{metadata:?}"
        );
        assert!(
            metadata.leader < 0 || metadata.isr.contains(&metadata.leader),
            "{metadata:?}"
        );
        let eligible = metadata.isr.iter().chain(&metadata.elr);
        for id in eligible.filter(|_| !self.was_unclean) {
            let replica = &self.replicas[id];
            if replica.lacks {
                // The controller does not know of the power loss yet.
                continue;
            }
            for (offset, record) in self.acked.range(replica.log_start..) {
                assert_eq!(
                    replica.record(*offset),
                    Some(*record),
                    "{id} is in sync and lacks what was acknowledged at {offset}: {self:#?}"
                );
            }
        }
        for (a, b) in self.pairs().filter(|_| !self.was_unclean) {
            let end = a.high_watermark.min(b.high_watermark);
            let differs = (a.log_start.max(b.log_start)..end)
                .find(|offset| a.record(*offset) != b.record(*offset));
            assert_eq!(differs, None, "{} and {}: {self:#?}", a.id, b.id);
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&Replica, &Replica)> {
        let all = self.replicas.values();
        all.flat_map(|a| self.replicas.values().map(move |b| (a, b)))
            .filter(|(a, b)| a.id < b.id)
    }

    /// Acknowledges committed appends. Clients of a leader that is gone get no acknowledgement.
    fn acknowledge(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(
            |(id, epoch, offset, record)| match &self.replicas[id].role {
                Role::Leader(leader) if leader.epoch() == *epoch => {
                    let outcome = leader.acknowledged(offset + 1);
                    if outcome == Acknowledged::Yes {
                        self.acked.insert(*offset, *record);
                    }
                    outcome == Acknowledged::Waits
                }
                _ => false,
            },
        );
        self.waiting = waiting;
    }

    fn is_whole(&self) -> bool {
        let leader = self.replicas.get(&self.metadata.leader);
        self.metadata.isr.len() == self.replicas.len()
            && leader.is_some_and(|one| {
                let mut others = self.replicas.values();
                one.high_watermark == one.log_end()
                    && others.all(|it| it.log_end() == one.log_end())
            })
    }

    /// Starts and unfences all brokers and loses no more messages: soon all replicas must be in sync with equal logs.
    pub fn heal(&mut self) {
        self.replaced.clear();
        self.deliver_all();
        let ids: Vec<_> = self.replicas.keys().copied().collect();
        for id in &ids {
            if !self.replicas[id].is_up {
                if !self.may_start(*id) {
                    // The broker is kept fenced, so that no acknowledged record is given up.
                    self.register(*id);
                    self.fence(*id);
                    continue;
                }
                self.start(*id);
            }
        }
        for id in &ids {
            self.unfence(*id);
            let shut_down = self.metadata.brokers.get_mut(id);
            shut_down.unwrap().shuts_down = false;
        }
        if self.metadata.leader < 0 {
            self.elect_any();
        }
        // Each round: all brokers apply metadata, fetch, and check for lagging followers.
        for _ in 0..200 {
            self.now += 2 * BACKOFF_MS;
            self.all_learn();
            for id in &ids {
                self.fetch(*id);
                self.shrink(*id);
            }
            self.deliver_all();
            if self.is_whole() {
                break;
            }
        }
        let leader = self.metadata.leader;
        assert!(self.append(leader).is_ok(), "{self:#?}");
        for _ in 0..3 {
            ids.iter().for_each(|id| self.fetch(*id));
        }
        let isr: BTreeSet<_> = self.metadata.isr.iter().copied().collect();
        assert_eq!(isr, ids.iter().copied().collect(), "{self:#?}");
        let end = self.replicas[&leader].log_end();
        let from = (self.replicas.values().map(|one| one.log_start)).max();
        for replica in self.replicas.values() {
            let marks = (replica.log_end(), replica.high_watermark);
            assert_eq!(marks, (end, end), "{self:#?}");
            for offset in from.unwrap()..end {
                let theirs = self.replicas[&leader].record(offset);
                assert_eq!(replica.record(offset), theirs, "{self:#?}");
            }
        }
    }
}
