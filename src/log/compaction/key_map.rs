//! Key -> the newest offset at which it was seen, in memory that is fixed from the beginning.
//!
//! Keys are remembered by 128 bits of keyed hashes, drawn anew for each map: nobody who writes keys can make two collide.
//! The table is one piece, of which the system gives only the pages that are touched.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::Budget;
use crate::base::ids::Offset;
use crate::base::memory::Held;
use crate::host::chance::{Chance, NoChance};

/// What is remembered of a key.
pub type KeyHash = [u64; 2];
/// Two halves of the key's hash, and its offset plus one: 0 where nothing is.
type Slot = [u64; 3];

/// See the module.
#[derive(Debug)]
pub struct KeyMap {
    hasher: SipHasher13,
    slots: Vec<Slot>,
    len: usize,
    most: usize,
    #[expect(dead_code, reason = "counts the table while it lives")]
    held: Option<Held>,
}

impl KeyMap {
    /// Room for as many keys as fit into `bytes`, of which the part `load` may be taken (`log.cleaner.io.buffer.load.factor`),
    /// but for one at least, and for no more than `keys_max`.
    pub fn new(
        chance: &Chance,
        bytes: usize,
        load: f64,
        keys_max: usize,
    ) -> Result<Self, NoChance> {
        // Some slots are always free, or a search would not end.
        let load = load.clamp(0.001, 0.999);
        let fits = bytes / size_of::<Slot>();
        let wanted = (keys_max.saturating_add(1) as f64 / load) as usize;
        let slots = fits.min(wanted.saturating_add(1)).max(2);
        Ok(Self {
            hasher: SipHasher13::new_with_key(&chance.bytes()?),
            slots: vec![[0; 3]; slots],
            len: 0,
            most: ((slots as f64 * load) as usize).max(1),
            held: None,
        })
    }

    /// As [`Self::new`], for as many keys as a budget allows, which counts it.
    ///
    /// Errors: there is no chance to be had.
    pub fn within(budget: &Budget, keys_max: usize) -> Result<Self, NoChance> {
        let chance = &budget.host().chance;
        let map = Self::new(chance, budget.map_bytes(), budget.map_load(), keys_max)?;
        let held = budget.hold(map.slots.len() * size_of::<Slot>());
        Ok(Self { held, ..map })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the other functions know a key by. Whoever has many keys hashes them first: the processor then waits for the
    /// places of several in the table at once, which is where the time goes.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = self.hasher.hash(key);
        [hash.h1, hash.h2]
    }

    /// A map of nothing, whose hashes are those of this one.
    pub fn hashes_only(&self) -> Self {
        Self {
            hasher: self.hasher,
            slots: Vec::new(),
            len: 0,
            most: 0,
            held: None,
        }
    }

    /// The same for a key that comes in pieces.
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher(self.hasher)
    }

    /// False when there is no room, not even for a key that is known: nothing is remembered then.
    pub fn put(&mut self, hash: KeyHash, offset: Offset) -> bool {
        let (place, known) = self.find(hash);
        let slot = &mut self.slots[place];
        let offset = offset as u64 + 1;
        if self.len >= self.most {
            return false;
        }
        if known {
            slot[2] = slot[2].max(offset);
            return true;
        }
        *slot = [hash[0], hash[1], offset];
        self.len += 1;
        true
    }

    pub fn get(&self, hash: KeyHash) -> Option<Offset> {
        let (place, known) = self.find(hash);
        known.then(|| self.slots[place][2] as Offset - 1)
    }

    /// The slot of a key, or the free one where it would be: some are always free.
    fn find(&self, hash: KeyHash) -> (usize, bool) {
        let count = self.slots.len();
        let mut place = ((u128::from(hash[0]) * count as u128) >> 64) as usize;
        loop {
            match self.slots.get(place) {
                Some([_, _, 0]) => return (place, false),
                Some([first, second, _]) if [*first, *second] == hash => return (place, true),
                Some(_) => place += 1,
                None => place = 0,
            }
        }
    }
}

/// See [`KeyMap::hasher`].
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher(SipHasher13);

impl KeyHasher {
    pub fn write(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub fn finish(&self) -> KeyHash {
        let hash = self.0.finish128();
        [hash.h1, hash.h2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::memory::{Memory, Purpose};

    #[test]
    fn a_map_is_counted_while_it_lives() {
        let memory = Memory::new(1 << 20);
        let budget = Budget::of(1 << 20).counted_in(&memory);
        let map = KeyMap::within(&budget, 9).unwrap();
        assert_eq!(memory.held_for(Purpose::Cleaner), 12 * size_of::<Slot>());
        drop(map);
        assert_eq!(memory.held_for(Purpose::Cleaner), 0);
    }

    #[test]
    fn the_newest_offset_of_each_key_is_remembered() {
        let mut map = KeyMap::new(&Chance::default(), 24 * 1_000, 0.9, usize::MAX).unwrap();
        assert!(map.is_empty());
        let keys: Vec<KeyHash> = (0..901_i64).map(|n| map.hash(&n.to_be_bytes())).collect();
        let (more, keys) = keys.split_last().unwrap();
        for (n, key) in (0..).zip(keys) {
            assert!(map.put(*key, n));
            assert!(n == 899 || map.put(*key, n / 2));
        }
        assert_eq!(map.len(), 900);
        assert!(!map.put(*more, 1) && !map.put(keys[5], 901));
        assert!((0..).zip(keys).all(|(n, key)| map.get(*key) == Some(n)));
        assert_eq!(map.get(*more), None);
    }

    #[test]
    fn a_map_takes_no_more_than_it_may_or_needs() {
        let small = KeyMap::new(&Chance::default(), 1 << 30, 0.9, 9).unwrap();
        assert_eq!(small.slots.len(), 12);
        let mut map = KeyMap::new(&Chance::default(), 0, 0.9, usize::MAX).unwrap();
        let [a, b] = [map.hash(b"a"), map.hash(b"b")];
        assert!(map.put(a, 5) && !map.put(b, 6) && !map.put(a, 7));
        assert_eq!((map.get(a), map.get(b)), (Some(5), None));
    }
}
