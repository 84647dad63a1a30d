//! pure: broker settings and group overrides that concern groups.

use std::sync::Arc;

use super::assignor::Assignor;
use super::migrate::MigrationPolicy;
use crate::base::memory::Memory;
use crate::config::broker::{BrokerSettings, REGEX_REFRESH, UNSETTLED_HEARTBEAT};
use crate::config::setting::duration_ms;
use crate::config::topic::Overrides;

/// Kafka's `group.*` and `offsets.*` settings.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    pub initial_rebalance_delay_ms: i32,
    /// Limit of members per group.
    pub members_max: usize,
    /// Time for which the offsets of an empty group are kept, in milliseconds.
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_ms: i64,
    /// Length limit of the metadata of a committed offset, in UTF-16 units.
    pub offset_metadata_max: usize,
    /// Limit of groups per partition of `__consumer_offsets`.
    pub groups_max: usize,
    /// Memory accounting for the data of members.
    pub memory: Arc<Memory>,
    pub consumer: ConsumerSettings,
    pub share: ShareSettings,
}

/// Settings of groups of the consumer protocol: Kafka's `group.consumer.*`, and whether the protocol is served.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Whether `group.coordinator.rebalance.protocols` lists the consumer protocol.
    pub is_served: bool,
    pub members_max: usize,
    pub policy: MigrationPolicy,
    /// Assignors that are served. The first one is used for groups whose members name none.
    pub assignors: Vec<Assignor>,
    pub session_ms: Bounded,
    pub heartbeat_ms: Bounded,
    /// Minimum time between two assignments of one group.
    pub assignment_ms: Bounded,
    /// Heartbeat interval while the group has not settled, in milliseconds.
    pub unsettled_heartbeat_ms: i32,
    /// Age after which the topics that match regular expressions are determined again, in milliseconds.
    pub regex_refresh_ms: i32,
}

/// A setting that groups may override, with the broker's default and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    pub usual: i32,
    pub min: i32,
    pub max: i32,
}

/// Settings of sessions, heartbeats and assignments in force for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub session_ms: i32,
    pub heartbeat_ms: i32,
    pub assignment_ms: i32,
}

/// Kafka's names of the settings that groups may override. The broker's setting is `group.` with the same name; see
/// `Bounded::new` for the bounds.
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

impl Bounded {
    /// Reads the broker's default and bounds of the setting with this name.
    fn new(settings: &BrokerSettings, name: &str) -> Self {
        let (of, what) = name.split_once('.').unwrap_or(("", name));
        Self {
            usual: settings.int(&format!("group.{name}")),
            min: settings.int(&format!("group.{of}.min.{what}")),
            max: settings.int(&format!("group.{of}.max.{what}")),
        }
    }

    /// The setting in a cluster with these overrides of all brokers. They may change while the broker runs.
    fn with(self, all: Option<&Overrides>, name: &str) -> Self {
        let usual = all.and_then(|all| all.get(&format!("group.{name}"))?.trim().parse().ok());
        Self {
            usual: usual.unwrap_or(self.usual),
            ..self
        }
    }

    /// Value in force for a group with these overrides. An override outside of the broker's present bounds is clamped to them.
    fn of(self, own: Option<&Overrides>, name: &str) -> i32 {
        let own = own.and_then(|own| own.get(name)?.parse().ok());
        own.map_or(self.usual, |own: i32| own.min(self.max).max(self.min))
    }
}

/// Value of a broker setting that is missing in Kafka's table of settings.
fn unlisted(settings: &BrokerSettings, (name, default): (&str, i32)) -> i32 {
    let value = settings.explicit(name);
    let value = value.and_then(|value| value.trim().parse().ok());
    value.unwrap_or(default)
}

