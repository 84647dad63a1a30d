//! pure: one partition of `__share_group_state` with its states (Kafka: `ShareCoordinatorShard`).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::batches::Batches;
use super::record::{ShareKey, ShareSnapshotValue, ShareStateRecord, ShareUpdateValue, StateBatch};
use super::request::{
    Known, Refusal, ShareStateAnswer, ShareStateRequest, Summary, UNCHANGED, UNDECIDED, Write,
};
use crate::base::ids::{LeaderEpoch, Offset};
use crate::base::memory::{Held, Memory, Purpose};
use crate::base::time::Timestamp;
use crate::config::broker::BrokerSettings;
use crate::coordinator::runtime::shard::{
    Condition, Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket,
};
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;

/// Kafka's `share.coordinator.*` settings.
#[derive(Clone, Debug)]
pub struct ShareStateSettings {
    /// Number of updates after a snapshot before the next snapshot is written
    /// (`share.coordinator.snapshot.update.records.per.snapshot`).
    pub updates_per_snapshot: u32,
    pub memory: Arc<Memory>,
}

impl ShareStateSettings {
    pub fn new(settings: &BrokerSettings, memory: &Arc<Memory>) -> Self {
        let updates = settings.int("share.coordinator.snapshot.update.records.per.snapshot");
        Self {
            updates_per_snapshot: updates.max(0).cast_unsigned(),
            memory: Arc::clone(memory),
        }
    }
}

/// Approximate bytes of memory that a state takes, without the group's name, and each of its batches.
const STATE_BYTES: usize = 300;
const BATCH_BYTES: usize = 24;
/// Bytes of a batch in a record, and of the record without batches.
const WRITTEN_BATCH_BYTES: usize = 20;
const WRITTEN_STATE_BYTES: usize = 1_000;

/// State of a group in a partition.
#[derive(Clone, Debug, PartialEq)]
struct State {
    snapshot_epoch: i32,
    state_epoch: i32,
    leader_epoch: LeaderEpoch,
    start_offset: Offset,
    complete_count: i32,
    created_at: Timestamp,
    batches: Batches,
    /// Number of updates since the last snapshot.
    updates: u32,
}

/// States of one partition of `__share_group_state`.
#[derive(Debug)]
pub struct ShareStateShard {
    settings: ShareStateSettings,
    image: Arc<Image>,
    states: BTreeMap<ShareKey, State>,
    /// Memory of the states.
    held: Held,
    /// Number of records since snapshots of all states were written or the log was loaded.
    records: usize,
}

/// Number of records, in addition to one per state, after which snapshots of all states are written. This bounds the ratio of
/// snapshots to updates.
const RECORDS_MIN: usize = 1_000;
/// Number of batches of a state that cost as much as the commit of one offset.
const BATCHES: usize = 64;
/// The same for batches that are sorted and merged with others.
const MERGED: usize = 8;
/// Number of states to look at that costs as much as the commit of one offset.
const LOOKED_AT: usize = 16;
/// Lower bound of the bytes of a tombstone.
const TOMBSTONE_BYTES_MIN: usize = 20;

impl Shard for ShareStateShard {
    type Request = ShareStateRequest;
    type Answer = ShareStateAnswer;
    type Record = ShareStateRecord;

    const BASE_SEQUENCE: i32 = 0;

    fn decode(raw: RawRecord) -> Result<Option<ShareStateRecord>, RecordError> {
        ShareStateRecord::decode(raw)
    }

    fn encode(record: &ShareStateRecord) -> Result<RawRecord, EncodeError> {
        record.encode()
    }

    fn apply(&mut self, _: Origin, record: &ShareStateRecord) {
        self.records += 1;
        let key = record.key();
        let bytes_of =
            |states: &BTreeMap<ShareKey, State>| states.get(key).map(|state| state.bytes(key));
        let before = bytes_of(&self.states).unwrap_or(0);
        match record {
            ShareStateRecord::Snapshot { key, value: None } => drop(self.states.remove(key)),
            ShareStateRecord::Snapshot {
                key,
                value: Some(value),
            } => {
                let state = State {
                    snapshot_epoch: value.snapshot_epoch,
                    state_epoch: value.state_epoch,
                    leader_epoch: value.leader_epoch,
                    start_offset: value.start_offset,
                    complete_count: value.delivery_complete_count,
                    created_at: value.create_timestamp,
                    batches: Batches::new(value.state_batches.iter().cloned()),
                    updates: 0,
                };
                self.states.insert(key.clone(), state);
            }
            // An update without a snapshot is ignored. The state was deleted, and the log was truncated between the snapshot
            // and the update.
            ShareStateRecord::Update { key, value } => {
                if let Some(state) = self.states.get_mut(key) {
                    state.update(value);
                }
            }
        }
        let after = bytes_of(&self.states).unwrap_or(0);
        let held = self.held.bytes().saturating_sub(before);
        self.held.set(held + after);
    }

