//! pure: start offsets of leader epochs. Kafka's `LeaderEpochFileCache`.

use crate::base::ids::{LeaderEpoch, Offset};

/// Leader epochs with their start offsets, both strictly increasing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl LeaderEpochs {
    /// Epochs from a checkpoint file, in its order; entries that contradict an earlier one are dropped.
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

    /// Records that `epoch` starts at `start`. Later epochs that contradict this are removed. Returns whether something changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch < 0
            || self
                .entries
                .last()
                .is_some_and(|&(last, at)| last == epoch && at <= start)
        {
            return false;
        }
        // Binary search: a file may have a hundred thousand epochs.
        let kept = self
            .entries
            .partition_point(|&(other, at)| other < epoch && at < start);
        self.entries.truncate(kept);
        if self.entries.capacity() == 0 {
            // Most logs have a single epoch, and there are many logs.
            self.entries.reserve_exact(1);
        }
        self.entries.push((epoch, start));
        true
    }

    /// Leader epoch of the record at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|index| self.entries[index].0)
    }

    /// The largest known epoch at or below `epoch`, with its end offset; the latest epoch ends at `log_end`. `None` if all known
    /// epochs are larger, or `epoch` is later than the latest one.
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
        // An epoch before the oldest known one ends where the oldest one starts.
        let known = after
            .checked_sub(1)
            .map_or(epoch, |index| self.entries[index].0);
        Some((known, end))
    }

    /// Offset up to which a log with these epochs and this end has the records of another log: the end of the latest epoch that
    /// both logs have. Without epochs, as in logs of old message formats, it is the smaller end.
    pub fn common_end(&self, end: Offset, other: &Self, other_end: Offset) -> Offset {
        let mut common = end.min(other_end);
        if other.entries.is_empty() {
            return common;
        }
        for &(epoch, start) in self.entries.iter().rev() {
            match other.end_of(epoch, other_end) {
                Some((_, their_end)) if other.has(epoch) => return common.min(their_end),
                _ => common = common.min(start),
            }
        }
        common
    }

    fn has(&self, epoch: LeaderEpoch) -> bool {
        let found = (self.entries).binary_search_by_key(&epoch, |(epoch, _)| *epoch);
        found.is_ok()
    }

    /// Removes epochs that start at or after `end`. Returns whether something changed.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|&(_, start)| start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// Removes epochs that end at or before `start`; the epoch that covers `start` now starts there. Returns whether something
    /// changed.
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
    fn logs_have_the_same_records_up_to_the_end_of_their_latest_common_epoch() {
        let of = |entries: &[(LeaderEpoch, Offset)]| LeaderEpochs::from_entries(entries.to_vec());
        let (five, six) = (of(&[(5, 0)]), of(&[(5, 0), (6, 80)]));
        assert_eq!(five.common_end(100, &six, 130), 80);
        assert_eq!(six.common_end(130, &five, 100), 80);
        assert_eq!(six.common_end(100, &six, 130), 100);
        assert_eq!(five.common_end(70, &six, 130), 70);
        // Epochs that only one of the logs has.
        let seven = of(&[(5, 0), (7, 60), (8, 90)]);
        assert_eq!(six.common_end(130, &seven, 130), 60);
        assert_eq!(of(&[(6, 80)]).common_end(130, &of(&[(7, 60)]), 130), 80);
        // Compaction removed the first records of epoch 6 from the one that was copied later.
        assert_eq!(of(&[(5, 0), (6, 95)]).common_end(120, &six, 130), 120);
        // Old message formats have no epochs.
        let none = LeaderEpochs::default();
        assert_eq!(none.common_end(50, &six, 130), 50);
        assert_eq!(six.common_end(90, &none, 50), 50);
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
