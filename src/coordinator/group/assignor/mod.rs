//! pure: assignment of partitions to members. An assignor is a function of the members, their topics and their current
//! assignment.

mod range;
pub mod simple;
mod uniform;

#[cfg(test)]
mod tests;

use crate::base::ids::Uuid;
use crate::coordinator::group::consumer::assignment::Assignment;

/// Member as an assignor sees it.
#[derive(Clone, Debug)]
pub struct MemberSpec<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    /// Indexes of the subscribed topics in [`Spec::topics`], sorted and without duplicates.
    pub topics: Vec<u32>,
    /// Current target assignment.
    pub target: Option<&'a Assignment>,
}

/// Topic with at least one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub id: Uuid,
    pub partitions: i32,
}

/// Input of an assignor. Topics are sorted by id.
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

/// Server-side assignors of Kafka.
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

    /// Target assignment of each member, in the order of `spec.members`.
    pub fn assign(self, spec: &Spec<'_>) -> Vec<Assignment> {
        match self {
            Self::Range => range::assign(spec),
            Self::Uniform => uniform::assign(spec),
        }
    }
}

/// Assigned partitions, by member and topic.
type Dealt = Vec<Vec<(Uuid, Vec<i32>)>>;

fn finished(dealt: Dealt) -> Vec<Assignment> {
    dealt.into_iter().map(Assignment::new).collect()
}
