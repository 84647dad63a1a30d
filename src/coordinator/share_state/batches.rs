//! pure: delivery states of records, as a sorted list of offset ranges (Kafka: `PersisterStateBatchCombiner`).

use std::collections::BinaryHeap;

use super::record::StateBatch;
use crate::base::ids::Offset;

/// Delivery states of records, with the numbers used in records.
pub const AVAILABLE: i8 = 0;
pub const ACKNOWLEDGED: i8 = 2;
pub const ARCHIVED: i8 = 4;

/// Number of batches up to which each is put into its place. More are merged with the whole list.
const ONE_BY_ONE_MAX: usize = 16;

/// Batches sorted by offset. Batches do not overlap, and adjacent batches differ in state or delivery count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batches {
    list: Vec<StateBatch>,
}

impl Batches {
    /// Makes a list from batches in any order. They may overlap, as in [`Self::put`]. The time grows with the number of batches
    /// and not with its square, whatever their order: another node may send as many as fit into a request.
    pub fn new(batches: impl IntoIterator<Item = StateBatch>) -> Self {
        let is_some = |one: &StateBatch| one.first_offset <= one.last_offset;
        let mut all: Vec<StateBatch> = batches.into_iter().filter(is_some).collect();
        all.sort_by_key(|one| one.first_offset);
        let mut pieces = Pieces::default();
        // Batches that begin at or before `at`, the one that wins first.
        let mut open: BinaryHeap<(i16, i8, Offset)> = BinaryHeap::new();
        let mut coming = all.into_iter().peekable();
        let mut at = Offset::MIN;
        loop {
            while open.peek().is_some_and(|(.., last)| *last < at) {
                open.pop();
            }
            let top = open.peek().copied();
            if let Some(next) = coming.next_if(|next| top.is_none() || next.first_offset <= at) {
                at = at.max(next.first_offset);
                open.push((next.delivery_count, next.delivery_state, next.last_offset));
                continue;
            }
            let Some((delivery_count, delivery_state, last)) = top else {
                break;
            };
            let until = coming
                .peek()
                .map_or(last, |next| last.min(next.first_offset - 1));
            pieces.push(StateBatch {
                first_offset: at,
                last_offset: until,
                delivery_state,
                delivery_count,
            });
            match until.checked_add(1) {
                Some(next) => at = next,
                None => break,
            }
        }
        Self { list: pieces.0 }
    }

    /// Adds batches as [`Self::put`] does. Many are added at once.
    pub fn put_all(&mut self, new: &[StateBatch]) {
        if new.len() <= ONE_BY_ONE_MAX {
            for batch in new {
                self.put(batch.clone());
            }
        } else {
            let known = std::mem::take(&mut self.list);
            *self = Self::new(known.into_iter().chain(new.iter().cloned()));
        }
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

    /// Each batch would move all others: in descending order, or one inside of the other.
    #[test]
    fn many_batches_in_any_order_take_no_time_that_grows_with_their_square() {
        let count = 450_000;
        let falling = (0..count).rev().map(|at| batch(2 * at, 2 * at, 2, 1));
        assert_eq!(Batches::new(falling).count(), count as usize);
        let rank = |at: i64| ((at % 2 * 2) as i8, (at / 100 + 1) as i16);
        let nested = (0..count).map(|at| batch(at, 2 * count - at, rank(at).0, rank(at).1));
        let mut nested = Batches::new(nested);
        assert!(nested.count() > count as usize / 100);
        let falling: Vec<_> = (0..count).rev().map(|at| batch(at, at, 4, 9_000)).collect();
        nested.put_all(&falling);
        assert_eq!(nested.list[0], batch(0, count - 1, 4, 9_000));
    }

    proptest! {
        #[test]
        fn batches_made_at_once_are_those_put_one_by_one(
            steps in prop::collection::vec((0..50i64, -2..12i64, 0..3usize, 1..4i16), 1..60),
            known in 0..60usize,
        ) {
            let all: Vec<StateBatch> = steps
                .into_iter()
                .map(|(first, more, state, count)| {
                    let state = [AVAILABLE, ACKNOWLEDGED, ARCHIVED][state];
                    batch(first, first + more, state, count)
                })
                .collect();
            let mut one_by_one = Batches::default();
            for batch in &all {
                one_by_one.put(batch.clone());
            }
            prop_assert_eq!(&Batches::new(all.iter().cloned()), &one_by_one);
            let (known, new) = all.split_at(known.min(all.len()));
            let mut later = Batches::new(known.iter().cloned());
            later.put_all(new);
            prop_assert_eq!(&later, &one_by_one);
        }

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
