//! Helpers for responses of topics and partitions, which remove duplicates from requests.
//!
//! A topic, partition or key that a request names several times is answered once, at the place of the first. No response grows
//! by repetition, and nothing is done twice. The last one's parameters count, as in Apache Kafka where Kafka removes
//! duplicates.

use std::hash::Hash;

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};

/// The distinct values, in the order of their first occurrence.
pub fn distinct<T: Eq + Hash>(named: impl IntoIterator<Item = T>) -> IndexSet<T> {
    named.into_iter().collect()
}

/// The last value of each key, in the order of the keys' first occurrence.
pub fn latest<T, K: Eq + Hash>(named: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    if named.len() < 2 {
        return named;
    }
    let by_key = named.into_iter().map(|one| (key(&one), one));
    by_key.collect::<IndexMap<_, _>>().into_values().collect()
}

/// The topics of a request without duplicate topics, and without duplicate partitions in each topic.
pub fn once<T, K: Eq + Hash, P, I: Eq + Hash>(
    topics: Vec<T>,
    key: impl Fn(&T) -> K,
    partitions: impl Fn(&mut T) -> &mut Vec<P>,
    index: impl Fn(&P) -> I,
) -> Vec<T> {
    let mut topics = merged(topics, key, &partitions);
    for topic in &mut topics {
        let named = std::mem::take(partitions(topic));
        *partitions(topic) = latest(named, &index);
    }
    topics
}

/// One entry per topic, in the order of first occurrence, with the partitions of all its entries in order. Joins results of the
/// handler with a coordinator's results for the same topics.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_often_stands_once_where_it_came_first() {
        assert!(
            distinct(["b", "a", "b", "c", "a"])
                .iter()
                .eq(&["b", "a", "c"])
        );
        let latest = latest(vec![("b", 1), ("a", 2), ("b", 3)], |one| one.0);
        assert_eq!(latest, [("b", 3), ("a", 2)]);
        let topics = vec![
            ("t", vec![(1, 'a'), (0, 'b'), (1, 'c')]),
            ("u", vec![(0, 'd')]),
            ("t", vec![(2, 'e'), (0, 'f')]),
        ];
        let topics = once(topics, |topic| topic.0, |topic| &mut topic.1, |one| one.0);
        let once = [
            ("t", vec![(1, 'c'), (0, 'f'), (2, 'e')]),
            ("u", vec![(0, 'd')]),
        ];
        assert_eq!(topics, once);
    }
}
