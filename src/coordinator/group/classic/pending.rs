//! pure: member ids that were handed out and have not been used yet. A client that joins for the first time gets an id and must
//! join again with it (KIP-394).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;

use crate::base::memory::{Held, Memory, Purpose};

/// Bytes of memory of one pending id together with its session timer.
const PENDING_BYTES: usize = 600;

/// Pending member ids of one group. Their memory is counted under [`Purpose::Members`].
#[derive(Clone, Debug, Default)]
pub struct PendingJoins {
    ids: BTreeSet<ByteString>,
    held: Option<Arc<Held>>,
}

impl PendingJoins {
    pub fn insert(&mut self, id: ByteString, memory: &Arc<Memory>) {
        self.ids.insert(id);
        if self.held.is_none() {
            self.held = Some(Arc::new(memory.hold(Purpose::Members, 0)));
        }
        self.count();
    }

    /// Removes the id. Returns whether it was present.
    pub fn remove(&mut self, id: &str) -> bool {
        let was = self.ids.remove(id);
        self.count();
        was
    }

    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &ByteString> {
        self.ids.iter()
    }

    fn count(&mut self) {
        // While a clone of the group shares `held`, `get_mut` fails and the reservation keeps its former size.
        if let Some(held) = self.held.as_mut().and_then(Arc::get_mut) {
            held.set(self.ids.len() * PENDING_BYTES);
        }
        self.held.take_if(|_| self.ids.is_empty());
    }
}
