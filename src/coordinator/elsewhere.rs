//! Requests to brokers that lead partitions which this node does not lead: partitions of internal topics, whose coordinators they
//! are, and partitions that need markers of transactions.

use std::sync::Arc;
use std::time::Duration;

use crate::base::ids::{BrokerId, PartitionIndex};
use crate::metadata::image::{Delta, Image};
use crate::metadata::loader::{ImageHandle, Publisher};
use crate::peer::connection::CallError;
use crate::peer::pool::Peers;
use crate::wire::message::Request;

/// `request.timeout.ms` of Kafka's brokers for requests to other brokers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Other brokers, for one purpose: a broker may answer the requests of one connection one after the other, so that requests of
/// other purposes would wait. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    node_id: BrokerId,
    peers: Peers,
    image: ImageHandle,
}

impl Elsewhere {
    pub fn new(node_id: BrokerId, peers: Peers, image: ImageHandle) -> Self {
        Self {
            node_id,
            peers,
            image,
        }
    }

    /// Leader of a partition, if it is another broker.
    pub fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<BrokerId> {
        let image = self.image.load();
        let leader = image.topics.by_name(topic)?.partition(partition)?.leader;
        (leader >= 0 && leader != self.node_id).then_some(leader)
    }

    /// Asks a broker once.
    pub async fn ask<R: Request>(
        &self,
        broker: BrokerId,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let channel = self.peers.channel(broker);
        channel.call(request, ANSWER_WITHIN).await
    }
}

impl Publisher for Elsewhere {
    /// Closes the channels to brokers that are not registered any more.
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        if !delta.brokers.is_empty() {
            self.peers
                .keep(|broker| image.brokers.contains_key(&broker));
        }
    }
}
