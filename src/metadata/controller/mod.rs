//! The controller: (image, request, now) -> records and answer.
//!
//! Pure files decide about the requests that `request.rs` lists, `machine.rs` (pure) keeps the image on which they are decided,
//! and `task.rs` proposes the records to a quorum and answers once they are committed. Only the task knows that there is a
//! quorum, and nothing here knows which.

pub mod acls;
pub mod brokers;
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

/// Records to commit and what to answer once they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<A> {
    pub records: Vec<Record>,
    pub answer: A,
}

impl<A> Decision<A> {
    /// An answer that changes nothing.
    pub fn only(answer: A) -> Self {
        Self {
            records: Vec::new(),
            answer,
        }
    }
}

/// What decisions need besides the image and the request.
#[derive(Debug)]
pub struct Context<'a> {
    pub now: Timestamp,
    pub node_id: BrokerId,
    /// Static settings of this node: defaults of topics.
    pub settings: &'a BrokerSettings,
    /// Fresh topic ids, taken from the end.
    pub ids: &'a [Uuid],
    /// Replication factors above the number of brokers are cut down instead of refused.
    pub clamp_replication: bool,
}

/// What comes more than once.
fn repeated<T: Ord + Copy>(all: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| !seen.insert(*one)).collect()
}

impl Context<'_> {
    /// The broker's settings with the cluster's own over them.
    pub fn effective(&self, image: &Image) -> BrokerSettings {
        image.broker_settings(self.node_id, self.settings)
    }
}
