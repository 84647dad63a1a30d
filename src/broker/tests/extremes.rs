//! Test of every numeric setting at its smallest and largest value: a node starts or reports why not, answers requests, and
//! stops.

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::config::broker_table::BROKER_SETTINGS;
use crate::config::setting::{Kind, Setting, Support, Valid};
use crate::peer::connection::CallError;
use crate::wire::message::Request;
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};

/// Number of nodes at once.
const AT_ONCE: usize = 4;

/// Smallest and largest allowed value.
fn ends(setting: &Setting) -> Option<[String; 2]> {
    let (min, max) = match setting.kind {
        Kind::Short => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Kind::Int => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Kind::Long => (i64::MIN, i64::MAX),
        Kind::Double => {
            let [min, max] = match setting.valid {
                Valid::AtLeast(min) => [min, f64::MAX],
                Valid::Between(min, max) => [min, max],
                _ => [f64::MIN, f64::MAX],
            };
            return Some([min.to_string(), max.to_string()]);
        }
        _ => return None,
    };
    let (min, max) = match setting.valid {
        Valid::AtLeast(least) => (least as i64, max),
        Valid::Between(least, most) => (least as i64, most as i64),
        Valid::BetweenOrMinusOne(_, most) => (-1, most as i64),
        _ => (min, max),
    };
    Some([min.to_string(), max.to_string()])
}

async fn ask<Q: Request>(client: &Channel, request: Q) -> Result<(), String> {
    match client.call(&request, WITHIN).await {
        Err(error @ CallError::Timeout(_)) => Err(error.to_string()),
        // Some settings refuse all clients or all requests.
        _ => Ok(()),
    }
}

/// Starts, uses and stops a node with the given settings.
///
/// Errors: the step that did not complete.
async fn try_node(settings: &[(&str, &str)]) -> Result<(), String> {
    let broker = match timeout(WITHIN, TemporaryBroker::start(settings)).await {
        Err(_) => return Err("it did not start".to_owned()),
        Ok(Err(error)) if error.to_string().is_empty() => {
            return Err("it did not say why it does not start".to_owned());
        }
        Ok(Err(_)) => return Ok(()),
        Ok(Ok(broker)) => broker,
    };
    let client = client(&broker);
    let topics = vec![CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    }];
    let create = CreateTopicsRequest {
        topics,
        timeout_ms: 10_000,
        ..Default::default()
    };
    let created = client.call(&create, WITHIN).await;
    let topic_id = match created {
        Err(error @ CallError::Timeout(_)) => return Err(format!("create: {error}")),
        created => created.map_or(Uuid::ZERO, |answer| answer.topics[0].topic_id),
    };
    let mut batch = BatchBuilder::new(Compression::Gzip);
    batch.push(1, None, Some(b"v"));
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            topic_id,
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::Bytes(batch.build())),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    ask(&client, produce)
        .await
        .map_err(|why| format!("produce: {why}"))?;
    let fetch = FetchRequest {
        max_wait_ms: 10,
        max_bytes: i32::MAX,
        topics: vec![FetchTopic {
            topic_id,
            partitions: vec![FetchPartition {
                partition_max_bytes: i32::MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    ask(&client, fetch)
        .await
        .map_err(|why| format!("fetch: {why}"))?;
    for key_type in [0, 1] {
        let find = FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec!["x".into()],
            ..Default::default()
        };
        ask(&client, find)
            .await
            .map_err(|why| format!("find a coordinator: {why}"))?;
    }
    let join = JoinGroupRequest {
        group_id: "g".into(),
        // The answer comes at once, because the request has no member id.
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    if let Ok(asked) = client.call(&join, WITHIN).await {
        // The delay for further members of a new group is a setting, too.
        let waits = settings
            .iter()
            .any(|(name, _)| *name == "group.initial.rebalance.delay.ms");
        let again = JoinGroupRequest {
            member_id: asked.member_id,
            ..join
        };
        let joined = async {
            match waits {
                true => Ok(()),
                false => ask(&client, again).await,
            }
        };
        joined.await.map_err(|why| format!("join: {why}"))?;
    } else {
        ask(&client, join)
            .await
            .map_err(|why| format!("join: {why}"))?;
    }
    let init = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: 1,
        ..Default::default()
    };
    ask(&client, init)
        .await
        .map_err(|why| format!("init: {why}"))?;
    ask(&client, ListGroupsRequest::default())
        .await
        .map_err(|why| format!("list groups: {why}"))?;
    if let Ok(why) = timeout(Duration::ZERO, broker.failed()).await {
        return Err(why);
    }
    let stopped = timeout(WITHIN, broker.stop()).await;
    stopped.map_err(|_| "it did not stop".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_may_be_as_small_and_as_large_as_it_may_be() {
    let mut cases: Vec<Vec<(&str, String)>> = Vec::new();
    let mut others = [Vec::new(), Vec::new()];
    for setting in BROKER_SETTINGS {
        let Some(values) = ends(setting) else {
            continue;
        };
        for (value, others) in values.into_iter().zip(&mut others) {
            assert_eq!(setting.check(&value), Ok(()), "{}={value}", setting.name);
            match setting.support {
                Support::Works => cases.push(vec![(setting.name, value)]),
                Support::Later | Support::Meaningless => others.push((setting.name, value)),
            }
        }
    }
    cases.extend(others);
    let max = i64::MAX.to_string();
    // Settings that are in no table, and combinations.
    cases.push(vec![("log.initial.task.delay.ms", max.clone())]);
    cases.push(vec![("log.initial.task.delay.ms", "0".to_owned())]);
    cases.push(vec![
        ("log.retention.ms", max.clone()),
        ("log.retention.check.interval.ms", "1".to_owned()),
        ("log.initial.task.delay.ms", "0".to_owned()),
        ("offsets.retention.check.interval.ms", "1".to_owned()),
    ]);
    cases.push(vec![
        ("offsets.retention.check.interval.ms", max.clone()),
        ("log.roll.ms", max.clone()),
        ("log.roll.jitter.ms", max.clone()),
        ("log.segment.delete.delay.ms", max.clone()),
        ("connections.max.idle.ms", max),
    ]);

    let (mut running, mut faults) = (JoinSet::new(), Vec::new());
    let mut cases = cases.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some(case) = cases.next()
        {
            running.spawn(async move {
                let settings: Vec<_> = case
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let tried = try_node(&settings).await;
                tried.map_err(|why| format!("{settings:?}: {why}"))
            });
        }
        match running.join_next().await {
            Some(Ok(tried)) => faults.extend(tried.err()),
            Some(Err(panic)) => faults.push(panic.to_string()),
            None => break,
        }
    }
    assert_eq!(faults, [""; 0]);
}
