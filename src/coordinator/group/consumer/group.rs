//! pure: one group of the consumer protocol: its members, with their target and current assignments (Kafka: `ConsumerGroup`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::assignment::{Assignment, Owned};
use super::reconcile::{Current, Standing};
use crate::base::ids::Uuid;
use crate::base::memory::{Held, Memory, Purpose};
use crate::base::time::Timestamp;
use crate::coordinator::group::classic::group::owned;
use crate::coordinator::group::record::consumer_group::{
    ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupTargetAssignmentMemberValue, TopicPartition,
    TopicPartitions,
};
use crate::coordinator::group::record::{Entry, Modern};
use crate::coordinator::group::settings::MEMBER_BYTES;
use crate::coordinator::runtime::timer::PutOff;
use crate::wire::error_code::ErrorCode;

/// Member epoch in a request by which a member joins.
pub const JOIN: i32 = 0;
/// Member epoch in a request by which a member leaves, and epoch of a member without a record of its current assignment.
pub const LEAVE: i32 = -1;
/// Member epoch of a static member that has left and intends to return.
pub const LEAVE_FOR_NOW: i32 = -2;
/// Epoch of a group without a record of its epoch.
pub const FIRST_EPOCH: i32 = 1;

/// State of a group. Kafka's `Dead` state has no value here: a dead group is removed from the map of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Empty,
    /// The group epoch is ahead of the assignment epoch: a new target assignment is due.
    Assigning,
    /// Some members have not reached their target assignment yet.
    Reconciling,
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// Subscription and other metadata that a member sends (record type 5).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    pub instance_id: Option<ByteString>,
    pub rack_id: Option<ByteString>,
    pub client_id: ByteString,
    pub client_host: ByteString,
    /// Subscribed topic names, sorted and without duplicates.
    pub topics: Vec<ByteString>,
    /// Regular expression that subscribed topic names match as a whole; `None` or empty for none.
    pub regex: Option<ByteString>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<ByteString>,
    /// Metadata of a member that uses the classic protocol; `None` for other members.
    pub classic: Option<Box<ClassicMemberMetadata>>,
}

impl Profile {
    pub fn regex(&self) -> Option<&ByteString> {
        self.regex.as_ref().filter(|pattern| !pattern.is_empty())
    }

    /// Approximate memory of the profile, in bytes.
    fn bytes(&self) -> usize {
        let topics: usize = self.topics.iter().map(|name| name.len()).sum();
        let protocols = self.classic.iter().flat_map(|of| &of.supported_protocols);
        let blobs: usize = protocols
            .map(|one| one.name.len() + one.metadata.len())
            .sum();
        MEMBER_BYTES + topics + blobs + self.regex.as_ref().map_or(0, |pattern| pattern.len())
    }
}

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    pub profile: Profile,
    pub current: Current,
    /// Deadline of the member's session.
    pub session: PutOff,
    /// Memory reservation for the profile.
    held: Option<Arc<Held>>,
}

impl Default for Member {
    fn default() -> Self {
        let current = Current {
            epoch: LEAVE,
            previous_epoch: LEAVE,
            ..Current::default()
        };
        Self {
            profile: Profile {
                rebalance_timeout_ms: -1,
                ..Profile::default()
            },
            current,
            session: PutOff::default(),
            held: None,
        }
    }
}

impl Member {
    pub fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }
}

/// Topics that match a regular expression (record type 16).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    pub topics: Vec<ByteString>,
    /// Offset of the metadata image that was searched.
    pub version: i64,
    pub timestamp: Timestamp,
}

