//! pure: selection of the part of a log to compact, and of the segments that are merged.

use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::log::settings::LogSettings;

/// Properties of a sealed segment that planning uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub base_offset: Offset,
    /// Base offset of the next segment.
    pub end_offset: Offset,
    pub size: u64,
    /// Sizes of the offset index and the time index in bytes.
    pub index_sizes: [u64; 2],
    pub newest: Timestamp,
    /// Timestamp of the first batch; `None` if it is not needed or unknown.
    pub first: Option<Timestamp>,
}

/// Plan of a compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Start of the dirty part, which has not been compacted yet.
    pub first_dirty: Offset,
    /// End of the part that may be changed (exclusive).
    pub end: Offset,
    /// Segments that may be rewritten, oldest first.
    pub segments: Vec<Sealed>,
}

/// Start of the dirty part, from a checkpoint. A checkpoint outside of the log belongs to an earlier log of the same name and
/// is ignored.
pub fn first_dirty(checkpoint: Offset, log_start: Offset, log_end: Offset) -> Offset {
    if (log_start..=log_end).contains(&checkpoint) {
        checkpoint
    } else {
        log_start
    }
}

/// Plan for a log if compaction is due: its dirty part is large enough or has waited too long.
pub fn plan(
    sealed: &[Sealed],
    first_dirty: Offset,
    last_stable: Offset,
    settings: &LogSettings,
    now: Timestamp,
) -> Option<Plan> {
    let is_dirty = |segment: &&Sealed| segment.end_offset > first_dirty;
    let settled = |segment: &&Sealed| {
        // Segments compacted before have waited already, whatever their records' timestamps are.
        let waited = settings.min_compaction_lag_ms <= 0
            || !is_dirty(segment)
            || now.saturating_sub(segment.newest) >= settings.min_compaction_lag_ms;
        segment.end_offset <= last_stable && waited
    };
    let segments: Vec<Sealed> = sealed.iter().take_while(settled).copied().collect();
    let end = segments.last()?.end_offset;
    let dirty_bytes: u64 = segments
        .iter()
        .filter(is_dirty)
        .map(|segment| segment.size)
        .sum();
    // A segment that is partly dirty counts as dirty and as clean.
    let clean = segments
        .iter()
        .filter(|segment| segment.base_offset < first_dirty);
    let clean_bytes: u64 = clean.map(|segment| segment.size).sum();
    if dirty_bytes == 0 {
        return None;
    }
    let ratio = dirty_bytes as f64 / (clean_bytes + dirty_bytes) as f64;
    // A segment that must wait for another reason can also be overdue.
    let overdue = settings.max_compaction_lag_ms < i64::MAX
        && sealed
            .iter()
            .filter(is_dirty)
            .filter_map(|segment| segment.first)
            .any(|first| now.saturating_sub(first) > settings.max_compaction_lag_ms);
    (ratio > settings.min_cleanable_dirty_ratio || overdue).then_some(Plan {
        first_dirty,
        end,
        segments,
    })
}

/// Groups of segments that are merged: a group fits into one segment.
pub fn group(segments: &[Sealed], settings: &LogSettings) -> Vec<Vec<Sealed>> {
    let mut groups: Vec<Vec<Sealed>> = Vec::new();
    for segment in segments {
        if let Some(last) = groups.last_mut() {
            let sum = |of: fn(&Sealed) -> u64| last.iter().chain([segment]).map(of).sum::<u64>();
            let fits = sum(|member| member.size) <= u64::from(settings.segment_bytes)
                && sum(|member| member.index_sizes[0]) <= u64::from(settings.segment_index_bytes)
                && sum(|member| member.index_sizes[1]) <= u64::from(settings.segment_index_bytes);
            let first = last.first().map_or(0, |member| member.base_offset);
            // A segment without bytes needs no index entries, so its offsets may be far away.
            let reaches =
                segment.size == 0 || segment.end_offset - 1 - first <= i64::from(i32::MAX);
            if fits && reaches {
                last.push(*segment);
                continue;
            }
        }
        groups.push(vec![*segment]);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(sizes: &[u64]) -> Vec<Sealed> {
        let sealed = |(index, size): (usize, &u64)| Sealed {
            base_offset: index as i64 * 10,
            end_offset: (index as i64 + 1) * 10,
            size: *size,
            index_sizes: [8, 12],
            newest: index as i64 * 1_000,
            first: Some(index as i64 * 1_000 - 500),
        };
        sizes.iter().enumerate().map(sealed).collect()
    }

    fn compacted() -> LogSettings {
        LogSettings {
            cleanup_compact: true,
            ..LogSettings::default()
        }
    }

    #[test]
    fn a_log_is_due_when_more_than_its_share_is_dirty() {
        let sealed = segments(&[100, 100, 100]);
        assert_eq!(plan(&sealed, 20, 30, &compacted(), 9_000), None);
        let due = plan(&sealed, 10, 30, &compacted(), 9_000).unwrap();
        assert_eq!((due.first_dirty, due.end, due.segments.len()), (10, 30, 3));
        // The oldest record of the last segment has the timestamp 1,500.
        for (now, due) in [(2_500, false), (2_501, true)] {
            let impatient = LogSettings {
                max_compaction_lag_ms: 1_000,
                ..compacted()
            };
            assert_eq!(plan(&sealed, 20, 30, &impatient, now).is_some(), due);
        }
    }

    #[test]
    fn what_is_undecided_or_too_young_is_left_alone() {
        let sealed = segments(&[100, 100, 100]);
        assert_eq!(plan(&sealed, 0, 25, &compacted(), 9_000).unwrap().end, 20);
        let patient = LogSettings {
            min_compaction_lag_ms: 8_500,
            ..compacted()
        };
        assert_eq!(plan(&sealed, 0, 30, &patient, 9_000).unwrap().end, 10);
        assert_eq!(plan(&[], 0, 30, &compacted(), 9_000), None);
        // A clean part is not compacted again because the rest must wait, and it does not delay the rest.
        for (first_dirty, last_stable) in [(20, 20), (25, 20), (30, 30)] {
            let due = plan(&sealed, first_dirty, last_stable, &compacted(), 9_000);
            assert_eq!(due, None);
        }
        let mut odd = sealed.clone();
        odd[0].newest = i64::MAX;
        assert_eq!(plan(&odd, 0, 30, &patient, 11_000), None);
        assert_eq!(plan(&odd, 10, 30, &patient, 11_000).unwrap().end, 30);
    }

    #[test]
    fn a_checkpoint_of_another_life_of_the_log_means_nothing() {
        for (checkpoint, first) in [(4, 5), (5, 5), (7, 7), (30, 30), (31, 5)] {
            assert_eq!(first_dirty(checkpoint, 5, 30), first);
        }
    }

    #[test]
    fn small_segments_become_one() {
        let settings = LogSettings {
            segment_bytes: 250,
            ..compacted()
        };
        let groups = group(&segments(&[100, 100, 100, 300, 10]), &settings);
        assert_eq!(
            groups.iter().map(Vec::len).collect::<Vec<_>>(),
            [2, 1, 1, 1]
        );
    }
}
