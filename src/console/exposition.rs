//! pure: text format of Prometheus, version 0.0.4: families of samples with one sample per line.

use std::fmt::{Display, Write};

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// Name and value of a label.
pub type Label<'a> = (&'a str, &'a (dyn Display + Sync));

/// Text in the making. The sender [takes](Self::take) it in pieces.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family. The following samples belong to it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.family = name;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// Adds a sample to the current family.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.sample_of("", labels, value)
    }

    /// Adds a sample whose name is that of the current family with a suffix.
    pub fn sample_of(
        &mut self,
        suffix: &str,
        labels: &[Label<'_>],
        value: impl Display,
    ) -> &mut Self {
        self.text += self.family;
        self.text += suffix;
        let mut before = '{';
        for (name, label) in labels {
            self.text.push(before);
            self.text += name;
            self.text += "=\"";
            let from = self.text.len();
            self.put(format_args!("{label}"));
            self.escape(from);
            self.text.push('"');
            before = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.put(format_args!(" {value}\n"));
        self
    }

    /// Text added since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Escapes special characters of a label value, which starts at `from` in the text.
    fn escape(&mut self, from: usize) {
        if self.text[from..].contains(['\\', '"', '\n']) {
            let plain = self.text.split_off(from);
            for letter in plain.chars() {
                match letter {
                    '\\' => self.text += "\\\\",
                    '"' => self.text += "\\\"",
                    '\n' => self.text += "\\n",
                    other => self.text.push(other),
                }
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_are_written_as_prometheus_reads_them() {
        let mut text = Exposition::default();
        text.family("kafka_brokers", Kind::Gauge, "Brokers.")
            .sample(&[], 3);
        text.family("requests_total", Kind::Counter, "Requests.")
            .sample(&[("request", &"Fetch"), ("version", &13)], 7)
            .sample_of("_count", &[("name", &"a\\b\"c\nd")], 0.5);
        let expected = r#"# HELP kafka_brokers Brokers.
# TYPE kafka_brokers gauge
kafka_brokers 3
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{request="Fetch",version="13"} 7
requests_total_count{name="a\\b\"c\nd"} 0.5
"#;
        assert_eq!(text.len(), expected.len());
        assert_eq!(text.take(), expected);
        assert_eq!(text.take(), "");
    }
}
