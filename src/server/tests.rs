//! Tests of a node in this process with clients that speak raw bytes: order of answers, pipelining, frames in pieces, hostile
//! frames.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::broker::boot::Options;
use crate::broker::{Broker, StartError};
use crate::config::broker::standalone;
use crate::config::parse::Property;
use crate::wire::batch::builder::BatchBuilder;
use crate::wire::codec::{Reader, Records, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use crate::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};
use crate::wire::message::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::wire::message::{Message, Request};

mod acls;
mod fuzz;
mod long_requests;
mod memory;
mod old_consumers;
mod old_directory;
mod sasl;
mod shares;
mod tls;
mod web_interfaces;

/// Time limit for an answer, generous enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    broker: Broker,
    _dir: tempfile::TempDir,
}

impl Node {
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::on(tempfile::tempdir().unwrap(), settings).await
    }

    /// A node on the data in the subdirectory `data` of `dir`.
    async fn on(dir: tempfile::TempDir, settings: &[(&str, &str)]) -> Self {
        let data = dir.path().join("data").display().to_string();
        let own = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", &data),
        ];
        let overrides: Vec<_> = own
            .iter()
            .chain(settings)
            .map(|(key, value)| Property::given(key, value))
            .collect();
        let config = standalone(&overrides).unwrap().config;
        let broker = Broker::start(config, Options::default()).await.unwrap();
        Self { broker, _dir: dir }
    }

    async fn connect(&self) -> Client {
        let address: SocketAddr = self.broker.addresses()[0];
        Client {
            stream: TcpStream::connect(address).await.unwrap(),
        }
    }

    /// Creates topics of one partition each, and gives the client that did it.
    async fn with_topics(&self, names: &[&str]) -> Client {
        let mut client = self.connect().await;
        client.send(&frame(0, 4, &create(names))).await;
        client.answer().await;
        client
    }
}

struct Client {
    stream: TcpStream,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Correlation id and body of the next answer.
    async fn answer(&mut self) -> (i32, Reader) {
        self.try_answer().await.expect("the connection was closed")
    }

    async fn try_answer(&mut self) -> Option<(i32, Reader)> {
        let read = async {
            let length = self.stream.read_u32().await.ok()?;
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(body)
        };
        let body = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("no answer")?;
        let mut reader = Reader::new(Bytes::from(body));
        Some((reader.i32().unwrap(), reader))
    }

    /// Sends a request and reads its response.
    async fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        self.send(&frame(1, version, request)).await;
        self.response::<Q>(version).await
    }

    /// Reads the response to a request of this type that was sent before.
    async fn response<Q: Request>(&mut self, version: i16) -> Q::Response {
        let (_, mut body) = self.answer().await;
        if Q::is_flexible(version) {
            body.tagged_section(|_, _| Ok(false)).unwrap();
        }
        Q::Response::read(&mut body, version).unwrap()
    }

    async fn is_closed(&mut self) -> bool {
        self.try_answer().await.is_none()
    }

    /// Whether the connection still answers a request.
    async fn is_alive(&mut self) -> bool {
        self.send(&frame(77, 0, &ApiVersionsRequest::default()))
            .await;
        self.answer().await.0 == 77
    }
}

/// Encoded request with its length and header.
fn frame<Q: Request>(correlation_id: i32, version: i16, request: &Q) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.i16(Q::KEY);
    writer.i16(version);
    writer.i32(correlation_id);
    writer.i16(-1);
    if Q::is_flexible(version) {
        writer.unsigned_varint(0);
    }
    request.write(&mut writer, version).unwrap();
    framed(&writer.into_bytes())
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn create(names: &[&str]) -> CreateTopicsRequest {
    let topic = |name: &&str| CreatableTopic {
        name: (*name).into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        ..Default::default()
    }
}