impl ConsumerSettings {
    fn new(settings: &BrokerSettings) -> Self {
        let bounded = |name: &str| Bounded::new(settings, name);
        let words = |name: &str| {
            let value = settings.get(name).unwrap_or_default();
            let words = value.split(',').map(|word| word.trim().to_owned());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
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
            unsettled_heartbeat_ms: unlisted(settings, UNSETTLED_HEARTBEAT),
            regex_refresh_ms: unlisted(settings, REGEX_REFRESH),
        }
    }

    /// Values in force for a group with these overrides, in a cluster with those of all brokers.
    pub fn intervals(&self, own: Option<&Overrides>, all: Option<&Overrides>) -> Intervals {
        Intervals {
            session_ms: self.session_ms.of(own, SESSION),
            heartbeat_ms: self.heartbeat_ms.of(own, HEARTBEAT),
            assignment_ms: self.assignment_ms.with(all, ASSIGNMENT).of(own, ASSIGNMENT),
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

/// Settings of share groups: Kafka's `group.share.*`.
#[derive(Clone, Debug)]
pub struct ShareSettings {
    pub members_max: usize,
    /// Limit of share sessions of all groups on this broker.
    pub sessions_max: usize,
    session_ms: Bounded,
    heartbeat_ms: Bounded,
    assignment_ms: Bounded,
    lock_ms: Bounded,
    deliveries: Bounded,
    locks: Bounded,
    /// Time without an answer after which partitions are initialised again, in milliseconds.
    pub initialise_again_ms: i32,
    /// See [`ConsumerSettings::unsettled_heartbeat_ms`].
    pub unsettled_heartbeat_ms: i32,
}

/// Position at which a share group starts in a partition that is new to the group (`share.auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    Latest,
    Earliest,
    /// Position of this age, in milliseconds.
    ByDuration(i64),
}

/// Delivery settings in force for one share group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub lock_ms: i32,
    pub deliveries_max: i16,
    pub locks_max: i32,
    pub reset: OffsetReset,
    pub reads_committed: bool,
    /// Whether members may extend acquisition locks.
    pub renews: bool,
}

const SHARE_SESSION: &str = "share.session.timeout.ms";
const SHARE_HEARTBEAT: &str = "share.heartbeat.interval.ms";
const SHARE_ASSIGNMENT: &str = "share.assignment.interval.ms";
const SHARE_LOCK: &str = "share.record.lock.duration.ms";
const SHARE_DELIVERIES: &str = "share.delivery.count.limit";
const SHARE_LOCKS: &str = "share.partition.max.record.locks";
const SHARE_RESET: &str = "share.auto.offset.reset";
const SHARE_ISOLATION: &str = "share.isolation.level";
const SHARE_RENEW: &str = "share.renew.acknowledge.enable";
/// Setting with Kafka's name and default. Kafka does not list it in its table of settings.
const INITIALISE_AGAIN: (&str, i32) = ("group.share.initialize.retry.interval.ms", 30_000);

impl ShareSettings {
    pub fn new(settings: &BrokerSettings) -> Self {
        let bounded = |name: &str| Bounded::new(settings, name);
        let count = |name: &str| settings.int(name).max(0) as usize;
        Self {
            members_max: count("group.share.max.size"),
            sessions_max: count("group.share.max.share.sessions"),
            session_ms: bounded(SHARE_SESSION),
            heartbeat_ms: bounded(SHARE_HEARTBEAT),
            assignment_ms: bounded(SHARE_ASSIGNMENT),
            lock_ms: bounded(SHARE_LOCK),
            deliveries: bounded(SHARE_DELIVERIES),
            locks: bounded(SHARE_LOCKS),
            initialise_again_ms: unlisted(settings, INITIALISE_AGAIN),
            unsettled_heartbeat_ms: unlisted(settings, UNSETTLED_HEARTBEAT),
        }
    }

