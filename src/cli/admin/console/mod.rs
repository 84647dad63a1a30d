//! `kafka-console-producer` and `kafka-console-consumer`: conversion between lines and records.

mod consumer;
mod format;
mod lines;
mod producer;

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Cluster, Failure, WITHIN, name};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponseTopic,
};

pub use consumer::ConsoleConsumer;
pub(super) use consumer::{Fetching, counted, fetch, matching};
pub use producer::ConsoleProducer;
pub(super) use producer::compression;

/// Value of a property among texts `key=value`; the last one counts. As in Kafka's tools, commas are part of values.
pub(super) fn property<'a>(given: &'a [String], key: &str) -> Option<&'a str> {
    let pairs = given.iter().filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(name, _)| *name == key);
    values.map(|(_, value)| value).next_back()
}

/// Whether the value of a property is `true`.
fn is_true(said: Option<&str>, default: bool) -> bool {
    said.map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
}

/// Metadata of a topic once all partitions have leaders. With `create`, the broker may create the topic automatically.
pub(super) async fn topic(
    cluster: &Cluster,
    wanted: &str,
    create: bool,
) -> Result<MetadataResponseTopic, Failure> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(wanted.into()),
                ..Default::default()
            }]),
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let found = cluster.call(&request).await?.topics.into_iter().next();
        let Some(found) = found else {
            return Err("the broker does not answer for the topic".into());
        };
        let led = found
            .partitions
            .iter()
            .all(|partition| partition.leader_id >= 0);
        if found.error_code == 0 && led && !found.partitions.is_empty() {
            return Ok(found);
        }
        let retriable = ErrorCode::from_code(found.error_code)
            .is_none_or(|error| !error.is_error() || error.is_retriable());
        if !retriable || Instant::now() > deadline {
            return Err(format!("{wanted}: {}", name(found.error_code)).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
