//! pure: leader epoch -> the offset at which it starts. Kafka's `LeaderEpochFileCache`.

use crate::base::ids::{LeaderEpoch, Offset};

/// Epochs and start offsets, both strictly increasing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// From a checkpoint file, in its order; what contradicts an earlier line is left out.
    pub fn from_entries(entries: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut this = Self::default();
        for (epoch, start) in entries {
            this.assign(epoch, start);
        }
        this
    }

    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Epoch `epoch` writes from `start` on. Later epochs that contradict it go. True when something changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch < 0
            || self
                .entries
                .last()
                .is_some_and(|&(last, at)| last == epoch && at <= start)
        {
            return false;
        }
        // Not one look at each: a file may list a hundred thousand.
        let kept = self
            .entries
            .partition_point(|&(other, at)| other < epoch && at < start);
        self.entries.truncate(kept);
        if self.entries.capacity() == 0 {
            // Most logs know one epoch, and there are many logs.
            self.entries.reserve_exact(1);
        }
        self.entries.push((epoch, start));
        true
    }

    /// The epoch that wrote `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|index| self.entries[index].0)
    }

    /// The largest known epoch not above `epoch`, and where it ends; `log_end` ends the newest.
    /// `None` when every known epoch is above it, or the epoch is newer than any that wrote here.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if epoch == latest {
            return Some((epoch, log_end));
        }
        if epoch > latest || epoch < 0 {
            return None;
        }
        let after = self.entries.partition_point(|&(other, _)| other <= epoch);
        let end = self.entries.get(after)?.1;
        // An epoch older than all of ours ends where the oldest begins.
        let known = after
            .checked_sub(1)
            .map_or(epoch, |index| self.entries[index].0);
        Some((known, end))
    }

    /// Forgets epochs that start at or above `end`. True when something changed.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|&(_, start)| start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Forgets epochs that end at or below `start`; the one that covers it begins there. True when something changed.
    pub fn truncate_start(&mut self, start: Offset) -> bool {
        let after = self.entries.partition_point(|&(_, at)| at <= start);
        let Some(covering) = after.checked_sub(1) else {
            return false;
        };
        let changed = covering > 0 || self.entries[covering].1 < start;
        self.entries[covering].1 = self.entries[covering].1.max(start);
        self.entries.drain(..covering);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = LeaderEpochs::from_entries([(2, 10), (4, 20), (7, 30)]);
        assert_eq!(epochs.end_of(7, 99), Some((7, 99)));
        assert_eq!(epochs.end_of(8, 99), None);
        assert_eq!(epochs.end_of(4, 99), Some((4, 30)));
        assert_eq!(epochs.end_of(5, 99), Some((4, 30)));
        assert_eq!(epochs.end_of(1, 99), Some((1, 10)));
        assert_eq!(epochs.epoch_of(9), None);
        assert_eq!(epochs.epoch_of(20), Some(4));
    }

    #[test]
    fn many_are_taken_in_at_once() {
        let many = |count: i32| (0..count).map(|epoch| (epoch, i64::from(epoch) * 3));
        let epochs = LeaderEpochs::from_entries(many(200_000));
        assert_eq!(epochs.entries().len(), 200_000);
        let mut again = epochs.clone();
        assert!(again.assign(150_000, 30));
        assert_eq!(
            again.entries(),
            [&epochs.entries()[..10], &[(150_000, 30)]].concat()
        );
    }

    #[test]
    fn cuts_at_both_ends_keep_the_order() {
        let mut epochs = LeaderEpochs::from_entries([(2, 10), (4, 20), (7, 30)]);
        assert!(epochs.truncate_end(30));
        assert_eq!(epochs.entries(), [(2, 10), (4, 20)]);
        assert!(epochs.truncate_start(15));
        assert_eq!(epochs.entries(), [(2, 15), (4, 20)]);
        assert!(epochs.truncate_start(25));
        assert_eq!(epochs.entries(), [(4, 25)]);
        assert!(!epochs.truncate_start(25));
        assert!(epochs.assign(5, 25));
        assert_eq!(epochs.entries(), [(5, 25)]);
    }
}
