//! Responses of two brokers as comparable text: values that always differ are masked, and lists are sorted.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use anyhow::Result;
use regex::Regex;

/// Replacements for values that always differ: ids, addresses, timestamps and error messages.
#[derive(Debug)]
pub struct Masks(Vec<(Regex, &'static str)>);

impl Masks {
    pub fn new() -> Result<Self> {
        let masks = [
            (r"\b1[78]\d{11}\b", "TIME"),
            (r#"host: "[^"]*""#, "HOST"),
            (r"port: \d+", "PORT"),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
            (r#"cluster_id: (Some\()?"[^"]*"\)?"#, "CLUSTER"),
            (r#"member_id: "[A-Za-z0-9_-]{22}""#, "MEMBER-ID"),
            (r"topic_id: A{22}", "NO-TOPIC-ID"),
            (r"topic_id: [A-Za-z0-9_-]{22}", "TOPIC-ID"),
            (r"replica_directory_id: \S+,", "DIRECTORY-ID"),
            (r#"log_dir: "[^"]*""#, "DIR"),
            (r"producer_id: \d+", "PRODUCER"),
            (r"session_id: [1-9]\d*", "SESSION"),
            (
                r#"documentation: Some\("(?:[^"\\]|\\.)*"\)"#,
                "DOCUMENTATION",
            ),
            (r"(total|usable)_bytes: \d+", "BYTES"),
            // Error messages are this broker's own. Sometimes it has one where Kafka has none.
            (
                r#"_message: (None|Some\("(?:[^"\\]|\\.)*"\))"#,
                "_message: TEXT",
            ),
            (
                r#"value: Some\("(\w+://)?(127.0.0.1|localhost):\d+[^"]*"\)"#,
                "ADDRESS",
            ),
            (r#"value: Some\("[^"]*/(data|apache)"\)"#, "DIR"),
            (r"1@127.0.0.1:\d+", "VOTERS"),
        ];
        let masks = masks.into_iter();
        let masks = masks.map(|(mask, name)| Ok((Regex::new(mask)?, name)));
        Ok(Self(masks.collect::<Result<_>>()?))
    }

    pub fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (mask, name) in &self.0 {
            text = mask.replace_all(&text, *name).into_owned();
        }
        text
    }

    /// The comparable text of a response.
    pub fn plain(&self, answer: &impl fmt::Debug) -> String {
        sorted(&self.mask(&format!("{answer:?}")))
    }
}

/// The same text with the structs of each list sorted, because Kafka lists them in the order of its hash tables.
fn sorted(text: &str) -> String {
    let mut rest = text.chars().peekable();
    sorted_until(&mut rest, None)
}

/// Copies the text up to the closing bracket `end`, and sorts the lists in it.
fn sorted_until(rest: &mut Peekable<Chars<'_>>, end: Option<char>) -> String {
    let mut items = vec![String::new()];
    let mut structs = false;
    while let Some(letter) = rest.next() {
        let close = match letter {
            '[' => Some(']'),
            '{' => Some('}'),
            '(' => Some(')'),
            _ => None,
        };
        if Some(letter) == end {
            if end == Some(']') && structs {
                items.sort();
            }
            return items.join(", ") + &letter.to_string();
        }
        if letter == ',' && end == Some(']') && rest.next_if_eq(&' ').is_some() {
            items.push(String::new());
            continue;
        }
        let item = items
            .last_mut()
            .unwrap_or_else(|| unreachable!("there is always one"));
        item.push(letter);
        if letter == '"' {
            quoted(rest, item);
        }
        if let Some(close) = close {
            structs |= letter == '{';
            item.push_str(&sorted_until(rest, Some(close)));
        }
    }
    items.join(", ")
}

fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(letter) = rest.next() {
        out.push(letter);
        match letter {
            '"' => return,
            '\\' => out.extend(rest.next()),
            _ => {}
        }
    }
}

#[test]
fn lists_of_structs_are_sorted_and_nothing_else() {
    let text = r#"R { a: [X { n: "[b]" }, X { n: "a, \"" }], b: [3, 1], c: b"]," }"#;
    let expected = r#"R { a: [X { n: "[b]" }, X { n: "a, \"" }], b: [3, 1], c: b"]," }"#;
    assert_eq!(sorted(text), expected);
    assert_eq!(
        sorted("[X { n: 2 }, X { n: 1 }]"),
        "[X { n: 1 }, X { n: 2 }]"
    );
}
