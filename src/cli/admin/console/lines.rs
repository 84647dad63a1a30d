//! pure: parser of lines into records with headers, key and value. Kafka's `LineMessageReader`.

use super::{is_true, property};
use crate::cli::admin::client::Failure;

/// Separators of headers, key and value, for those parts that are read.
pub(super) struct Lines {
    headers: Option<Headers>,
    key_separator: Option<String>,
    null_marker: Option<String>,
    ignore_error: bool,
}

struct Headers {
    /// Separators: after all headers, between two headers, and between a header's name and value.
    delimiter: String,
    separator: String,
    key_separator: String,
}

/// Name and value of a header.
type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The record in a line.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) headers: Vec<Header<'a>>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl Lines {
    /// A parser with the properties of `--reader-property`.
    pub(super) fn new(properties: &[String]) -> Self {
        let said = |key| property(properties, key);
        let is = |key, default| is_true(said(key), default);
        let text = |key, default: &str| {
            let text = said(key).filter(|text| !text.is_empty());
            text.unwrap_or(default).to_owned()
        };
        Self {
            headers: is("parse.headers", false).then(|| Headers {
                delimiter: text("headers.delimiter", "\t"),
                separator: text("headers.separator", ","),
                key_separator: text("headers.key.separator", ":"),
            }),
            key_separator: is("parse.key", false).then(|| text("key.separator", "\t")),
            null_marker: said("null.marker").map(str::to_owned),
            ignore_error: is("ignore.error", false),
        }
    }

    pub(super) fn read<'a>(&self, line: &'a str) -> Result<Line<'a>, Failure> {
        let mut record = Line::default();
        let mut rest = line;
        if let Some(headers) = &self.headers {
            match rest.split_once(headers.delimiter.as_str()) {
                Some((text, after)) => {
                    record.headers = self.read_headers(headers, text)?;
                    rest = after;
                }
                // A line that is only the null marker has no headers to parse.
                None if self.ignore_error || self.null(rest).is_none() => {}
                None => return Err(format!("No header delimiter found on line: '{line}'").into()),
            }
        }
        if let Some(separator) = &self.key_separator {
            match rest.split_once(separator.as_str()) {
                Some((key, after)) => {
                    record.key = self.null(key);
                    rest = after;
                }
                None if self.ignore_error => {}
                None => return Err(format!("No key separator found on line: '{line}'").into()),
            }
        }
        record.value = self.null(rest);
        Ok(record)
    }

    fn null<'a>(&self, text: &'a str) -> Option<&'a [u8]> {
        (self.null_marker.as_deref() != Some(text)).then_some(text.as_bytes())
    }

    fn read_headers<'a>(
        &self,
        headers: &Headers,
        text: &'a str,
    ) -> Result<Vec<Header<'a>>, Failure> {
        if self.null(text).is_none() || text.is_empty() {
            return Ok(Vec::new());
        }
        let pairs = text.split(headers.separator.as_str());
        pairs
            .map(
                |pair| match pair.split_once(headers.key_separator.as_str()) {
                    Some((name, value)) => Ok((name.as_bytes(), self.null(value))),
                    None if self.ignore_error => Ok((pair.as_bytes(), None)),
                    None => Err(format!("No header key separator found in pair '{pair}'").into()),
                },
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_headers_a_key_and_a_value() {
        let check = |options: &str, line: &str, expected: &str| {
            let given: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
            let text = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                None => "null".to_owned(),
            };
            let shown = match Lines::new(&given).read(line) {
                Ok(record) => {
                    let headers: Vec<String> = record
                        .headers
                        .iter()
                        .map(|(name, value)| format!("{}={}", text(Some(name)), text(*value)))
                        .collect();
                    let (key, value) = (text(record.key), text(record.value));
                    format!("{}|{key}|{value}", headers.join("&"))
                }
                Err(Failure(text)) => text,
            };
            assert_eq!(shown, expected, "{line}");
        };
        const KEY: &str = "parse.key=true";
        const HEADERS: &str = "parse.headers=true";
        check("", "a:b", "|null|a:b");
        check(&format!("{KEY} key.separator=:"), "a:b:c", "|a|b:c");
        // A comma works like any other separator; it is often used.
        check(&format!("{KEY} key.separator=,"), "a,b,c", "|a|b,c");
        check(KEY, "a\tb", "|a|b");
        check(KEY, "ab", "No key separator found on line: 'ab'");
        check(
            &format!("{KEY} key.separator=: null.marker=-"),
            "a:-",
            "|a|null",
        );
        check(
            &format!("{KEY} {HEADERS}"),
            "h1:v1,h2:v2\tk\tv",
            "h1=v1&h2=v2|k|v",
        );
        check(HEADERS, "\tv", "|null|v");
        check(HEADERS, "v", "No header delimiter found on line: 'v'");
        check(HEADERS, "h\tv", "No header key separator found in pair 'h'");
        check(
            &format!(
                "{HEADERS} headers.delimiter=; headers.separator=| \
                 headers.key.separator=~"
            ),
            "a~1|b~2;v",
            "a=1&b=2|null|v",
        );
    }
}
