//! pure: delivery states of records, as a sorted list of offset ranges (Kafka: `PersisterStateBatchCombiner`).

use super::record::StateBatch;
use crate::base::ids::Offset;

/// Delivery states of records, with the numbers used in records.
pub const AVAILABLE: i8 = 0;
pub const ACKNOWLEDGED: i8 = 2;
pub const ARCHIVED: i8 = 4;

/// Batches sorted by offset. Batches do not overlap, and adjacent batches differ in state or delivery count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batches {
    list: Vec<StateBatch>,
}

impl Batches {
    /// Makes a list from batches in any order. They may overlap.
    pub fn new(batches: impl IntoIterator<Item = StateBatch>) -> Self {
        let mut this = Self::default();
        for batch in batches {
            this.put(batch);
        }
        this
    }

    pub fn iter(&self) -> impl Iterator<Item = &StateBatch> {
        self.list.iter()
    }

    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub fn to_vec(&self) -> Vec<StateBatch> {
        self.list.clone()
    }

    /// Adds a batch. For offsets that are present already the higher delivery count wins and, of equal counts, the higher state
    /// number: a write that arrives late does not undo a newer one.
    pub fn put(&mut self, new: StateBatch) {
        if new.first_offset > new.last_offset {
            return;
        }
        let from = (self.list).partition_point(|one| one.last_offset < new.first_offset);
        let to = (self.list).partition_point(|one| one.first_offset <= new.last_offset);
        // The neighbours are included, because they may have the same state as the new batch and are then merged with it.
        let (from, to) = (from.saturating_sub(1), (to + 1).min(self.list.len()));
        let mut pieces = Pieces::default();
        let mut at = Some(new.first_offset);
        for old in self.list.get(from..to).unwrap_or_default() {
            if old.last_offset < new.first_offset {
                pieces.push(old.clone());
                continue;
            }
            if let Some(next) = at.filter(|next| *next < old.first_offset) {
                let until = new.last_offset.min(old.first_offset - 1);
                if next <= until {
                    pieces.push(part(&new, next, until));
                }
                at = (until < new.last_offset).then(|| until + 1);
            }
            if old.first_offset > new.last_offset {
                pieces.push(old.clone());
                continue;
            }
            if old.first_offset < new.first_offset {
                pieces.push(part(old, old.first_offset, new.first_offset - 1));
            }
            let first = old.first_offset.max(new.first_offset);
            let last = old.last_offset.min(new.last_offset);
            let winner = match rank(&new) >= rank(old) {
                true => &new,
                false => old,
            };
            pieces.push(part(winner, first, last));
            if old.last_offset > new.last_offset {
                pieces.push(part(old, new.last_offset + 1, old.last_offset));
            }
            at = (last < new.last_offset).then(|| last + 1);
        }
        if let Some(next) = at {
            pieces.push(part(&new, next, new.last_offset));
        }
        self.list.splice(from..to, pieces.0);
    }

    /// Removes everything below an offset.
    pub fn cut_below(&mut self, start: Offset) {
        let gone = self.list.partition_point(|one| one.last_offset < start);
        self.list.drain(..gone);
        if let Some(first) = self.list.first_mut() {
            first.first_offset = first.first_offset.max(start);
        }
    }
}

/// List of pieces. A piece is merged with the one before if both are adjacent and have the same state and delivery count.
#[derive(Default)]
struct Pieces(Vec<StateBatch>);

impl Pieces {
    fn push(&mut self, piece: StateBatch) {
        match self.0.last_mut() {
            Some(last)
                if last.last_offset.checked_add(1) == Some(piece.first_offset)
                    && rank(last) == rank(&piece) =>
            {
                last.last_offset = piece.last_offset;
            }
            _ => self.0.push(piece),
        }
    }
}

fn part(of: &StateBatch, first_offset: Offset, last_offset: Offset) -> StateBatch {
    StateBatch {
        first_offset,
        last_offset,
        ..of.clone()
    }
}

fn rank(of: &StateBatch) -> (i16, i8) {
    (of.delivery_count, of.delivery_state)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::coordinator::share_state::tests::batch;

    #[test]
    fn the_later_attempt_counts_and_neighbours_that_say_the_same_are_one() {
        let mut batches = Batches::new([batch(10, 19, 0, 1), batch(20, 29, 2, 1)]);
        batches.put(batch(15, 24, 0, 2));
        let expected = [
            batch(10, 14, 0, 1),
            batch(15, 24, 0, 2),
            batch(25, 29, 2, 1),
        ];
        assert_eq!(batches.list, expected);
        batches.put(batch(10, 19, 2, 1));
        let expected = [
            batch(10, 14, 2, 1),
            batch(15, 24, 0, 2),
            batch(25, 29, 2, 1),
        ];
        assert_eq!(batches.list, expected);
        batches.put(batch(15, 24, 4, 2));
        batches.put(batch(30, 39, 2, 1));
        batches.cut_below(12);
        let expected = [
            batch(12, 14, 2, 1),
            batch(15, 24, 4, 2),
            batch(25, 39, 2, 1),
        ];
        assert_eq!(batches.list, expected);
        batches.cut_below(100);
        assert_eq!(batches.count(), 0);
        batches.put(batch(5, 4, 2, 1));
        assert_eq!(batches.count(), 0);
    }

    #[test]
    fn the_ends_of_all_offsets_are_no_trap() {
        let mut batches = Batches::new([batch(i64::MAX - 1, i64::MAX, 0, 1)]);
        batches.put(batch(0, i64::MAX, 2, 1));
        assert_eq!(batches.list, [batch(0, i64::MAX, 2, 1)]);
        batches.put(batch(i64::MAX, i64::MAX, 4, 2));
        assert_eq!(batches.count(), 2);
    }

    proptest! {
        #[test]
        fn batches_say_of_each_offset_what_a_map_of_offsets_says(
            steps in prop::collection::vec((0..50i64, 0..12i64, 0..3usize, 1..4i16, 0..4i64), 1..60)
        ) {
            let mut batches = Batches::default();
            let mut model: BTreeMap<i64, (i16, i8)> = BTreeMap::new();
            for (first, more, state, count, start) in steps {
                let state = [AVAILABLE, ACKNOWLEDGED, ARCHIVED][state];
                batches.put(batch(first, first + more, state, count));
                for offset in first..=first + more {
                    let known = model.entry(offset).or_insert((count, state));
                    *known = (*known).max((count, state));
                }
                batches.cut_below(start);
                model.retain(|offset, _| *offset >= start);
                let each = batches.iter().flat_map(|one| {
                    (one.first_offset..=one.last_offset).map(|offset| (offset, rank(one)))
                });
                prop_assert_eq!(&each.collect::<BTreeMap<_, _>>(), &model);
                for pair in batches.list.windows(2) {
                    prop_assert!(pair[0].last_offset < pair[1].first_offset);
                    let side_by_side = pair[0].last_offset + 1 == pair[1].first_offset;
                    prop_assert!(!side_by_side || rank(&pair[0]) != rank(&pair[1]));
                }
            }
        }
    }
}
