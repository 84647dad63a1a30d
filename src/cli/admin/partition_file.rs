//! pure: parser for the JSON files in which Kafka's tools name partitions: `{"partitions": [{"topic": …, "partition": …, …}]}`.

use serde_json::Value;

use super::client::Failure;
use super::groups::Partition;

/// A partition of a file, with the whole JSON object of its entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) partition: Partition,
    pub(super) more: Value,
}

/// The partitions of a file, in its order.
///
/// Errors: a message for the author of the file, without the file's name.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let whole = parsed(text)?;
    let Some(entries) = whole["partitions"].as_array() else {
        return Err("it has no list \"partitions\"".to_owned());
    };
    let mut found: Vec<Entry> = Vec::new();
    for entry in entries {
        let topic = entry["topic"].as_str();
        let index = entry["partition"].as_i64();
        let (Some(topic), Some(Ok(index))) = (topic, index.map(i32::try_from)) else {
            return Err(format!("{entry} has no \"topic\" or no \"partition\""));
        };
        let partition = (topic.to_owned(), index);
        if found.iter().any(|other| other.partition == partition) {
            return Err(format!("it names {topic}-{index} twice"));
        }
        found.push(Entry {
            partition,
            more: entry.clone(),
        });
    }
    Ok(found)
}

/// Parses a text as JSON and checks its `version`.
pub(super) fn parsed(text: &str) -> Result<Value, String> {
    let whole: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    match whole["version"].as_i64() {
        None | Some(1) => Ok(whole),
        Some(other) => Err(format!("version {other} is not supported")),
    }
}

/// Adds the name of a file to an error.
pub(super) fn in_file(path: &str) -> impl Fn(String) -> Failure + '_ {
    move |what| Failure(format!("{path}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_a_file_are_named() {
        let check = |text: &str, expected: &str| {
            let fault = entries(text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        };
        check("{", "it is not JSON");
        check("{}", "no list");
        check(r#"{"partitions":[{"topic":"a"}]}"#, "no \"partition\"");
        check(
            r#"{"partitions":[{"topic":"a","partition":3000000000}]}"#,
            "no \"partition\"",
        );
        check(
            r#"{"partitions":[{"topic":"a","partition":1},{"topic":"a","partition":1}]}"#,
            "it names a-1 twice",
        );
        check(r#"{"version":2,"partitions":[]}"#, "version 2");
        let found =
            entries(r#"{"version":1,"partitions":[{"topic":"a","partition":1,"offset":7}]}"#);
        let found = found.unwrap();
        assert_eq!(found[0].partition, ("a".to_owned(), 1));
        assert_eq!(found[0].more["offset"], 7);
    }
}
