//! pure: definition of a setting: a table row with its type, default, range and support.

use std::collections::BTreeSet;

/// The type of a value, as DescribeConfigs reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// The type's number in DescribeConfigs answers.
    pub fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// Restriction of the values of a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    Any,
    AtLeast(f64),
    Between(f64, f64),
    BetweenOrMinusOne(f64, f64),
    /// One of these words; for a list, each element must be.
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    NonEmpty,
    /// A list without empty or duplicate elements.
    Distinct,
    /// A list of `partition:broker`, or `*` for all.
    Replicas,
    /// `earliest`, `latest`, or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// How a setting may be changed while the broker runs. Kafka's documentation calls this the update mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// How this broker treats a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Works,
    /// Accepted with a warning: the feature does not exist yet.
    Later,
    /// Accepted in silence: the setting tunes something that only Apache Kafka has.
    Meaningless,
}

/// A row of a table of settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Option<&'static str>,
    pub valid: Valid,
    pub scope: Scope,
    pub support: Support,
    /// For a topic setting, the broker setting that gives its default. For a group setting likewise, if its name differs.
    pub broker_synonym: &'static str,
    pub doc: &'static str,
}

#[expect(
    clippy::too_many_arguments,
    reason = "a row of a table, read as columns"
)]
pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    valid: Valid,
    scope: Scope,
    support: Support,
    broker_synonym: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        default,
        valid,
        scope,
        support,
        broker_synonym,
        doc,
    }
}

