//! Tests of directories of partitions that are being made while other topics are created or deleted, or the node stops.

use std::fs;
use std::path::Path;

use super::log_dirs::{Node, three};
use super::*;
use crate::host::Host;
use crate::replica::manager::ReplicaManager;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

const HELD: &str = "held";
/// Number of partitions below the limit on concurrent work.
const FEW: i32 = 3;
/// Number of partitions above this limit.
const MANY: i32 = 20;

fn replicas(broker: &TemporaryBroker) -> ReplicaManager {
    broker.services().replicas.clone()
}

/// Starts to create a topic from a client of its own. Gives the error code.
fn created(address: String, name: &'static str, partitions: i32) -> tokio::task::JoinHandle<i16> {
    tokio::spawn(async move {
        let request = creation(name, partitions);
        let client = Channel::new(&Host::default(), address, Identity::new("test"));
        let answer = client.call(&request, WITHIN).await;
        answer.map_or(-1, |answer| answer.topics[0].error_code)
    })
}

async fn deleted(client: &Channel, name: &str) -> i16 {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(name.into()),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    answer.responses[0].error_code
}

/// Waits until the metadata have a topic of this name with an id other than `before`. Gives the id.
async fn known(
    services: &crate::api::services::Services,
    name: &str,
    before: Option<Uuid>,
) -> Uuid {
    let end = Instant::now() + WITHIN;
    loop {
        let image = services.image.load();
        let id = image.topics.by_name(name).map(|topic| topic.id);
        if let Some(id) = id.filter(|id| Some(*id) != before) {
            return id;
        }
        assert!(Instant::now() < end, "{name} is not known");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn gone(broker: &TemporaryBroker, name: &str) {
    let end = Instant::now() + WITHIN;
    while broker
        .services()
        .image
        .load()
        .topics
        .by_name(name)
        .is_some()
    {
        assert!(Instant::now() < end, "{name} is still known");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Error code of appending a record with a value of `bytes` bytes.
async fn produced(client: &Channel, topic: Uuid, index: i32, bytes: usize) -> ErrorCode {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(1, None, Some(&vec![b'v'; bytes]));
    let request = production(topic, index, batch);
    let answer = client.call(&request, WITHIN).await.unwrap();
    let code = answer.responses[0].partition_responses[0].error_code;
    ErrorCode::from_code(code).unwrap()
}

/// Names of all directories that begin with the topic's name.
fn directories(dir: &Path, topic: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(topic)).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_topic_waits_for_somebody_elses() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    replicas(&broker).hold(HELD);
    let held = created(broker.bootstrap_servers(), HELD, FEW);
    let id = known(broker.services(), HELD, None).await;

    let client = client(&broker);
    let small = create(&client, &["small".to_owned()]).await;
    produce(&client, &small, None).await;
    let change = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: HELD.into(),
            configs: vec![AlterableConfig {
                name: "max.message.bytes".into(),
                config_operation: 0,
                value: Some("100".into()),
            }],
        }],
        ..Default::default()
    };
    let changed = client.call(&change, WITHIN).await.unwrap();
    assert_eq!(changed.responses[0].error_code, 0);
    assert_eq!(deleted(&client, "small").await, 0);
    let early = produced(&client, id, 0, 1).await;
    assert_eq!(early, ErrorCode::NotLeaderOrFollower);
    assert!(!held.is_finished());

    replicas(&broker).let_go(HELD);
    assert_eq!(held.await.unwrap(), 0);
    assert_eq!(produced(&client, id, FEW - 1, 1).await, ErrorCode::None);
    // A setting that was changed meanwhile has taken effect.
    let large = produced(&client, id, 0, 200).await;
    assert_eq!(large, ErrorCode::MessageTooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_and_made_again_while_it_is_made_is_the_last_one() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    replicas(&broker).hold(HELD);
    let first = created(broker.bootstrap_servers(), HELD, MANY);
    let before = known(broker.services(), HELD, None).await;
    let deleter = client(&broker);
    let deletion = tokio::spawn(async move { deleted(&deleter, HELD).await });
    gone(&broker, HELD).await;
    let second = created(broker.bootstrap_servers(), HELD, FEW);
    let id = known(broker.services(), HELD, Some(before)).await;
    replicas(&broker).let_go(HELD);

    assert_eq!(first.await.unwrap(), 0);
    assert_eq!(deletion.await.unwrap(), 0);
    assert_eq!(second.await.unwrap(), 0);
    let client = client(&broker);
    for index in 0..FEW {
        assert_eq!(produced(&client, id, index, 1).await, ErrorCode::None);
    }
    let early = produced(&client, before, 0, 1).await;
    assert_eq!(early, ErrorCode::UnknownTopicId);
    let mut left = directories(broker.dir(), HELD);
    left.retain(|name| !name.ends_with("-delete"));
    assert_eq!(left, ["held-0", "held-1", "held-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_makes_nothing_more_and_the_next_start_makes_the_rest() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let replicas = replicas(&broker);
    replicas.hold(HELD);
    let creator = created(broker.bootstrap_servers(), HELD, MANY);
    let id = known(broker.services(), HELD, None).await;
    let dir = broker.dir().to_owned();
    // The work in progress may continue once the stop has been requested.
    let (broker, ()) = tokio::join!(broker.restart(&[], None), async move {
        replicas.let_go(HELD);
    });
    let broker = broker.unwrap();
    drop(creator.await);
    let client = client(&broker);
    for index in 0..MANY {
        assert_eq!(produced(&client, id, index, 1).await, ErrorCode::None);
    }
    let left = directories(&dir, HELD);
    assert!(
        left.iter().all(|name| !name.ends_with("-stray")),
        "{left:?}"
    );
    assert_eq!(left.len(), MANY as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_removes_what_was_deleted() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let own = client(&broker);
    create(&own, &["gone".to_owned(), "kept".to_owned()]).await;
    let replicas = replicas(&broker);
    replicas.hold("gone");
    let deletion = tokio::spawn(async move { deleted(&own, "gone").await });
    gone(&broker, "gone").await;
    let (broker, ()) = tokio::join!(broker.restart(&[], None), async move {
        replicas.let_go("gone");
    });
    let broker = broker.unwrap();
    drop(deletion.await);
    let mut left = directories(broker.dir(), "gone");
    left.retain(|name| !name.ends_with("-delete"));
    assert_eq!(left, [""; 0]);
    assert_eq!(directories(broker.dir(), "kept"), ["kept-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_topic_is_made_leaves_one_that_the_next_start_makes_whole() {
    let (_root, dirs) = three();
    let node = Node::start(&dirs).await;
    let replicas = node.broker.services().replicas.clone();
    replicas.hold(HELD);
    let address = node.broker.addresses()[0].to_string();
    let creator = created(address, HELD, MANY);
    let id = known(node.broker.services(), HELD, None).await;
    drop(node);
    replicas.let_go(HELD);
    drop((replicas, creator.await));
    // Work in progress keeps the directories locked until it is done.
    let end = Instant::now() + WITHIN;
    let node = loop {
        match log_dirs::try_start(&dirs).await {
            Ok(node) => break node,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    for index in 0..MANY {
        assert_eq!(node.produce(id, index).await, Ok(0));
    }
    let places = dirs.iter().flat_map(|dir| directories(dir, HELD));
    let mut places: Vec<_> = places.collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), MANY as usize);
    node.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_somebody_else_asked_for_just_now_serves_whoever_finds_it() {
    let settings = [("offsets.topic.num.partitions", "3")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    let topic = crate::coordinator::topic::GROUP_TOPIC;
    replicas(&broker).hold(topic);
    let address = broker.bootstrap_servers();
    let found = |address: String| {
        tokio::spawn(async move {
            let client = Channel::new(&Host::default(), address, Identity::new("test"));
            find_coordinator(&client, 0).await;
            let beat = HeartbeatRequest {
                group_id: "x".into(),
                ..Default::default()
            };
            client.call(&beat, WITHIN).await.unwrap().error_code
        })
    };
    let first = found(address.clone());
    known(broker.services(), topic, None).await;
    let second = found(address);
    replicas(&broker).let_go(topic);
    // The coordinator answers that the member is unknown: its partition is loaded, and no other node is the coordinator.
    let unknown = ErrorCode::UnknownMemberId.code();
    assert_eq!(first.await.unwrap(), unknown);
    assert_eq!(second.await.unwrap(), unknown);
}
