//! pure: the text format of Prometheus, version 0.0.4: families of samples, one sample in a line.

use std::fmt::{Display, Write};

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// The name and the value of a label.
pub type Label<'a> = (&'a str, &'a (dyn Display + Sync));

/// Text that grows by families; whoever sends it [takes](Self::take) pieces of it.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// The samples that follow are of this family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.family = name;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// A sample of the family at hand.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.sample_of("", labels, value)
    }

    /// A sample whose name is longer than that of its family.
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

    /// The text since the last one that was taken.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Escapes what is special in the value of a label, from a place of the text on.
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
        // A String takes everything.
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
