//! pure: the settings of one group, each within the bounds that the broker sets. Kafka's `GroupConfig`.

use super::broker::BrokerSettings;
use super::group_table::GROUP_SETTINGS;
use super::setting::find;
use super::topic::Overrides;

/// Group settings, each with the broker settings that hold its minimum (if any) and its maximum.
const BOUNDS: &[(&str, Option<&str>, &str)] = &[
    (
        "consumer.assignment.interval.ms",
        Some("group.consumer.min.assignment.interval.ms"),
        "group.consumer.max.assignment.interval.ms",
    ),
    (
        "consumer.heartbeat.interval.ms",
        Some("group.consumer.min.heartbeat.interval.ms"),
        "group.consumer.max.heartbeat.interval.ms",
    ),
    (
        "consumer.session.timeout.ms",
        Some("group.consumer.min.session.timeout.ms"),
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "share.assignment.interval.ms",
        Some("group.share.min.assignment.interval.ms"),
        "group.share.max.assignment.interval.ms",
    ),
    (
        "share.delivery.count.limit",
        Some("group.share.min.delivery.count.limit"),
        "group.share.max.delivery.count.limit",
    ),
    (
        "share.heartbeat.interval.ms",
        Some("group.share.min.heartbeat.interval.ms"),
        "group.share.max.heartbeat.interval.ms",
    ),
    (
        "share.partition.max.record.locks",
        Some("group.share.min.partition.max.record.locks"),
        "group.share.max.partition.max.record.locks",
    ),
    (
        "share.record.lock.duration.ms",
        Some("group.share.min.record.lock.duration.ms"),
        "group.share.max.record.lock.duration.ms",
    ),
    (
        "share.session.timeout.ms",
        Some("group.share.min.session.timeout.ms"),
        "group.share.max.session.timeout.ms",
    ),
    (
        "streams.assignment.interval.ms",
        Some("group.streams.min.assignment.interval.ms"),
        "group.streams.max.assignment.interval.ms",
    ),
    (
        "streams.heartbeat.interval.ms",
        Some("group.streams.min.heartbeat.interval.ms"),
        "group.streams.max.heartbeat.interval.ms",
    ),
    (
        "streams.num.standby.replicas",
        None,
        "group.streams.max.standby.replicas",
    ),
    (
        "streams.session.timeout.ms",
        Some("group.streams.min.session.timeout.ms"),
        "group.streams.max.session.timeout.ms",
    ),
];
/// Kinds of groups whose session timeout must exceed the heartbeat interval.
const KINDS: &[&str] = &["consumer", "share", "streams"];

/// Checks a group's own settings, each by itself, against the broker's bounds and together.
///
/// Errors: what is wrong, for the user who set them.
pub fn check(own: &Overrides, broker: &BrokerSettings) -> Result<(), String> {
    for (name, value) in own {
        let setting = find(GROUP_SETTINGS, name)
            .ok_or_else(|| format!("Unknown group config name: {name}"))?;
        setting.check(value)?;
    }
    let number = |name: &str| own.get(name).and_then(|value| value.trim().parse().ok());
    for (name, least, most) in BOUNDS {
        let Some(value): Option<i64> = number(name) else {
            continue;
        };
        if let Some(least) = least
            && value < broker.long(least)
        {
            return Err(format!("{name} must not be below {least}"));
        }
        if value > broker.long(most) {
            return Err(format!("{name} must not be above {most}"));
        }
    }
    for kind in KINDS {
        let in_force = |name: &str| {
            let name = format!("{kind}.{name}");
            number(&name).unwrap_or_else(|| broker.long(&format!("group.{name}")))
        };
        if in_force("session.timeout.ms") <= in_force("heartbeat.interval.ms") {
            return Err(format!(
                "{kind}.session.timeout.ms must be above {kind}.heartbeat.interval.ms"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker_table::BROKER_SETTINGS;

    #[test]
    fn bounds_are_settings_of_brokers_and_defaults_lie_within() {
        let broker = BrokerSettings::default();
        for (name, least, most) in BOUNDS {
            for bound in least.iter().chain([most]) {
                assert!(find(BROKER_SETTINGS, bound).is_some(), "{bound}");
            }
            let default = find(GROUP_SETTINGS, name).unwrap().default.unwrap();
            let own = Overrides::from([((*name).to_owned(), default.to_owned())]);
            assert_eq!(check(&own, &broker), Ok(()), "{name}");
        }
        for kind in KINDS {
            for name in ["session.timeout.ms", "heartbeat.interval.ms"] {
                let name = format!("group.{kind}.{name}");
                assert!(find(BROKER_SETTINGS, &name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let told = |settings: &[(&str, &str)]| {
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let broker =
            BrokerSettings::new(told(&[("group.consumer.min.session.timeout.ms", "1000")]));
        for (own, good) in [
            (&[("consumer.session.timeout.ms", "999")][..], false),
            (&[("consumer.session.timeout.ms", "60001")], false),
            (&[("consumer.session.timeout.ms", "5000")], false),
            (&[("consumer.session.timeout.ms", "5001")], true),
            (&[("share.delivery.count.limit", "11")], false),
            (&[("streams.num.standby.replicas", "3")], false),
            (&[("no.such", "3")], false),
            (&[("share.heartbeat.interval.ms", "x")], false),
        ] {
            assert_eq!(check(&told(own), &broker).is_ok(), good, "{own:?}");
        }
    }
}