/// Group of the consumer protocol. `apply` accepts records in any order, and some of them may be missing.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    pub epoch: i32,
    /// Hash of the metadata of all subscribed topics.
    pub metadata_hash: i64,
    pub assignment_epoch: i32,
    /// Time at which the target assignment of `assignment_epoch` was made; 0 if unknown.
    pub assigned_at: Timestamp,
    members: BTreeMap<ByteString, Box<Member>>,
    static_members: BTreeMap<ByteString, ByteString>,
    targets: BTreeMap<ByteString, Assignment>,
    /// Epoch of the member that has each partition, or still has to revoke it. Only this map prevents a partition from having
    /// two owners.
    owners: BTreeMap<(Uuid, i32), i32>,
    /// Number of members that subscribe to each topic by name.
    named: BTreeMap<ByteString, usize>,
    /// Number of members with each regular expression.
    patterns: BTreeMap<ByteString, usize>,
    resolved: BTreeMap<ByteString, Resolved>,
    /// Number of members that use the classic protocol.
    classic_count: usize,
    /// Assignment epoch, and number of members that have reached their target in that epoch: see [`Self::is_settled`].
    settled_in: (i32, usize),
    /// Number of static members that have left and intend to return.
    away_count: usize,
    /// Whether the group has a record of its topics' partitions. Only Kafka 4.0 writes that record; nothing reads it.
    pub has_partitions_record: bool,
    /// Whether the metadata of a subscribed topic may have changed since the last check.
    pub is_stale: bool,
    /// Start of the search for topics that match the group's regular expressions (steady clock, in milliseconds); `None` if
    /// none is in progress.
    pub resolving_since: Option<i64>,
    /// Offset of the last metadata image with changed topics that the group was told of.
    pub topics_version: i64,
}

/// Number of members per topic name and per regular expression.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub named: BTreeMap<ByteString, usize>,
    pub patterns: BTreeMap<ByteString, usize>,
}

impl Counts {
    pub fn take_out(&mut self, profile: &Profile) {
        for name in &profile.topics {
            count(&mut self.named, name, false);
        }
        if let Some(pattern) = profile.regex() {
            count(&mut self.patterns, pattern, false);
        }
    }
}

impl Default for ConsumerGroup {
    fn default() -> Self {
        Self {
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            assignment_epoch: FIRST_EPOCH,
            assigned_at: 0,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            named: BTreeMap::new(),
            patterns: BTreeMap::new(),
            resolved: BTreeMap::new(),
            classic_count: 0,
            settled_in: (FIRST_EPOCH, 0),
            away_count: 0,
            has_partitions_record: false,
            // Metadata may have changed while the group was not loaded.
            is_stale: true,
            resolving_since: None,
            topics_version: -1,
        }
    }
}