fn produce(topic: &str, acks: i16, value: &[u8]) -> ProduceRequest {
    let mut batch = BatchBuilder::default();
    batch.push(1_700_000_000_000, None, Some(value));
    ProduceRequest {
        acks,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::Bytes(batch.build())),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Error code and base offset from a produce answer of one partition.
fn produced(mut body: Reader) -> (i16, i64) {
    let response = ProduceResponse::read(&mut body, 7).unwrap();
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn fetch(topic: &str, offset: i64, max_wait: Duration) -> FetchRequest {
    FetchRequest {
        max_wait_ms: max_wait.as_millis() as i32,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_order_of_the_requests() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    let mut all = Vec::new();
    for id in 0..300 {
        all.extend(match id % 3 {
            0 => frame(id, 7, &produce("t", -1, b"value")),
            1 => frame(id, 0, &ApiVersionsRequest::default()),
            _ => frame(id, 1, &MetadataRequest::default()),
        });
    }
    client.send(&all).await;
    for id in 0..300 {
        let (answered, body) = client.answer().await;
        assert_eq!(answered, id);
        if id % 3 == 0 {
            assert_eq!(produced(body), (0, i64::from(id / 3)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_fetch_is_answered_first_and_holds_up_no_append() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["waited", "other"]).await;
    let mut other = node.connect().await;
    let began = Instant::now();
    let mut both = frame(1, 4, &fetch("waited", 0, PATIENCE * 2));
    both.extend(frame(2, 7, &produce("other", -1, b"behind the fetch")));
    client.send(&both).await;
    // The append of the second request is visible although the fetch before it still waits.
    other.send(&frame(3, 4, &fetch("other", 0, PATIENCE))).await;
    assert_eq!(other.answer().await.0, 3);
    other
        .send(&frame(4, 7, &produce("waited", -1, b"wakes the fetch")))
        .await;
    assert_eq!(client.answer().await.0, 1);
    assert_eq!(client.answer().await.0, 2);
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sees_what_those_before_it_did() {
    let node = Node::start(&[("auto.create.topics.enable", "false")]).await;
    let mut client = node.connect().await;
    let mut both = frame(1, 4, &create(&["new"]));
    both.extend(frame(
        2,
        7,
        &produce("new", -1, b"sent before the topic was confirmed"),
    ));
    client.send(&both).await;
    assert_eq!(client.answer().await.0, 1);
    let (id, body) = client.answer().await;
    assert_eq!((id, produced(body)), (2, (0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_right_after_automatic_creation_succeeds() {
    let node = Node::start(&[]).await;
    let mut client = node.connect().await;
    let asked = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some("fresh".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let mut both = frame(1, 4, &asked);
    both.extend(frame(2, 7, &produce("fresh", -1, b"value")));
    client.send(&both).await;
    client.answer().await;
    assert_eq!(produced(client.answer().await.1), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_may_come_in_any_pieces() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    client.stream.set_nodelay(true).unwrap();
    let mut all = frame(1, 7, &produce("t", -1, &[7; 3_000]));
    all.extend(frame(2, 0, &ApiVersionsRequest::default()));
    all.extend(frame(3, 7, &produce("t", -1, &[8; 200_000])));
    let (first, rest) = all.split_at(40);
    for byte in first {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    for piece in rest.chunks(1_777) {
        client.send(piece).await;
    }
    for id in 1..=3 {
        assert_eq!(client.answer().await.0, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_without_acknowledgement_has_no_answer_and_closes_on_an_error() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    client.send(&frame(1, 7, &produce("t", 0, b"value"))).await;
    assert!(client.is_alive().await);
    client
        .send(&frame(2, 7, &produce("missing", 0, b"value")))
        .await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_too_new_is_answered_in_the_oldest_form() {
    let node = Node::start(&[]).await;
    let mut client = node.connect().await;
    // Key 18 (ApiVersions) in version 99, with a body of unknown form.
    client
        .send(&framed(&[0, 18, 0, 99, 0, 0, 0, 9, 0xff, 0xff, 1, 2, 3]))
        .await;
    let (id, mut body) = client.answer().await;
    let response = ApiVersionsResponse::read(&mut body, 0).unwrap();
    assert_eq!(id, 9);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys[0].api_key, 18);
    assert!(client.is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_closes_its_connection_and_no_other() {
    let node = Node::start(&[]).await;
    let mut bystander = node.connect().await;
    let cut = {
        let whole = frame(1, 4, &create(&["t"]));
        framed(&whole[4..whole.len() - 3])
    };
    let hostile: [(&str, Vec<u8>); 9] = [
        ("a negative length", vec![0xff; 4]),
        ("a length beyond the limit", vec![0x7f, 0xff, 0xff, 0xff]),
        ("no header at all", framed(&[])),
        ("half a header", framed(&[0, 3, 0])),
        (
            "an unknown key",
            framed(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        (
            "an unknown version",
            framed(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        ("a body that ends early", cut),
        (
            "a count of two thousand million",
            framed(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "a name that is not UTF-8",
            framed(&[
                0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1, 0, 2, 0xc3, 0x28,
            ]),
        ),
    ];
    for (what, bytes) in hostile {
        let mut client = node.connect().await;
        client.send(&bytes).await;
        assert!(client.is_closed().await, "{what}");
        assert!(bystander.is_alive().await, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_and_idle_ones_end() {
    let settings = [
        ("max.connections.per.ip", "2"),
        ("connections.max.idle.ms", "300"),
    ];
    let node = Node::start(&settings).await;
    let (mut one, mut two) = (node.connect().await, node.connect().await);
    assert!(one.is_alive().await && two.is_alive().await);
    assert!(node.connect().await.is_closed().await);
    assert!(one.is_closed().await && two.is_closed().await);
    // Their places are free again, though perhaps a moment later.
    let mut three = node.connect().await;
    while three
        .stream
        .write_all(&frame(1, 0, &ApiVersionsRequest::default()))
        .await
        .is_err()
        || three.try_answer().await.is_none()
    {
        three = node.connect().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_too_long_is_idle() {
    let node = Node::start(&[("connections.max.idle.ms", "300")]).await;
    let mut client = node.with_topics(&["t"]).await;
    client
        .send(&frame(1, 4, &fetch("t", 0, Duration::from_secs(600))))
        .await;
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_more_than_may_be_sent() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    client
        .send(&frame(1, 7, &produce("t", -1, &[1; 1_000])))
        .await;
    client.answer().await;
    let mut greedy = fetch("t", 0, Duration::from_secs(600));
    (greedy.min_bytes, greedy.max_bytes) = (1_000_000, 500);
    client.send(&frame(2, 4, &greedy)).await;
    assert!(client.try_answer().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let node = Node::start(&[("max.connections", "2")]).await;
    let (mut one, mut two) = (node.connect().await, node.connect().await);
    assert!(one.is_alive().await && two.is_alive().await);
    let mut three = node.connect().await;
    three
        .send(&frame(1, 0, &ApiVersionsRequest::default()))
        .await;
    let early = tokio::time::timeout(Duration::from_millis(300), three.stream.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    drop(one);
    assert!(three.try_answer().await.is_some());
    assert!(two.is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_have_a_limit_of_its_own() {
    let settings = [
        ("max.connections.per.ip", "0"),
        ("max.connections.per.ip.overrides", "127.0.0.1:1,::1:5"),
    ];
    let node = Node::start(&settings).await;
    let mut one = node.connect().await;
    assert!(one.is_alive().await);
    assert!(node.connect().await.is_closed().await);
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = elsewhere.connect(node.broker.addresses()[0]).await.unwrap();
    assert!(Client { stream }.is_closed().await);
    assert!(one.is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_read_from() {
    let node = Node::start(&[]).await;
    let mut client = node.with_topics(&["t"]).await;
    client
        .send(&frame(1, 7, &produce("t", -1, &[1; 900_000])))
        .await;
    client.answer().await;
    let asks = frame(2, 4, &fetch("t", 0, Duration::ZERO));
    // Far more requests than the sockets' buffers hold. The node stops reading, so they cannot all be sent.
    let endless = async {
        for _ in 0..200_000 {
            client.stream.write_all(&asks).await.unwrap();
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(2), endless).await;
    assert!(sent.is_err());
    assert!(node.connect().await.is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_answer_is_the_same_as_a_warm_one() {
    let node = Node::start(&[("log.segment.bytes", "2000000")]).await;
    let mut client = node.with_topics(&["t"]).await;
    for value in 0..10 {
        let request = produce("t", -1, &[value; 900_000]);
        client.send(&frame(1, 7, &request)).await;
        client.answer().await;
    }
    let mut answers = Vec::new();
    for evicted in [false, true] {
        if evicted {
            let dir = node._dir.path().join("data/t-0");
            for entry in std::fs::read_dir(dir).unwrap() {
                let file = std::fs::File::open(entry.unwrap().path()).unwrap();
                file.sync_all().unwrap();
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
        }
        for offset in 0..10 {
            let mut all = fetch("t", offset, Duration::ZERO);
            all.topics[0].partitions[0].partition_max_bytes = 10_000_000;
            client.send(&frame(2, 4, &all)).await;
        }
        let mut read = Vec::new();
        for _ in 0..10 {
            let (_, mut body) = client.answer().await;
            let len = body.remaining();
            assert!(len > 900_000);
            read.push(body.take(len).unwrap());
        }
        answers.push(read);
    }
    assert!(answers[0] == answers[1]);
}
