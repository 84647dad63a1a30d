//! pure: the settings of a subscription to client metrics. Kafka's `ClientMetricsConfigs`, KIP-714.
//!
//! Subscriptions are stored and shown, but no client is asked for metrics, as in a Kafka without a plug-in that receives them.

use regex::Regex;

use super::setting::Kind::{Int, List};
use super::setting::Scope::ClusterWide;
use super::setting::Support::Later;
use super::setting::Valid::Any;
use super::setting::{Setting, find, row};
use super::topic::Overrides;

/// The settings of subscriptions in alphabetical order of their names.
pub const CLIENT_METRICS_SETTINGS: &[Setting] = &[
    row(
        INTERVAL,
        Int,
        Some("300000"),
        Any,
        ClusterWide,
        Later,
        "",
        "",
    ),
    row(MATCH, List, Some(""), Any, ClusterWide, Later, "", ""),
    row("metrics", List, Some(""), Any, ClusterWide, Later, "", ""),
];

const INTERVAL: &str = "interval.ms";
const MATCH: &str = "match";
/// Allowed intervals between two pushes of metrics by a client, in milliseconds.
const INTERVALS_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;
/// Properties of a client that a match pattern can test.
const SELECTORS: &[&str] = &[
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];
/// Largest size of a compiled pattern in bytes. Patterns come from clients, so their size is limited.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Fault of a setting, with the message for the user who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The setting is unknown or out of bounds.
    Request(String),
    /// The value is malformed.
    Value(String),
}

/// Checks the settings of one subscription.
pub fn check(own: &Overrides) -> Result<(), Fault> {
    for (name, value) in own {
        let setting = find(CLIENT_METRICS_SETTINGS, name).ok_or_else(|| {
            Fault::Request(format!("Unknown client metrics configuration: {name}"))
        })?;
        setting.check(value).map_err(Fault::Value)?;
        match name.as_str() {
            INTERVAL => {
                let interval = value.trim().parse().unwrap_or(0);
                if !INTERVALS_MS.contains(&interval) {
                    return Err(Fault::Request(format!(
                        "Invalid value {value} for {INTERVAL}, interval must be between {} and {} (1 hour)",
                        INTERVALS_MS.start(),
                        INTERVALS_MS.end()
                    )));
                }
            }
            MATCH => check_patterns(value)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_patterns(value: &str) -> Result<(), Fault> {
    let patterns = value.split(',').map(str::trim);
    for pattern in patterns.filter(|pattern| !pattern.is_empty()) {
        let selected = pattern.split_once('=').filter(|(selector, regex)| {
            SELECTORS.contains(&selector.trim()) && !regex.is_empty() && !regex.contains('=')
        });
        let compiles = |regex: &str| {
            let mut builder = regex::RegexBuilder::new(regex);
            builder.size_limit(PATTERN_BYTES_MAX).build()
        };
        let regex: Option<Regex> = selected.and_then(|(_, regex)| compiles(regex.trim()).ok());
        if regex.is_none() {
            return Err(Fault::Value(format!(
                "Illegal client matching pattern: {pattern}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_checked_as_kafka_checks_it() {
        for (name, value, good) in [
            ("interval.ms", "100", true),
            ("interval.ms", "99", false),
            ("interval.ms", "3600001", false),
            ("interval.ms", "x", false),
            ("metrics", "", true),
            ("metrics", "org.apache.kafka.producer.,*", true),
            ("match", "", true),
            ("match", "client_id=a.*, client_source_port=90[0-9]+", true),
            ("match", "client_id", false),
            ("match", "client_id=(", false),
            ("match", "client_id=((a{9999}){9999}){9999}", false),
            ("match", "who=a", false),
            ("no.such", "1", false),
        ] {
            let own = Overrides::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(check(&own).is_ok(), good, "{name}={value}");
        }
    }
}
