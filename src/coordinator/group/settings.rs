//! pure: what of the broker's settings concerns groups.

/// Kafka's `group.*` and `offsets.*` settings.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub initial_rebalance_delay_ms: i32,
    /// Members that a group may have.
    pub members_max: usize,
    /// How long the offsets of an empty group are kept.
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_ms: i64,
    /// Characters (UTF-16 units) of the text beside a committed offset.
    pub offset_metadata_max: usize,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: i32::MAX as usize,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_ms: 600_000,
            offset_metadata_max: 4_096,
        }
    }
}
