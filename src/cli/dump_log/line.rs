//! pure: a line of output, as text or JSON.

use serde_json::{Map, Value};

/// One line of output: names and values, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    fields: Vec<(&'static str, Shown)>,
    inset: bool,
}

/// A value, which is formatted differently in text and JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    Plain(Value),
    /// A number that text shows as Java's `OptionalLong`.
    Optional(Option<i64>),
    /// A value that text shows without its name.
    Bare(String),
}

impl<V: Into<Value>> From<V> for Shown {
    fn from(value: V) -> Self {
        Self::Plain(value.into())
    }
}

impl Line {
    /// An indented line, for a record below its batch.
    pub fn inset() -> Self {
        Self {
            inset: true,
            ..Self::default()
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<Shown>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub fn push(&mut self, name: &'static str, value: impl Into<Shown>) {
        self.fields.push((name, value.into()));
    }

    /// The line as text: `name: value name: value`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if self.inset && !self.fields.is_empty() {
            out.push('|');
        }
        for (name, value) in &self.fields {
            if !out.is_empty() {
                out.push(' ');
            }
            match value {
                Shown::Bare(text) => out.push_str(text),
                Shown::Optional(None) => out.push_str(&format!("{name}: OptionalLong.empty")),
                Shown::Optional(Some(number)) => {
                    out.push_str(&format!("{name}: OptionalLong[{number}]"));
                }
                Shown::Plain(Value::String(text)) => out.push_str(&format!("{name}: {text}")),
                Shown::Plain(Value::Array(list)) => {
                    let list: Vec<_> = list.iter().map(plain).collect();
                    out.push_str(&format!("{name}: [{}]", list.join(",")));
                }
                Shown::Plain(other) => out.push_str(&format!("{name}: {other}")),
            }
        }
        out
    }

    /// The line as a JSON object.
    pub fn json(&self) -> String {
        let mut object = Map::new();
        for (name, value) in &self.fields {
            let value = match value {
                Shown::Plain(value) => value.clone(),
                Shown::Optional(number) => Value::from(*number),
                Shown::Bare(text) => Value::from(text.as_str()),
            };
            object.insert((*name).to_owned(), value);
        }
        Value::Object(object).to_string()
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kafkas_and_json_is_json() {
        let line = Line::inset()
            .with("offset", 5)
            .with("deleteHorizonMs", Shown::Optional(None))
            .with("headerKeys", vec!["a", "b"])
            .with("payload", "p");
        assert_eq!(
            line.text(),
            "| offset: 5 deleteHorizonMs: OptionalLong.empty headerKeys: [a,b] payload: p"
        );
        assert_eq!(
            line.json(),
            r#"{"offset":5,"deleteHorizonMs":null,"headerKeys":["a","b"],"payload":"p"}"#
        );
    }
}
