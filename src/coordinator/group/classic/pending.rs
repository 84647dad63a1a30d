//! pure: ids that were handed out and have not come back: who joins for the first time is told an id to join with (KIP-394).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;

use crate::base::memory::{Held, Memory, Purpose};

/// Bytes of memory that such an id takes with the timer of its session.
const PENDING_BYTES: usize = 600;

/// The ids of one group, counted as memory of members.
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

    /// Whether the id was there.
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
        // A copy of the group counts what it was made with.
        if let Some(held) = self.held.as_mut().and_then(Arc::get_mut) {
            held.set(self.ids.len() * PENDING_BYTES);
        }
        self.held.take_if(|_| self.ids.is_empty());
    }
}