    /// No offsets are committed in this topic, so markers have no effect.
    fn apply_marker(&mut self, _: Marker) {}

    fn on_image(&mut self, image: &Arc<Image>, _: &Delta) {
        self.image = Arc::clone(image);
    }

    fn condition(_: &ShareStateRequest) -> Option<Condition> {
        None
    }

    fn loaded(&mut self, _: Moment, _: &mut Output<ShareStateAnswer>) {}

    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: ShareStateRequest,
        _: Result<(), ErrorCode>,
        out: &mut Output<ShareStateAnswer>,
    ) {
        let answer = self
            .decide(now, request, out)
            .unwrap_or_else(ShareStateAnswer::Refused);
        out.answer(ticket, answer);
    }

    fn cost(&self, request: &ShareStateRequest) -> usize {
        let cost = match request {
            ShareStateRequest::Initialise { .. } | ShareStateRequest::Delete { .. } => 1,
            ShareStateRequest::Summarise(_) => 1,
            ShareStateRequest::Read { key, .. } => self.cost_of(key),
            ShareStateRequest::Write { key, write } => {
                let few = write.batches.len() <= BATCHES;
                let each = if few { 1 } else { MERGED };
                self.cost_of(key) * each + write.batches.len() / if few { 1 } else { MERGED }
            }
            ShareStateRequest::ForgetDeleted(_) => self.states.len() / LOOKED_AT,
            ShareStateRequest::Snapshot(_) => self.states.len(),
        };
        cost.max(1)
    }

    fn wake_cost(&self, _: Moment) -> usize {
        0
    }

    fn wake(&mut self, _: Moment, _: &mut Output<ShareStateAnswer>) {}

    fn next_wake(&self) -> Option<i64> {
        None
    }
}

impl State {
    fn update(&mut self, value: &ShareUpdateValue) {
        self.leader_epoch = self.leader_epoch.max(value.leader_epoch);
        // A write that arrives late must not move the start offset back. `complete_count` counts from the start offset, so it
        // is taken only with the same or a later start offset.
        let start = match value.start_offset {
            UNDECIDED => self.start_offset,
            start => start,
        };
        if value.delivery_complete_count != UNCHANGED && start >= self.start_offset {
            let before = match start == self.start_offset {
                true => self.complete_count,
                false => 0,
            };
            self.complete_count = value.delivery_complete_count.max(before);
        }
        self.start_offset = self.start_offset.max(start);
        self.batches.put_all(&value.state_batches);
        self.batches.cut_below(self.start_offset);
        self.updates += 1;
    }

    /// Memory of the state and its key.
    fn bytes(&self, key: &ShareKey) -> usize {
        STATE_BYTES + key.group.len() + self.batches.count() * BATCH_BYTES
    }

    fn snapshot(&self, epoch: i32, now: Timestamp) -> ShareSnapshotValue {
        ShareSnapshotValue {
            snapshot_epoch: epoch,
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: self.complete_count,
            create_timestamp: self.created_at,
            write_timestamp: now,
            state_batches: self.batches.to_vec(),
        }
    }
}

impl ShareStateShard {
    pub fn new(settings: ShareStateSettings) -> Self {
        Self {
            held: settings.memory.hold(Purpose::ShareStates, 0),
            settings,
            image: Arc::new(Image::empty()),
            states: BTreeMap::new(),
            records: 0,
        }
    }

    fn cost_of(&self, key: &ShareKey) -> usize {
        self.states
            .get(key)
            .map_or(1, |state| 1 + state.batches.count() / BATCHES)
    }

    fn decide(
        &mut self,
        now: Moment,
        request: ShareStateRequest,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        match request {
            ShareStateRequest::Initialise {
                key,
                state_epoch,
                start_offset,
                replaces,
            } => match !replaces && self.states.contains_key(&key) {
                true => Ok(ShareStateAnswer::Done),
                false => self.initialise(now, key, state_epoch, start_offset, out),
            },
            ShareStateRequest::Read { key, leader_epoch } => self.read(key, leader_epoch, out),
            ShareStateRequest::Write { key, write } => self.write(now, key, write, out),
            ShareStateRequest::Summarise(key) => {
                check_partition(&key)?;
                let state = self.states.get(&key);
                let summary = state.map_or(Summary::NOTHING, |state| Summary {
                    state_epoch: state.state_epoch,
                    leader_epoch: state.leader_epoch,
                    start_offset: state.start_offset,
                    complete_count: state.complete_count,
                });
                Ok(ShareStateAnswer::Summary(summary))
            }
            ShareStateRequest::Delete { key, epoch_max } => {
                check_partition(&key)?;
                match self.states.get(&key) {
                    Some(state) if state.state_epoch > epoch_max => {}
                    Some(_) => self.record(ShareStateRecord::Snapshot { key, value: None }, out)?,
                    None => self.check_topic(&key)?,
                }
                Ok(ShareStateAnswer::Done)
            }
            ShareStateRequest::Snapshot(behind) => self.snapshot(now, behind, out),
            ShareStateRequest::ForgetDeleted(behind) => self.forget_deleted(behind, out),
        }
    }

