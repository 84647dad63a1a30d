//! pure: one classic group: its members, the protocols they support, and the requests that wait for an answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use indexmap::IndexMap;

use super::pending::PendingJoins;
use crate::base::memory::{Held, Memory, Purpose};
use crate::base::time::Timestamp;
use crate::coordinator::group::record::group_metadata::{GroupMetadataValue, MemberMetadata};
use crate::coordinator::group::settings::MEMBER_BYTES;
use crate::coordinator::hash::java_hash;
use crate::coordinator::runtime::shard::Ticket;
use crate::coordinator::runtime::timer::PutOff;
use crate::wire::codec::Reader;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message;
use crate::wire::message::embedded::ConsumerProtocolSubscription;
use crate::wire::message::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};

/// The protocol type of consumers, whose subscriptions the coordinator can read.
pub const CONSUMER: &str = "consumer";

/// State of a group. Kafka's `Dead` state has no value here: a dead group is removed from the map of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance {
        /// Set in the first rebalance of an empty group, which is delayed so that more members can join.
        initial: Option<InitialDelay>,
    },
    CompletingRebalance,
    Stable,
}

/// Remaining delay of the first rebalance (`group.initial.rebalance.delay.ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialDelay {
    pub delay_ms: i32,
    /// Upper limit of the sum of all further delays.
    pub remaining_ms: i32,
    /// Whether a member joined since the current delay began.
    pub member_came: bool,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }

    pub fn is_preparing(self) -> bool {
        matches!(self, Self::PreparingRebalance { .. })
    }
}

/// One member. `protocols` is in the member's own order of preference.
#[derive(Clone, Debug)]
pub struct Member {
    pub instance_id: Option<ByteString>,
    pub client_id: ByteString,
    pub client_host: ByteString,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocols: Vec<(ByteString, Bytes)>,
    /// Memory reservation for `protocols`. Clones of the member share it.
    held: Arc<Held>,
    pub assignment: Bytes,
    /// Whether the member has not had an answer to its first JoinGroup yet, so that it cannot send heartbeats.
    pub is_new: bool,
    /// Deadline of the member's session.
    pub session: PutOff,
    joining: Option<Ticket>,
    pub syncing: Option<Ticket>,
}

impl Member {
    pub fn joining(&self) -> Option<Ticket> {
        self.joining
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// Whether the given protocols equal the member's current ones, including their order.
    pub fn offers(&self, protocols: &[JoinGroupRequestProtocol]) -> bool {
        self.protocols.len() == protocols.len()
            && self
                .protocols
                .iter()
                .zip(protocols)
                .all(|((name, metadata), now)| *name == now.name && *metadata == now.metadata)
    }
}

/// One group. `apply` sets the state that is recorded in the log. State that no record holds (waiting requests, pending ids) is
/// left as it is.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    pub state: State,
    /// Time at which the group entered its state; `None` if it was loaded from a record before version 2.
    pub state_since: Option<Timestamp>,
    pub protocol_type: Option<ByteString>,
    /// Protocol that all members support and most members prefer.
    pub protocol: Option<ByteString>,
    pub generation: i32,
    pub leader: Option<ByteString>,
    members: IndexMap<ByteString, Member>,
    static_members: BTreeMap<ByteString, ByteString>,
    /// Member ids that were handed out and have not been used in a JoinGroup yet.
    pub pending_join: PendingJoins,
    /// Members that were told the current generation and have not asked for their assignment. The entry of a static member that
    /// was replaced meanwhile keeps the former id.
    pub pending_sync: BTreeSet<ByteString>,
    /// Number of members that support each protocol.
    supported: BTreeMap<ByteString, usize>,
    joining_count: usize,
    /// Union of the members' subscribed topics; `None` if the group is not of consumers or a subscription cannot be read.
    subscribed: Option<BTreeSet<ByteString>>,
}

impl ClassicGroup {
    pub fn new(now: Option<Timestamp>) -> Self {
        Self {
            state: State::Empty,
            state_since: now,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: IndexMap::new(),
            static_members: BTreeMap::new(),
            pending_join: PendingJoins::default(),
            pending_sync: BTreeSet::new(),
            supported: BTreeMap::new(),
            joining_count: 0,
            subscribed: None,
        }
    }

