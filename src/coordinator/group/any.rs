//! pure: a group of any type: classic, consumer, share or streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytestring::ByteString;

use super::classic::group::{ClassicGroup, State as ClassicState};
use super::consumer::group::{ConsumerGroup, State as ConsumerState};
use super::record::{Modern, Protocol};
use super::share::group::ShareGroup;
use crate::base::memory::Memory;
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Types of groups, as ListGroups names them.
pub const TYPES: [&str; 4] = [CLASSIC, CONSUMER, SHARE, STREAMS];
/// States of groups of all types, as ListGroups names them.
pub const STATES: [&str; 7] = [
    "Empty",
    "PreparingRebalance",
    "CompletingRebalance",
    "Stable",
    "Assigning",
    "Reconciling",
    NOT_READY,
];
const NOT_READY: &str = "NotReady";
pub const CLASSIC: &str = "classic";
pub const CONSUMER: &str = "consumer";
pub const SHARE: &str = "share";
pub const STREAMS: &str = "streams";

/// A group of any type. The variants are boxed because a leaf of the `BTreeMap` of groups has room for eleven values.
#[derive(Clone, Debug)]
pub enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
    Share(Box<ShareGroup>),
    Streams(Box<KeptGroup>),
}

/// Streams group. This coordinator does not serve such groups yet. It keeps their records, so that a coordinator which serves
/// them finds all of them.
#[derive(Clone, Debug, Default)]
pub struct KeptGroup {
    members: BTreeSet<ByteString>,
    /// Keys of the group's live records: the type of the record, and the member or other entity that it describes.
    keys: BTreeSet<(i16, ByteString)>,
}

impl KeptGroup {
    pub fn apply(&mut self, record: &Modern) {
        let key = (record.kind(), record.of().clone());
        let is_member = matches!(record, Modern::StreamsMember(_));
        if record.is_tombstone() {
            self.keys.remove(&key);
            if is_member {
                self.members.remove(record.of());
            }
        } else {
            self.keys.insert(key);
            if is_member {
                self.members.insert(record.of().clone());
            }
        }
    }
}

impl Group {
    /// New classic group without members.
    pub fn classic(born: Option<Timestamp>) -> Self {
        Self::Classic(Box::new(ClassicGroup::new(born)))
    }

    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Consumer => Self::Consumer(Box::default()),
            Protocol::Share => Self::Share(Box::default()),
            Protocol::Streams => Self::Streams(Box::default()),
        }
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        match self {
            Self::Classic(_) => false,
            Self::Consumer(_) => protocol == Protocol::Consumer,
            Self::Share(_) => protocol == Protocol::Share,
            Self::Streams(_) => protocol == Protocol::Streams,
        }
    }

    pub fn as_classic(&self) -> Option<&ClassicGroup> {
        match self {
            Self::Classic(group) => Some(group),
            _ => None,
        }
    }

    pub fn as_consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Self::Consumer(group) => Some(group),
            _ => None,
        }
    }

    pub fn as_share(&self) -> Option<&ShareGroup> {
        match self {
            Self::Share(group) => Some(group),
            _ => None,
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => CLASSIC,
            Self::Consumer(_) => CONSUMER,
            Self::Share(_) => SHARE,
            Self::Streams(_) => STREAMS,
        }
    }

    pub fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state.name(),
            Self::Consumer(group) => group.state().name(),
            Self::Share(group) => group.state_name(),
            Self::Streams(group) if group.members.is_empty() => "Empty",
            // This coordinator does not compare the members' assignments with their targets, so it never reports such a group
            // as stable.
            Self::Streams(_) => NOT_READY,
        }
    }

    pub fn protocol_type(&self) -> ByteString {
        match self {
            Self::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
            other => ByteString::from_static(other.type_name()),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.state == ClassicState::Empty,
            Self::Consumer(group) => group.state() == ConsumerState::Empty,
            Self::Share(group) => group.members().is_empty(),
            Self::Streams(group) => group.members.is_empty(),
        }
    }

    pub fn members_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.members().len(),
            Self::Consumer(group) => group.members().len(),
            Self::Share(group) => group.members().len(),
            Self::Streams(group) => group.members.len(),
        }
    }

    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
            Self::Share(group) => group.is_subscribed_to(topic),
            // The subscriptions of streams members are not read, so every topic may be one of theirs.
            Self::Streams(group) => !group.members.is_empty(),
        }
    }

    /// Time from which the age of an offset is counted; `None` while the offsets of the group do not expire.
    pub fn offsets_age_from(&self, committed_at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Classic(group) => group.offsets_age_from(committed_at),
            Self::Consumer(_) | Self::Streams(_) => Some(committed_at),
            Self::Share(_) => None,
        }
    }

    /// Whether the group may be removed once all of its offsets have expired.
    pub fn may_expire(&self) -> bool {
        self.is_empty() && !matches!(self, Self::Share(_))
    }

    /// Tombstones of all modern records of the group. A classic group has none. Tombstones of offsets are not included.
    ///
    /// Errors: `NonEmptyGroup`.
    pub fn tombstones(&self, id: &ByteString) -> Result<Vec<Modern>, ErrorCode> {
        if !self.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let none = ByteString::new();
        Ok(match self {
            Self::Classic(_) => Vec::new(),
            Self::Consumer(group) => group.tombstones(id),
            Self::Share(group) => group.tombstones(id),
            Self::Streams(group) => {
                // The tombstone of the epoch removes the group, so it must come last.
                let keys = group.keys.iter().rev();
                let epoch = Modern::tombstone(STREAMS_EPOCH, id, &none);
                let rest = keys.filter(|(kind, _)| *kind != STREAMS_EPOCH);
                let rest = rest.filter_map(|(kind, of)| Modern::tombstone(*kind, id, of));
                rest.chain(epoch).collect()
            }
        })
    }
}

const STREAMS_EPOCH: i16 = 17;

/// Applies a record of the group types that exist since Kafka 4.0. The last record decides the type of the group: a record of
/// another type replaces the group. A tombstone for a group of another type is ignored.
pub fn apply(groups: &mut BTreeMap<ByteString, Group>, record: &Modern, memory: &Arc<Memory>) {
    let (id, protocol) = (record.group(), record.protocol());
    let speaks = groups.get(id).is_some_and(|group| group.speaks(protocol));
    if record.is_tombstone() {
        if !speaks {
            return;
        }
        // The tombstone of its epoch removes the group.
        if matches!(
            record,
            Modern::ConsumerEpoch(_) | Modern::ShareEpoch(_) | Modern::StreamsEpoch(_)
        ) {
            groups.remove(id);
            return;
        }
    } else if !speaks {
        groups.insert(id.clone(), Group::of(protocol));
    }
    match groups.get_mut(id) {
        Some(Group::Consumer(group)) => group.apply(record, memory),
        Some(Group::Share(group)) => group.apply(record, memory),
        Some(Group::Streams(group)) => group.apply(record),
        _ => {}
    }
}
