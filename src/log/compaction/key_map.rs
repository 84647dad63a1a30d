//! Map from a key to the newest offset with that key, in memory of a fixed size.
//!
//! Keys are stored as 128-bit keyed hashes. The hash key is random for each map, so that clients cannot construct colliding
//! keys. The table is one allocation; the operating system only provides the pages that are touched.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::Budget;
use crate::base::ids::Offset;
use crate::base::memory::Held;
use crate::host::chance::{Chance, NoChance};

/// Hash of a key.
pub type KeyHash = [u64; 2];
/// Both halves of the key's hash, and the offset plus one; an offset of 0 marks a free slot.
type Slot = [u64; 3];

/// Map from keys to their newest offsets.
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
    /// Makes a map for the number of keys that fits into `bytes` with a fraction `load` of the slots used
    /// (`log.cleaner.io.buffer.load.factor`); at least one key, and at most `keys_max`.
    pub fn new(
        chance: &Chance,
        bytes: usize,
        load: f64,
        keys_max: usize,
    ) -> Result<Self, NoChance> {
        // Some slots always stay free; otherwise a search would not end.
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

    /// Like [`Self::new`], with the memory that a budget allows; the budget counts the map's memory.
    ///
    /// Errors: the random source failed.
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

    /// Hash of a key for the other functions. Callers with many keys should hash them first: the processor can then wait for
    /// several memory accesses to the table at once, which take most of the time.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = self.hasher.hash(key);
        [hash.h1, hash.h2]
    }

    /// An empty map with the same hash function.
    pub fn hashes_only(&self) -> Self {
        Self {
            hasher: self.hasher,
            slots: Vec::new(),
            len: 0,
            most: 0,
            held: None,
        }
    }

    /// Hasher for a key that is given in pieces.
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher(self.hasher)
    }

    /// Stores an offset for a key. Returns false, without a change, if the map is full, even if the key is known.
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

    /// The slot of a key, or the free slot where it belongs. There is always a free slot.
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

/// Hasher of [`KeyMap::hasher`].
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
