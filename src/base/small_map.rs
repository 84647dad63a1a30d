//! pure: sorted map that takes little memory while it has few entries, for the many maps that stay small. A `BTreeMap`
//! allocates a leaf with room for eleven entries for its first one.

use std::collections::BTreeMap;

/// Number of entries up to which a sorted list is used. With more, insertion would move too many entries, so a `BTreeMap` takes
/// over.
const FEW_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub enum SmallMap<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    pub fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                let place = few
                    .binary_search_by(|(has, _)| has.borrow().cmp(key))
                    .ok()?;
                few.get_mut(place).map(|(_, value)| value)
            }
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: std::borrow::Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                let place = few
                    .binary_search_by(|(has, _)| has.borrow().cmp(key))
                    .ok()?;
                few.get(place).map(|(key, value)| (key, value))
            }
            Self::Many(many) => many.get_key_value(key),
        }
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// Inserts an entry. Gives the former value of the key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::Few(few) => match few.binary_search_by(|(has, _)| has.cmp(&key)) {
                Ok(place) => few
                    .get_mut(place)
                    .map(|(_, before)| std::mem::replace(before, value)),
                Err(place) if few.len() < FEW_MAX => {
                    if few.is_empty() {
                        few.reserve_exact(1);
                    }
                    few.insert(place, (key, value));
                    None
                }
                Err(_) => {
                    let mut many: BTreeMap<K, V> = std::mem::take(few).into_iter().collect();
                    many.insert(key, value);
                    *self = Self::Many(many);
                    None
                }
            },
            Self::Many(many) => many.insert(key, value),
        }
    }

    /// Value of the key. A default value is inserted if there is none.
    pub fn get_or_default(&mut self, key: &K) -> Option<&mut V>
    where
        K: Clone,
        V: Default,
    {
        if self.get(key).is_none() {
            self.insert(key.clone(), V::default());
        }
        self.get_mut(key)
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        match self {
            Self::Few(few) => {
                let place = few
                    .binary_search_by(|(has, _)| has.borrow().cmp(key))
                    .ok()?;
                Some(few.remove(place).1)
            }
            Self::Many(many) => {
                let removed = many.remove(key);
                if many.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    /// Removes and returns the entries with keys from `from` up to, but not including, `before`. Other entries are not visited.
    pub fn take_between(&mut self, from: &K, before: &K) -> Vec<(K, V)>
    where
        K: Clone,
    {
        match self {
            Self::Few(few) => {
                let start = few.partition_point(|(key, _)| key < from);
                let end = few.partition_point(|(key, _)| key < before);
                few.drain(start..end.max(start)).collect()
            }
            Self::Many(many) => {
                let mut taken = Vec::new();
                while from < before
                    && let Some((key, _)) = many.range(from..before).next()
                    && let key = key.clone()
                    && let Some(value) = many.remove(&key)
                {
                    taken.push((key, value));
                }
                if many.is_empty() {
                    *self = Self::default();
                }
                taken
            }
        }
    }

    pub fn iter(&self) -> Iter<'_, K, V> {
        match self {
            Self::Few(few) => Iter::Few(few.iter()),
            Self::Many(many) => Iter::Many(many.iter()),
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few.iter_mut()), None),
            Self::Many(many) => (None, Some(many.values_mut())),
        };
        let few = few.into_iter().flatten().map(|(_, value)| value);
        few.chain(many.into_iter().flatten())
    }
}

/// See [`SmallMap::iter`].
#[derive(Debug)]
pub enum Iter<'a, K, V> {
    Few(std::slice::Iter<'a, (K, V)>),
    Many(std::collections::btree_map::Iter<'a, K, V>),
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(key, value)| (key, value)),
            Self::Many(many) => many.next(),
        }
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a SmallMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord, V> IntoIterator for SmallMap<K, V> {
    type Item = (K, V);
    type IntoIter =
        std::iter::Chain<std::vec::IntoIter<(K, V)>, std::collections::btree_map::IntoIter<K, V>>;

    fn into_iter(self) -> Self::IntoIter {
        let (few, many) = match self {
            Self::Few(few) => (few, BTreeMap::new()),
            Self::Many(many) => (Vec::new(), many),
        };
        few.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_map(steps in prop::collection::vec((0_u8..14, any::<bool>(), 0_u8..20), 0..80)) {
            let (mut ours, mut theirs) = (SmallMap::default(), BTreeMap::new());
            for (key, comes, value) in steps {
                if comes {
                    prop_assert_eq!(ours.insert(key, value), theirs.insert(key, value));
                } else {
                    prop_assert_eq!(ours.remove(&key), theirs.remove(&key));
                }
                if value == 0 {
                    let kept = theirs.split_off(&key);
                    prop_assert!(ours.take_between(&2, &key).into_iter().eq(theirs.split_off(&2)));
                    theirs.extend(kept);
                }
                prop_assert_eq!(ours.get(&key), theirs.get(&key));
                prop_assert_eq!(ours.get_mut(&key), theirs.get_mut(&key));
                prop_assert!(ours.iter().eq(theirs.iter()));
                prop_assert!(ours.values_mut().eq(theirs.values_mut()));
                prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
                prop_assert!(ours.clone().into_iter().eq(theirs.clone()));
            }
        }
    }
}
