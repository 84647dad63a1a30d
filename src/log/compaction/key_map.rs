//! Key -> the newest offset at which it was seen, in bounded memory.
//!
//! Keys are remembered by 128 bits of keyed hashes, drawn anew for each map: nobody who writes keys can make two collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::base::ids::Offset;

/// Bytes that an entry takes, a part of the table's free room included.
const ENTRY_BYTES: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct KeyMap {
    first: RandomState,
    second: RandomState,
    newest: HashMap<(u64, u64), Offset>,
    entries_max: usize,
}

impl KeyMap {
    /// Room for as many keys as fit into `bytes`, but for one at least.
    pub fn new(bytes: usize) -> Self {
        Self {
            first: RandomState::new(),
            second: RandomState::new(),
            newest: HashMap::new(),
            entries_max: (bytes / ENTRY_BYTES).max(1),
        }
    }

    pub fn len(&self) -> usize {
        self.newest.len()
    }

    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Whether `more` new keys might not fit.
    pub fn is_full_for(&self, more: usize) -> bool {
        self.newest.len() + more > self.entries_max
    }

    pub fn put(&mut self, key: &[u8], offset: Offset) {
        let newest = self.newest.entry(self.hash(key)).or_insert(offset);
        *newest = offset.max(*newest);
    }

    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        self.newest.get(&self.hash(key)).copied()
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.first.hash_one(key), self.second.hash_one(key))
    }
}
