//! pure: the options of Kafka's own tools: `--name value`, `--name=value`, any unambiguous beginning of a name, repeated
//! where it makes sense.

use std::collections::BTreeMap;

/// An option that a tool knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value,
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    given: BTreeMap<&'static str, Vec<String>>,
    /// What stands without an option before it.
    pub words: Vec<String>,
}

/// Reads arguments. Errors are worded for whoever typed them.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    known: &[(&'static str, Takes)],
) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let long = argument.strip_prefix("--");
        let short = || {
            argument
                .strip_prefix('-')
                .filter(|rest| rest.starts_with(char::is_alphabetic))
        };
        let Some(text) = long.or_else(short) else {
            options.words.push(argument);
            continue;
        };
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let exact = known.iter().find(|(other, _)| *other == name);
        let mut similar = known.iter().filter(|(other, _)| other.starts_with(name));
        let (name, takes) = match (exact, similar.next(), similar.next()) {
            (Some(found), ..) | (None, Some(found), None) => *found,
            _ if name == "help" => return Err(usage(known)),
            _ => return Err(format!("{name} is not a recognized option")),
        };
        let values = options.given.entry(name).or_default();
        match (takes, attached) {
            (Takes::Nothing, None) => {}
            (Takes::Nothing, Some(_)) => return Err(format!("Option {name} takes no argument")),
            (Takes::Value, Some(value)) => values.push(value),
            (Takes::Value, None) => match arguments.next() {
                Some(value) => values.push(value),
                None => return Err(format!("Option {name} requires an argument")),
            },
        }
    }
    Ok(options)
}

/// The options in the order of the alphabet, those of one letter left out.
fn usage(known: &[(&'static str, Takes)]) -> String {
    let mut lines: Vec<String> = known
        .iter()
        .filter(|(name, _)| name.len() > 1)
        .map(|(name, takes)| match takes {
            Takes::Nothing => format!("--{name}"),
            Takes::Value => format!("--{name} <value>"),
        })
        .collect();
    lines.sort();
    format!(
        "The options of Apache Kafka's tool of this name that are here:\n{}",
        lines.join("\n")
    )
}

impl Options {
    pub fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The last value, as in Kafka's tools.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last().map(String::as_str)
    }

    pub fn values(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn required(&self, name: &str) -> Result<&str, String> {
        self.value(name)
            .ok_or_else(|| format!("Missing required argument \"[{name}]\""))
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.value(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("Cannot parse argument '{text}' of option {name}"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Takes)] = &[
        ("topic", Takes::Value),
        ("list", Takes::Nothing),
        ("property", Takes::Value),
        ("partitions", Takes::Value),
        ("replication-factor", Takes::Value),
    ];

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = parse(text.split_whitespace().map(str::to_owned), KNOWN);
        let found = found.map(|options| {
            let mut parts: Vec<String> = Vec::new();
            for (name, values) in &options.given {
                parts.push(format!("{name}={}", values.join(",")));
            }
            parts.extend(options.words);
            parts.join(" ")
        });
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn options_are_read_in_all_their_spellings() {
        check(
            "--topic a --list --property k=v --property=x=y word",
            Ok("list= property=k=v,x=y topic=a word"),
        );
        check("--topi a -list", Ok("list= topic=a"));
        check("--topic -1", Ok("topic=-1"));
        check(
            "--help",
            Err(
                "The options of Apache Kafka's tool of this name that are here:\n--list\n\
                --partitions <value>\n--property <value>\n--replication-factor <value>\n--topic <value>",
            ),
        );
        check("--p 1", Err("p is not a recognized option"));
        check("--nope", Err("nope is not a recognized option"));
        check("--topic", Err("Option topic requires an argument"));
        check("--list=1", Err("Option list takes no argument"));
    }
}