impl ConsumerGroup {
    pub fn members(&self) -> &BTreeMap<ByteString, Box<Member>> {
        &self.members
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id).map(|member| &**member)
    }

    /// Whether the session of the member ends later than `now`.
    pub fn is_alive(&self, id: &str, now: i64) -> bool {
        self.member(id)
            .is_some_and(|member| member.session.is_later(now))
    }

    /// Number of partitions that members have, or still have to revoke.
    pub fn owned_count(&self) -> usize {
        self.owners.len()
    }

    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id).map(|member| &mut **member)
    }

    pub fn static_member(&self, instance_id: &str) -> Option<&ByteString> {
        self.static_members.get(instance_id)
    }

    pub fn target_of(&self, member: &str) -> Option<&Assignment> {
        self.targets.get(member)
    }

    pub fn is_taken(&self, topic: Uuid, partition: i32) -> bool {
        self.owners.contains_key(&(topic, partition))
    }

    pub fn named(&self) -> &BTreeMap<ByteString, usize> {
        &self.named
    }

    pub fn patterns(&self) -> &BTreeMap<ByteString, usize> {
        &self.patterns
    }

    pub fn resolved(&self, pattern: &str) -> Option<&Resolved> {
        self.resolved.get(pattern)
    }

    /// Copy of the subscription counts.
    pub fn clone_counts(&self) -> Counts {
        Counts {
            named: self.named.clone(),
            patterns: self.patterns.clone(),
        }
    }

    /// Number of members that use the classic protocol.
    pub fn classic_count(&self) -> usize {
        self.classic_count
    }

    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch > self.assignment_epoch {
            State::Assigning
        } else if self.settled_in == (self.assignment_epoch, self.members.len()) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// Whether all members that are present have reached their target assignment, and no new one is due.
    pub fn has_settled(&self) -> bool {
        self.epoch == self.assignment_epoch
            && self.settled_in.1 + self.away_count == self.members.len()
    }

    fn is_settled(&self, member: &Member) -> bool {
        member.current.standing == Standing::Stable && member.current.epoch == self.assignment_epoch
    }

    /// Whether a member subscribes to the topic, by name or by regular expression.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let lists = |pattern: &ByteString| {
            let resolved = self.resolved.get(pattern);
            resolved.is_some_and(|of| of.topics.iter().any(|name| name == topic))
        };
        self.named.contains_key(topic) || self.patterns.keys().any(lists)
    }

    /// Topics that a profile subscribes to, by name and by regular expression. A topic may occur twice.
    pub fn topics_of<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = &'a ByteString> {
        let resolved = profile
            .regex()
            .and_then(|pattern| self.resolved.get(pattern));
        profile
            .topics
            .iter()
            .chain(resolved.into_iter().flat_map(|of| &of.topics))
    }

    /// Applies a record.
    pub fn apply(&mut self, record: &Modern, memory: &Arc<Memory>) {
        match record {
            Modern::ConsumerEpoch(Entry {
                value: Some(value), ..
            }) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            Modern::ConsumerPartitions(entry) => self.has_partitions_record = entry.value.is_some(),
            Modern::ConsumerMember(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                let profile = profile(value);
                self.change(of, |member| {
                    member.held = Some(Arc::new(memory.hold(Purpose::Members, profile.bytes())));
                    member.profile = profile;
                });
            }
            Modern::ConsumerMember(entry) => self.remove(&entry.of),
            Modern::ConsumerTargetEpoch(entry) => {
                let value = entry.value.as_ref();
                self.assignment_epoch = value.map_or(FIRST_EPOCH, |value| value.assignment_epoch);
                self.assigned_at = value.map_or(0, |value| value.assignment_timestamp);
                self.count_settled();
            }
            Modern::ConsumerTarget(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                let topics = value.topic_partitions.iter();
                let target = topics.map(|one| (one.topic_id, one.partitions.clone()));
                self.targets.insert(of.clone(), Assignment::new(target));
            }
            Modern::ConsumerTarget(entry) => drop(self.targets.remove(&entry.of)),
            Modern::ConsumerCurrent(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                self.change(of, |member| member.current = current(value));
            }
            Modern::ConsumerCurrent(entry) if self.members.contains_key(&entry.of) => {
                let nothing = Member::default().current;
                self.change(&entry.of, |member| member.current = nothing);
            }
            Modern::ConsumerRegex(Entry {
                of,
                value: Some(value),
                ..
            }) => {
                let resolved = Resolved {
                    topics: value.topics.clone(),
                    version: value.version,
                    timestamp: value.timestamp,
                };
                self.resolved.insert(of.clone(), resolved);
            }
            Modern::ConsumerRegex(entry) => drop(self.resolved.remove(&entry.of)),
            _ => {}
        }
    }

    /// Changes a member and updates all counts. Creates the member if it does not exist.
    fn change(&mut self, id: &ByteString, change: impl FnOnce(&mut Member)) {
        let mut member = match self.members.remove(id) {
            Some(member) => {
                self.count(id, &member, false);
                member
            }
            None => Box::default(),
        };
        change(&mut member);
        self.count(id, &member, true);
        self.members.insert(id.clone(), member);
    }

    fn remove(&mut self, id: &ByteString) {
        if let Some(member) = self.members.remove(id) {
            self.count(id, &member, false);
        }
    }

    fn count(&mut self, id: &ByteString, member: &Member, comes: bool) {
        let current = &member.current;
        for place in current.assigned.each().chain(current.pending.each()) {
            if comes {
                self.owners.insert(place, current.epoch);
            } else if self.owners.get(&place) == Some(&current.epoch) {
                // A later record may have given the partition to another member, which then has a later epoch.
                self.owners.remove(&place);
            }
        }
        let profile = &member.profile;
        for name in &profile.topics {
            count(&mut self.named, name, comes);
        }
        if let Some(pattern) = profile.regex() {
            count(&mut self.patterns, pattern, comes);
        }
        if let Some(instance) = &profile.instance_id {
            if comes {
                self.static_members.insert(instance.clone(), id.clone());
            } else if self.static_members.get(instance) == Some(id) {
                self.static_members.remove(instance);
            }
        }
        let settled = usize::from(self.is_settled(member));
        let classic = usize::from(member.is_classic());
        let away = usize::from(current.epoch == LEAVE_FOR_NOW);
        if comes {
            self.away_count += away;
            self.classic_count += classic;
            self.settled_in.1 += settled;
        } else {
            self.away_count -= away;
            self.classic_count -= classic;
            self.settled_in.1 -= settled;
        }
    }

    fn count_settled(&mut self) {
        let settled = self
            .members
            .values()
            .filter(|member| self.is_settled(member));
        self.settled_in = (self.assignment_epoch, settled.count());
    }

    /// Tombstones of all records of the group. The one of the group epoch removes the group, so it comes last.
    pub fn tombstones(&self, id: &ByteString) -> Vec<Modern> {
        let none = ByteString::new();
        let mut records: Vec<Modern> = self
            .members
            .keys()
            .flat_map(|member| gone(id, member))
            .collect();
        let targets = self
            .targets
            .keys()
            .filter(|member| !self.members.contains_key(*member));
        records.extend(targets.map(|member| Modern::ConsumerTarget(Entry::gone(id, member))));
        records.push(Modern::ConsumerTargetEpoch(Entry::gone(id, &none)));
        let patterns = self.resolved.keys();
        records.extend(patterns.map(|pattern| Modern::ConsumerRegex(Entry::gone(id, pattern))));
        if self.has_partitions_record {
            records.push(Modern::ConsumerPartitions(Entry::gone(id, &none)));
        }
        records.push(Modern::ConsumerEpoch(Entry::gone(id, &none)));
        records
    }

    /// Checks that the member may commit offsets in this epoch. If the epoch is not the member's current one,
    /// [`Member::check_partition`] decides for each partition.
    ///
    /// Errors: `UnknownMemberId`, `UnsupportedVersion`, `StaleMemberEpoch`; `IllegalGeneration` for a classic member.
    pub fn check_commit(
        &self,
        id: &str,
        epoch: i32,
        in_transaction: bool,
        knows_epochs: bool,
    ) -> Result<Option<&Member>, ErrorCode> {
        // A commit by an administrator, or by a producer before KIP-447, whose requests have no member id.
        if epoch < 0 && (self.members.is_empty() || in_transaction && id.is_empty()) {
            return Ok(None);
        }
        let member = self.member(id).ok_or(ErrorCode::UnknownMemberId)?;
        if !in_transaction && !member.is_classic() && !knows_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch > member.current.epoch {
            return Err(member.stale());
        }
        Ok(Some(member))
    }

    /// Checks that the member may read offsets in this epoch. Requests without a member are always allowed.
    pub fn check_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let id = match id {
            None if epoch < 0 => return Ok(()),
            id => id.unwrap_or_default(),
        };
        let member = self.member(id).ok_or(ErrorCode::UnknownMemberId)?;
        match epoch == member.current.epoch {
            true => Ok(()),
            false => Err(member.stale()),
        }
    }

    /// Invariants that hold after every event.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let mut owners = BTreeMap::new();
        let mut settled = 0;
        for (id, member) in &self.members {
            let current = &member.current;
            for place in current.assigned.each().chain(current.pending.each()) {
                let other = owners.insert(place, current.epoch);
                assert_eq!(other, None, "two members have {place:?}, one of them {id}");
            }
            assert!(
                current.epoch <= self.assignment_epoch,
                "{id} is ahead of its group"
            );
            settled += usize::from(self.is_settled(member));
        }
        assert_eq!(owners, self.owners);
        assert_eq!(self.settled_in, (self.assignment_epoch, settled));
        assert!(self.assignment_epoch <= self.epoch);
        for (instance, id) in &self.static_members {
            let member = self.member(id).expect("a static member is a member");
            assert_eq!(member.profile.instance_id.as_ref(), Some(instance));
        }
        for id in self.targets.keys() {
            assert!(
                self.members.contains_key(id),
                "{id} has a target and is gone"
            );
        }
        for pattern in self.resolved.keys() {
            assert!(self.patterns.contains_key(pattern), "nobody has {pattern}");
        }
    }

    /// State that two groups must have in common after reading the same log.
    #[cfg(test)]
    pub fn facts(&self) -> impl std::fmt::Debug + PartialEq + use<> {
        let members = self.members.iter();
        let members =
            members.map(|(id, one)| (id.clone(), one.profile.clone(), one.current.clone()));
        (
            (self.epoch, self.metadata_hash),
            (self.assignment_epoch, self.assigned_at),
            members.collect::<Vec<_>>(),
            self.targets.clone(),
            self.resolved.clone(),
        )
    }
}

