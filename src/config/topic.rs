//! pure: settings of one topic: the topic's own values have precedence over the broker's.

use std::collections::BTreeMap;

use super::broker::BrokerSettings;
use super::setting::{self, Setting, find};
use super::topic_table::TOPIC_SETTINGS;

/// Explicit settings of one topic, group or other resource by name, as the metadata log keeps them.
pub type Overrides = BTreeMap<String, String>;

/// The settings in force for one topic: its own values first, then the broker's defaults, then Kafka's.
#[derive(Clone, Copy, Debug)]
pub struct TopicSettings<'a> {
    pub own: Option<&'a Overrides>,
    pub broker: &'a BrokerSettings,
}

impl TopicSettings<'_> {
    /// The value of a topic setting in force.
    pub fn get(&self, name: &str) -> Option<String> {
        let setting = find(TOPIC_SETTINGS, name)?;
        if let Some(own) = self.own.and_then(|own| own.get(name)) {
            return Some(setting.shown(own));
        }
        broker_default(self.broker, setting).or_else(|| setting.default.map(str::to_owned))
    }

    pub fn long(&self, name: &str) -> i64 {
        self.get(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    }

    pub fn double(&self, name: &str) -> f64 {
        self.get(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0.0)
    }

    pub fn boolean(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    pub fn list_has(&self, name: &str, word: &str) -> bool {
        self.get(name)
            .is_some_and(|value| setting::list(&value).any(|element| element == word))
    }
}

/// The broker's default for a topic setting, in the unit of the topic setting; `None` if the broker sets none.
pub fn broker_default(broker: &BrokerSettings, setting: &Setting) -> Option<String> {
    match setting.name {
        "retention.ms" => Some(broker.retention_ms().to_string()),
        "segment.ms" => Some(broker.roll_ms().to_string()),
        "segment.jitter.ms" => Some(broker.roll_jitter_ms().to_string()),
        "flush.ms" => Some(broker.flush_ms().to_string()),
        _ if setting.broker_synonym.is_empty() => None,
        _ => (broker.explicit(setting.broker_synonym)).map(|value| setting.shown(value)),
    }
}

/// Checks a topic's own settings, one by one and in combination with the broker's values of the others. The error is a message
/// for the user who set them.
pub fn check(own: &Overrides, broker: &BrokerSettings) -> Result<(), String> {
    for (name, value) in own {
        let setting = find(TOPIC_SETTINGS, name)
            .ok_or_else(|| format!("Unknown topic config name: {name}"))?;
        setting.check(value)?;
    }
    let in_force = TopicSettings {
        own: Some(own),
        broker,
    };
    if in_force.boolean("remote.storage.enable") {
        return Err("remote.storage.enable: this broker has no tiered storage".to_owned());
    }
    let min = in_force.long("min.compaction.lag.ms");
    let max = in_force.long("max.compaction.lag.ms");
    if min > max {
        return Err(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_on_tiered_storage_is_refused() {
        let broker = BrokerSettings::default();
        for (value, good) in [("true", false), (" TRUE ", false), ("false", true)] {
            let own = Overrides::from([("remote.storage.enable".to_owned(), value.to_owned())]);
            assert_eq!(check(&own, &broker).is_ok(), good, "{value}");
        }
    }
}