    fn initialise(
        &mut self,
        now: Moment,
        key: ShareKey,
        state_epoch: i32,
        start_offset: Offset,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        check_partition(&key)?;
        check_epoch(state_epoch)?;
        let known = self.states.get(&key);
        if known.is_some_and(|known| known.state_epoch > state_epoch) {
            return Err(fenced_state());
        }
        self.check_topic(&key)?;
        let bytes = STATE_BYTES + key.group.len();
        if known.is_none() && !self.settings.memory.has_room_for_share_states(bytes) {
            return Err(Refusal {
                error: ErrorCode::PolicyViolation,
                why: "The states of all share groups take all the memory that they may.",
            });
        }
        let state = State {
            snapshot_epoch: known.map_or(0, |known| known.snapshot_epoch.saturating_add(1)),
            state_epoch,
            leader_epoch: 0,
            start_offset: start_offset.max(UNDECIDED),
            complete_count: if start_offset < 0 { UNCHANGED } else { 0 },
            created_at: now.wall,
            batches: Batches::default(),
            updates: 0,
        };
        let value = Some(state.snapshot(state.snapshot_epoch, now.wall));
        self.record(ShareStateRecord::Snapshot { key, value }, out)?;
        Ok(ShareStateAnswer::Done)
    }

    /// Reads a state. A newer leader epoch fences the former leader, so it is recorded.
    fn read(
        &mut self,
        key: ShareKey,
        leader_epoch: LeaderEpoch,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        check_partition(&key)?;
        check_epoch(leader_epoch)?;
        let Some(state) = self.states.get(&key) else {
            return Err(uninitialised());
        };
        if leader_epoch < state.leader_epoch {
            return Err(fenced_leader());
        }
        self.check_topic(&key)?;
        let known = Known {
            state_epoch: state.state_epoch,
            start_offset: state.start_offset,
            batches: state.batches.to_vec(),
        };
        if leader_epoch > state.leader_epoch {
            let value = ShareUpdateValue {
                snapshot_epoch: state.snapshot_epoch,
                leader_epoch,
                start_offset: state.start_offset,
                delivery_complete_count: state.complete_count,
                state_batches: Vec::new(),
            };
            self.record(ShareStateRecord::Update { key, value }, out)?;
        }
        Ok(ShareStateAnswer::Known(known))
    }

    fn write(
        &mut self,
        now: Moment,
        key: ShareKey,
        write: Write,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        check_partition(&key)?;
        check_epoch(write.leader_epoch)?;
        check_epoch(write.state_epoch)?;
        let Some(state) = self.states.get(&key) else {
            return Err(uninitialised());
        };
        if write.leader_epoch < state.leader_epoch {
            return Err(fenced_leader());
        }
        if write.state_epoch < state.state_epoch {
            return Err(fenced_state());
        }
        self.check_topic(&key)?;
        let is_wrong =
            |one: &StateBatch| one.first_offset < 0 || one.last_offset < one.first_offset;
        if write.batches.iter().any(is_wrong) {
            return Err(Refusal {
                error: ErrorCode::InvalidRequest,
                why: "A batch of states ends before it begins.",
            });
        }
        let room = out
            .room()
            .saturating_sub(WRITTEN_STATE_BYTES + key.group.len());
        let batches_max = room / WRITTEN_BATCH_BYTES;
        let bytes = write.batches.len().saturating_mul(BATCH_BYTES);
        if write.batches.len() > batches_max
            || !self.settings.memory.has_room_for_share_states(bytes)
        {
            return Err(ErrorCode::RecordListTooLarge.into());
        }
        let value = ShareUpdateValue {
            snapshot_epoch: state.snapshot_epoch,
            leader_epoch: write.leader_epoch,
            start_offset: write.start_offset.max(UNDECIDED),
            delivery_complete_count: write.complete_count,
            state_batches: Batches::new(write.batches).to_vec(),
        };
        // The state has to fit into a batch as a whole, or its next snapshot could never be written. A batch of the write
        // splits at most one known batch.
        let may_be = state.batches.count() + 2 * value.state_batches.len();
        let next = || {
            let mut next = state.clone();
            next.update(&value);
            next
        };
        if may_be > batches_max && next().batches.count() > batches_max {
            return Err(ErrorCode::RecordListTooLarge.into());
        }
        let record = if state.updates < self.settings.updates_per_snapshot {
            ShareStateRecord::Update { key, value }
        } else {
            let mut next = next();
            next.state_epoch = next.state_epoch.max(write.state_epoch);
            next.created_at = now.wall;
            let epoch = state.snapshot_epoch.saturating_add(1);
            let value = Some(next.snapshot(epoch, now.wall));
            ShareStateRecord::Snapshot { key, value }
        };
        self.record(record, out)?;
        Ok(ShareStateAnswer::Done)
    }