impl Member {
    fn stale(&self) -> ErrorCode {
        match self.is_classic() {
            true => ErrorCode::IllegalGeneration,
            false => ErrorCode::StaleMemberEpoch,
        }
    }

    /// Checks the epoch of a commit for one partition: allowed are the member's current epoch and every epoch since the
    /// partition was assigned to the member.
    pub fn check_partition(
        &self,
        epoch: i32,
        topic: Uuid,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        if epoch == self.current.epoch {
            return Ok(());
        }
        let since = self.current.assigned.epoch_of(topic, partition);
        let since = since.or_else(|| self.current.pending.epoch_of(topic, partition));
        match since.is_some_and(|since| epoch >= since) {
            true => Ok(()),
            false => Err(self.stale()),
        }
    }
}

/// Adds one to or subtracts one from the count of a name.
pub fn count(counts: &mut BTreeMap<ByteString, usize>, name: &ByteString, comes: bool) {
    match counts.get_mut(name) {
        Some(count) if comes => *count += 1,
        Some(count) if *count > 1 => *count -= 1,
        Some(_) => drop(counts.remove(name)),
        None if comes => drop(counts.insert(name.clone(), 1)),
        None => {}
    }
}

fn profile(value: &ConsumerGroupMemberMetadataValue) -> Profile {
    let mut topics = value.subscribed_topic_names.clone();
    if !topics.is_sorted_by(|a, b| a < b) {
        topics.sort();
        topics.dedup();
    }
    Profile {
        instance_id: value.instance_id.clone(),
        rack_id: value.rack_id.clone(),
        client_id: value.client_id.clone(),
        client_host: value.client_host.clone(),
        topics,
        regex: value.subscribed_topic_regex.clone(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.clone(),
        classic: value.classic_member_metadata.clone().map(Box::new),
    }
}

fn current(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    let partitions = |topics: &[TopicPartitions]| {
        Owned::new(topics.iter().map(|topic| {
            let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
            let epochs = epochs.iter().copied().chain(std::iter::repeat(0));
            (
                topic.topic_id,
                topic.partitions.iter().copied().zip(epochs).collect(),
            )
        }))
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        standing: Standing::from_number(value.state),
        assigned: partitions(&value.assigned_partitions),
        pending: partitions(&value.partitions_pending_revocation),
    }
}

/// Record of a member's profile. All strings are copied, because the group's state must not keep the request's buffer alive.
pub fn member_record(group: &ByteString, id: &ByteString, profile: &Profile) -> Modern {
    let own = |text: &Option<ByteString>| text.as_ref().map(|text| owned(text));
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: own(&profile.instance_id),
        rack_id: own(&profile.rack_id),
        client_id: owned(&profile.client_id),
        client_host: owned(&profile.client_host),
        subscribed_topic_names: profile.topics.iter().map(|name| owned(name)).collect(),
        // Kafka writes an empty string if there is no regular expression.
        subscribed_topic_regex: Some(own(&profile.regex).unwrap_or_default()),
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
        server_assignor: own(&profile.assignor),
        classic_member_metadata: profile.classic.as_deref().cloned(),
    };
    Modern::ConsumerMember(Entry::new(group, id, value))
}

