//! Builders for answers that are trees of topics and partitions, and what a request names, each once.
//!
//! What is named several times is answered once, where it comes first: no answer grows by repetition, and nothing is done
//! twice. Of what is asked of it the last counts, as with Apache Kafka where that does the same.

use std::hash::Hash;

use indexmap::map::Entry;
use indexmap::{IndexMap, IndexSet};

/// Each once, where it comes first.
pub fn distinct<T: Eq + Hash>(named: impl IntoIterator<Item = T>) -> IndexSet<T> {
    named.into_iter().collect()
}

/// One of each key, at the place of the first: the last.
pub fn latest<T, K: Eq + Hash>(named: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    if named.len() < 2 {
        return named;
    }
    let by_key = named.into_iter().map(|one| (key(&one), one));
    by_key.collect::<IndexMap<_, _>>().into_values().collect()
}

/// The topics of a request, each once, and in each of them each partition once.
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
