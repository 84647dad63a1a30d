//! The nodes of one listener: a channel for each of them that somebody asks, and lanes of their own for who fetches.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::channel::Channel;
use super::connection::{Access, AddressBook, Identity, Target};
use super::lane::Lane;
use crate::base::ids::BrokerId;
use crate::host::Host;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    host: Host,
    /// Of the node that asks.
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

    /// The channel to a node, which all who ask it share. Nothing is connected before the first call.
    pub fn channel(&self, node: BrokerId) -> Channel {
        let mut channels = self.shared.channels.lock();
        let channel = channels
            .entry(node)
            .or_insert_with(|| self.open(node, &self.shared.client_id));
        channel.clone()
    }

    /// A lane to a node, which has a connection of its own. The node that is asked sees `client_id`.
    pub fn lane(&self, node: BrokerId, client_id: &str) -> Lane {
        Lane::over(self.open(node, client_id))
    }

    /// Closes the channels to nodes that are not among these.
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
