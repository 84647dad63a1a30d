//! pure: steps by which a member moves from its current to its target assignment (Kafka: `CurrentAssignmentBuilder`).
//!
//! ```text
//!            something to give up, and not given up yet
//!   Stable ───────────────────────────────────────────▶ Unrevoked: keeps its epoch until it owns nothing of it
//!     ▲  │                                                  │
//!     │  └───────────▶ Unreleased ◀────────────────────────┘  some of the target still belongs to others
//!     └───────────────────┘ all of the target is free
//! ```

use super::assignment::{Assignment, Owned};
use crate::base::ids::Uuid;

/// State of a member, with the numbers used in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Stable,
    /// The member still has to revoke partitions.
    Unrevoked,
    /// The member waits for partitions that other members still have to revoke.
    Unreleased,
    /// State written by a version that this coordinator does not know.
    Unknown,
}

impl Standing {
    pub fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }

    pub fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }
}

/// Current assignment of a member (record type 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// Epoch before the last step. It is accepted from a member that has not received the last response.
    pub previous_epoch: i32,
    pub standing: Standing,
    pub assigned: Owned,
    /// Partitions that the member still has to revoke.
    pub pending: Owned,
}

/// Facts that the next step of a member depends on.
pub struct Circumstances<'a> {
    pub target_epoch: i32,
    pub target: &'a Assignment,
    /// Whether this heartbeat changes the member's subscription.
    pub is_resubscribed: bool,
    /// Whether the member subscribes to a topic.
    pub subscribes: &'a dyn Fn(Uuid) -> bool,
    /// Partitions that the member reports as owned; `None` if the heartbeat does not report them.
    pub owned: Option<&'a Assignment>,
    /// Whether a member has the partition.
    pub is_taken: &'a dyn Fn(Uuid, i32) -> bool,
}

/// Error for a member in an unknown state. It must give up all of its partitions and join again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

impl Current {
    /// Copy with the given epoch. The present epoch becomes the previous one, even if both are the same.
    fn in_epoch(&self, epoch: i32) -> Self {
        Self {
            epoch,
            previous_epoch: self.epoch,
            ..self.clone()
        }
    }

    /// Next step of the member.
    pub fn next(&self, around: &Circumstances<'_>) -> Result<Self, Fenced> {
        Ok(match self.standing {
            Standing::Stable if self.epoch != around.target_epoch => self.advance(around),
            Standing::Stable => self.drop_unsubscribed(around),
            Standing::Unrevoked if around.still_owns(&self.pending) => {
                self.drop_unsubscribed(around)
            }
            Standing::Unrevoked | Standing::Unreleased => self.advance(around),
            Standing::Unknown if around.owned.is_some_and(Assignment::is_empty) => {
                self.in_epoch(around.target_epoch).advance(around)
            }
            Standing::Unknown => return Err(Fenced),
        })
    }

    /// Revokes the partitions of topics that the member no longer subscribes to, whatever its target says.
    fn drop_unsubscribed(&self, around: &Circumstances<'_>) -> Self {
        let subscribes = |topic: Uuid| (around.subscribes)(topic);
        if !around.is_resubscribed || self.assigned.iter().all(|(topic, _)| subscribes(topic)) {
            return self.clone();
        }
        let part = |wanted: bool| {
            let topics = self
                .assigned
                .iter()
                .filter(move |(topic, _)| subscribes(*topic) == wanted);
            Owned::new(topics.map(|(topic, some)| (topic, some.to_vec())))
        };
        Self {
            standing: Standing::Unrevoked,
            assigned: part(true),
            pending: self.pending.with(&part(false)),
            ..self.clone()
        }
    }

    fn advance(&self, around: &Circumstances<'_>) -> Self {
        let wanted = |topic: Uuid| match (around.subscribes)(topic) {
            true => around.target.of(topic),
            false => &[],
        };
        let (mut kept, mut revoked) = (Vec::new(), Vec::new());
        for (topic, partitions) in self.assigned.iter() {
            let target = wanted(topic);
            let stays = |(index, _): &(i32, i32)| target.binary_search(index).is_ok();
            let (stay, go) = partitions.iter().copied().partition(stays);
            kept.push((topic, stay));
            revoked.push((topic, go));
        }
        let (kept, revoked) = (Owned::new(kept), Owned::new(revoked));
        if !revoked.is_empty() && around.still_owns(&revoked) {
            return Self {
                standing: Standing::Unrevoked,
                assigned: kept,
                pending: revoked,
                ..self.in_epoch(self.epoch)
            };
        }
        let mut all_free = true;
        let mut added: Vec<(Uuid, Vec<(i32, i32)>)> = Vec::new();
        for (topic, _) in around.target.iter() {
            let mut new = Vec::new();
            for index in wanted(topic) {
                if kept.contains(topic, *index) {
                    continue;
                }
                // Partitions that this member has just revoked are still recorded as taken, but by the member itself.
                if (around.is_taken)(topic, *index) && !self.pending.contains(topic, *index) {
                    all_free = false;
                } else {
                    new.push((*index, around.target_epoch));
                }
            }
            added.push((topic, new));
        }
        Self {
            standing: match all_free {
                true => Standing::Stable,
                false => Standing::Unreleased,
            },
            assigned: kept.with(&Owned::new(added)),
            pending: Owned::default(),
            ..self.in_epoch(around.target_epoch)
        }
    }
}

impl Circumstances<'_> {
    /// Whether the member owns, or may own, some of the pending partitions.
    fn still_owns(&self, pending: &Owned) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned
            .each()
            .any(|(topic, index)| pending.contains(topic, index))
    }
}
