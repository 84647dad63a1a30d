//! pure: what of the broker's settings concerns groups.

use std::sync::Arc;

use super::assignor::Assignor;
use super::migrate::MigrationPolicy;
use crate::base::memory::Memory;
use crate::config::broker::{BrokerSettings, REGEX_REFRESH, UNSETTLED_HEARTBEAT};
use crate::config::topic::Overrides;

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
    pub consumer: ConsumerSettings,
}

/// Of groups of the consumer protocol: Kafka's `group.consumer.*`, and which protocols are served at all.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Whether `group.coordinator.rebalance.protocols` has it.
    pub is_served: bool,
    pub members_max: usize,
    pub policy: MigrationPolicy,
    /// The first one serves groups whose members name none.
    pub assignors: Vec<Assignor>,
    pub session_ms: Bounded,
    pub heartbeat_ms: Bounded,
    /// Between two assignments of one group.
    pub assignment_ms: Bounded,
    /// Between two heartbeats of a member while its group has not settled.
    pub unsettled_heartbeat_ms: i32,
    /// After this time the topics that expressions stand for are looked for again.
    pub regex_refresh_ms: i32,
}

/// A setting that a group may have of its own, within the broker's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    pub usual: i32,
    pub min: i32,
    pub max: i32,
}

/// The settings in force for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub session_ms: i32,
    pub heartbeat_ms: i32,
    pub assignment_ms: i32,
}

/// Kafka's names of a group's own settings, and of the broker's where one is not named after the group's.
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

impl ConsumerSettings {
    fn new(settings: &BrokerSettings) -> Self {
        let bounded = |name: &str| {
            let (of, what) = name.split_once('.').unwrap_or(("", name));
            Bounded {
                usual: settings.int(&format!("group.{name}")),
                min: settings.int(&format!("group.{of}.min.{what}")),
                max: settings.int(&format!("group.{of}.max.{what}")),
            }
        };
        let words = |name: &str| {
            let value = settings.get(name).unwrap_or_default();
            let words = value.split(',').map(|word| word.trim().to_owned());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
        };
        let unlisted = |(name, default): (&str, i32)| {
            let value = settings
                .explicit(name)
                .and_then(|value| value.trim().parse().ok());
            value.unwrap_or(default)
        };
        let named = words("group.consumer.assignors");
        let served = words("group.coordinator.rebalance.protocols");
        Self {
            is_served: served
                .iter()
                .any(|word| word.eq_ignore_ascii_case("consumer")),
            members_max: settings.int("group.consumer.max.size").max(0) as usize,
            policy: MigrationPolicy::named(
                settings
                    .get("group.consumer.migration.policy")
                    .unwrap_or_default(),
            ),
            assignors: named
                .iter()
                .filter_map(|name| Assignor::by_name(name))
                .collect(),
            session_ms: bounded(SESSION),
            heartbeat_ms: bounded(HEARTBEAT),
            assignment_ms: bounded(ASSIGNMENT),
            unsettled_heartbeat_ms: unlisted(UNSETTLED_HEARTBEAT),
            regex_refresh_ms: unlisted(REGEX_REFRESH),
        }
    }

    /// In force for a group with these settings of its own.
    pub fn intervals(&self, own: Option<&Overrides>) -> Intervals {
        let of = |name: &str, bounded: Bounded| {
            let own = own.and_then(|own| own.get(name)?.parse().ok());
            // What was set while the bounds were others counts as far as they allow.
            own.map_or(bounded.usual, |own: i32| {
                own.min(bounded.max).max(bounded.min)
            })
        };
        Intervals {
            session_ms: of(SESSION, self.session_ms),
            heartbeat_ms: of(HEARTBEAT, self.heartbeat_ms),
            assignment_ms: of(ASSIGNMENT, self.assignment_ms),
        }
    }
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        let bounded = |usual, min, max| Bounded { usual, min, max };
        Self {
            is_served: true,
            members_max: i32::MAX as usize,
            policy: MigrationPolicy::named("bidirectional"),
            assignors: Assignor::ALL.to_vec(),
            session_ms: bounded(45_000, 45_000, 60_000),
            heartbeat_ms: bounded(5_000, 5_000, 15_000),
            assignment_ms: bounded(1_000, 0, 15_000),
            unsettled_heartbeat_ms: UNSETTLED_HEARTBEAT.1,
            regex_refresh_ms: REGEX_REFRESH.1,
        }
    }
}

/// Groups may take this part of the limit on what clients make the broker hold, besides what that limit is of: who commits
/// offsets of another group each time makes as many groups, which are kept for a week.
const PART_OF_MEMORY: usize = 2;
/// Bytes of memory that a group with one offset takes.
const GROUP_BYTES: usize = 1_000;
/// Bytes of memory that a member of a group takes besides what it says of itself: its ids, its timers, its partitions.
pub const MEMBER_BYTES: usize = 1_000;
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
            consumer: ConsumerSettings::new(settings),
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
            consumer: ConsumerSettings::default(),
        }
    }
}
