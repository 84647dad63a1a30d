//! Administrative requests of tests. Apache Kafka's broker applies decisions of its controller a moment after the response; the
//! functions here return only when a change has been applied.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, FindCoordinatorRequest, ListGroupsRequest,
    ListOffsetsRequest, ListTransactionsRequest, TopicName, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use crate::exchange::Connection;
use crate::programs::eventually;

const LIMIT: Duration = Duration::from_secs(120);
const COORDINATORS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];
const COORDINATOR_PARTITIONS: i32 = 50;
const TRANSACTION_VERSION: &str = "transaction.version";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Creates topics with `partitions` partitions each and without retention by time, so that records may be old. Returns the topic
/// ids.
pub fn create(
    connection: &mut Connection,
    topics: &[&str],
    partitions: i32,
) -> Result<BTreeMap<String, Uuid>> {
    create_with(connection, topics, partitions, &[("retention.ms", "-1")])
}

/// Creates topics with `partitions` partitions each and with `settings`. Returns the topic ids.
pub fn create_with(
    connection: &mut Connection,
    topics: &[&str],
    partitions: i32,
    settings: &[(&str, &str)],
) -> Result<BTreeMap<String, Uuid>> {
    let settings = settings.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let settings: Vec<CreatableTopicConfig> = settings.collect();
    let wanted = topics.iter().map(|topic| {
        CreatableTopic::default()
            .with_name(TopicName(text(topic)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.clone())
    });
    let request = CreateTopicsRequest::default()
        .with_topics(wanted.collect())
        .with_timeout_ms(60_000);
    let made = connection.call(7, &request)?;
    ensure!(
        made.topics.iter().all(|one| one.error_code == 0),
        "{made:?}"
    );
    led(connection, topics, partitions)?;
    let made = made.topics.into_iter();
    Ok(made
        .map(|one| (one.name.0.to_string(), one.topic_id))
        .collect())
}

/// Waits until all partitions of the topics have a leader.
pub fn led(connection: &mut Connection, topics: &[&str], partitions: i32) -> Result<()> {
    let ends = (0..partitions).map(|partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(-1)
    });
    let ends: Vec<ListOffsetsPartition> = ends.collect();
    let ends = topics.iter().map(|topic| {
        ListOffsetsTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(ends.clone())
    });
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(ends.collect());
    until(connection, 7, &request, |answer| {
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.all(|one| one.error_code == 0)
    })
}

/// Makes a broker create the internal topics of its coordinators, and waits until all of their partitions have been loaded.
pub fn load_coordinators(connection: &mut Connection) -> Result<()> {
    for key_type in [0, 1] {
        let find = FindCoordinatorRequest::default()
            .with_key_type(key_type)
            .with_coordinator_keys(vec![text("x")]);
        until(connection, 4, &find, |answer| {
            answer.coordinators.iter().all(|one| one.error_code == 0)
        })?;
    }
    led(connection, &COORDINATORS, COORDINATOR_PARTITIONS)?;
    let groups = ListGroupsRequest::default();
    until(connection, 4, &groups, |answer| answer.error_code == 0)?;
    let transactions = ListTransactionsRequest::default();
    until(connection, 1, &transactions, |answer| {
        answer.error_code == 0
    })
}

fn until<R: Request + Debug>(
    connection: &mut Connection,
    version: i16,
    request: &R,
    seen: impl Fn(&R::Response) -> bool,
) -> Result<()>
where
    R::Response: Debug,
{
    let mut last = None;
    let done = eventually(LIMIT, || {
        last = connection.call(version, request).ok();
        last.as_ref().is_some_and(&seen)
    });
    ensure!(done, "{request:?} is answered by {last:?}");
    Ok(())
}

/// Sets the feature level of `transaction.version`.
pub fn set_transaction_version(connection: &mut Connection, version: i16) -> Result<()> {
    let update = FeatureUpdateKey::default()
        .with_feature(StrBytes::from_static_str(TRANSACTION_VERSION))
        .with_max_version_level(version)
        .with_upgrade_type(2);
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(60_000)
        .with_feature_updates(vec![update]);
    let done = connection.call(1, &request)?;
    ensure!(done.error_code == 0, "{done:?}");
    let mut level = None;
    let heard = eventually(LIMIT, || {
        level = finalized(connection).ok();
        level == Some(version)
    });
    ensure!(heard, "{TRANSACTION_VERSION} is {level:?}");
    Ok(())
}

/// The finalized level of `transaction.version`. A level of 0 is not in the response.
fn finalized(connection: &mut Connection) -> Result<i16> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let answer = connection.call(3, &request).context("ApiVersions")?;
    let features = answer.finalized_features.iter();
    let mut levels = features
        .filter(|one| &*one.name == TRANSACTION_VERSION)
        .map(|one| one.max_version_level);
    Ok(levels.next().unwrap_or(0))
}