/// The row of the setting with this name. The table must be sorted by name.
pub fn find(table: &'static [Setting], name: &str) -> Option<&'static Setting> {
    let index = table
        .binary_search_by(|setting| setting.name.cmp(name))
        .ok()?;
    table.get(index)
}

impl Setting {
    /// Whether values must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Checks a value; the error is worded as Apache Kafka's tools show it.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let value = value.trim();
        let invalid = |why: String| {
            format!(
                "Invalid value {value} for configuration {}: {why}",
                self.name
            )
        };
        let number = match self.kind {
            Kind::Boolean => {
                let word = value.to_ascii_lowercase();
                return if word == "true" || word == "false" {
                    Ok(())
                } else {
                    Err(invalid(
                        "Expected value to be either true or false".to_owned(),
                    ))
                };
            }
            Kind::Short => integer(value, i64::from(i16::MIN), i64::from(i16::MAX))
                .ok_or_else(|| invalid("Not a number of type SHORT".to_owned()))?,
            Kind::Int => integer(value, i64::from(i32::MIN), i64::from(i32::MAX))
                .ok_or_else(|| invalid("Not a number of type INT".to_owned()))?,
            Kind::Long => integer(value, i64::MIN, i64::MAX)
                .ok_or_else(|| invalid("Not a number of type LONG".to_owned()))?,
            Kind::Double => value
                .parse()
                .map_err(|_| invalid("Not a number of type DOUBLE".to_owned()))?,
            Kind::String | Kind::List | Kind::Class | Kind::Password => {
                return self.check_words(value);
            }
        };
        match self.valid {
            Valid::AtLeast(min) if number < min => {
                Err(invalid(format!("Value must be at least {min}")))
            }
            Valid::Between(min, _) if number < min => {
                Err(invalid(format!("Value must be at least {min}")))
            }
            Valid::Between(_, max) if number > max => {
                Err(invalid(format!("Value must be no more than {max}")))
            }
            Valid::BetweenOrMinusOne(min, max)
                if number != -1.0 && !(min..=max).contains(&number) =>
            {
                Err(invalid(format!(
                    "Value must be between {min} and {max} or -1"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A value in the form that Apache Kafka shows after parsing it: numbers, booleans and lists are normalized.
    pub fn shown(&self, value: &str) -> String {
        let trimmed = value.trim();
        let number = || trimmed.parse::<i64>().ok().map(|number| number.to_string());
        let shown = match self.kind {
            Kind::Boolean => Some(trimmed.to_ascii_lowercase()),
            Kind::Short | Kind::Int | Kind::Long => number(),
            Kind::Double => trimmed.parse().ok().map(double),
            Kind::List => {
                // If only some words are allowed, duplicates are dropped. Empty elements are shown.
                let once = matches!(self.valid, Valid::OneOf(_));
                let mut words: Vec<&str> = Vec::new();
                for word in trimmed.split(',').map(str::trim) {
                    if !once || !words.contains(&word) {
                        words.push(word);
                    }
                }
                Some(words.join(","))
            }
            Kind::String | Kind::Class | Kind::Password => None,
        };
        shown.unwrap_or_else(|| value.to_owned())
    }

    fn check_words(&self, value: &str) -> Result<(), String> {
        let allowed = |word: &str| match self.valid {
            Valid::OneOf(words) => words.contains(&word),
            Valid::OneOfIgnoringCase(words) => {
                words.iter().any(|known| known.eq_ignore_ascii_case(word))
            }
            _ => true,
        };
        let refuse = |word: &str| {
            let words = match self.valid {
                Valid::OneOf(words) | Valid::OneOfIgnoringCase(words) => words.join(", "),
                _ => String::new(),
            };
            Err(format!(
                "Invalid value {word} for configuration {}: String must be one of: {words}",
                self.name
            ))
        };
        if self.valid == Valid::NonEmpty && value.is_empty() {
            return Err(format!(
                "Invalid value  for configuration {}: String must be non-empty",
                self.name
            ));
        }
        let special = match self.valid {
            Valid::Distinct => is_distinct(value),
            Valid::Replicas => value == "*" || value.split(',').map(str::trim).all(is_replica),
            Valid::OffsetReset => is_offset_reset(value),
            _ => true,
        };
        if !special {
            let what = match self.valid {
                Valid::Distinct => "no element may be empty or named twice",
                Valid::Replicas => "it must be * or a list of PARTITION:BROKER",
                _ => "it must be earliest, latest or by_duration:PnDTnHnMn.nS",
            };
            return Err(format!(
                "Invalid value {value} for configuration {}: {what}",
                self.name
            ));
        }
        if self.kind == Kind::List {
            // A list may be empty. Empty elements are refused if only some words are allowed.
            let mut words = value
                .split(',')
                .map(str::trim)
                .filter(|_| !value.is_empty());
            let strict = matches!(self.valid, Valid::OneOf(_) | Valid::OneOfIgnoringCase(_));
            return match words.find(|word| (strict || !word.is_empty()) && !allowed(word)) {
                Some(word) => refuse(word),
                None => Ok(()),
            };
        }
        if allowed(value) {
            Ok(())
        } else {
            refuse(value)
        }
    }
}

fn is_distinct(value: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut words = value.split(',').map(str::trim);
    value.is_empty() || words.all(|word| !word.is_empty() && seen.insert(word))
}

/// Whether a word is `partition:broker`, or empty: an empty list is allowed.
fn is_replica(word: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    word.is_empty()
        || word
            .split_once(':')
            .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

fn is_offset_reset(value: &str) -> bool {
    match value.strip_prefix("by_duration:") {
        Some(duration) => is_duration(duration),
        None => matches!(value, "earliest" | "latest"),
    }
}

/// Whether a text is a duration as Java reads it, without a sign: `P2DT3H4M5.6S`, with one or more of these parts.
fn is_duration(text: &str) -> bool {
    duration_ms(text).is_some()
}

/// Milliseconds of a duration as Java reads it; see `is_duration`. `None` for other texts.
pub fn duration_ms(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    if rest.is_empty() || time == Some("") {
        return None;
    }
    let mut left = days;
    let mut all = take_number(&mut left, 'D', false)?.saturating_mul(24 * 3_600);
    if !left.is_empty() {
        return None;
    }
    let mut left = time.unwrap_or_default();
    for (unit, fraction, seconds) in [('H', false, 3_600), ('M', false, 60), ('S', true, 1)] {
        let part = take_number(&mut left, unit, fraction)?.saturating_mul(seconds);
        all = all.saturating_add(part);
    }
    left.is_empty().then_some(all)
}

/// Removes a part such as `12H` from the beginning, if the unit occurs. Returns thousandths of the unit; `None` if the number is
/// malformed.
fn take_number(left: &mut &str, unit: char, fraction: bool) -> Option<i64> {
    let Some((number, rest)) = left.split_once(unit) else {
        return Some(0);
    };
    *left = rest;
    let (whole, parts) = match number.split_once('.') {
        Some((whole, parts)) if fraction => (whole, parts),
        _ => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_good = (1..=DIGITS_MAX).contains(&whole.len())
        && digits(whole)
        && parts.len() <= 9
        && digits(parts);
    if !is_good {
        return None;
    }
    let thousandths: i64 = format!("{parts:0<3}").get(..3)?.parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000 + thousandths)
}

/// Limit of the number of digits: any such number of days, in milliseconds, fits in 64 bits.
const DIGITS_MAX: usize = 10;

fn integer(value: &str, min: i64, max: i64) -> Option<f64> {
    value
        .parse::<i64>()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .map(|number| number as f64)
}

/// A number in Java's format: always with a decimal point, and with an exponent from ten million on or below a thousandth.
pub fn double(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// The elements of a comma-separated list, without surrounding spaces and without empty elements.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::broker_table::BROKER_SETTINGS;
    use crate::config::group_table::GROUP_SETTINGS;
    use crate::config::topic_table::TOPIC_SETTINGS;

    #[test]
    fn tables_are_sorted_and_their_defaults_are_valid() {
        for table in [BROKER_SETTINGS, TOPIC_SETTINGS, GROUP_SETTINGS] {
            assert!(table.is_sorted_by_key(|setting| setting.name));
            for setting in table {
                if let Some(default) = setting.default.filter(|default| !default.is_empty()) {
                    assert_eq!(setting.check(default), Ok(()), "{}", setting.name);
                }
                if !setting.broker_synonym.is_empty() {
                    assert!(
                        find(BROKER_SETTINGS, setting.broker_synonym).is_some(),
                        "{}",
                        setting.name
                    );
                }
            }
        }
    }

    #[test]
    fn web_interfaces_have_something_to_say_about_each_setting_of_a_topic() {
        for setting in TOPIC_SETTINGS {
            assert!(!setting.doc.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn values_are_shown_as_kafka_shows_them() {
        for (name, value, expected) in [
            ("log.retention.ms", " +5 ", "5"),
            ("log.preallocate", "TRUE", "true"),
            (
                "log.cleanup.policy",
                "delete, compact,delete",
                "delete,compact",
            ),
            ("log.cleanup.policy", "", ""),
            ("log.dirs", "/b, /a,/b", "/b,/a,/b"),
            ("log.dirs", "/b,", "/b,"),
            ("log.cleaner.min.cleanable.ratio", "1", "1.0"),
            ("log.cleaner.min.cleanable.ratio", "5e-1", "0.5"),
            ("log.cleaner.min.cleanable.ratio", "0.0005", "5.0E-4"),
            ("log.cleaner.io.max.bytes.per.second", "1e9", "1.0E9"),
            (
                "log.cleaner.io.max.bytes.per.second",
                "9999999",
                "9999999.0",
            ),
            (
                "log.cleaner.io.max.bytes.per.second",
                "12345678",
                "1.2345678E7",
            ),
            ("compression.type", "gzip", "gzip"),
        ] {
            let setting = find(BROKER_SETTINGS, name).unwrap();
            assert_eq!(setting.shown(value), expected, "{name}={value}");
        }
    }

    #[test]
    fn words_of_a_form_of_their_own_are_checked_as_kafka_checks_them() {
        let replicas = find(TOPIC_SETTINGS, "leader.replication.throttled.replicas");
        let reset = find(GROUP_SETTINGS, "share.auto.offset.reset");
        let tags = find(GROUP_SETTINGS, "streams.rack.aware.assignment.tags");
        for (setting, good, bad) in [
            (
                replicas,
                &["", "*", "0:1", " 0:1", "0:1,1:1", ","][..],
                &["x", "0:*", "0:1:2", "-1:1", "a,b", "1", "*,0:1"][..],
            ),
            (
                reset,
                &[
                    "earliest",
                    "latest",
                    "by_duration:P1D",
                    "by_duration:pt1h2m3.5s",
                ],
                &[
                    "",
                    "none",
                    "by_duration:",
                    "by_duration:P",
                    "by_duration:PT",
                    "by_duration:-PT1S",
                    "by_duration:P1H",
                    "by_duration:PT1S2M",
                ],
            ),
            (tags, &["", "a", "a,b"], &[",", "a,", "a,a"]),
        ] {
            let setting = setting.unwrap();
            for value in good {
                assert_eq!(setting.check(value), Ok(()), "{value:?}");
            }
            for value in bad {
                assert!(setting.check(value).is_err(), "{value:?}");
            }
        }
    }

    #[test]
    fn values_are_checked_as_kafka_checks_them() {
        let check =
            |name: &str, value: &str| find(TOPIC_SETTINGS, name).unwrap().check(value).err();
        assert_eq!(check("retention.ms", "-1"), None);
        assert!(
            check("retention.ms", "abc")
                .unwrap()
                .ends_with("Not a number of type LONG")
        );
        assert!(
            check("retention.ms", "-2")
                .unwrap()
                .ends_with("Value must be at least -1")
        );
        assert_eq!(check("cleanup.policy", "compact, delete"), None);
        assert!(check("cleanup.policy", "compact,x").is_some());
        assert_eq!(check("cleanup.policy", ""), None);
        assert!(check("cleanup.policy", ",").is_some());
        assert!(check("cleanup.policy", "compact,").is_some());
        assert!(check("compression.gzip.level", "0").is_some());
        assert_eq!(check("compression.gzip.level", "-1"), None);
        assert!(check("preallocate", "yes").is_some());
    }
}
