//! Segments of a log. There is always an active segment, so that no batch can be accepted without being written.

use std::ops::{Index, IndexMut, Range};
use std::path::Path;

use super::segment::Segment;
use crate::base::ids::Offset;

/// Initial capacity for sealed segments. Most logs do not have any for a long time.
const FIRST_SEALED: usize = 3;

/// Segments of a log, oldest first. The active segment has the highest index.
#[derive(Debug)]
pub struct Segments {
    sealed: Vec<Segment>,
    active: Segment,
}

impl Segments {
    pub fn new(active: Segment) -> Self {
        Self {
            sealed: Vec::new(),
            active,
        }
    }

    /// The segments found in a directory, oldest first; `None` if there are none.
    pub fn of(mut found: Vec<Segment>) -> Option<Self> {
        let active = found.pop()?;
        Some(Self {
            sealed: found,
            active,
        })
    }

    /// The segment to which batches are appended.
    pub fn active(&self) -> &Segment {
        &self.active
    }

    pub fn active_mut(&mut self) -> &mut Segment {
        &mut self.active
    }

    /// The sealed segments, oldest first.
    pub fn sealed(&self) -> &[Segment] {
        &self.sealed
    }

    /// Number of segments, at least one.
    pub fn count(&self) -> usize {
        self.sealed.len() + 1
    }

    pub fn first(&self) -> &Segment {
        self.sealed.first().unwrap_or(&self.active)
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Segment> {
        match index.checked_sub(self.sealed.len()) {
            Some(0) => Some(&mut self.active),
            Some(_) => None,
            None => self.sealed.get_mut(index),
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.sealed.iter().chain([&self.active])
    }

    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Segment> {
        self.sealed.iter_mut().chain([&mut self.active])
    }

    /// Index of the segment that contains an offset, or of the first one if the offset is before it.
    pub fn index_of(&self, offset: Offset) -> usize {
        self.begun_by(offset).saturating_sub(1)
    }

    /// Number of segments with a base offset at or below `offset`.
    pub fn begun_by(&self, offset: Offset) -> usize {
        self.count_while(|segment| segment.base_offset <= offset)
    }

    /// Number of segments with a base offset below `offset`.
    pub fn begun_before(&self, offset: Offset) -> usize {
        self.count_while(|segment| segment.base_offset < offset)
    }

    fn count_while(&self, holds: impl Fn(&Segment) -> bool) -> usize {
        match holds(&self.active) {
            true => self.count(),
            false => self.sealed.partition_point(holds),
        }
    }

    /// Base offset of the following segment; `None` for the active segment.
    pub fn base_behind(&self, index: usize) -> Option<Offset> {
        let next = index + 1;
        (next < self.count()).then(|| self[next].base_offset)
    }

    /// Whether base offsets rise from segment to segment.
    #[cfg(test)]
    pub fn are_in_order(&self) -> bool {
        self.iter()
            .is_sorted_by(|one, next| one.base_offset < next.base_offset)
    }

    /// Size of all data files in bytes.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|segment| segment.size).sum()
    }

    /// Adds a new active segment.
    pub fn roll(&mut self, next: Segment) {
        if self.sealed.capacity() == 0 {
            self.sealed.reserve_exact(FIRST_SEALED);
        }
        self.sealed.push(std::mem::replace(&mut self.active, next));
    }

    /// Removes the `count` oldest segments, but never the active one.
    pub fn take_oldest(&mut self, count: usize) -> Vec<Segment> {
        let count = count.min(self.sealed.len());
        self.sealed.drain(..count).collect()
    }

    /// Removes the segments after `index`, which becomes the active one.
    pub fn take_behind(&mut self, index: usize) -> Vec<Segment> {
        if index >= self.sealed.len() {
            return Vec::new();
        }
        let mut behind = self.sealed.split_off(index + 1);
        let active = self.sealed.swap_remove(index);
        behind.push(std::mem::replace(&mut self.active, active));
        behind
    }

    /// Replaces sealed segments by one segment; returns the replaced ones.
    pub fn replace_sealed(&mut self, range: Range<usize>, with: Segment) -> Vec<Segment> {
        self.sealed.splice(range, [with]).collect()
    }

    /// Called after the directory with all files was renamed.
    pub fn have_moved_to(&mut self, dir: &Path) {
        for segment in self.iter_mut() {
            segment.has_moved_to(dir);
        }
    }

    /// Closes the data files of all segments except the newest `keep`.
    pub fn release_files(&mut self, keep: usize) {
        let release = self.count().saturating_sub(keep);
        self.iter_mut()
            .take(release)
            .for_each(Segment::release_file);
    }
}

impl Index<usize> for Segments {
    type Output = Segment;

    fn index(&self, index: usize) -> &Segment {
        match index == self.sealed.len() {
            true => &self.active,
            false => &self.sealed[index],
        }
    }
}

impl IndexMut<usize> for Segments {
    fn index_mut(&mut self, index: usize) -> &mut Segment {
        match index == self.sealed.len() {
            true => &mut self.active,
            false => &mut self.sealed[index],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::Disk;

    fn segment(base_offset: Offset) -> Segment {
        let disk = Disk::default();
        Segment::open(disk.dir("nowhere".as_ref()), base_offset, 7, 0)
    }

    fn segments(bases: &[Offset]) -> Segments {
        Segments::of(bases.iter().copied().map(segment).collect()).unwrap()
    }

    fn bases<'a>(segments: impl IntoIterator<Item = &'a Segment>) -> Vec<Offset> {
        let bases = segments.into_iter().map(|segment| segment.base_offset);
        bases.collect()
    }

    #[test]
    fn a_log_has_an_active_segment_whatever_is_taken_from_it() {
        assert!(Segments::of(Vec::new()).is_none());
        let mut log = segments(&[0, 10, 20, 30]);
        assert_eq!(bases(&log.take_behind(2)), [30]);
        assert_eq!(
            (bases(log.iter()), log.active().base_offset),
            (vec![0, 10, 20], 20)
        );
        assert_eq!(bases(&log.take_behind(2)), [0; 0]);
        assert_eq!(bases(&log.take_oldest(7)), [0, 10]);
        assert_eq!((bases(log.iter()), log.count()), (vec![20], 1));
        log.roll(segment(40));
        log.roll(segment(50));
        assert_eq!(bases(&log.take_behind(0)), [40, 50]);
        assert_eq!(bases(log.iter()), [20]);
    }

    #[test]
    fn an_offset_lies_in_the_last_segment_that_begins_at_or_before_it() {
        let log = segments(&[5, 10, 20]);
        let of = [0, 5, 9, 10, 19, 20, 1_000].map(|offset| log.index_of(offset));
        assert_eq!(of, [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!((log.begun_by(20), log.begun_before(20)), (3, 2));
        assert_eq!(
            [0, 1, 2].map(|index| log.base_behind(index)),
            [Some(10), Some(20), None]
        );
        assert_eq!((log.bytes(), log.first().base_offset), (21, 5));
    }

    #[test]
    fn a_segment_takes_the_place_of_sealed_ones() {
        let mut log = segments(&[0, 10, 20, 30]);
        assert_eq!(bases(&log.replace_sealed(0..2, segment(0))), [0, 10]);
        assert_eq!(bases(log.iter()), [0, 20, 30]);
    }
}
