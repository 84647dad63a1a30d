//! Builders for answers that are trees of topics and partitions.

use std::hash::Hash;

use indexmap::IndexMap;
use indexmap::map::Entry;

/// One entry per topic, where it came first: what was found out here and what a coordinator said about the same topic
/// stand together, in this order.
pub fn merged<T, K: Eq + Hash, P>(
    topics: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
    partitions: impl Fn(&mut T) -> &mut Vec<P>,
) -> Vec<T> {
    let mut merged: IndexMap<K, T> = IndexMap::new();
    for mut topic in topics {
        match merged.entry(key(&topic)) {
            Entry::Occupied(mut there) => {
                partitions(there.get_mut()).append(partitions(&mut topic));
            }
            Entry::Vacant(place) => drop(place.insert(topic)),
        }
    }
    merged.into_values().collect()
}