/// Tombstones of all records of a member.
pub fn gone(group: &ByteString, id: &ByteString) -> [Modern; 3] {
    [
        Modern::ConsumerCurrent(Entry::gone(group, id)),
        Modern::ConsumerTarget(Entry::gone(group, id)),
        Modern::ConsumerMember(Entry::gone(group, id)),
    ]
}

pub fn target_record(group: &ByteString, id: &ByteString, target: &Assignment) -> Modern {
    let value = ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: target.list(|topic_id, partitions| TopicPartition {
            topic_id,
            partitions,
        }),
    };
    Modern::ConsumerTarget(Entry::new(group, id, value))
}

pub fn current_record(group: &ByteString, id: &ByteString, current: &Current) -> Modern {
    let partitions = |owned: &Owned| {
        let topics = owned.iter().map(|(topic_id, some)| TopicPartitions {
            topic_id,
            partitions: some.iter().map(|(index, _)| *index).collect(),
            assignment_epochs: Some(some.iter().map(|(_, epoch)| *epoch).collect()),
        });
        topics.collect()
    };
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.standing.number(),
        assigned_partitions: partitions(&current.assigned),
        partitions_pending_revocation: partitions(&current.pending),
    };
    Modern::ConsumerCurrent(Entry::new(group, id, value))
}
