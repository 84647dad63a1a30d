//! Tests of brokers in this process: many at once, and the effects of `POST /reset`.

mod cleaner;
mod extremes;
mod listeners;
mod log_dirs;
mod making;
mod metrics;
mod moves;
mod one_thread;
mod quotas;
mod repeats;
mod replication;

use std::time::{Duration, Instant};

use bytestring::ByteString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::temporary::TemporaryBroker;
use crate::base::ids::Uuid;
use crate::config::authorizer::{AUTHORIZER, STANDARD_AUTHORIZER};
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::Identity;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::batch::compression::Compression;
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::message::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::wire::message::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
};
use crate::wire::message::find_coordinator::FindCoordinatorRequest;
use crate::wire::message::heartbeat::HeartbeatRequest;
use crate::wire::message::init_producer_id::InitProducerIdRequest;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::wire::message::list_groups::ListGroupsRequest;
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::wire::message::metadata::MetadataRequest;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use crate::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use crate::wire::message::sync_group::SyncGroupRequest;

const WITHIN: Duration = Duration::from_secs(20);
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

fn client(broker: &TemporaryBroker) -> Channel {
    Channel::new(
        &Host::default(),
        broker.bootstrap_servers(),
        Identity::new("test"),
    )
}

/// Request to create a topic.
fn creation(name: &str, partitions: i32) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    }
}

