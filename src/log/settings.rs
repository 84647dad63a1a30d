//! pure: what a log must know of its topic's settings, as plain values.

use crate::base::time::Timestamp;
use crate::wire::batch::compression::{Compression, Levels};

/// Settings of one log. Names are those of the topic settings, with their units.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub segment_jitter_ms: i64,
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    /// -1 for no limit.
    pub retention_bytes: i64,
    /// -1 for no limit.
    pub retention_ms: i64,
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    pub max_message_bytes: u32,
    /// `None` keeps what the producer chose.
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
    /// Whether a record of this creation time may be appended at `now`.
    pub fn accepts_timestamp(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        now.saturating_sub(timestamp) <= self.timestamp_before_max_ms
            && timestamp.saturating_sub(now) <= self.timestamp_after_max_ms
    }
}
