//! The controller: a function from image, request and time to records and an answer.
//!
//! Pure files decide the requests that `request.rs` lists, `machine.rs` (pure) keeps the image on which they are decided, and
//! `task.rs` proposes the records to a quorum and sends answers once the records are committed. Only the task knows that there
//! is a quorum, and nothing here depends on its kind.

pub mod acls;
pub mod brokers;
pub mod elsewhere;
pub mod isr;
pub mod machine;
pub mod partitions;
pub mod quotas;
pub mod request;
pub mod scram;
pub mod settings;
pub mod task;
pub mod topics;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::base::ids::{BrokerId, Uuid};
use crate::base::time::Timestamp;
use crate::config::broker::BrokerSettings;
use crate::metadata::image::Image;
use crate::metadata::record::Record;

/// Records to commit, and the answer to send once they are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<A> {
    pub records: Vec<Record>,
    pub answer: A,
}

impl<A> Decision<A> {
    /// A decision without records.
    pub fn only(answer: A) -> Self {
        Self {
            records: Vec::new(),
            answer,
        }
    }
}

/// Inputs of a decision other than the image and the request.
#[derive(Debug)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub node_id: BrokerId,
    /// Static settings of this node, which are the defaults of topic settings.
    pub settings: &'a BrokerSettings,
    /// Random ids for new topics and other entities, taken from the end.
    pub ids: &'a [Uuid],
    /// Whether replication factors above the number of brokers are reduced instead of refused.
    pub clamp_replication: bool,
}

/// Items that occur more than once.
fn repeated<T: Ord + Copy>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| !seen.insert(*one)).collect()
}

impl Context<'_> {
    /// Settings in force for this broker: static ones with the dynamic ones of the cluster over them.
    pub fn effective(&self, image: &Image) -> BrokerSettings {
        image.broker_settings(self.node_id, self.settings)
    }
}
