//! The nodes of one listener: a shared channel to each of them, and separate lanes for fetching.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::channel::Channel;
use super::connection::{Access, AddressBook, Identity, Target};
use super::lane::Lane;
use crate::base::ids::BrokerId;
use crate::host::Host;

/// Channels and lanes to the nodes of a listener. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    host: Host,
    /// Client id of this node.
    client_id: String,
    access: Access,
    book: Arc<dyn AddressBook>,
    channels: Mutex<BTreeMap<BrokerId, Channel>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peers({})", self.shared.client_id)
    }
}

impl Peers {
    pub fn new(host: &Host, client_id: &str, access: Access, book: Arc<dyn AddressBook>) -> Self {
        Self {
            shared: Arc::new(Shared {
                host: host.clone(),
                client_id: client_id.to_owned(),
                access,
                book,
                channels: Mutex::default(),
            }),
        }
    }

    /// The shared channel to a node. The first call connects.
    pub fn channel(&self, node: BrokerId) -> Channel {
        let mut channels = self.shared.channels.lock();
        let channel = channels
            .entry(node)
            .or_insert_with(|| self.open(node, &self.shared.client_id));
        channel.clone()
    }

    /// A lane to a node, with a connection of its own and the given client id.
    pub fn lane(&self, node: BrokerId, client_id: &str) -> Lane {
        Lane::over(self.open(node, client_id))
    }

    /// Closes the channels to nodes for which `keeps` is false.
    pub fn keep(&self, keeps: impl Fn(BrokerId) -> bool) {
        let mut channels = self.shared.channels.lock();
        channels.retain(|node, _| keeps(*node));
    }

    fn open(&self, node: BrokerId, client_id: &str) -> Channel {
        let Shared {
            host, access, book, ..
        } = &*self.shared;
        let target = Target::Node(node, Arc::clone(book));
        Channel::to(host, target, Identity::new(client_id), access.clone())
    }
}
