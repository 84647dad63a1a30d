//! pure: how a member comes from what it has to what it shall have (Kafka: `CurrentAssignmentBuilder`).
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

/// Where a member stands, with the numbers that records have for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Stable,
    /// Has partitions to give up.
    Unrevoked,
    /// Waits for partitions that others have to give up.
    Unreleased,
    /// Of a version that this coordinator does not know.
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

/// What a member has: key 8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// The epoch before: an answer may have got lost.
    pub previous_epoch: i32,
    pub standing: Standing,
    pub assigned: Owned,
    /// To be given up.
    pub pending: Owned,
}

/// What the next step of a member depends on.
pub struct Circumstances<'a> {
    pub target_epoch: i32,
    pub target: &'a Assignment,
    /// Whether the member's subscription has changed by this heartbeat.
    pub is_resubscribed: bool,
    /// Whether the member subscribes to a topic.
    pub subscribes: &'a dyn Fn(Uuid) -> bool,
    /// What the member says it owns; `None` for nothing said.
    pub owned: Option<&'a Assignment>,
    /// Whether somebody has the partition.
    pub is_taken: &'a dyn Fn(Uuid, i32) -> bool,
}

/// A member of unknown standing has to give up everything before it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fenced;

impl Current {
    /// The step before was in the epoch that was, also where it stays the same.
    fn in_epoch(&self, epoch: i32) -> Self {
        Self {
            epoch,
            previous_epoch: self.epoch,
            ..self.clone()
        }
    }

    /// The next step.
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

    /// Topics that the member does not subscribe to any more are given up at once, whatever the target says.
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
                // What this member has just given up is still recorded as its own, so it is free for it.
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
    /// Whether the member has, or may have, something of it.
    fn still_owns(&self, pending: &Owned) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned
            .each()
            .any(|(topic, index)| pending.contains(topic, index))
    }
}