    fn snapshot(
        &mut self,
        now: Moment,
        behind: Option<ShareKey>,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        if behind.is_none() && self.records < RECORDS_MIN + self.states.len() {
            return Ok(ShareStateAnswer::Short);
        }
        let mut behind = behind;
        let mut last = None;
        while let Some((key, state)) = self.states.range((after(&behind), Bound::Unbounded)).next()
        {
            let key = key.clone();
            behind = Some(key.clone());
            let epoch = state.snapshot_epoch.saturating_add(1);
            let record = ShareStateRecord::Snapshot {
                key: key.clone(),
                value: Some(state.snapshot(epoch, now.wall)),
            };
            match (self.record(record, out), last) {
                (Ok(()), _) => last = Some(key),
                // The batch is full, so the caller asks for the rest. A snapshot that does not even fit as the first one of a
                // request fails the request, and nothing is deleted.
                (Err(_), Some(last)) => return Ok(ShareStateAnswer::MoreBehind(last)),
                (Err(refusal), None) => return Err(refusal),
            }
        }
        self.records = self.states.len();
        Ok(ShareStateAnswer::Done)
    }

    /// Deletes states of topics that do not exist any more.
    fn forget_deleted(
        &mut self,
        behind: Option<ShareKey>,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<ShareStateAnswer, Refusal> {
        let rest = self.states.range((after(&behind), Bound::Unbounded));
        let is_gone = |key: &&ShareKey| self.image.topics.by_id(key.topic_id).is_none();
        let gone = rest.map(|(key, _)| key).filter(is_gone);
        let room = out.room() / TOMBSTONE_BYTES_MIN;
        let gone: Vec<ShareKey> = gone.take(room + 1).cloned().collect();
        let mut last = behind;
        for key in gone {
            let record = ShareStateRecord::Snapshot {
                key: key.clone(),
                value: None,
            };
            match (self.record(record, out), last) {
                (Ok(()), _) => last = Some(key),
                (Err(_), Some(last)) => return Ok(ShareStateAnswer::MoreBehind(last)),
                (Err(refusal), None) => return Err(refusal),
            }
        }
        Ok(ShareStateAnswer::Done)
    }

    fn check_topic(&self, key: &ShareKey) -> Result<(), Refusal> {
        let topic = self.image.topics.by_id(key.topic_id);
        let has = topic.is_some_and(|topic| topic.partition(key.partition).is_some());
        has.then_some(())
            .ok_or_else(|| ErrorCode::UnknownTopicOrPartition.into())
    }

    fn record(
        &mut self,
        record: ShareStateRecord,
        out: &mut Output<ShareStateAnswer>,
    ) -> Result<(), Refusal> {
        out.record(record.encode())?;
        self.apply(Origin::Plain, &record);
        Ok(())
    }
}

/// Bound of the states behind a key.
fn after(key: &Option<ShareKey>) -> Bound<&ShareKey> {
    key.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
}

fn check_partition(key: &ShareKey) -> Result<(), Refusal> {
    (key.partition >= 0).then_some(()).ok_or(Refusal {
        error: ErrorCode::InvalidRequest,
        why: "The partition id cannot be a negative number.",
    })
}

/// Checks that an epoch is not negative. A negative epoch would fence no other request (KAFKA-20694).
fn check_epoch(epoch: i32) -> Result<(), Refusal> {
    (epoch >= 0).then_some(()).ok_or(Refusal {
        error: ErrorCode::InvalidRequest,
        why: "An epoch cannot be a negative number.",
    })
}

fn uninitialised() -> Refusal {
    Refusal {
        error: ErrorCode::InvalidRequest,
        why: "The share partition has not been initialised.",
    }
}

fn fenced_leader() -> Refusal {
    Refusal {
        error: ErrorCode::FencedLeaderEpoch,
        why: "The leader of the partition has a newer epoch.",
    }
}

fn fenced_state() -> Refusal {
    Refusal {
        error: ErrorCode::FencedStateEpoch,
        why: "The state has been initialised in a newer epoch.",
    }
}
