//! pure: who of a group shall read what. An assignor is a function of the members, their topics, and what they have now.

mod range;
pub mod simple;
mod uniform;

#[cfg(test)]
mod tests;

use crate::base::ids::Uuid;
use crate::coordinator::group::consumer::assignment::Assignment;

/// What an assignor may know of a member.
#[derive(Clone, Debug)]
pub struct MemberSpec<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Places in [`Spec::topics`], in order, each once.
    pub topics: Vec<u32>,
    /// What it had to read until now.
    pub target: Option<&'a Assignment>,
}

/// A topic that somebody subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub id: Uuid,
    pub partitions: i32,
}

/// All that there is to know. Topics come in the order of ids.
#[derive(Clone, Debug, Default)]
pub struct Spec<'a> {
    pub members: Vec<MemberSpec<'a>>,
    pub topics: Vec<TopicSpec>,
}

impl Spec<'_> {
    /// Whether all members subscribe to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.iter();
        let first = members.next();
        first.is_none_or(|first| members.all(|other| other.topics == first.topics))
    }

    fn topic(&self, place: u32) -> Option<TopicSpec> {
        self.topics.get(place as usize).copied()
    }

    fn place_of(&self, topic: Uuid) -> Option<u32> {
        let place = self.topics.binary_search_by_key(&topic, |topic| topic.id);
        place.ok().map(|place| place as u32)
    }
}

/// The assignors of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Uniform,
    Range,
}

impl Assignor {
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// What each member shall read, in the order of members.
    pub fn assign(self, spec: &Spec<'_>) -> Vec<Assignment> {
        match self {
            Self::Range => range::assign(spec),
            Self::Uniform => uniform::assign(spec),
        }
    }
}

/// Partitions by member and topic, while they are dealt.
type Dealt = Vec<Vec<(Uuid, Vec<i32>)>>;

fn finished(dealt: Dealt) -> Vec<Assignment> {
    dealt.into_iter().map(Assignment::new).collect()
}
