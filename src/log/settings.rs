//! pure: settings of a log, as plain values. Logs with equal settings share them.

use std::sync::{Arc, Weak};

use crate::base::time::Timestamp;
use crate::config::topic::TopicSettings;
use crate::wire::batch::compression::{Compression, Levels};

/// Settings of one log. The names are those of the topic settings, with units.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    /// -1 means no limit.
    pub retention_bytes: i64,
    /// -1 means no limit.
    pub retention_ms: i64,
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub max_message_bytes: u32,
    /// Limit for a record in a compressed batch.
    pub max_decompressed_message_bytes: u32,
    /// `None` keeps the producer's choice.
    pub compression: Option<Compression>,
    pub compression_levels: Levels,
    pub log_append_time: bool,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub delete_retention_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub file_delete_delay_ms: i64,
    pub preallocate: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3_600_000,
            cleanup_delete: true,
            cleanup_compact: false,
            max_message_bytes: 1_048_588,
            max_decompressed_message_bytes: 2_147_483_639,
            compression: None,
            compression_levels: Levels::default(),
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 24 * 3_600_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            preallocate: false,
        }
    }
}

impl LogSettings {
    /// Age at which a new segment is rolled. The cleaner only handles sealed segments, so a compacted log must not keep a segment
    /// open for longer than a record may wait for compaction.
    pub fn roll_ms(&self) -> i64 {
        if self.cleanup_compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// Whether a record with this creation time may be appended at `now`.
    pub fn accepts_timestamp(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        // The numbers wrap as Java's do: a time too far in the past to be subtracted counts as one in the future.
        now.wrapping_sub(timestamp) <= self.timestamp_before_max_ms
            && timestamp.wrapping_sub(now) <= self.timestamp_after_max_ms
    }
}

/// Number of sets of settings that are shared at once. Most topics have the settings of the broker.
const SHARED_MAX: usize = 32;

/// Settings of many logs, each set of them stored once: a hundred thousand logs have few different sets.
#[derive(Debug, Default)]
pub struct SharedSettings(Vec<Weak<LogSettings>>);

impl SharedSettings {
    /// Returns these settings, shared with a log that has the same ones.
    pub fn share(&mut self, settings: LogSettings) -> Arc<LogSettings> {
        let mut known = self.0.iter().filter_map(Weak::upgrade);
        if let Some(same) = known.find(|known| **known == settings) {
            return same;
        }
        self.0.retain(|known| known.strong_count() > 0);
        if self.0.len() >= SHARED_MAX {
            self.0.remove(0);
        }
        let settings = Arc::new(settings);
        self.0.push(Arc::downgrade(&settings));
        settings
    }
}

impl From<&TopicSettings<'_>> for LogSettings {
    fn from(topic: &TopicSettings<'_>) -> Self {
        let u32_of = |name: &str| topic.long(name).clamp(0, i64::from(u32::MAX)) as u32;
        let compression = match topic.get("compression.type").as_deref() {
            Some("uncompressed") => Some(Compression::None),
            Some("gzip") => Some(Compression::Gzip),
            Some("snappy") => Some(Compression::Snappy),
            Some("lz4") => Some(Compression::Lz4),
            Some("zstd") => Some(Compression::Zstd),
            _ => None,
        };
        Self {
            segment_bytes: u32_of("segment.bytes"),
            segment_ms: topic.long("segment.ms"),
            segment_jitter_ms: topic.long("segment.jitter.ms"),
            segment_index_bytes: u32_of("segment.index.bytes"),
            index_interval_bytes: u32_of("index.interval.bytes"),
            retention_bytes: topic.long("retention.bytes"),
            retention_ms: topic.long("retention.ms"),
            cleanup_delete: topic.list_has("cleanup.policy", "delete"),
            cleanup_compact: topic.list_has("cleanup.policy", "compact"),
            max_message_bytes: u32_of("max.message.bytes"),
            max_decompressed_message_bytes: u32_of("max.decompressed.message.bytes"),
            compression,
            compression_levels: Levels {
                gzip: topic.long("compression.gzip.level") as i32,
                lz4: topic.long("compression.lz4.level") as i32,
                zstd: topic.long("compression.zstd.level") as i32,
            },
            log_append_time: topic.get("message.timestamp.type").as_deref()
                == Some("LogAppendTime"),
            timestamp_before_max_ms: topic.long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: topic.long("message.timestamp.after.max.ms"),
            min_compaction_lag_ms: topic.long("min.compaction.lag.ms"),
            max_compaction_lag_ms: topic.long("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: topic.double("min.cleanable.dirty.ratio"),
            delete_retention_ms: topic.long("delete.retention.ms"),
            flush_messages: topic.long("flush.messages"),
            flush_ms: topic.long("flush.ms"),
            file_delete_delay_ms: topic.long("file.delete.delay.ms"),
            preallocate: topic.boolean("preallocate"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_retention(retention_ms: i64) -> LogSettings {
        LogSettings {
            retention_ms,
            ..LogSettings::default()
        }
    }

    #[test]
    fn equal_settings_are_there_once() {
        let mut shared = SharedSettings::default();
        let one = shared.share(with_retention(1));
        assert!(Arc::ptr_eq(&one, &shared.share(with_retention(1))));
        assert!(!Arc::ptr_eq(&one, &shared.share(with_retention(2))));
    }

    #[test]
    fn only_so_many_settings_are_looked_at() {
        let mut shared = SharedSettings::default();
        let all: Vec<_> = (0..100)
            .map(|ms| shared.share(with_retention(ms)))
            .collect();
        assert_eq!(shared.0.len(), SHARED_MAX);
        assert!(Arc::ptr_eq(&all[99], &shared.share(with_retention(99))));
        drop(all);
        shared.share(with_retention(100));
        assert_eq!(shared.0.len(), 1);
    }
}
