//! pure: what of the broker's settings concerns groups.

use std::sync::Arc;

use crate::base::memory::Memory;
use crate::config::broker::BrokerSettings;

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
    /// Groups that a partition of the internal topic may have.
    pub groups_max: usize,
    /// Where it counts what members say of themselves.
    pub memory: Arc<Memory>,
}

/// Groups may take this part of the limit on what clients make the broker hold, besides what that limit is of: who commits
/// offsets of another group each time makes as many groups, which are kept for a week.
const PART_OF_MEMORY: usize = 2;
/// Bytes of memory that a group with one offset takes.
const GROUP_BYTES: usize = 1_000;
/// A partition of the internal topic may have so many groups at least.
const GROUPS_MIN: usize = 100;

fn groups_max(memory: &Memory, partitions: i32) -> usize {
    let all = memory.limit() / PART_OF_MEMORY / GROUP_BYTES;
    (all / partitions.max(1) as usize).max(GROUPS_MIN)
}

impl GroupSettings {
    pub fn new(settings: &BrokerSettings, memory: &Arc<Memory>) -> Self {
        let count = |name: &str| settings.int(name).max(0) as usize;
        Self {
            session_timeout_ms_min: settings.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: settings.int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: settings.int("group.initial.rebalance.delay.ms"),
            members_max: count("group.max.size"),
            offsets_retention_ms: i64::from(settings.int("offsets.retention.minutes")) * 60_000,
            offsets_retention_check_ms: settings.long("offsets.retention.check.interval.ms"),
            offset_metadata_max: count("offset.metadata.max.bytes"),
            groups_max: groups_max(memory, settings.int("offsets.topic.num.partitions")),
            memory: Arc::clone(memory),
        }
    }
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
            groups_max: usize::MAX,
            memory: Memory::new(1 << 30),
        }
    }
}
