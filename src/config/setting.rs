//! pure: what a setting is: a row with its type, default, range and standing.

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
    /// The number in DescribeConfigs answers.
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

/// Which values of the type are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    Any,
    AtLeast(f64),
    Between(f64, f64),
    BetweenOrMinusOne(f64, f64),
    /// One of these words; each element of a list.
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    NonEmpty,
}

/// When a setting may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// What this broker makes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    Works,
    /// Accepted with a warning: the capability is not there yet.
    Later,
    /// It tunes something that exists only inside of Apache Kafka; accepted in silence.
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
    /// For a topic setting, the broker setting that gives its default.
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

/// The row of a name.
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

    /// A value as Apache Kafka shows it once it has read it: numbers, words and lists each in one way.
    pub fn shown(&self, value: &str) -> String {
        let trimmed = value.trim();
        let number = || trimmed.parse::<i64>().ok().map(|number| number.to_string());
        let shown = match self.kind {
            Kind::Boolean => Some(trimmed.to_ascii_lowercase()),
            Kind::Short | Kind::Int | Kind::Long => number(),
            Kind::Double => trimmed.parse().ok().map(double),
            Kind::List => {
                // Where only some words are allowed, each counts once; elsewhere also one that is empty is shown.
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
        if self.kind == Kind::List {
            // A list may have no words at all, but where only some are allowed none that is empty.
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

fn integer(value: &str, min: i64, max: i64) -> Option<f64> {
    value
        .parse::<i64>()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .map(|number| number as f64)
}

/// As Java writes it: always with a point, and from ten million on with an exponent.
fn double(number: f64) -> String {
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

/// The elements of a comma-separated list; spaces around them do not count.
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