    /// Values in force for a group with these overrides, in a cluster with those of all brokers.
    pub fn intervals(&self, own: Option<&Overrides>, all: Option<&Overrides>) -> Intervals {
        Intervals {
            session_ms: self.session_ms.of(own, SHARE_SESSION),
            heartbeat_ms: self.heartbeat_ms.of(own, SHARE_HEARTBEAT),
            assignment_ms: self
                .assignment_ms
                .with(all, SHARE_ASSIGNMENT)
                .of(own, SHARE_ASSIGNMENT),
        }
    }

    /// Delivery settings in force for a group with these overrides.
    pub fn delivery(&self, own: Option<&Overrides>) -> Delivery {
        let word = |name: &str| own.and_then(|own| own.get(name)).map(|word| word.trim());
        let deliveries = self.deliveries.of(own, SHARE_DELIVERIES);
        Delivery {
            lock_ms: self.lock_ms.of(own, SHARE_LOCK),
            deliveries_max: i16::try_from(deliveries).unwrap_or(i16::MAX),
            locks_max: self.locks.of(own, SHARE_LOCKS),
            reset: word(SHARE_RESET).map_or(OffsetReset::Latest, OffsetReset::named),
            reads_committed: word(SHARE_ISOLATION)
                .is_some_and(|word| word.eq_ignore_ascii_case("read_committed")),
            renews: word(SHARE_RENEW).is_none_or(|word| !word.eq_ignore_ascii_case("false")),
        }
    }
}

impl OffsetReset {
    /// Parses a value that was validated when it was set.
    fn named(word: &str) -> Self {
        match word.split_once(':') {
            Some((_, duration)) => Self::ByDuration(duration_ms(duration).unwrap_or(0)),
            None if word.eq_ignore_ascii_case("earliest") => Self::Earliest,
            None => Self::Latest,
        }
    }
}

impl Default for ShareSettings {
    fn default() -> Self {
        let bounded = |usual, min, max| Bounded { usual, min, max };
        Self {
            members_max: 200,
            sessions_max: 2_000,
            session_ms: bounded(45_000, 45_000, 60_000),
            heartbeat_ms: bounded(5_000, 5_000, 15_000),
            assignment_ms: bounded(1_000, 0, 15_000),
            lock_ms: bounded(30_000, 15_000, 60_000),
            deliveries: bounded(5, 2, 10),
            locks: bounded(2_000, 100, 4_000),
            initialise_again_ms: INITIALISE_AGAIN.1,
            unsettled_heartbeat_ms: UNSETTLED_HEARTBEAT.1,
        }
    }
}

/// Divisor of the memory limit for groups: all groups together may take half of the limit on memory held for clients, in
/// addition to that limit. Groups must be limited, because a client that commits each offset for another group creates as many
/// groups, and each is kept for a week.
const PART_OF_MEMORY: usize = 2;
/// Bytes of memory of a group with one offset.
const GROUP_BYTES: usize = 1_000;
/// Bytes of memory of a member without the data that the member sends: its ids, timers and partitions.
pub const MEMBER_BYTES: usize = 1_000;
/// Lower bound of the limit of groups per partition of `__consumer_offsets`.
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
            share: ShareSettings::new(settings),
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
            share: ShareSettings::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_brokers_together_may_change_the_time_between_assignments() {
        let of = |name: &str, value: &str| Overrides::from([(name.to_owned(), value.to_owned())]);
        let all = of("group.share.assignment.interval.ms", "7000");
        let own = of(SHARE_ASSIGNMENT, "3000");
        let share = ShareSettings::default();
        let assignment = |own, all| share.intervals(own, all).assignment_ms;
        assert_eq!(assignment(None, None), 1_000);
        assert_eq!(assignment(None, Some(&all)), 7_000);
        assert_eq!(assignment(Some(&own), Some(&all)), 3_000);
        let consumer = ConsumerSettings::default();
        assert_eq!(consumer.intervals(None, Some(&all)).assignment_ms, 1_000);
        let all = of("group.consumer.assignment.interval.ms", "7000");
        assert_eq!(consumer.intervals(None, Some(&all)).assignment_ms, 7_000);
    }
}