/// Request to append a batch to a partition.
fn production(topic: Uuid, index: i32, batch: BatchBuilder) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            topic_id: topic,
            partition_data: vec![PartitionProduceData {
                index,
                records: Some(Records::Bytes(batch.build())),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Creates topics. Gives their ids, in order.
async fn create(client: &Channel, names: &[String]) -> Vec<Uuid> {
    let request = CreateTopicsRequest {
        topics: names
            .iter()
            .map(|name| CreatableTopic {
                name: name.as_str().into(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            })
            .collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    assert!(answer.topics.iter().all(|topic| topic.error_code == 0));
    answer.topics.iter().map(|topic| topic.topic_id).collect()
}

async fn names(client: &Channel) -> Vec<String> {
    let answer = client
        .call(&MetadataRequest::default(), WITHIN)
        .await
        .unwrap();
    let names = answer.topics.into_iter().filter_map(|topic| topic.name);
    names.map(|name| name.to_string()).collect()
}

/// Appends a record to each topic, in a transaction if a producer is given.
async fn produce(client: &Channel, topics: &[Uuid], producer: Option<(i64, i16)>) {
    let request = ProduceRequest {
        transactional_id: producer.map(|_| "x".into()),
        acks: -1,
        timeout_ms: 10_000,
        topic_data: topics
            .iter()
            .map(|id| {
                let mut batch = BatchBuilder::new(Compression::None);
                if let Some((id, epoch)) = producer {
                    batch = batch.producer(id, epoch, 0).transactional();
                }
                batch.push(1, None, Some(b"v"));
                TopicProduceData {
                    topic_id: *id,
                    partition_data: vec![PartitionProduceData {
                        index: 0,
                        records: Some(Records::Bytes(batch.build())),
                    }],
                    ..Default::default()
                }
            })
            .collect(),
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    let partitions = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    let codes: Vec<i16> = partitions.map(|partition| partition.error_code).collect();
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
}

/// Makes the internal topic of a coordinator type, as clients do first.
async fn find_coordinator(client: &Channel, key_type: i8) {
    let request = FindCoordinatorRequest {
        key_type,
        coordinator_keys: vec!["x".into()],
        ..Default::default()
    };
    let end = Instant::now() + WITHIN;
    while client.call(&request, WITHIN).await.unwrap().coordinators[0].error_code != 0 {
        assert!(Instant::now() < end, "no coordinator");
    }
}

/// Joins the group g as its only member. Gives the member id and the generation.
async fn join(client: &Channel) -> (ByteString, i32) {
    let member = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let asked = client.call(&member, WITHIN).await.unwrap();
    let again = JoinGroupRequest {
        member_id: asked.member_id,
        ..member
    };
    let joined = client.call(&again, WITHIN).await.unwrap();
    assert_eq!(joined.error_code, 0);
    let sync = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    assert_eq!(client.call(&sync, WITHIN).await.unwrap().error_code, 0);
    (joined.member_id, joined.generation_id)
}

/// Initializes a producer with the transactional id x; an open transaction ends. Gives producer id and epoch.
async fn init_producer(client: &Channel) -> (i64, i16) {
    let producer = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let end = Instant::now() + WITHIN;
    loop {
        let granted = client.call(&producer, WITHIN).await.unwrap();
        if granted.error_code == 0 {
            return (granted.producer_id, granted.producer_epoch);
        }
        assert!(Instant::now() < end, "error {}", granted.error_code);
    }
}

async fn offset(client: &Channel, topic: &str, at: i64) -> i64 {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition {
                timestamp: at,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    answer.topics[0].partitions[0].offset
}

async fn http(broker: &TemporaryBroker, request: &str) -> String {
    send(broker, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

async fn send(broker: &TemporaryBroker, text: &str) -> String {
    let mut stream = TcpStream::connect(broker.admin().unwrap()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// High watermark of the metadata log.
async fn metadata_end(client: &Channel) -> i64 {
    let request = DescribeQuorumRequest {
        topics: vec![DescribeQuorumRequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![DescribeQuorumRequestPartitionData::default()],
        }],
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    answer.topics[0].partitions[0].high_watermark
}

#[tokio::test]
async fn an_idle_metadata_log_goes_on_unless_told_otherwise() {
    let idle = |ms| [("metadata.max.idle.interval.ms", ms)];
    let (fast, never) = (idle("5"), idle("0"));
    let goes_on = TemporaryBroker::start(&fast).await.unwrap();
    let stays = TemporaryBroker::start(&never).await.unwrap();
    let (goes_on, stays) = (client(&goes_on), client(&stays));
    let (before, still) = (metadata_end(&goes_on).await, metadata_end(&stays).await);
    let deadline = Instant::now() + WITHIN;
    while metadata_end(&goes_on).await < before + 5 {
        assert!(Instant::now() < deadline, "the metadata log stands still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(metadata_end(&stays).await, still);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_brokers_in_one_process_know_nothing_of_each_other() {
    let mut brokers = Vec::new();
    for index in 0..20 {
        let broker = TemporaryBroker::start(&[]).await.unwrap();
        create(&client(&broker), &[format!("own-{index}")]).await;
        brokers.push(broker);
    }
    let dirs: Vec<_> = brokers
        .iter()
        .map(|broker| broker.dir().to_owned())
        .collect();
    for (index, broker) in brokers.iter().enumerate() {
        assert_eq!(names(&client(broker)).await, [format!("own-{index}")]);
    }
    let addresses: Vec<_> = brokers.iter().map(|broker| broker.addresses()[0]).collect();
    drop(brokers);
    let mut left = addresses.len();
    let end = Instant::now() + WITHIN;
    while left > 0 && Instant::now() < end {
        left = 0;
        for address in &addresses {
            left += usize::from(TcpStream::connect(address).await.is_ok());
        }
    }
    assert_eq!(left, 0, "brokers that still listen");
    assert!(dirs.iter().all(|dir| !dir.exists()), "directories stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_empties_topics_and_forgets_groups_and_transactions() {
    let settings = [("monedula.admin.listener", "HTTP://127.0.0.1:0")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    let client = client(&broker);
    let topics: Vec<String> = (0..100).map(|index| format!("t-{index}")).collect();
    let ids = create(&client, &topics).await;
    produce(&client, &ids, None).await;
    find_coordinator(&client, 0).await;
    find_coordinator(&client, 1).await;
    join(&client).await;
    let producer = init_producer(&client).await;
    produce(&client, &ids[..2], Some(producer)).await;

    let answer = http(&broker, "POST /reset?members=remove").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let done =
        "100 topics emptied, 1 groups forgotten, 0 with members kept, 1 transactions aborted\n";
    assert!(answer.ends_with(done), "{answer}");
    let groups = client
        .call(&ListGroupsRequest::default(), WITHIN)
        .await
        .unwrap();
    assert_eq!(groups.groups, []);
    // In t-0: two records and the marker of the aborted transaction. In t-99: one record.
    for (topic, end) in [("t-0", 3), ("t-99", 1)] {
        assert_eq!(offset(&client, topic, EARLIEST).await, end);
        assert_eq!(offset(&client, topic, LATEST).await, end);
    }
    // The topics can be used as before.
    produce(&client, &ids, None).await;
    assert_eq!(offset(&client, "t-5", LATEST).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_lets_members_live_and_keeps_what_is_to_be_kept() {
    let settings = [("monedula.admin.listener", "HTTP://127.0.0.1:0")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    let client = client(&broker);
    let topics = ["t", "_schemas", "connect-offsets"].map(str::to_owned);
    let ids = create(&client, &topics).await;
    produce(&client, &ids, None).await;
    find_coordinator(&client, 0).await;
    let (member_id, generation) = join(&client).await;
    // This committed offset will be before the start of the log.
    let commit = OffsetCommitRequest {
        group_id: "g".into(),
        member_id: member_id.clone(),
        generation_id_or_member_epoch: generation,
        topics: vec![OffsetCommitRequestTopic {
            topic_id: ids[0],
            partitions: vec![OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let committed = client.call(&commit, WITHIN).await.unwrap();
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);

    let answer = http(&broker, "POST /reset?keep=_schemas,connect-*").await;
    let done =
        "1 topics emptied, 0 groups forgotten, 1 with members kept, 0 transactions aborted\n";
    assert!(answer.ends_with(done), "{answer}");
    for (topic, start) in [("t", 1), ("_schemas", 0), ("connect-offsets", 0)] {
        assert_eq!(offset(&client, topic, EARLIEST).await, start, "{topic}");
    }
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id,
        ..Default::default()
    };
    assert_eq!(client.call(&beat, WITHIN).await.unwrap().error_code, 0);
    let fetch = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let fetched = client.call(&fetch, WITHIN).await.unwrap();
    let at = &fetched.groups[0].topics[0].partitions[0];
    assert_eq!(at.committed_offset, 1);
    let answer = http(&broker, "POST /reset?kept=x").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// The endpoint has no authentication, so a reset would bypass all permissions.
#[tokio::test]
async fn resets_need_a_setting_where_an_authorizer_is_on() {
    let on = [
        ("monedula.admin.listener", "HTTP://127.0.0.1:0"),
        (AUTHORIZER, STANDARD_AUTHORIZER),
    ];
    for (more, status) in [
        (None, "403 Forbidden"),
        (
            Some(("monedula.admin.reset.with.authorizer", "true")),
            "200 OK",
        ),
    ] {
        let settings: Vec<_> = on.iter().copied().chain(more).collect();
        let broker = TemporaryBroker::start(&settings).await.unwrap();
        let answer = http(&broker, "POST /reset").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        let ready = http(&broker, "GET /ready").await;
        assert!(ready.ends_with("ready\n"), "{ready}");
    }
}

/// Health checks are answered while other clients hold all connections.
#[tokio::test(flavor = "multi_thread")]
async fn http_answers_beside_silent_connections() {
    let settings = [("monedula.admin.listener", "HTTP://127.0.0.1:0")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(broker.admin().unwrap()).await.unwrap());
        // The time is less than the 5 s after which a silent connection is closed.
        let answer = tokio::time::timeout(Duration::from_secs(4), http(&broker, "GET /ready"));
        let answer = answer.await.expect("an answer beside silent connections");
        assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
    }
    // The connections that have been silent for the longest time are closed.
    let closed = silent[0].read(&mut [0]).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn http_is_not_for_web_pages() {
    let settings = [
        ("monedula.admin.listener", "HTTP://127.0.0.1:0"),
        (
            "monedula.admin.allowed.hosts",
            "admin.example.org, x.example",
        ),
        ("advertised.listeners", "PLAINTEXT://kafka.example.com:9092"),
    ];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    for (head, status) in [
        ("Host: localhost", "200 OK"),
        ("Host: kafka:9644", "200 OK"),
        ("Host: kafka.example.com:9644", "200 OK"),
        ("Host: Admin.Example.Org", "200 OK"),
        ("Host: evil.example", "403 Forbidden"),
        (
            "Host: localhost\r\nOrigin: http://evil.example",
            "403 Forbidden",
        ),
        (
            "Host: localhost\r\nSec-Fetch-Site: cross-site",
            "403 Forbidden",
        ),
        ("Accept: */*", "403 Forbidden"),
        ("Host", "400 Bad Request"),
    ] {
        let answer = send(&broker, &format!("POST /reset HTTP/1.1\r\n{head}\r\n\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}: {answer}"
        );
    }
    let long = format!(
        "GET /ready HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(9_000)
    );
    assert!(send(&broker, &long).await.starts_with("HTTP/1.1 400 "));
    let head = send(&broker, "HEAD /ready HTTP/1.0\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn http_answers_what_it_knows_and_nothing_else() {
    let settings = [("monedula.admin.listener", "HTTP://127.0.0.1:0")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    for (request, status) in [
        ("GET /ready", "200 OK"),
        ("GET /reset", "405 Method Not Allowed"),
        ("GET /", "404 Not Found"),
        ("PUT /x", "404 Not Found"),
        ("", "400 Bad Request"),
    ] {
        let answer = http(&broker, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {answer}"
        );
    }
    let silent = TemporaryBroker::start(&[]).await.unwrap();
    assert_eq!(silent.admin(), None);
}

/// Without an answer, librdkafka's members would wait silently for ever.
#[tokio::test]
async fn a_member_of_a_protocol_that_is_not_served_is_refused_at_once() {
    let settings = [("group.coordinator.rebalance.protocols", "classic")];
    let broker = TemporaryBroker::start(&settings).await.unwrap();
    // As clients do first.
    find_coordinator(&client(&broker), 0).await;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        ..Default::default()
    };
    let answer = client(&broker).call(&request, WITHIN).await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
    let why = answer.error_message.unwrap();
    assert!(why.contains("does not support"), "{why}");
}

/// Covers every task on which the node depends, and the controller's thread.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_task_ends_the_node() {
    for name in [
        "coordinator of groups",
        "coordinator of transactions",
        "controller",
        "listeners",
        "acceptor",
        "admin listener",
        "housekeeping",
        "cleaner",
        "log directories",
        "maker",
        "mover",
        "loader of a coordinator",
        "writer of markers",
        "forgetting of offsets",
    ] {
        let settings = [
            ("monedula.admin.listener", "HTTP://127.0.0.1:0"),
            ("offsets.topic.num.partitions", "1"),
        ];
        // The loader needs something to load.
        let broker = TemporaryBroker::start(&settings).await.unwrap();
        if name == "loader of a coordinator" {
            let client = client(&broker);
            find_coordinator(&client, 0).await;
            join(&client).await;
        }
        let broker = broker.restart(&settings, Some(name)).await.unwrap();
        let why = match name {
            "writer of markers" | "forgetting of offsets" => {
                let client = client(&broker);
                let ids = create(&client, &["t".to_owned()]).await;
                if name == "writer of markers" {
                    find_coordinator(&client, 1).await;
                    let producer = init_producer(&client).await;
                    produce(&client, &ids, Some(producer)).await;
                    // A new producer with the same transactional id ends the transaction.
                    let next = tokio::spawn(async move { init_producer(&client).await });
                    let why = tokio::time::timeout(WITHIN, broker.failed()).await;
                    next.abort();
                    why
                } else {
                    let delete = DeleteTopicsRequest {
                        topics: vec![DeleteTopicState {
                            topic_id: ids[0],
                            ..Default::default()
                        }],
                        timeout_ms: 10_000,
                        ..Default::default()
                    };
                    client.call(&delete, WITHIN).await.unwrap();
                    tokio::time::timeout(WITHIN, broker.failed()).await
                }
            }
            _ => tokio::time::timeout(WITHIN, broker.failed()).await,
        };
        let why = why.unwrap_or_else(|_| panic!("{name}: nobody noticed"));
        assert_eq!(why, format!("{name} ended in a panic: planted"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_connection_closes_that_one_alone() {
    let broker = TemporaryBroker::start(&[]).await.unwrap();
    let other = client(&broker);
    create(&other, &["t".to_owned()]).await;
    let broken = Channel::new(
        &Host::default(),
        broker.bootstrap_servers(),
        Identity::new(crate::api::dispatch::PANICS),
    );
    let asked = broken.call(&MetadataRequest::default(), WITHIN).await;
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(names(&other).await, ["t"]);
    assert_eq!(names(&client(&broker)).await, ["t"]);
}