    /// Sets the group to the content of the record: `Stable` with the record's members, or `Empty` if it has none.
    pub fn apply(&mut self, value: &GroupMetadataValue, memory: &Arc<Memory>) {
        self.generation = value.generation;
        self.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        self.protocol = value.protocol.clone();
        self.leader = value.leader.clone();
        self.state_since = Some(value.current_state_timestamp).filter(|timestamp| *timestamp >= 0);

        let mut before = std::mem::take(&mut self.members);
        self.static_members.clear();
        self.supported.clear();
        self.joining_count = 0;
        for recorded in &value.members {
            // A live member holds more than its record (all of its protocols, its session, its waiting requests), so it is kept
            // if the record describes it. Otherwise the member is made from the record.
            let mut member = before
                .swap_remove(&recorded.member_id)
                .filter(|member| member.is_of(recorded, value.protocol.as_ref()))
                .unwrap_or_else(|| remembered(recorded, value.protocol.as_ref(), memory));
            member.assignment = recorded.assignment.clone();
            self.insert(recorded.member_id.clone(), member);
        }
        self.state = if self.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        };
        self.read_subscriptions();
    }

    /// Record of the current group with the given assignments.
    pub fn record(&self, mut assignments: BTreeMap<ByteString, Bytes>) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since.unwrap_or(-1),
            members: self
                .members
                .iter()
                .map(|(id, member)| MemberMetadata {
                    member_id: id.clone(),
                    group_instance_id: member.instance_id.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout: member.rebalance_timeout_ms,
                    session_timeout: member.session_timeout_ms,
                    subscription: member.metadata(protocol),
                    assignment: assignments.remove(id).unwrap_or_default(),
                })
                .collect(),
        }
    }

    pub fn members(&self) -> &IndexMap<ByteString, Member> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// Whether the session of the member ends later than `now`.
    pub fn is_alive(&self, id: &str, now: i64) -> bool {
        self.members
            .get(id)
            .is_some_and(|member| member.session.is_later(now))
    }

    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub fn static_member(&self, instance_id: &str) -> Option<&ByteString> {
        self.static_members.get(instance_id)
    }

    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    pub fn joining_count(&self) -> usize {
        self.joining_count
    }

    pub fn all_joined(&self) -> bool {
        self.joining_count == self.members.len() && self.pending_join.is_empty()
    }

    /// Longest rebalance timeout of all members, in milliseconds.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members
            .values()
            .map(|member| member.rebalance_timeout_ms)
            .max()
            .unwrap_or(0)
    }

    /// Adds a member whose JoinGroup waits for an answer. The first member decides the protocol type of the group.
    pub fn add(&mut self, id: ByteString, member: Member, protocol_type: &str, ticket: Ticket) {
        if self.members.is_empty() {
            self.protocol_type = Some(owned(protocol_type));
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.pending_join.remove(&id);
        self.insert(id.clone(), member);
        self.set_joining(&id, Some(ticket));
    }

    fn insert(&mut self, id: ByteString, member: Member) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.count_protocols(&member, true);
        self.joining_count += usize::from(member.joining.is_some());
        self.members.insert(id, member);
    }

    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.shift_remove(id)?;
        self.count_protocols(&member, false);
        self.joining_count -= usize::from(member.joining.is_some());
        self.pending_sync.remove(id);
        self.pending_join.remove(id);
        if let Some(instance) = &member.instance_id
            && self.static_members.get(instance).is_some_and(|of| of == id)
        {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member another id. The member keeps its position, its assignment and the leadership, and does not count
    /// as new.
    pub fn rename(&mut self, from: &str, to: ByteString) {
        let Some((index, _, mut member)) = self.members.shift_remove_full(from) else {
            return;
        };
        member.is_new = false;
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), to.clone());
        }
        if self.is_leader(from) {
            self.leader = Some(to.clone());
        }
        self.members.shift_insert(index, to, member);
    }

    /// Replaces the protocols and timeouts of a member that joins again.
    pub fn update(
        &mut self,
        id: &str,
        protocols: &[JoinGroupRequestProtocol],
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        memory: &Arc<Memory>,
    ) {
        let Some(mut member) = self.members.get(id).cloned() else {
            return;
        };
        self.count_protocols(&member, false);
        member.protocols = own_protocols(protocols);
        member.held = Arc::new(memory.hold(Purpose::Members, bytes_of(&member.protocols)));
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        self.count_protocols(&member, true);
        self.members.insert(owned(id), member);
    }

    /// Restores a member to its state before [`Self::update`]. The member must have no waiting JoinGroup, neither in `before`
    /// nor now.
    pub fn put_back(&mut self, id: &str, before: Member) {
        let Some(now) = self.members.get(id).cloned() else {
            return;
        };
        self.count_protocols(&now, false);
        self.count_protocols(&before, true);
        self.members.insert(owned(id), before);
    }

    /// Stores the ticket of a member's waiting JoinGroup, or clears it with `None`. Returns the ticket stored before.
    pub fn set_joining(&mut self, id: &str, ticket: Option<Ticket>) -> Option<Ticket> {
        let member = self.members.get_mut(id)?;
        let before = std::mem::replace(&mut member.joining, ticket);
        self.joining_count += usize::from(ticket.is_some());
        self.joining_count -= usize::from(before.is_some());
        before
    }

    /// Whether a member with these protocols can join the group.
    pub fn accepts(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.supported_by_all(&protocol.name))
    }

    fn supported_by_all(&self, protocol: &str) -> bool {
        self.supported.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// Protocol that all members support and that most of them prefer. Of protocols with equal votes the first in the iteration
    /// order of Kafka's `HashMap` wins.
    pub fn elect_protocol(&self) -> Option<ByteString> {
        let mut votes: IndexMap<&ByteString, usize> = IndexMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .map(|(name, _)| name)
                .find(|name| self.supported_by_all(name));
            if let Some(name) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .min_by_key(|(name, count)| (Reverse(*count), place_in_hash_table(name)))
            .map(|(name, _)| name.clone())
    }

    /// Elects a leader among the members that have joined, unless the present leader is one of them. Returns false if no member
    /// has joined.
    pub fn elect_leader(&mut self) -> bool {
        let leads = self
            .leader
            .as_ref()
            .and_then(|id| self.members.get(id))
            .is_some_and(|leader| leader.joining.is_some());
        if leads {
            return true;
        }
        let joined = self
            .members
            .iter()
            .find(|(_, member)| member.joining.is_some())
            .map(|(id, _)| id.clone());
        if joined.is_some() {
            self.leader = joined;
            return true;
        }
        false
    }

    /// Starts the next generation: in `CompletingRebalance` if there are members, otherwise in `Empty`.
    pub fn next_generation(&mut self, now: Timestamp) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.state_since = Some(now);
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.state = State::Empty;
        } else {
            self.protocol = self.elect_protocol();
            self.state = State::CompletingRebalance;
        }
        self.read_subscriptions();
    }

    /// Members as the leader gets them in its JoinGroup response: each with its metadata for the chosen protocol.
    pub fn for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .map(|(id, member)| JoinGroupResponseMember {
                member_id: id.clone(),
                group_instance_id: member.instance_id.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    /// Checks that a request with this member id and instance id comes from a current member.
    ///
    /// Errors: `UnknownMemberId`, `FencedInstanceId`.
    pub fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if current != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether a member is subscribed to the topic. A group of consumers whose subscriptions are unknown counts as subscribed
    /// to every topic.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// Time from which the age of an offset is counted; `None` while the offsets of the group do not expire.
    pub fn offsets_age_from(&self, committed_at: Timestamp) -> Option<Timestamp> {
        if self.protocol_type.is_none() {
            return Some(committed_at);
        }
        match self.state {
            State::Empty => Some(self.state_since.unwrap_or(committed_at)),
            State::Stable if self.is_consumer() && self.subscribed.is_some() => Some(committed_at),
            _ => None,
        }
    }

    fn read_subscriptions(&mut self) {
        self.subscribed = self.subscriptions();
    }

    fn subscriptions(&self) -> Option<BTreeSet<ByteString>> {
        if !self.is_consumer() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut reader = Reader::new(member.metadata(protocol));
            // Later versions only add fields, so the newest known one reads them.
            let version = reader
                .i16()
                .ok()?
                .min(*ConsumerProtocolSubscription::VERSIONS.end());
            topics.extend(
                ConsumerProtocolSubscription::read(&mut reader, version)
                    .ok()?
                    .topics,
            );
        }
        Some(topics)
    }

    fn count_protocols(&mut self, member: &Member, comes: bool) {
        let names: BTreeSet<&ByteString> = member.protocols.iter().map(|(name, _)| name).collect();
        for name in names {
            let count = self.supported.entry(name.clone()).or_default();
            if comes {
                *count += 1;
            } else {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Invariants that hold after every event.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let joining = self
            .members
            .values()
            .filter(|m| m.joining.is_some())
            .count();
        assert_eq!(joining, self.joining_count);
        for (instance, id) in &self.static_members {
            let member = self.members.get(id).expect("a static member is a member");
            assert_eq!(member.instance_id.as_ref(), Some(instance));
        }
        for (name, count) in &self.supported {
            assert_eq!(
                *count,
                self.members
                    .values()
                    .filter(|m| m.protocols.iter().any(|(offered, _)| offered == name))
                    .count()
            );
        }
        match self.state {
            State::Empty => assert!(self.members.is_empty()),
            State::PreparingRebalance { .. } => {}
            State::CompletingRebalance | State::Stable => {
                assert!(!self.members.is_empty());
                let leader = self.leader.as_ref().expect("a generation has a leader");
                assert!(self.members.contains_key(leader));
                let protocol = self.protocol.as_ref().expect("a generation has a protocol");
                assert!(self.supported_by_all(protocol));
            }
        }
    }
}

impl Member {
    /// Whether the record describes this member.
    fn is_of(&self, recorded: &MemberMetadata, protocol: Option<&ByteString>) -> bool {
        let offered = protocol.is_none_or(|name| {
            let mut offers = self.protocols.iter();
            offers.any(|(offered, data)| offered == name && *data == recorded.subscription)
        });
        offered
            && self.instance_id == recorded.group_instance_id
            && self.session_timeout_ms == recorded.session_timeout
            && self.rebalance_timeout_ms == recorded.rebalance_timeout
    }
}

/// Member made from its record. Only the protocol that was in use is known.
fn remembered(
    recorded: &MemberMetadata,
    protocol: Option<&ByteString>,
    memory: &Arc<Memory>,
) -> Member {
    let rebalance_timeout_ms = if recorded.rebalance_timeout < 0 {
        recorded.session_timeout
    } else {
        recorded.rebalance_timeout
    };
    let protocols: Vec<_> = protocol
        .map(|name| (name.clone(), recorded.subscription.clone()))
        .into_iter()
        .collect();
    Member {
        instance_id: recorded.group_instance_id.clone(),
        client_id: recorded.client_id.clone(),
        client_host: recorded.client_host.clone(),
        rebalance_timeout_ms,
        session_timeout_ms: recorded.session_timeout,
        held: Arc::new(memory.hold(Purpose::Members, bytes_of(&protocols))),
        protocols,
        assignment: recorded.assignment.clone(),
        is_new: false,
        session: PutOff::default(),
        joining: None,
        syncing: None,
    }
}

/// New member that has not been added to the group yet.
pub fn newcomer(
    instance_id: Option<&ByteString>,
    client_id: &str,
    client_host: &str,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    protocols: &[JoinGroupRequestProtocol],
    memory: &Arc<Memory>,
) -> Member {
    let protocols = own_protocols(protocols);
    Member {
        instance_id: instance_id.map(|id| owned(id)),
        client_id: owned(client_id),
        client_host: owned(client_host),
        rebalance_timeout_ms,
        session_timeout_ms,
        held: Arc::new(memory.hold(Purpose::Members, bytes_of(&protocols))),
        protocols,
        assignment: Bytes::new(),
        is_new: true,
        session: PutOff::default(),
        joining: None,
        syncing: None,
    }
}

fn own_protocols(protocols: &[JoinGroupRequestProtocol]) -> Vec<(ByteString, Bytes)> {
    protocols
        .iter()
        .map(|protocol| {
            (
                owned(&protocol.name),
                Bytes::copy_from_slice(&protocol.metadata),
            )
        })
        .collect()
}

fn bytes_of(protocols: &[(ByteString, Bytes)]) -> usize {
    let bytes = |(name, metadata): &(ByteString, Bytes)| name.len() + metadata.len();
    MEMBER_BYTES + protocols.iter().map(bytes).sum::<usize>()
}

/// Bytes of memory that the member of a JoinGroup with these protocols takes.
pub fn offered_bytes(protocols: &[JoinGroupRequestProtocol]) -> usize {
    let bytes = |one: &JoinGroupRequestProtocol| one.name.len() + one.metadata.len();
    MEMBER_BYTES + protocols.iter().map(bytes).sum::<usize>()
}

/// Copy of a string from a request. State of a group must not keep the request's buffer alive.
pub fn owned(text: &str) -> ByteString {
    ByteString::from(text.to_owned())
}

/// Bucket of a key in a `java.util.HashMap` with the default capacity of 16 (up to twelve entries), which gives Kafka's
/// iteration order.
fn place_in_hash_table(key: &str) -> u32 {
    let hash = java_hash(key).cast_unsigned();
    (hash ^ (hash >> 16)) & 15
}
